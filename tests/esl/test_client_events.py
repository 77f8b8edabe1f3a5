"""Events on their way from the socket to the intake: in order, without a gap, never waiting, never holding the hub."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator

import gevent
import pytest
from gevent.event import Event

from callengine.errors import EslDisconnected
from callengine.esl import client as client_module
from callengine.esl.client import EslClient
from callengine.esl.exchange import Loss, LossReason
from callengine.esl.intake import IntakeQueue
from tests.esl.clients import connected, loss_of, new_client
from tests.esl.switches import Peer, event, hold_the_hub, reply, response, switch, then


@pytest.fixture(autouse=True)
def _limit() -> Iterator[None]:
    """Nothing here may hang."""
    with gevent.Timeout(30, AssertionError("it hung")):
        yield


def until_hurried(client: EslClient, true: Callable[[], bool]) -> None:
    while not true():
        client.hurry()
        gevent.sleep(0.001)


def test_events_go_to_the_intake_in_order_between_replies() -> None:
    bodies = [b'{"Event-Name":"CHANNEL_CREATE","n":"%d"}' % n for n in range(100)]

    def script(peer: Peer) -> None:
        peer.greet()
        peer.command()
        peer.say(b"".join(map(event, bodies[:50])) + reply("+OK x") + b"".join(map(event, bodies[50:])))
        peer.say(b"Content-Type: log/data\nContent-Length: 3\n\nlog")
        peer.say(b"Content-Length: 2\nContent-Type: text/event-xml\n\n<>")
        peer.say(b"Content-Length: 5\nContent-Type: text/event-plain\n\nA: b\n" + event(b"{}"))
        peer.answer()

    intake = IntakeQueue()
    with switch(script) as server:
        client = new_client(server.port)
        client.register_handle("*", intake.put_many)
        client.connect()
        client.send("nixevent ALL")
        client.api("echo done")
        client.close()
    assert intake.get_batch(1000, 0) == [*bodies, b"A: b\n", b"{}"]
    assert client.events_received == 102
    assert client.frames_ignored == 2


def test_an_overflow_ends_the_connection_at_once() -> None:
    def script(peer: Peer) -> None:
        peer.greet()
        peer.say(event(b"{}") * 5)
        peer.command()
        peer.say(event(b"{}") * 6 + response(b""))
        peer.wait_for_eof()

    intake = IntakeQueue(max_events=10)
    with switch(script) as server:
        client = new_client(server.port)
        client.register_handle("*", intake.put_many)
        client.connect()
        client.send("api x")
        assert loss_of(client).reason is LossReason.INTAKE_OVERFLOW
        client.close()
    assert len(intake) == 5
    assert intake.refused == 6


def test_events_before_a_fault_are_not_lost() -> None:
    events, fault = event(b"1") + event(b"2"), b"garbage\n"
    got: list[bytes] = []
    with connected(then(lambda peer: peer.say_and_wait(events + fault))) as client:
        client.register_handle("*", got.extend)
        with pytest.raises(EslDisconnected):
            client.api("status")
        assert loss_of(client).reason is LossReason.MALFORMED
    assert got == [b"1", b"2"]


def test_events_gather_until_somebody_is_in_a_hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_module, "_GATHERED_S", 60.0)
    got: list[bytes] = []
    said = Event()

    def script(peer: Peer) -> None:
        peer.greet()
        peer.say(event(b"1"))
        said.wait(5)
        peer.say_and_wait(event(b"2"))

    with connected(script) as client:
        client.register_handle("*", got.extend)
        until_hurried(client, lambda: got == [b"1"])
        said.set()
        gevent.sleep(0.1)
        assert got == [b"1"]
        until_hurried(client, lambda: got == [b"1", b"2"])
        began_s = time.monotonic()
        client.close()
        assert time.monotonic() - began_s < 1


def test_a_command_does_not_wait_for_events_to_gather(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_module, "_GATHERED_S", 60.0)
    got: list[bytes] = []

    def script(peer: Peer) -> None:
        peer.greet()
        peer.say(event(b"1"))
        peer.command()
        peer.say_and_wait(response(b"UP 1 year"))

    with connected(script) as client:
        client.register_handle("*", got.extend)
        until_hurried(client, lambda: got == [b"1"])
        assert client.api("status", timeout_s=2) == "UP 1 year"


def test_a_reply_to_nothing_takes_no_event_with_it() -> None:
    got: list[bytes] = []
    data = reply("+OK") + event(b"1") + reply("+OK to nothing") + event(b"2")
    with connected(then(lambda peer: peer.say_and_wait(data))) as client:
        client.register_handle("*", got.extend)
        assert not client.send("api status").refused
        assert loss_of(client).reason is LossReason.MALFORMED
    assert got == [b"1", b"2"]


def test_a_handler_that_fails_ends_the_connection_and_says_nothing_of_the_event(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def failing(_bodies: list[bytes]) -> None:
        raise RuntimeError("handler")

    def failing_too(_loss: Loss) -> None:
        raise RuntimeError("another")

    with connected(then(lambda peer: peer.say_and_wait(event(b"+15550100")))) as client:
        client.register_handle("*", failing)
        client.register_handle("DISCONNECT", failing_too)
        with caplog.at_level(logging.DEBUG), pytest.raises(EslDisconnected):
            client.api("status")
        assert loss_of(client).reason is LossReason.FAILED
    assert "15550100" not in caplog.text


def test_a_flood_does_not_hold_the_hub() -> None:
    """A socket that always has data never makes the reader wait: it has to give way by itself."""

    class Flood:
        reads = 0

        def recv(self, _size: int) -> bytes:
            self.reads += 1
            return event(b"{}") * 2_000 if self.reads < 10_000 else b""

        def close(self) -> None:
            pass

    client = new_client(1)
    client.sock = Flood()
    reader = gevent.spawn(client.receive_events)
    for turn in range(1, 20):
        gevent.sleep(0)
        assert client.sock.reads <= 4 * turn
    client.close()
    reader.join(timeout=1)
    assert reader.ready()
    assert client.events_received > 100


def test_a_reply_that_came_while_the_hub_was_held_up_counts() -> None:
    def script(peer: Peer) -> None:
        peer.greet()
        peer.command()
        peer.say(response(b"in time"))
        hold_the_hub(0.2)
        peer.wait_for_eof()

    with connected(script) as client:
        assert client.api("status", timeout_s=0.1) == "in time"
