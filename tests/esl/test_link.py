"""The link comes back from every kind of loss, neither too fast nor in step, and says once what is wrong."""

from __future__ import annotations

import logging
import random
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import gevent
import pytest
from gevent import socket

from callengine.errors import EslDisconnected, SwitchUnavailable
from callengine.esl.client import EslClient
from callengine.esl.exchange import Loss, LossReason
from callengine.esl.intake import IntakeQueue
from callengine.esl.link import Link, LinkSettings, LinkState
from tests.esl.switches import (
    DENIAL,
    GREETING,
    NOTICE,
    PASSWORD,
    Peer,
    Switch,
    event,
    free_port,
    hold_the_hub,
    reply,
    response,
    switch,
    well_behaved,
)

S = LinkState


@pytest.fixture(autouse=True)
def _limit() -> Iterator[None]:
    """Nothing here may hang."""
    with gevent.Timeout(30, AssertionError("it hung")):
        yield


class Watched:
    """A running link and everything that it told."""

    def __init__(self, port: int, **options: Any) -> None:
        names = LinkSettings.__dataclass_fields__
        fast = {"backoff_min_s": 0.01, "backoff_max_s": 0.05, "connect_timeout_s": 2.0, "command_timeout_s": 2.0}
        own = {name: options.pop(name) for name in list(options) if name in names}
        self.states: list[LinkState] = []
        self.told: list[str | Loss] = []
        self.intake = options.pop("intake", IntakeQueue())
        self.link = Link(
            LinkSettings("127.0.0.1", port, **{"password": PASSWORD} | fast | own),
            events=["CHANNEL_CREATE"],
            subclasses=["callcenter::info"],
            intake=self.intake,
            on_ready=options.pop("on_ready", lambda client: self.told.append("ready")),
            on_lost=self.told.append,
            on_state=self.states.append,
            **options,
        )
        self.greenlet = gevent.spawn(self.link.run)

    def until(self, what: Callable[[], object]) -> None:
        deadline = time.monotonic() + 10
        while not what():
            assert time.monotonic() < deadline, (self.states, self.told)
            assert not self.greenlet.ready(), self.greenlet
            gevent.sleep(0.005)

    def until_ready(self, connects: int = 1) -> None:
        self.until(lambda: self.link.connects >= connects and self.link.ready)


@contextmanager
def _link(port: int, **options: Any) -> Iterator[Watched]:
    watched = Watched(port, **options)
    try:
        yield watched
    finally:
        watched.link.stop()
        watched.greenlet.get(timeout=5)
        assert watched.link.state is S.STOPPED
        assert not watched.link.ready


def test_the_states_on_the_way_up_and_down() -> None:
    with switch(well_behaved) as server:
        with _link(server.port) as watched:
            assert watched.link.wait_ready(5)
            assert watched.link.api("echo x") == "x"
            assert watched.link.bgapi("status", "j1").text == "+OK Job-UUID: j1"
            assert watched.link.send("foo").refused
            watched.until(lambda: watched.told)
        assert watched.states == [S.CONNECTING, S.AUTHENTICATING, S.SUBSCRIBING, S.READY, S.DISCONNECTED, S.STOPPED]
        assert watched.told == ["ready", Loss(LossReason.CLOSED, "closed by callengine")]
        assert server.peers[0].commands[1] == "event json CHANNEL_CREATE HEARTBEAT CUSTOM callcenter::info"
        assert watched.intake.get_batch(10, 0)


def test_nothing_is_sent_while_not_ready() -> None:
    with _link(free_port(), backoff_min_s=5.0, backoff_max_s=5.0) as watched:
        watched.until(lambda: watched.link.state is S.BACKING_OFF)
        assert not watched.link.wait_ready(0.01)
        for call in (watched.link.api, watched.link.send, lambda text: watched.link.bgapi(text, "j")):
            with pytest.raises(EslDisconnected, match=r"not connected to FreeSWITCH at .* \(backing off\)"):
                call("status")
    with pytest.raises(EslDisconnected, match="stopped"):
        watched.link.api("status")


def _reset(peer: Peer) -> None:
    peer.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    peer.sock.close()


@pytest.mark.parametrize(
    ("end", "reason"),
    [
        (lambda peer: peer.sock.shutdown(socket.SHUT_RDWR), LossReason.EOF),
        (_reset, LossReason.RESET),
        (lambda peer: peer.say(NOTICE), LossReason.DISCONNECT_NOTICE),
        (lambda peer: peer.say(b"\0\n"), LossReason.MALFORMED),
        (lambda peer: None, LossReason.HEARTBEAT_LOST),
    ],
)
def test_back_after_every_kind_of_loss_with_its_subscription(end: Callable[[Peer], None], reason: LossReason) -> None:
    quiet_s = 0.4 if reason is LossReason.HEARTBEAT_LOST else 30.0
    with switch(well_behaved) as server, _link(server.port, heartbeat_timeout_s=quiet_s) as watched:
        watched.until_ready()
        end(server.peers[0])
        watched.until_ready(connects=2)
        server.peers[1].say(event(b'{"again":"1"}'))
        watched.until(lambda: watched.intake.get_batch(10, 0) == [b'{"again":"1"}'])
        assert server.peers[0].commands == server.peers[1].commands
        assert [type(each) for each in watched.told[:3]] == [str, Loss, str]
        assert watched.link.losses == {reason: 1}
        assert watched.states.count(S.BACKING_OFF) == 1


def test_a_switch_that_goes_away_and_comes_back() -> None:
    port = free_port()
    with _link(port) as watched:
        watched.until(lambda: watched.link.failures["EslRefused"] >= 3)
        server = Switch(well_behaved, port)
        watched.until_ready()
        server.stop()
        watched.until(lambda: not watched.link.ready)
        server = Switch(well_behaved, port)
        watched.until_ready(connects=2)
        server.stop()


def test_heartbeats_keep_a_quiet_connection() -> None:
    def script(peer: Peer) -> None:
        peer.greet()
        peer.command()
        peer.say(reply("+OK event listener enabled json"))
        while True:
            gevent.sleep(0.05)
            peer.say(event(b'{"Event-Name":"HEARTBEAT"}'))

    with switch(script) as server, _link(server.port, heartbeat_timeout_s=0.3) as watched:
        watched.until_ready()
        gevent.sleep(0.8)
        assert watched.link.ready
        assert not watched.link.losses


def test_a_hub_that_was_held_up_is_no_silence() -> None:
    def script(peer: Peer) -> None:
        peer.greet()
        peer.command()
        peer.say(reply("+OK event listener enabled json"))
        gevent.sleep(0.05)
        peer.say(event(b'{"Event-Name":"HEARTBEAT"}'))
        hold_the_hub(0.5)
        peer.say(event(b'{"Event-Name":"HEARTBEAT"}'))
        peer.wait_for_eof()

    with switch(script) as server, _link(server.port, heartbeat_timeout_s=0.3) as watched:
        watched.until_ready()
        watched.until(lambda: watched.link.client and watched.link.client.events_received == 2)
        gevent.sleep(0.15)
        assert watched.link.ready


def _delays(port: int, count: int, **options: Any) -> tuple[list[float], list[tuple[float, float]], Watched]:
    """The first waits of a link whose sleep only writes them down, and the ranges that they were drawn from."""
    slept: list[float] = []
    ranges: list[tuple[float, float]] = []
    rng = random.Random(7)

    def uniform(low: float, high: float) -> float:
        ranges.append((low, high))
        return rng.uniform(low, high)

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        gevent.sleep(0.001)

    with _link(port, sleep=sleep, uniform=uniform, backoff_min_s=0.5, backoff_max_s=30.0, **options) as watched:
        watched.until(lambda: len(slept) >= count)
    return slept[:count], ranges[:count], watched


def test_backoff_doubles_to_its_ceiling_with_full_jitter() -> None:
    slept, ranges, _ = _delays(free_port(), 12)
    assert ranges == [(0.5, high) for high in (1, 2, 4, 8, 16, 30, 30, 30, 30, 30, 30, 30)]
    assert all(low <= delay <= high for delay, (low, high) in zip(slept, ranges, strict=True))
    assert len(set(slept)) == 12


def test_a_clean_close_right_after_ready_is_no_reason_to_hurry() -> None:
    def script(peer: Peer) -> None:
        peer.greet()
        peer.command()
        peer.say(reply("+OK event listener enabled json") + NOTICE)

    with switch(script) as server:
        _, ranges, watched = _delays(server.port, 5)
    assert [high for _, high in ranges] == [1, 2, 4, 8, 16]
    # An early end is one of the failures or one of the losses, by which came first: each of them waited for.
    assert len(server.peers) <= 7
    assert watched.link.losses[LossReason.DISCONNECT_NOTICE] + watched.link.failures["EslDisconnected"] >= 5


def test_a_connection_that_stayed_ready_resets_the_backoff() -> None:
    now = [0.0]

    def script(peer: Peer) -> None:
        peer.greet()
        peer.command()
        peer.say(reply("+OK event listener enabled json"))
        gevent.sleep(0.01)
        now[0] += 31 if len(server.peers) == 4 else 1

    with switch(script) as server:
        _, ranges, _ = _delays(server.port, 6, clock=lambda: now[0], stable_after_s=30.0)
    assert [high for _, high in ranges] == [1, 2, 4, 1, 2, 4]


def _said(caplog: pytest.LogCaptureFixture, level: int) -> list[str]:
    return [r.getMessage() for r in caplog.records if r.levelno >= level and r.name.startswith("callengine")]


def _reject(peer: Peer) -> None:
    peer.say(GREETING)
    peer.command()
    peer.say(reply("-ERR invalid") + NOTICE)


@pytest.mark.parametrize(
    ("script", "error", "words"),
    [
        (_reject, "EslAuthRejected", "rejected the password"),
        (lambda peer: peer.say(DENIAL), "EslAccessDenied", "denies access to this host"),
        (lambda peer: peer.say(b"SSH-2.0-x\r\n"), "MalformedStream", "not an event socket stream"),
    ],
)
def test_a_lasting_failure_is_told_once(
    script: Callable[[Peer], None], error: str, words: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG), switch(script) as server, _link(server.port) as watched:
        watched.until(lambda: watched.link.failures[error] >= 4)
        (line,) = _said(caplog, logging.WARNING)
        assert words in line
        assert words in (watched.link.last_error or "")
        assert line.count(f"127.0.0.1:{server.port}") == 1
        assert watched.told == []
        # A change is told, and so is its end.
        server.script = well_behaved
        watched.until_ready()
        assert watched.link.last_error is None
        server.script = script
        server.peers[-1].sock.shutdown(socket.SHUT_RDWR)
        watched.until(lambda: watched.link.failures[error] >= 8)
        lost, again = _said(caplog, logging.WARNING)[1:]
        assert lost.startswith(f"lost FreeSWITCH at 127.0.0.1:{server.port}: ")
        assert again == line
        assert [text for text in _said(caplog, logging.INFO) if text.startswith("connected")] == [
            f"connected to FreeSWITCH at 127.0.0.1:{server.port}"
        ]
    assert PASSWORD not in caplog.text
    assert PASSWORD not in repr(watched.link) + repr(watched.link.settings)


def test_a_refused_port_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO), _link(free_port()) as watched:
        watched.until(lambda: watched.link.failures["EslRefused"] >= 4)
        (line,) = _said(caplog, logging.WARNING)
        assert "esl.host and esl.port" in line


def test_a_refused_subscription_is_a_failure_not_a_loss() -> None:
    def script(peer: Peer) -> None:
        peer.greet()
        peer.command()
        peer.say(reply("-ERR permission denied"))
        peer.wait_for_eof()

    with switch(script) as server, _link(server.port) as watched:
        watched.until(lambda: watched.link.failures["CommandRefused"] >= 2)
        assert watched.told == []
        assert "permission denied" in (watched.link.last_error or "")
        assert S.READY not in watched.states


def test_commands_work_inside_on_ready_and_its_failure_is_a_loss(caplog: pytest.LogCaptureFixture) -> None:
    calls: list[str] = []

    def on_ready(client: EslClient) -> None:
        calls.append(client.api("echo snapshot"))
        calls.append(watched.link.api("echo same"))
        if len(calls) == 2:
            raise SwitchUnavailable

    with switch(well_behaved) as server, _link(server.port, on_ready=on_ready) as watched:
        watched.until(lambda: len(calls) == 4)
        watched.until_ready(connects=2)
        assert calls == ["snapshot", "same"] * 2
        assert watched.told == [Loss(LossReason.FAILED, "what is done on every connection failed: SwitchUnavailable")]
    assert "what is done on every connection failed" in caplog.text


def test_a_connection_lost_inside_on_ready_is_one_loss() -> None:
    def script(peer: Peer) -> None:
        peer.greet()
        peer.command()
        peer.say(reply("+OK event listener enabled json"))
        peer.command()

    def on_ready(client: EslClient) -> None:
        client.api("show channels as json")

    with switch(script) as server, _link(server.port, on_ready=on_ready) as watched:
        watched.until(lambda: len(watched.told) >= 2)
        assert all(isinstance(each, Loss) and each.reason is LossReason.EOF for each in watched.told)


def test_an_on_lost_that_fails_stops_nothing(caplog: pytest.LogCaptureFixture) -> None:
    with switch(well_behaved) as server, _link(server.port) as watched:

        def failing(_loss: Loss) -> None:
            raise RuntimeError("mine")

        watched.link._on_lost = failing
        watched.until_ready()
        server.peers[0].sock.shutdown(socket.SHUT_RDWR)
        watched.until_ready(connects=2)
    assert "what is done on every loss failed" in caplog.text


def test_after_an_overflow_it_waits_for_the_work_to_catch_up() -> None:
    def script(peer: Peer) -> None:
        peer.greet()
        peer.command()
        peer.say(reply("+OK event listener enabled json") + event(b"{}") * 8)
        gevent.sleep(0.05)
        peer.say(event(b"{}") * 8)
        peer.wait_for_eof()

    intake = IntakeQueue(max_events=10)
    with switch(script) as server, _link(server.port, intake=intake) as watched:
        watched.until(lambda: watched.link.losses[LossReason.INTAKE_OVERFLOW] == 1)
        gevent.sleep(0.2)
        assert watched.link.state is S.BACKING_OFF
        assert len(server.peers) == 1
        assert len(intake) == 8
        assert intake.get_batch(10, 0) == [b"{}"] * 8
        watched.until(lambda: watched.link.losses[LossReason.INTAKE_OVERFLOW] == 2)
        assert len(intake) == 8
        assert intake.overflows == 2


@pytest.mark.parametrize("script", [Peer.wait_for_eof, lambda peer: peer.say_and_wait(GREETING), well_behaved])
def test_stop_is_quick_in_every_state(script: Callable[[Peer], None]) -> None:
    with switch(script) as server, _link(server.port, connect_timeout_s=20.0, command_timeout_s=20.0) as watched:
        watched.until(lambda: server.peers)
        gevent.sleep(0.05)
        started = time.monotonic()
        watched.link.stop()
        watched.greenlet.get(timeout=1)
        assert time.monotonic() - started < 1


def test_stop_in_a_long_backoff_and_before_the_first_step(caplog: pytest.LogCaptureFixture) -> None:
    with _link(free_port(), backoff_min_s=60.0, backoff_max_s=60.0) as watched:
        watched.until(lambda: watched.link.state is S.BACKING_OFF)
        watched.link.stop()
        watched.greenlet.get(timeout=1)
    with caplog.at_level(logging.WARNING), switch(well_behaved) as server, _link(server.port) as watched:
        watched.link.stop()
        watched.greenlet.get(timeout=1)
        assert server.peers == []
    # One line for the refused port; a link that is stopped has nothing to complain of.
    assert len(_said(caplog, logging.WARNING)) == 1


def test_a_killed_run_leaves_no_connection() -> None:
    with switch(well_behaved) as server:
        watched = Watched(server.port)
        watched.until_ready()
        client = watched.link.client
        watched.greenlet.kill(timeout=2)
        assert client is not None
        assert client.closed.is_set()
        assert watched.link.state is S.STOPPED
        assert isinstance(watched.told[-1], Loss)


def test_replies_of_an_old_connection_do_not_reach_the_new_one() -> None:
    def script(peer: Peer) -> None:
        peer.greet()
        peer.command()
        peer.say(reply("+OK event listener enabled json"))
        if len(server.peers) > 1:
            peer.answer()
        peer.command()
        gevent.sleep(0.2)
        peer.say(response(b"stale"))

    with switch(script) as server, _link(server.port) as watched:
        watched.until_ready()
        with pytest.raises(Exception, match="no reply"):
            watched.link.api("echo old", timeout_s=0.05)
        watched.until_ready(connects=2)
        assert watched.link.api("echo new") == "new"
        assert watched.link.losses == {LossReason.COMMAND_TIMED_OUT: 1}
