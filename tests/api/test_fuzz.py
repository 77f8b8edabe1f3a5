"""schemathesis over the whole document, with all of its checks, against the real server on a socket: it finds nothing.

The closed set that a configuration opens is no part of the document;
here it is open, so that every 400 has to come from what the document says. ``test_bad_input`` has its refusals.
``python -m tests.fuzz.api`` does the same for longer, against a whole daemon.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from callengine.api.server import ApiServer, listen
from callengine.config.originate import Originate
from callengine.recordings.signing import Signer
from tests.api import fakes
from tests.api.fakes import ALICE, BASE_US, World
from tests.fuzz import exploring, running

KEY = "key-of-alice"


class OpenControl(fakes.FakeControl):
    """An engine whose configuration opens whatever the document allows."""

    class _Open(Originate):
        def allows_variable(self, name: str) -> bool:
            return True

    def __init__(self, world: World) -> None:
        super().__init__(world, self._Open.model_validate({"destination_pattern": ".*"}))

    def originate(self, tenant_id: str, request: Mapping[str, Any], *more: Any) -> Any:
        self.allowed.gateways.setdefault(request["gateway"] or "any", fakes.settings().originate.gateways["carrier"])
        return super().originate(tenant_id, request, *more)

    def _check_target(self, place: str, target: Mapping[str, Any]) -> None:
        """Everything is open."""


class SignedByNobody:
    """Recordings whose links nobody can guess; ``test_recordings`` has good ones."""

    def __init__(self) -> None:
        self._signer = Signer(["k" * 32], "http://127.0.0.1", 60)

    def verify(self, recording_id: str, expires: str, signature: str) -> None:
        self._signer.verify(recording_id, expires, signature, 0)


@pytest.fixture
def served() -> Iterator[str]:
    """The URL of the API over a world in which something of everything is there."""
    world = World()
    world.key(KEY, ALICE)
    for n in range(3):
        world.add_call(ALICE, campaign_id=f"c{n}", dial_us=BASE_US + n, answer_us=BASE_US + n + 1, live=n > 0)
    fakes.FakeEdits(world).create_lead(ALICE, "l", "c0", "Ann", "+15550100")
    chosen = fakes.settings(public_url="http://127.0.0.1")
    app = fakes.app(world, chosen, control=OpenControl(world), recordings=SignedByNobody())
    server = ApiServer(app, chosen.http, listen("127.0.0.1", 0))
    server.start()
    yield f"http://127.0.0.1:{server.port}"
    server.stop(1.0)


@pytest.mark.filterwarnings("ignore")
def test_schemathesis_finds_nothing(served: str) -> None:
    explored = exploring.explore(served, KEY, seed=4711, examples=12, deterministic=True)
    assert not explored.found, "\n\n".join([*explored.found.values()][:10])
    assert explored.ran >= exploring.CHECKS
    assert explored.operations == exploring.OPERATIONS


@pytest.mark.filterwarnings("ignore")
def test_schemathesis_finds_nothing_in_some_operations_by_a_seed_that_is_new(served: str) -> None:
    seed = running.fresh_seed()
    running.say(f"seed {seed}")
    only = random.Random(seed).sample(exploring.names(served), 3)
    phases = "[phases.coverage]\nenabled = false\n[phases.stateful]\nenabled = false\n"
    explored = exploring.explore(served, KEY, seed=seed, examples=15, more="max-time = 4", operations=phases, only=only)
    assert not explored.found, f"seed {seed}:\n" + "\n\n".join([*explored.found.values()][:10])
    assert explored.requests
    assert {label for label in explored.tried if " /" in label} <= set(only)
