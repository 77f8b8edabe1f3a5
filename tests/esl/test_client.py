"""One connection: how it begins, how it ends, and that every command ends with it."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import gevent
import pytest
from gevent import socket

from callengine.errors import (
    CommandRefused,
    CommandTimedOut,
    EslAccessDenied,
    EslAuthRejected,
    EslDisconnected,
    EslError,
    EslRefused,
    MalformedStream,
)
from callengine.esl.client import EslClient
from callengine.esl.exchange import Loss, LossReason
from tests.esl import transcripts
from tests.esl.clients import connected, loss_of, new_client
from tests.esl.switches import (
    DENIAL,
    GREETING,
    NOTICE,
    PASSWORD,
    Peer,
    free_port,
    reply,
    response,
    switch,
    then,
    well_behaved,
)


@pytest.fixture(autouse=True)
def _limit() -> Iterator[None]:
    """Nothing here may hang."""
    with gevent.Timeout(30, AssertionError("it hung")):
        yield


# -- the beginning ----------------------------------------------------------------------------------------------------


def test_connect_api_and_close() -> None:
    with connected(well_behaved) as client:
        assert client.api("echo hello world") == "hello world"
        assert client.bytes_received > 0
    assert loss_of(client) == Loss(LossReason.CLOSED, "closed by callengine")
    assert client._receive_events_greenlet.dead
    with pytest.raises(EslDisconnected, match="closed by callengine"):
        client.api("status")


def _failure(port: int, password: str = PASSWORD, **settings: Any) -> EslError:
    client = new_client(port, password, **settings)
    with pytest.raises(EslError) as caught:
        client.connect()
    assert client.closed.is_set()
    assert not client.connected
    assert client.sock is None or client.sock.fileno() == -1
    assert password not in f"{caught.value}{caught.value!r}{client!r}"
    assert f"127.0.0.1:{port}" in str(caught.value)
    return caught.value


def test_wrong_password() -> None:
    def script(peer: Peer) -> None:
        peer.say(GREETING)
        peer.command()
        peer.say(reply("-ERR invalid") + NOTICE)

    with switch(script) as server:
        error = _failure(server.port)
    assert isinstance(error, EslAuthRejected)
    assert "esl.password" in str(error)


def test_denied_by_acl() -> None:
    with switch(lambda peer: peer.say(DENIAL)) as server:
        error = _failure(server.port)
    assert isinstance(error, EslAccessDenied)
    assert "apply-inbound-acl" in str(error)


def test_refused_port() -> None:
    error = _failure(free_port())
    assert isinstance(error, EslRefused)
    assert "Connection refused" in str(error)


def test_a_name_that_does_not_resolve() -> None:
    client = EslClient("no-such-host.invalid", 8021, PASSWORD)
    with pytest.raises(EslRefused, match=r"no-such-host\.invalid:8021"):
        client.connect()


@pytest.mark.parametrize(
    ("script", "step"),
    [
        (lambda peer: peer.wait_for_eof(), "waited 0.1 s for auth/request"),
        (lambda peer: peer.say_and_wait(GREETING), "waited 0.1 s for an answer to the password"),
        (lambda peer: peer.say_bytewise(b"\n" * 1_000_000), "waited 0.1 s for auth/request"),
    ],
)
def test_a_silent_peer_is_not_waited_for(script: Callable[[Peer], None], step: str) -> None:
    with switch(script) as server:
        error = _failure(server.port, connect_timeout_s=0.1)
    assert isinstance(error, EslRefused)
    assert step in str(error)


def test_a_timeout_of_the_caller_stays_the_callers() -> None:
    with switch(Peer.wait_for_eof) as server:
        client = new_client(server.port)
        with pytest.raises(gevent.Timeout) as caught, gevent.Timeout(0.05) as outer:
            client.connect()
        assert caught.value is outer
        assert client.closed.is_set()


@pytest.mark.parametrize("script", [lambda peer: None, lambda peer: peer.say(GREETING), lambda peer: peer.say(NOTICE)])
def test_closed_before_it_was_ready(script: Callable[[Peer], None]) -> None:
    with switch(script) as server:
        error = _failure(server.port)
    assert isinstance(error, EslDisconnected)


@pytest.mark.parametrize("banner", [b"SSH-2.0-OpenSSH_9.6\r\n", b"HTTP/1.1 400 Bad Request\r\n\r\n", b"x" * 70_000])
def test_not_an_event_socket(banner: bytes) -> None:
    def script(peer: Peer) -> None:
        peer.say(banner)
        peer.wait_for_eof()

    with switch(script) as server:
        assert isinstance(_failure(server.port), MalformedStream)


def test_an_answer_of_the_wrong_kind_is_no_acceptance() -> None:
    def script(peer: Peer) -> None:
        peer.say(GREETING)
        peer.command()
        peer.say(response(b"+OK accepted"))
        peer.wait_for_eof()

    with switch(script) as server:
        assert isinstance(_failure(server.port), EslAuthRejected)


def test_a_password_with_a_line_break_is_not_sent() -> None:
    def script(peer: Peer) -> None:
        peer.say(GREETING)
        peer.wait_for_eof()

    with switch(script) as server:
        client = new_client(server.port, "hunter2\n\napi shutdown")
        with pytest.raises(CommandRefused) as caught:
            client.connect()
        assert "hunter2" not in str(caught.value)
        assert client.closed.is_set()


@pytest.mark.parametrize(
    ("name", "error"),
    [
        ("01_wrong_password", EslAuthRejected),
        ("20_acl_rejected", EslAccessDenied),
        ("19_auth_timeout", EslDisconnected),
    ],
)
def test_what_a_real_switch_said(name: str, error: type[EslError]) -> None:
    def script(peer: Peer) -> None:
        for turn in transcripts.turns(name):
            if turn.by_server:
                peer.say(turn.data)
                if turn.eof:
                    return
            else:
                peer.command()

    with switch(script) as server:
        assert type(_failure(server.port)) is error


def test_closed_from_outside_before_there_was_a_socket() -> None:
    with switch(well_behaved) as server:
        client = new_client(server.port)
        client.close()
        with pytest.raises(EslDisconnected, match="closed by callengine"):
            client.connect()
        assert not client.connected
        assert client.sock.fileno() == -1


# -- the end ----------------------------------------------------------------------------------------------------------


def _reset(peer: Peer) -> None:
    peer.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    peer.sock.close()


ENDS = [
    (lambda peer: None, LossReason.EOF, "without a notice"),
    (
        lambda peer: peer.say(b"Content-Type: api/response\nContent-Length: 10\n\nhalf"),
        LossReason.EOF,
        "middle of a frame",
    ),
    (lambda peer: peer.say(b"Content-Type: api/resp"), LossReason.EOF, "middle of a frame"),
    (_reset, LossReason.RESET, "Connection reset by peer"),
    (lambda peer: peer.say_and_wait(NOTICE), LossReason.DISCONNECT_NOTICE, "Disconnected, goodbye."),
    (lambda peer: peer.say_and_wait(b"\xff\xfe\n"), LossReason.MALFORMED, "not a header line"),
    (
        lambda peer: peer.say_and_wait(response(b"1") + response(b"2")),
        LossReason.MALFORMED,
        "a reply that answers no command",
    ),
]


@pytest.mark.parametrize(("end", "reason", "words"), ENDS)
def test_every_end_has_one_reason(end: Callable[[Peer], None], reason: LossReason, words: str) -> None:
    told: list[Loss] = []
    with connected(then(end)) as client:
        client.register_handle("DISCONNECT", told.append)
        with pytest.raises(EslDisconnected) if words[:7] != "a reply" else _nothing():
            client.api("status")
        loss = loss_of(client)
        assert loss.reason is reason
        assert words in loss.detail
        assert client.in_flight == 0
    assert told == [loss]


@contextmanager
def _nothing() -> Iterator[None]:
    yield


def test_every_waiting_command_ends_with_the_connection() -> None:
    def end(peer: Peer) -> None:
        for _ in range(49):
            peer.command()

    with connected(then(end)) as client:
        waiting = [gevent.spawn(client.api, f"echo {n}") for n in range(50)]
        gevent.joinall(waiting, timeout=5)
        assert [type(each.exception) for each in waiting] == [EslDisconnected] * 50


def test_a_notice_says_why() -> None:
    text = b"killed listener because of lost events\n"
    notice = b"Content-Type: text/disconnect-notice\nContent-Length: %d\n\n%s" % (len(text), text)
    with (
        connected(then(lambda peer: peer.say(notice))) as client,
        pytest.raises(EslDisconnected, match="lost events"),
    ):
        client.api("status")


def test_a_silent_switch_is_taken_for_dead() -> None:
    with connected(then(Peer.wait_for_eof)) as client:
        other = gevent.spawn(client.api, "echo other")
        with pytest.raises(CommandTimedOut, match=r"^api: no reply from FreeSWITCH within 0.1 s$"):
            client.api("originate secret", timeout_s=0.1)
        assert loss_of(client).reason is LossReason.COMMAND_TIMED_OUT
        gevent.joinall([other], timeout=1)
        assert isinstance(other.exception, EslDisconnected)


def test_a_late_reply_answers_nothing() -> None:
    def script(peer: Peer) -> None:
        peer.greet()
        peer.command()
        gevent.sleep(0.2)
        peer.say(response(b"late"))
        peer.answer()

    with connected(script) as client:
        with pytest.raises(CommandTimedOut):
            client.api("echo first", timeout_s=0.05)
        with pytest.raises(EslDisconnected):
            client.api("echo second")


def test_a_peer_that_never_reads() -> None:
    def script(peer: Peer) -> None:
        peer.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        peer.greet()
        gevent.sleep(10)

    with connected(script, command_timeout_s=0.3) as client:
        filler = "x" * 60_000
        senders = [gevent.spawn(client.api, filler, timeout_s=5) for _ in range(130)]
        gevent.joinall(senders, timeout=5)
        assert loss_of(client).reason is LossReason.WRITE_STALLED
        assert {type(each.exception) for each in senders} == {EslDisconnected}


def test_close_does_not_wait_for_a_peer_that_is_gone() -> None:
    with connected(then(lambda peer: gevent.sleep(10))) as client:
        waiting = gevent.spawn(client.api, "status")
        gevent.sleep(0.01)
        with gevent.Timeout(1, AssertionError("close waited")):
            client.close()
            client.stop()
        gevent.joinall([waiting], timeout=1)
        assert isinstance(waiting.exception, EslDisconnected)


def test_a_sender_that_is_killed_leaves_the_others_in_step() -> None:
    def script(peer: Peer) -> None:
        peer.greet()
        first = peer.command()
        gevent.sleep(0.05)
        peer.say(response(first.removeprefix("api echo ").encode()))
        peer.answer()

    with connected(script) as client:
        killed = gevent.spawn(client.api, "echo killed")
        gevent.sleep(0)
        kept = gevent.spawn(client.api, "echo kept")
        gevent.sleep(0.01)
        killed.kill()
        with pytest.raises(gevent.Timeout), gevent.Timeout(0.001):
            client.api("echo impatient")
        assert kept.get(timeout=2) == "kept"
        assert client.api("echo after") == "after"
