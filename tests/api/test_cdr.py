"""``POST /fs/cdr``: who may, what is taken, and that the answer tells the truth about the disk."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import gevent
import pytest
from flask.testing import FlaskClient
from gevent import socket

from callengine.api.blueprint import create_app
from callengine.api.brake import FREE_FAILURES
from callengine.api.server import ApiServer
from callengine.cdr.inbox import Inbox
from callengine.config.settings import Settings
from tests.api import fakes
from tests.api.fakes import World

SECRET = "correct horse battery"
RECORD = b'{"variables":{"uuid":"x"}}'


class Kept:
    """An inbox that keeps in memory."""

    def __init__(self) -> None:
        self.bodies: list[bytes] = []
        self.full = False

    def put(self, body: bytes) -> bool:
        if not self.full:
            self.bodies.append(body)
        return not self.full


def settings(secret: str = SECRET, **cdr: Any) -> Settings:
    chosen = fakes.settings().model_dump() | {"cdr": {"http_secret": secret, "max_bytes": 2000, **cdr}}
    return Settings.model_validate(chosen)


def authorized(user: str = "freeswitch", password: str = SECRET) -> dict[str, str]:
    token = base64.b64encode(f"{user}:{password}".encode()).decode()
    return {"Authorization": f"Basic {token}", "Content-Type": "application/json"}


@pytest.fixture
def inbox() -> Kept:
    return Kept()


@pytest.fixture
def client(inbox: Kept) -> FlaskClient:
    return fakes.app(World(), settings(), cdr=inbox).test_client()


def test_a_record_is_kept_as_it_came(client: FlaskClient, inbox: Kept) -> None:
    answer = client.post("/fs/cdr?uuid=x", data=RECORD, headers=authorized())
    assert (answer.status_code, answer.text) == (200, "kept\n")
    form = authorized() | {"Content-Type": "application/x-www-form-urlencoded"}
    assert client.post("/fs/cdr?uuid=x", data=b"cdr=%7B%7D", headers=form).status_code == 200
    assert inbox.bodies == [RECORD, b"cdr=%7B%7D"]


@pytest.mark.parametrize(
    "headers",
    [
        {},
        authorized(password="wrong"),
        authorized(user="other"),
        authorized(user="", password=f"freeswitch:{SECRET}"),
        {"Authorization": f"Bearer {SECRET}"},
        {"Authorization": "Basic %%%"},
        {"Authorization": "Basic " + base64.b64encode(b"\xff\xfe").decode()},
    ],
)
def test_nobody_else_is_let_in(client: FlaskClient, inbox: Kept, headers: dict[str, str]) -> None:
    answer = client.post("/fs/cdr", data=RECORD, headers={"Content-Type": "application/json"} | headers)
    assert answer.status_code == 401
    assert answer.headers["WWW-Authenticate"].startswith("Basic ")
    assert answer.content_type == "application/problem+json"
    assert SECRET not in answer.text
    assert not inbox.bodies


def test_guessing_is_slowed_down(inbox: Kept) -> None:
    slept: list[float] = []
    client = fakes.app(World(), settings(), cdr=inbox, sleep=slept.append).test_client()
    for _ in range(8):
        assert client.post("/fs/cdr", data=RECORD, headers=authorized(password="wrong")).status_code == 401
    assert slept == [0.1, 0.2, 0.4]
    assert client.post("/fs/cdr", data=RECORD, headers=authorized()).status_code == 200
    assert len(slept) == 3


def test_a_flood_of_guesses_is_not_even_looked_at(inbox: Kept) -> None:
    statuses: list[int] = []

    def waiting(_delay_s: float) -> None:  # another one arrives while this one waits; the last has the right password
        at = len(statuses)
        statuses.append(0)
        headers = authorized(password=SECRET if at == 3 else "wrong")
        statuses[at] = client.post("/fs/cdr", data=RECORD, headers=headers).status_code

    client = fakes.app(World(), settings(), cdr=inbox, sleep=waiting).test_client()
    for _ in range(FREE_FAILURES + 1):
        assert client.post("/fs/cdr", data=RECORD, headers=authorized(password="wrong")).status_code == 401
    assert statuses == [401, 401, 401, 429]
    assert not inbox.bodies
    other = {"REMOTE_ADDR": "192.0.2.7"}
    assert client.post("/fs/cdr", data=RECORD, headers=authorized(), environ_base=other).status_code == 200


def test_a_full_inbox_refuses(client: FlaskClient, inbox: Kept) -> None:
    inbox.full = True
    answer = client.post("/fs/cdr", data=RECORD, headers=authorized())
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "5")


def test_too_large_empty_or_of_another_kind(client: FlaskClient, inbox: Kept) -> None:
    assert client.post("/fs/cdr", data=b"x" * 2001, headers=authorized()).status_code == 413
    assert client.post("/fs/cdr", data=b"x" * 2000, headers=authorized()).status_code == 200
    assert client.post("/fs/cdr", data=b" \n", headers=authorized()).status_code == 400
    other = authorized() | {"Content-Type": "text/plain"}
    assert client.post("/fs/cdr", data=RECORD, headers=other).status_code == 415
    packed = authorized() | {"Content-Encoding": "gzip"}
    assert client.post("/fs/cdr", data=RECORD, headers=packed).status_code == 415
    assert len(inbox.bodies) == 1


def test_off_unless_set(inbox: Kept) -> None:
    for client in (
        fakes.app(World(), settings(secret=""), cdr=inbox).test_client(),
        fakes.app(World(), settings()).test_client(),
    ):
        assert client.post("/fs/cdr", data=RECORD, headers=authorized()).status_code == 404
    assert not inbox.bodies


def test_it_is_no_part_of_the_described_api(client: FlaskClient) -> None:
    assert "/fs/cdr" not in client.get("/openapi.json").text
    assert client.get("/fs/cdr", headers=authorized()).status_code == 405


def test_over_a_real_connection_as_the_switch_posts(tmp_path: Path) -> None:
    inbox = Inbox(tmp_path / "inbox", max_files=10, max_bytes=100_000)
    inbox.prepare()
    chosen = settings(max_bytes=70_000)
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen(5)
    services = fakes.services(World(), chosen, cdr=inbox)
    server = ApiServer(create_app(services), chosen.http, listener)
    server.start()
    body = b'{"variables":{}}' + b" " * 66_000
    try:
        with gevent.Timeout(10), socket.create_connection(("127.0.0.1", server.port)) as wire:
            head = "".join(f"{name}: {value}\r\n" for name, value in authorized().items())
            wire.sendall(
                f"POST /fs/cdr?uuid=1 HTTP/1.1\r\nHost: x\r\n{head}Content-Length: {len(body)}\r\n"
                "Expect: 100-continue\r\n\r\n".encode()
            )
            assert wire.recv(1000).startswith(b"HTTP/1.1 100 ")
            wire.sendall(body)
            assert wire.recv(1000).startswith(b"HTTP/1.1 200 ")
    finally:
        server.stop(1)
        inbox.close()
    (kept,) = (tmp_path / "inbox").iterdir()
    assert kept.read_bytes() == body
