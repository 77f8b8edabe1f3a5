"""One world with two tenants, and a client that presents Alice's key."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

from tests.api import fakes
from tests.api.fakes import ALICE, BOB, World

Ask = Callable[..., Any]


@functools.cache
def _shared() -> tuple[World, Flask]:
    """One application for all tests: making its spec takes a quarter of a second."""
    world = World()
    return world, fakes.app(world)


@pytest.fixture
def world() -> World:
    world, _ = _shared()
    world.empty()
    return world


@pytest.fixture
def client(world: World) -> FlaskClient:
    return _shared()[1].test_client()


@pytest.fixture
def alice(world: World) -> dict[str, str]:
    return world.key("key-of-alice", ALICE)


@pytest.fixture
def bob(world: World) -> dict[str, str]:
    return world.key("key-of-bob", BOB)


@pytest.fixture
def ask(client: FlaskClient, alice: dict[str, str]) -> Ask:
    """``ask("GET /v1/calls?page=2", json=…)`` with Alice's key."""

    def _ask(line: str, **more: Any) -> Any:
        method, _, url = line.partition(" ")
        return client.open(url, method=method, headers={**alice, **more.pop("headers", {})}, **more)

    return _ask
