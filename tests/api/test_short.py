"""The short way to a call gives the long way's answers, byte for byte, and no others."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple
from uuid import uuid4

import pytest
from flask import Flask

from callengine.api.paths import EncodedSlashes
from callengine.api.short import ShortWay
from callengine.errors import StoreUnavailable
from tests.api import fakes
from tests.api.fakes import ALICE, BOB, World

Answer = tuple[int, list[tuple[str, str]], bytes]


class Ways(NamedTuple):
    """An app with its short way, Alice's key (as headers), and a call of hers at ``path``."""

    world: World
    app: Flask
    short: ShortWay
    alice: dict[str, str]
    path: str

    def ask(self, path: str, headers: dict[str, str], **more: Any) -> Answer:
        """What the app answers."""
        given = self.app.test_client().open(path, method=more.pop("method", "GET"), headers=headers, **more)
        return given.status_code, sorted(given.headers.items()), given.get_data()

    def same(self, path: str | None = None, headers: dict[str, str] | None = None, **more: Any) -> tuple[int, bool]:
        """The status that both ways answer alike, and whether the first answer was given without Flask."""
        asked = path or self.path, self.alice if headers is None else headers
        long_way = self.short._application
        passed: list[int] = []

        def counted(environ: Any, start_response: Any) -> Iterable[bytes]:
            passed.append(1)
            return long_way(environ, start_response)

        self.short._application = counted
        first = self.ask(*asked, **more)
        self.app.wsgi_app = long_way  # type: ignore[method-assign]
        second = self.ask(*asked, **more)
        self.app.wsgi_app, self.short._application = self.short, long_way  # type: ignore[method-assign]
        assert first == second
        return first[0], not passed


@pytest.fixture
def ways() -> Ways:
    world = World()
    app = fakes.app(world)
    short: Any = app.wsgi_app
    assert isinstance(short, ShortWay)
    return Ways(world, app, short, world.key("key-of-alice", ALICE), f"/v1/calls/{world.add_call(ALICE).id}")


@pytest.fixture
def known(ways: Ways) -> Ways:
    """The same once the key is known."""
    assert ways.ask(ways.path, ways.alice)[0] == 200
    return ways


def test_the_answer_is_the_long_ways(ways: Ways) -> None:
    assert isinstance(ways.short._application, EncodedSlashes)
    assert ways.same() == (200, False)  # the key was not known yet
    assert ways.same() == (200, True)


def test_what_arrived_of_a_call_is_waited_for_once() -> None:
    """Also where it is not there, which the long way says: whoever waits for a call asks for it again and again."""
    world, waited = World(), list[str]()
    client = fakes.app(world, catch_up=waited.append).test_client()
    alice, there, missing = world.key("key-of-alice", ALICE), world.add_call(ALICE).id, str(uuid4())
    for _ in range(2):  # the first time the key is not known yet
        assert client.get(f"/v1/calls/{there}", headers=alice).status_code == 200
        assert client.get(f"/v1/calls/{missing}", headers=alice).status_code == 404
        assert waited == [there, missing]
        waited.clear()


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
def test_all_else_goes_the_long_way(known: Ways, path: str, more: dict[str, Any]) -> None:
    hers, bobs = known.path.rpartition("/")[2], known.world.add_call(BOB)
    _, was_short = known.same(path.format(id=hers, ID=hers.upper(), none=uuid4(), bobs=bobs.id), **more)
    assert not was_short


@pytest.mark.parametrize("authorization", [None, "Bearer", "Bearer wrong", "Basic key-of-alice", "Bearer " + "x" * 300])
def test_no_key_no_short_way(ways: Ways, authorization: str | None) -> None:
    headers = {} if authorization is None else {"Authorization": authorization}
    assert ways.same(headers=headers) == (401, False)


def test_a_key_without_the_scope_is_refused(ways: Ways) -> None:
    other = ways.world.key("key-of-campaigns", ALICE, "campaigns:read")
    for _ in range(2):
        assert ways.same(headers=other) == (403, False)


def test_a_database_that_is_away_is_told_alike(known: Ways, monkeypatch: pytest.MonkeyPatch) -> None:
    def away(*_: object) -> None:
        raise StoreUnavailable("away")

    monkeypatch.setattr(known.short._reads, "call", away)
    assert known.same() == (503, True)


def test_encoded_slashes_are_for_the_long_way_to_judge(known: Ways) -> None:
    encoded = known.path.replace("/", "%2F").replace("%2F", "/", 1)
    assert known.same(environ_overrides={"REQUEST_URI": encoded}) == (404, False)


def test_what_nobody_foresaw_is_told_as_the_long_way_tells_it(known: Ways, monkeypatch: pytest.MonkeyPatch) -> None:
    def damaged(*_: object) -> None:
        raise ValueError("a column that is no JSON")

    monkeypatch.setattr(known.short._reads, "call", damaged)
    assert known.same() == (500, False)
