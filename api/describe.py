"""docs/operations.md, written from the OpenAPI document.

``python -m callengine.api.describe > docs/operations.md`` writes it; a test fails where it is out of date, and another
runs every example in it.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from typing import Any, Final, cast

from flask import Flask

from callengine.api.blueprint import create_blueprint
from callengine.api.services import Readiness, Services
from callengine.config.settings import Settings

_HEAD: Final = """\
# The operations of the API

Each operation, what it takes, and how to ask for it with curl and with Python (`pip install requests`). `/docs` of a
running daemon has the same with all fields of the answers, and lets you try it; [the API](api.md) says what holds for
all of them.

The examples take their surroundings from the environment:

```sh
export URL=http://127.0.0.1:8088
export KEY=ce_…       # callengine key create --tenant default --scope calls:read …
```

*This page is made from the code: `python -m callengine.api.describe > docs/operations.md`.*
"""

_HUGE: Final = 2**31
_KNOWN_FORMATS: Final = ("date-time", "uuid")


def described() -> dict[str, Any]:
    """The OpenAPI document, without a process that would serve it."""
    nothing = cast(Any, None)
    services = Services(
        settings=Settings(),
        reads=nothing,
        keys=nothing,
        readiness=lambda: Readiness(False, {}),
        metrics=lambda: b"",
    )
    app = Flask(__name__, static_folder=None)
    app.register_blueprint(create_blueprint(services))
    return cast(dict[str, Any], app.test_client().get("/openapi.json").json)


def describe() -> str:
    """The whole page."""
    return "\n".join([_HEAD, *_sections(described())])


def _sections(document: Mapping[str, Any]) -> Iterator[str]:
    for tag in document["tags"]:
        yield f"## {tag['name'].capitalize()}\n\n{tag['description']}.\n"
        for path, operations in document["paths"].items():
            for method, operation in operations.items():
                if tag["name"] in operation["tags"]:
                    yield _operation(document, method.upper(), path, operation)
    yield "## Targets\n\nWhere a call is sent to or bridged with: objects, told apart by their `type`.\n"
    for name, schema in document["components"]["schemas"].items():
        if name.endswith("Target"):
            yield _target(name, schema)


def _target(name: str, schema: Mapping[str, Any]) -> str:
    fields = schema["properties"].items()
    rows = (f"| `{field}` | {_kind(kind)} | {kind.get('description', '')} |" for field, kind in fields)
    table = "\n".join(["| | Type | |", "|---|---|---|", *rows])
    return f'### `{name}` <a id="{name.lower()}"></a>\n\n{schema["description"]}\n\n{table}\n'


def _operation(document: Mapping[str, Any], method: str, path: str, operation: Mapping[str, Any]) -> str:
    scopes = [scope for wanted in operation["security"] for found in wanted.values() for scope in found]
    needs = f"Scope `{scopes[0]}`." if scopes else "No key."
    rows = [*_parameters(operation), *_fields(document, operation)]
    parts = [f"### {operation['summary']}", f'`{method} {path}` <a id="{operation["operationId"]}"></a>']
    parts.append(" ".join([operation["description"].replace("\n", " "), needs, _answers(operation)]).strip())
    if rows:
        parts.append("\n".join(["| | In | Type | |", "|---|---|---|---|", *rows]))
    for sample in operation["x-codeSamples"]:
        language = "sh" if sample["lang"] == "Shell" else sample["lang"].lower()
        parts.append(f"```{language}\n{sample['source']}\n```")
    return "\n\n".join(parts) + "\n"


def _answers(operation: Mapping[str, Any]) -> str:
    good = [code for code in operation["responses"] if int(code) < 400]
    bad = [code for code in operation["responses"] if int(code) >= 400]
    return f"Answers {', '.join(good)}" + (f"; or {', '.join(bad)}." if bad else ".")


def _parameters(operation: Mapping[str, Any]) -> Iterator[str]:
    for parameter in operation["parameters"]:
        if parameter["in"] != "path":
            name, text = parameter["name"], parameter.get("description", "")
            yield _row(name, parameter["in"], parameter["schema"], text, required=parameter["required"])


def _fields(document: Mapping[str, Any], operation: Mapping[str, Any]) -> Iterator[str]:
    for content in operation.get("requestBody", {}).get("content", {}).values():
        schema = _resolved(document, content["schema"])
        for name, field in schema.get("properties", {}).items():
            kind = field if "$ref" not in field else _resolved(document, field)
            text = field.get("description", "")
            yield _row(name, "body", kind, text, required=name in schema.get("required", ()))


def _resolved(document: Mapping[str, Any], schema: Mapping[str, Any]) -> Mapping[str, Any]:
    found: Mapping[str, Any] = document["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    return found


def _row(name: str, place: str, schema: Mapping[str, Any], text: str, *, required: bool) -> str:
    told = f"{text} Required." if required else text
    return f"| `{name}` | {place} | {_kind(schema)} | {told.strip().replace('|', chr(92) + '|')} |"


def _kind(schema: Mapping[str, Any]) -> str:
    """A schema in a few words: its type, its values, its bounds."""
    if "enum" in schema and len(schema["enum"]) <= 12:
        return " or ".join(f"`{value}`" for value in schema["enum"])
    if choices := schema.get("anyOf") or schema.get("oneOf"):
        kinds = dict.fromkeys(_kind(one) for one in choices if one != {"type": "null"})
        return " or ".join(kinds)
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return f"[`{name}`](#{name.lower()})"
    if "const" in schema:
        return f"`{schema['const']}`"
    least, most = schema.get("minimum"), schema.get("maximum", _HUGE)
    bounds = "" if least is None else f", at least {least}" if most >= _HUGE else f" {least}–{most}"
    form = f", {schema['format']}" if schema.get("format") in _KNOWN_FORMATS else ""
    return f"{schema.get('type', 'any')}{bounds}{form}"


if __name__ == "__main__":
    sys.stdout.write(describe())
