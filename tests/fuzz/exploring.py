"""schemathesis over the whole document, with all of its checks: what both runs of the API's fuzzer share."""

from __future__ import annotations

import json
import re
import urllib.request
from collections import Counter
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Final

import schemathesis
from hypothesis import strategies as st
from schemathesis.config import SchemathesisConfig
from schemathesis.engine import events, from_schema

from callengine.calls.ids import usable_id

CHECKS: Final = frozenset(
    {
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
        "tells_no_secret",
    }
)
OPERATIONS: Final = 41
_CONFIG: Final = """
seed = {seed}
continue-on-failure = true
{more}
[generation]
max-examples = {examples}
deterministic = {deterministic}
database = "none"
[auth.openapi.key]
bearer = "{key}"
[[operations]]
include-name = "GET /v1/stream"
# Its answers have no end; test_stream reads them.
enabled = false
[[operations]]
include-name = "POST /v1/calls"
# The same Idempotency-Key with another body: right by the document, and rightly refused.
checks.positive_data_acceptance.expected-statuses = ["2xx", "409", "422"]
"""

_LEFT_OUT: Final = """
[[operations]]
include-name = "{}"
enabled = false
"""

SECRETS: Final[set[str]] = set()
"""What no answer may hold: keys, passwords, paths, and whatever belongs to another tenant."""
_PATTERNS: Final = re.compile(r"Traceback|\bFile \"/|psycopg|sqlite3\.|peewee\.|OperationalError")


@schemathesis.check
def tells_no_secret(context: Any, response: Any, case: Any) -> None:
    """No answer has what it must not, nor what only a fault would put there."""
    text = f"{response.headers} {response.content.decode('utf-8', 'replace')}"
    told = [secret for secret in SECRETS if secret in text]
    assert not told, f"{len(told)} secrets are told"
    # What was sent may be shown again.
    leak = _PATTERNS.search(text)
    if leak is not None and leak[0] not in repr(case.body):
        raise AssertionError(f"{leak[0]} is told")


@dataclass
class Explored:
    """What was found, each kind of finding once; which checks ran, and which operations were tried."""

    found: dict[str, str] = field(default_factory=dict)
    ran: set[str] = field(default_factory=set)
    tried: set[str] = field(default_factory=set)
    requests: int = 0
    statuses: Counter[int] = field(default_factory=Counter)

    @property
    def operations(self) -> int:
        """How many of the document's operations were tried."""
        return len({label for label in self.tried if " /" in label})

    def __str__(self) -> str:
        words = f"{self.requests} requests, {self.operations} operations, {dict(sorted(self.statuses.items()))}"
        return f"{words}, {len(self.found)} findings"


@cache
def describe_formats() -> None:
    """What the document's own formats mean, which no JSON schema can say."""
    plain = st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"])
    schemathesis.openapi.format("own-id", st.text(plain, min_size=1, max_size=40).filter(usable_id))
    schemathesis.openapi.format("phone-number", st.from_regex(r"\+?[0-9]([ ()./-]?[0-9*#]){0,20}", fullmatch=True))
    schemathesis.openapi.format("text", st.text(plain, min_size=1, max_size=64))
    url = st.from_regex(r"https://[a-z]{1,20}\.example\.com/[a-z]{0,20}", fullmatch=True)
    schemathesis.openapi.format("endpoint-url", url)
    schemathesis.openapi.format("lines", st.text(plain | st.sampled_from("\n\r\t"), max_size=200))


def names(url: str) -> list[str]:
    """The operations of the document at ``url`` that have an end, as in ``GET /v1/calls``."""
    with urllib.request.urlopen(f"{url}/openapi.json", timeout=30) as answer:
        paths = json.load(answer)["paths"]
    found = [f"{method.upper()} {path}" for path, methods in paths.items() for method in methods]
    return sorted(name for name in found if name != "GET /v1/stream")


def explore(
    url: str,
    key: str,
    *,
    seed: int,
    examples: int,
    deterministic: bool = False,
    more: str = "",
    operations: str = "",
    into: Explored | None = None,
    only: Collection[str] | None = None,
    excused: Callable[[str], bool] = lambda text: False,
    on_event: Callable[[], bool] = lambda: True,
) -> Explored:
    """Every operation of the document at ``url``, ``examples`` times or so; ``more`` and ``operations`` are settings.

    ``only``: no others than these. ``excused``: findings that are none here. ``on_event``: whether to go on.
    """
    describe_formats()
    if only is not None:
        operations += "".join(_LEFT_OUT.format(name) for name in names(url) if name not in only)
    text = _CONFIG.format(seed=seed, examples=examples, deterministic=str(deterministic).lower(), key=key, more=more)
    schema: Any = schemathesis.openapi.from_url(
        f"{url}/openapi.json", config=SchemathesisConfig.from_str(text + operations)
    )
    explored = into or Explored()
    stream = from_schema(schema).execute()
    for event in stream:
        if isinstance(event, events.NonFatalError | events.FatalError):
            explored.found.setdefault(_kind(repr(event)), repr(event))
        if isinstance(event, events.ScenarioFinished):
            _take(event, explored, excused)
        if not on_event():
            stream.stop()
    return explored


def _take(event: Any, explored: Explored, excused: Callable[[str], bool]) -> None:
    explored.tried.add(str(event.label))
    for interaction in event.recorder.interactions.values():
        explored.requests += 1
        if interaction.response is not None:
            explored.statuses[interaction.response.status_code] += 1
    for checks in event.recorder.checks.values():
        for check in checks:
            explored.ran.add(check.name)
            if check.failure_info is None:
                continue
            failure = check.failure_info.failure
            told = f"{event.label}: {failure.title}: {failure.message}\n{check.failure_info.code_sample}"
            if not excused(told):
                explored.found.setdefault(_kind(f"{event.label}: {failure.title}: {failure.message}"), told)


def _kind(text: str) -> str:
    """The same for what is most likely the same fault."""
    return re.sub(r"[0-9a-f-]{8,}|\d+|'[^']*'|`[^`]*`", "#", text)[:200]
