"""Commands: matched to their replies in order, many at once, and never more than one command each."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import gevent
import pytest
from hypothesis import given
from hypothesis import strategies as st

from callengine.errors import CommandRefused, MalformedStream
from callengine.esl import client as client_module
from callengine.esl.client import EslClient
from callengine.esl.exchange import LossReason, TooManyCommands, UnsafeCommand, encode_command
from tests.esl.switches import PASSWORD, Peer, Switch, reply, response, switch, well_behaved


@pytest.fixture(autouse=True)
def _limit() -> Iterator[None]:
    """Nothing here may hang."""
    with gevent.Timeout(30, AssertionError("it hung")):
        yield


@contextmanager
def _connected(script: Callable[[Peer], None], **settings: Any) -> Iterator[tuple[EslClient, Switch]]:
    with switch(script) as server:
        client = EslClient("127.0.0.1", server.port, PASSWORD, connect_timeout_s=5, **settings)
        client.connect()
        try:
            yield client, server
        finally:
            client.close()


def test_a_thousand_at_once_each_get_their_own_reply() -> None:
    def one(number: int) -> str:
        if number % 2:
            return client.api(f"echo {number}")
        return client.bgapi(f"echo {number}", f"job-{number}").headers["Job-UUID"].removeprefix("job-")

    with _connected(well_behaved) as (client, server):
        senders = [gevent.spawn(one, number) for number in range(1000)]
        gevent.joinall(senders, timeout=20)
        assert [each.value for each in senders] == [str(number) for number in range(1000)]
        assert client.in_flight == 0
        # On the wire they stand in the order in which they were sent.
        numbers = [int(re.findall(r"echo (\d+)", command)[0]) for command in server.peers[0].commands[1:]]
        assert numbers == list(range(1000))


def test_a_server_that_writes_byte_by_byte() -> None:
    def script(peer: Peer) -> None:
        peer.greet()
        peer.answer(peer.say_bytewise)

    with _connected(script) as (client, _):
        got: list[bytes] = []
        client.register_handle("*", got.extend)
        client.subscribe(["CHANNEL_CREATE"])
        assert client.bgapi("status", "j1").text == "+OK Job-UUID: j1"
        assert client.api("echo Пётр") == "Пётр"
        assert got == [b'{"Event-Name":"BACKGROUND_JOB","Job-UUID":"j1"}']


def test_an_api_body_that_is_no_utf8() -> None:
    def script(peer: Peer) -> None:
        peer.greet()
        peer.command()
        peer.say(response(b"a\xffb"))
        peer.wait_for_eof()

    with _connected(script) as (client, _):
        answer = client.send("api uuid_dump x")
        assert (answer.text, answer.body) == ("a\ufffdb", b"a\xffb")


def test_what_subscribe_puts_on_the_wire() -> None:
    with _connected(well_behaved) as (client, server):
        client.subscribe(["CHANNEL_CREATE", "HEARTBEAT"], ["callcenter::info", "sofia::register"])
        client.subscribe(["CHANNEL_ANSWER"])
        assert server.peers[0].commands[1:] == [
            "event json CHANNEL_CREATE HEARTBEAT CUSTOM callcenter::info sofia::register",
            "event json CHANNEL_ANSWER",
        ]
        for events, subclasses in ([], []), (["A B"], []), (["ALL\n"], []), (["ALL"], ["a b"]), (["ALL"], ["a\n\nb"]):
            with pytest.raises(UnsafeCommand):
                client.subscribe(events, subclasses)
        assert len(server.peers[0].commands) == 3


def test_a_refused_subscription_is_an_error() -> None:
    def script(peer: Peer) -> None:
        peer.greet()
        while peer.command():
            peer.say(reply("-ERR permission denied"))

    with _connected(script) as (client, _):
        with pytest.raises(CommandRefused, match="event: FreeSWITCH refused it: permission denied"):
            client.subscribe(["ALL"])
        with pytest.raises(CommandRefused, match="bgapi: FreeSWITCH refused it: permission denied"):
            client.bgapi("uuid_kill x", "j")
        assert client.api("uuid_kill x") == "-ERR permission denied"


def test_a_job_reply_that_names_another_job_ends_the_connection() -> None:
    def script(peer: Peer) -> None:
        peer.greet()
        peer.command()
        peer.say(reply("+OK Job-UUID: other", "Job-UUID: other"))
        peer.wait_for_eof()

    with _connected(script) as (client, _):
        with pytest.raises(MalformedStream, match="out of step"):
            client.bgapi("status", "mine")
        assert client.loss is not None
        assert client.loss.reason is LossReason.MALFORMED


def test_no_more_in_flight_than_the_bound() -> None:
    def script(peer: Peer) -> None:
        peer.greet()
        peer.wait_for_eof()

    with _connected(script, max_in_flight=3) as (client, _):
        senders = [gevent.spawn(client.api, "status") for _ in range(3)]
        gevent.sleep(0)
        with pytest.raises(TooManyCommands, match="3 commands are waiting"):
            client.api("status")
        assert client.loss is None
        gevent.killall(senders)


def test_no_more_unsent_bytes_than_the_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_module, "MAX_UNSENT_BYTES", 100)
    with _connected(well_behaved) as (client, _):
        with pytest.raises(TooManyCommands):
            client.api("x" * 100)
        assert client.api("echo short") == "short"


SMUGGLED = [
    "",
    " ",
    "\n",
    " api status",
    "\tapi status",
    "api status\n\napi shutdown",
    "api status\napi shutdown",
    "api status\r\n\r\napi shutdown",
    "api status\r",
    "api status\nJob-UUID: x",
    "api a\0b",
    "api \ud800",
    "api " + "x" * 65536,
]


@pytest.mark.parametrize("command", SMUGGLED)
def test_what_could_be_two_commands_is_not_sent(command: str) -> None:
    with _connected(well_behaved) as (client, server):
        with pytest.raises(UnsafeCommand) as caught:
            client.send(command)
        assert isinstance(caught.value, CommandRefused)
        assert "shutdown" not in str(caught.value)
        assert client.in_flight == 0
        assert client.api("echo after") == "after"
        assert server.peers[0].commands[1:] == ["api echo after"]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("Content-Length", "5"),
        ("content-LENGTH", "5"),
        ("", "x"),
        ("A B", "x"),
        ("A:", "x"),
        ("A\nB", "x"),
        ("Ж", "x"),
        ("A", "x\n"),
        ("A", "x\r\n\r\napi shutdown"),
        ("A", "\0"),
        ("A", "\udc80"),
    ],
)
def test_headers_that_could_be_more(name: str, value: str) -> None:
    with pytest.raises(UnsafeCommand):
        encode_command("sendmsg x", [(name, value)])


@pytest.mark.parametrize("job", ["", "a b", "a\nb", "x" * 65, "a:b", "Ж"])
def test_a_job_uuid_is_a_plain_word(job: str) -> None:
    with _connected(well_behaved) as (client, server):
        with pytest.raises(UnsafeCommand):
            client.bgapi("status", job)
        assert server.peers[0].commands[1:] == []


@given(st.text(max_size=50), st.lists(st.tuples(st.text(max_size=8), st.text(max_size=20)), max_size=3))
def test_whatever_is_encoded_is_one_command(command: str, headers: list[tuple[str, str]]) -> None:
    try:
        raw = encode_command(command, headers)
    except UnsafeCommand:
        return
    assert raw.endswith(b"\n\n")
    assert raw.index(b"\n\n") == len(raw) - 2
    assert raw.count(b"\n") == len(headers) + 2
    assert b"\r" not in raw
    assert b"\0" not in raw
    assert raw.decode().split("\n")[0] == command
