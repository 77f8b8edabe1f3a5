"""The short way to a call gives the long way's answers, byte for byte, and no others."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any
from uuid import uuid4

import pytest
from flask import Flask
from flask.testing import FlaskClient

from callengine.api.paths import EncodedSlashes
from callengine.api.short import ShortWay
from callengine.errors import StoreUnavailable
from tests.api import fakes
from tests.api.fakes import ALICE, BOB, World

Answer = tuple[int, list[tuple[str, str]], bytes]


@pytest.fixture
def app() -> tuple[World, Flask, ShortWay]:
    world = World()
    made = fakes.app(world)
    short: Any = made.wsgi_app
    assert isinstance(short, ShortWay)
    return world, made, short


def _ask(client: FlaskClient, path: str, headers: dict[str, str], **more: Any) -> Answer:
    given = client.open(path, method=more.pop("method", "GET"), headers=headers, **more)
    return given.status_code, sorted(given.headers.items()), given.get_data()


def _both(app: Flask, short: ShortWay, path: str, headers: dict[str, str], **more: Any) -> tuple[Answer, Answer, bool]:
    """The answers of both ways, and whether the first was given without Flask."""
    long_way = short._application
    passed: list[int] = []

    def counted(environ: Any, start_response: Any) -> Iterable[bytes]:
        passed.append(1)
        return long_way(environ, start_response)

    short._application = counted
    first = _ask(app.test_client(), path, headers, **more)
    app.wsgi_app = long_way  # type: ignore[method-assign]
    second = _ask(app.test_client(), path, headers, **more)
    app.wsgi_app, short._application = short, long_way  # type: ignore[method-assign]
    return first, second, not passed


def test_the_answer_is_the_long_ways(app: tuple[World, Flask, ShortWay]) -> None:
    world, made, short = app
    assert isinstance(short._application, EncodedSlashes)
    alice = world.key("key-of-alice", ALICE)
    call = world.add_call(ALICE)
    path = f"/v1/calls/{call.id}"
    first, second, was_short = _both(made, short, path, alice)
    assert first == second
    assert not was_short  # the key was not known yet
    first, second, was_short = _both(made, short, path, alice)
    assert first == second
    assert first[0] == 200
    assert was_short


@pytest.mark.parametrize(
    ("path", "more"),
    [
        ("/v1/calls/{id}?page=1", {}),
        ("/v1/calls/{id}", {"method": "HEAD"}),
        ("/v1/calls/{id}", {"method": "DELETE"}),
        ("/v1/calls/{id}", {"data": b"{}"}),
        ("/v1/calls/{ID}", {}),
        ("/v1/calls/{id}/", {}),
        ("/v1/calls/{id}%0a", {}),
        ("/v1/calls/{id}/events", {}),
        ("/v1/calls/{none}", {}),
        ("/v1/calls/{bobs}", {}),
        ("/v1/calls/x", {}),
    ],
)
def test_all_else_goes_the_long_way(app: tuple[World, Flask, ShortWay], path: str, more: dict[str, Any]) -> None:
    world, made, short = app
    alice = world.key("key-of-alice", ALICE)
    call, bobs = world.add_call(ALICE), world.add_call(BOB)
    assert _ask(made.test_client(), f"/v1/calls/{call.id}", alice)[0] == 200
    wanted = path.format(id=call.id, ID=call.id.upper(), none=uuid4(), bobs=bobs.id)
    first, second, was_short = _both(made, short, wanted, alice, **more)
    assert first == second
    assert not was_short


@pytest.mark.parametrize("authorization", [None, "Bearer", "Bearer wrong", "Basic key-of-alice", "Bearer " + "x" * 300])
def test_no_key_no_short_way(app: tuple[World, Flask, ShortWay], authorization: str | None) -> None:
    world, made, short = app
    world.key("key-of-alice", ALICE)
    headers = {} if authorization is None else {"Authorization": authorization}
    first, second, was_short = _both(made, short, f"/v1/calls/{world.add_call(ALICE).id}", headers)
    assert first == second
    assert first[0] == 401
    assert not was_short


def test_a_key_without_the_scope_is_refused(app: tuple[World, Flask, ShortWay]) -> None:
    world, made, short = app
    other = world.key("key-of-campaigns", ALICE, "campaigns:read")
    for _ in range(2):
        first, second, was_short = _both(made, short, f"/v1/calls/{world.add_call(ALICE).id}", other)
        assert first == second
        assert first[0] == 403
        assert not was_short


def test_a_database_that_is_away_is_told_alike(
    app: tuple[World, Flask, ShortWay], monkeypatch: pytest.MonkeyPatch
) -> None:
    world, made, short = app
    alice = world.key("key-of-alice", ALICE)
    path = f"/v1/calls/{world.add_call(ALICE).id}"
    assert _ask(made.test_client(), path, alice)[0] == 200

    def away(*_: object) -> None:
        raise StoreUnavailable("away")

    monkeypatch.setattr(short._reads, "call", away)
    first, second, was_short = _both(made, short, path, alice)
    assert first == second
    assert first[0] == 503
    assert was_short


def test_encoded_slashes_are_for_the_long_way_to_judge(app: tuple[World, Flask, ShortWay]) -> None:
    world, made, short = app
    alice = world.key("key-of-alice", ALICE)
    path = f"/v1/calls/{world.add_call(ALICE).id}"
    assert _ask(made.test_client(), path, alice)[0] == 200
    encoded = path.replace("/", "%2F").replace("%2F", "/", 1)
    first, second, was_short = _both(made, short, path, alice, environ_overrides={"REQUEST_URI": encoded})
    assert first == second
    assert first[0] == 404
    assert not was_short


def test_what_nobody_foresaw_is_told_as_the_long_way_tells_it(
    app: tuple[World, Flask, ShortWay], monkeypatch: pytest.MonkeyPatch
) -> None:
    world, made, short = app
    alice = world.key("key-of-alice", ALICE)
    path = f"/v1/calls/{world.add_call(ALICE).id}"
    assert _ask(made.test_client(), path, alice)[0] == 200

    def damaged(*_: object) -> None:
        raise ValueError("a column that is no JSON")

    monkeypatch.setattr(short._reads, "call", damaged)
    first, second, was_short = _both(made, short, path, alice)
    assert first == second
    assert first[0] == 500
    assert not was_short
