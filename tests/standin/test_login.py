"""Who may connect, and what a user may do: the transcripts that need a stand-in set up for them."""

from __future__ import annotations

import pytest

from callengine.standin import SocketUser
from tests.conformance.transcripts import read, replay
from tests.standin.conftest import Connect, StartStandIn

USERS = {
    "eslfull@127.0.0.1": SocketUser("secret"),
    "esllim@127.0.0.1": SocketUser(
        "secret",
        events=("CHANNEL_CREATE", "CHANNEL_ANSWER", "BACKGROUND_JOB"),
        apis=("status", "originate", "bgapi"),
        log=False,
    ),
}


@pytest.mark.parametrize("name", ["14_userauth", "15_userauth_limited", "16_userauth_wrong"])
def test_users(start: StartStandIn, connect: Connect, name: str) -> None:
    replay(connect(start(users=USERS)), read(name))


def test_nobody_logs_in_in_time(start: StartStandIn, connect: Connect) -> None:
    replay(connect(start(auth_timeout_s=0.1)), read("19_auth_timeout"))


def test_in_time_is_for_ever(start: StartStandIn, connect: Connect) -> None:
    wire = connect(start(auth_timeout_s=0.1))
    wire.send(b"auth ClueCon\n\n")
    assert [wire.frame().kind for _ in range(2)] == ["auth/request", "command/reply"]
    with pytest.raises(TimeoutError):
        wire.frame(0.3)
    wire.send(b"api echo still here\n\n")
    assert wire.frame().text == "still here"


@pytest.mark.parametrize("name", ["20_acl_rejected", "21_acl_rejected_read_only"])
def test_the_wrong_address(start: StartStandIn, connect: Connect, name: str) -> None:
    replay(connect(start(acl_denies=True)), read(name))


def test_a_password_with_everything_in_it(start: StartStandIn, connect: Connect) -> None:
    wire = connect(start(password="pass word:'\"%41 ä"))
    wire.frame()
    wire.send("auth pass word:'\"%41 ä\n\n".encode())
    assert wire.frame().get("Reply-Text") == "+OK accepted"


def test_a_body_without_end_ends_the_connection(start: StartStandIn, connect: Connect) -> None:
    wire = connect(start())
    wire.send(b"auth ClueCon\n\nsendevent CUSTOM\nContent-Length: 99999999\n\nx")
    kinds = [frame.kind for frame in wire.to_the_end()]
    assert kinds == ["auth/request", "command/reply", "text/disconnect-notice"]
