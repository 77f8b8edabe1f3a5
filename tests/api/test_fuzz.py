"""schemathesis over the whole document, with all of its checks, against the real server on a socket: it finds nothing.

The closed set that a configuration opens is no part of the document;
here it is open, so that every 400 has to come from what the document says. ``test_bad_input`` has its refusals.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import pytest
import schemathesis
from hypothesis import strategies as st
from schemathesis.config import SchemathesisConfig
from schemathesis.engine import events, from_schema

from callengine.api.server import ApiServer, listen
from callengine.calls.ids import usable_id
from callengine.config.originate import Originate
from callengine.recordings.signing import Signer
from tests.api import fakes
from tests.api.fakes import ALICE, BASE_US, World

CONFIG = """
seed = 4711
[generation]
max-examples = 12
deterministic = true
database = "none"
[auth.openapi.key]
bearer = "key-of-alice"
[[operations]]
include-name = "GET /v1/stream"
# Its answers have no end; test_stream reads them.
enabled = false
[[operations]]
include-name = "POST /v1/calls"
# The same Idempotency-Key with another body: right by the document, and rightly refused.
checks.positive_data_acceptance.expected-statuses = ["2xx", "409", "422"]
"""
CHECKS = {
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
    "negative_data_rejection",
    "positive_data_acceptance",
    "use_after_free",
    "ensure_resource_availability",
    "missing_required_header",
    "ignored_auth",
    "unsupported_method",
    "allow_header_conformance",
}


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
    world.key("key-of-alice", ALICE)
    for n in range(3):
        world.add_call(ALICE, campaign_id=f"c{n}", dial_us=BASE_US + n, answer_us=BASE_US + n + 1, live=n > 0)
    fakes.FakeEdits(world).create_lead(ALICE, "l", "c0", "Ann", "+15550100")
    chosen = fakes.settings(public_url="http://127.0.0.1")
    app = fakes.app(world, chosen, control=OpenControl(world), recordings=SignedByNobody())
    server = ApiServer(app, chosen.http, listen("127.0.0.1", 0))
    server.start()
    yield f"http://127.0.0.1:{server.port}"
    server.stop(1.0)


def _describe_formats() -> None:
    """What the document's own formats mean, which no JSON schema can say."""
    plain = st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"])
    schemathesis.openapi.format("own-id", st.text(plain, min_size=1, max_size=40).filter(usable_id))
    schemathesis.openapi.format("text", st.text(plain, min_size=1, max_size=64))
    url = st.from_regex(r"https://[a-z]{1,20}\.example\.com/[a-z]{0,20}", fullmatch=True)
    schemathesis.openapi.format("endpoint-url", url)
    schemathesis.openapi.format("lines", st.text(plain | st.sampled_from("\n\r\t"), max_size=200))


@pytest.mark.filterwarnings("ignore")
def test_schemathesis_finds_nothing(served: str) -> None:
    _describe_formats()
    config = SchemathesisConfig.from_str(CONFIG)
    schema = schemathesis.openapi.from_url(f"{served}/openapi.json", config=config)
    found: list[str] = []
    ran: set[str] = set()
    tried: set[str] = set()
    for event in from_schema(schema).execute():
        if isinstance(event, events.NonFatalError | events.FatalError):
            found.append(repr(event))
        if not isinstance(event, events.ScenarioFinished):
            continue
        tried.add(str(event.label))
        for checks in event.recorder.checks.values():
            for check in checks:
                ran.add(check.name)
                if check.failure_info is not None:
                    failure = check.failure_info.failure
                    found.append(f"{event.label}: {failure.title}: {failure.message}\n{check.failure_info.code_sample}")
    assert not found, "\n\n".join(found[:10])
    assert ran >= CHECKS
    assert len({label for label in tried if " /" in label}) == 40
