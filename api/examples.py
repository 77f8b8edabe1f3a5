"""Each operation as a curl line and as a Python program, for the OpenAPI document and docs/operations.md.

A program reads its surroundings from the environment: ``URL``, ``KEY``, and ids such as ``CALL_ID``.
A test runs them all.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

_LINE_MAX: Final = 100
_JSON: Final = "application/json"
_OWN_IDS: Final = {"campaign_id": "spring-2026", "lead_id": "crm-4711"}
"""Ids that a tenant makes up; all others are ours."""


@dataclass(frozen=True, kw_only=True)
class Example:
    """What one request for an operation says besides its path."""

    query: Mapping[str, str | int] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    body: Mapping[str, Any] | None = None
    url_from: str | None = None
    """The environment variable that has the whole URL; without it the path of the operation is used."""
    endless: bool = False
    """Whether the answer is to be read line by line."""
    saved_as: str | None = None
    """The file that the answer is written to."""


_PLAIN: Final = Example()
EXAMPLES: Final[Mapping[str, Example]] = {
    "originate": Example(
        headers={"Idempotency-Key": "order-4711"},
        body={
            "destination": "+3725550201",
            "gateway": "carrier",
            "on_answer": {"type": "park"},
            "campaign_id": "spring-2026",
            "lead_id": "crm-4711",
        },
    ),
    "list_calls": Example(query={"status": "answered", "direction": "outbound", "page_size": 50}),
    "list_campaign_calls": Example(query={"status": "completed", "page_size": 50}),
    "edit_call": Example(body={"disposition": "RENEWED", "notes": "Wants the papers by post."}),
    "hang_up": Example(body={"cause": "NORMAL_CLEARING"}),
    "bridge": Example(body={"to": {"type": "agent", "agents": "desk", "agent_id": "1001"}}),
    "transfer": Example(body={"to": {"type": "queue", "queue": "sales@default"}}),
    "send_dtmf": Example(body={"digits": "12w34#"}),
    "create_campaign": Example(body={"id": "spring-2026", "name": "Spring 2026"}),
    "update_campaign": Example(body={"goal": "Renew the contract", "dispositions": ["RENEWED", "LATER", "NO"]}),
    "create_lead": Example(
        body={"id": "crm-4711", "campaign_id": "spring-2026", "name": "Ada", "phone_number": "+3725550201"}
    ),
    "list_leads": Example(query={"campaign": "spring-2026"}),
    "create_endpoint": Example(
        body={"url": "https://crm.example.com/hook", "events": ["call.ended", "call.analyzed"]},
    ),
    "edit_endpoint": Example(body={"enabled": True}),
    "rotate_endpoint_secret": Example(body={"overlap_s": 3600}),
    "list_deliveries": Example(query={"status": "dead"}),
    "replay_dead_letters": Example(body={"since": "2026-11-22T00:00:00Z"}),
    "get_recording": Example(url_from="RECORDING_URL", saved_as="call.wav"),
    "stream_events": Example(query={"event": "call.answered,call.ended"}, endless=True),
}
"""By operation; one that is not here needs nothing besides its path."""


def code_samples(method: str, path: str, operation: Mapping[str, Any]) -> list[dict[str, str]]:
    """The value of ``x-codeSamples``. ``operation`` is an OpenAPI operation object, ``path`` its template."""
    example = EXAMPLES.get(operation["operationId"], _PLAIN)
    request = _Request(method.upper(), path, example, with_key=bool(operation["security"]))
    return [
        {"lang": "Shell", "label": "curl", "source": request.curl()},
        {"lang": "Python", "label": "Python", "source": request.python()},
    ]


@dataclass(frozen=True)
class _Request:
    method: str
    path: str
    example: Example
    with_key: bool

    # -- curl --------------------------------------------------------------------------------------------------------

    def curl(self) -> str:
        """For a POSIX shell."""
        return " \\\n  ".join(["curl -sS --fail-with-body" + " -N" * self.example.endless, *self._curl_words()])

    def _curl_words(self) -> Iterator[str]:
        if self.method != "GET":
            yield f"-X {self.method}"
        if self.with_key:
            yield '-H "Authorization: Bearer $KEY"'
        for name, value in self.example.headers.items():
            yield f"-H '{name}: {value}'"
        if self.example.body is not None:
            yield f"-H 'Content-Type: {_JSON}'"
            yield f"-d '{json.dumps(self.example.body)}'"
        if self.example.saved_as is not None:
            yield f"-o {self.example.saved_as}"
        yield f'"{self._shell_url()}"'

    def _shell_url(self) -> str:
        if self.example.url_from is not None:
            return f"${self.example.url_from}"
        query = "&".join(f"{name}={value}" for name, value in self.example.query.items())
        return f"$URL{self._path('${}')}" + (f"?{query}" if query else "")

    # -- Python ------------------------------------------------------------------------------------------------------

    def python(self) -> str:
        """With the package `requests`."""
        call = "".join(f"    {word},\n" for word in self._python_words())
        ask = f"requests.{self.method.lower()}(\n{call})"
        if self.example.endless:
            read = "    for line in answer.iter_lines(decode_unicode=True):\n        print(line, flush=True)"
            body = f"with {ask} as answer:\n    answer.raise_for_status()\n{read}"
        else:
            body = f"answer = {ask}\nanswer.raise_for_status()\n{self._python_end()}"
        imports = "import os\n" + "from pathlib import Path\n" * (self.example.saved_as is not None)
        return f"{imports}\nimport requests\n\n{body}"

    def _python_words(self) -> Iterator[str]:
        yield self._python_url()
        if self.example.query:
            yield f"params={dict(self.example.query)!r}".replace("'", '"')
        headers = [f'"{name}": "{value}"' for name, value in self.example.headers.items()]
        if self.with_key:
            headers.insert(0, '"Authorization": f"Bearer {os.environ[\'KEY\']}"')
        if headers:
            yield f"headers={{{', '.join(headers)}}}"
        if self.example.body is not None:
            yield f"json={_python_body(self.example.body)}"
        if self.example.endless:
            yield "stream=True"
        yield "timeout=60" if self.example.endless else "timeout=30"

    def _python_url(self) -> str:
        if self.example.url_from is not None:
            return f'os.environ["{self.example.url_from}"]'
        path = self._path("{{os.environ['{}']}}")
        return f"f\"{{os.environ['URL']}}{path}\""

    def _python_end(self) -> str:
        if self.example.saved_as is not None:
            return f'Path("{self.example.saved_as}").write_bytes(answer.content)'
        return "print(answer.text)" if not self.with_key else "print(answer.json())"

    def _path(self, variable: str) -> str:
        """The path, with its ids in the language's own way to name an environment variable."""
        names = (part.strip("{}") for part in self.path.split("/") if part.startswith("{"))
        return self.path.format(**{name: _OWN_IDS.get(name) or variable.format(name.upper()) for name in names})


def _python_body(body: Mapping[str, Any]) -> str:
    """In one line where that is not too long."""
    line = _python_literal(body)
    if len(line) <= _LINE_MAX:
        return line
    fields = "".join(f"        {json.dumps(name)}: {_python_literal(value)},\n" for name, value in body.items())
    return f"{{\n{fields}    }}"


def _python_literal(value: Any) -> str:
    """As JSON has it, but for the three words that Python spells otherwise."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{json.dumps(name)}: {_python_literal(one)}" for name, one in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(_python_literal(one) for one in value) + "]"
    return repr(value) if value is None or isinstance(value, bool) else json.dumps(value)
