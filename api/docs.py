"""The OpenAPI document as a page for people: static, it runs no script and loads nothing."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator, Mapping
from html import escape
from typing import Any

_STYLE = """
:root { color-scheme: light dark; font: 16px/1.5 system-ui, sans-serif; }
body { max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
code, .path { font-family: ui-monospace, monospace; }
section { border-top: 1px solid #8886; padding: .5rem 0; }
table { border-collapse: collapse; }
pre { overflow-x: auto; }
td, th { text-align: left; vertical-align: top; padding: .15rem 1rem .15rem 0; }
""".strip()
_STYLE_HASH = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
PAGE_HEADERS = {
    "Content-Security-Policy": (
        f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; base-uri 'none'; form-action 'none';"
        " frame-ancestors 'none'"
    )
}


def _page(title: str, body: str) -> str:
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        f'<meta name="viewport" content="width=device-width"><style>{_STYLE}</style></head><body>{body}</body></html>\n'
    )


def docs_page(document: Mapping[str, Any]) -> str:
    """Every operation of an OpenAPI document."""
    info = document["info"]
    parts = [f"<h1>{escape(info['title'])} {escape(info['version'])}</h1>"]
    parts += [f"<p>{escape(paragraph)}</p>" for paragraph in info["description"].split("\n\n")]
    parts.append('<p>The same for programs: <a href="../openapi.json">openapi.json</a></p>')
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            parts.append(_operation(document, path, method, operation))
    return _page("callengine: the API", "".join(parts))


def _operation(document: Mapping[str, Any], path: str, method: str, operation: Mapping[str, Any]) -> str:
    scopes = [scope for wanted in operation.get("security", ()) for scopes in wanted.values() for scope in scopes]
    rows = list(_parameters(operation)) + list(_fields(document, operation))
    answers = "".join(
        f"<tr><td>{code}</td><td>{escape(answer['description'])}</td></tr>"
        for code, answer in operation["responses"].items()
    )
    return (
        f'<section id="{escape(operation["operationId"])}"><h2>{escape(operation["summary"])}</h2>'
        f'<p class="path">{method.upper()} {escape(path)}</p>'
        f"<p>{escape(operation['description'])}</p>"
        + (f"<p>Scope: <code>{escape(', '.join(scopes))}</code></p>" if scopes else "")
        + (f"<h3>Request</h3><table>{''.join(rows)}</table>" if rows else "")
        + f"<h3>Answers</h3><table>{answers}</table>"
        + "".join(_sample(sample) for sample in operation["x-codeSamples"])
        + "</section>"
    )


def _sample(sample: Mapping[str, str]) -> str:
    return f"<h3>{escape(sample['label'])}</h3><pre><code>{escape(sample['source'])}</code></pre>"


def _parameters(operation: Mapping[str, Any]) -> Iterator[str]:
    for parameter in operation["parameters"]:
        yield _row(parameter["name"], parameter["in"], parameter.get("description", ""))


def _fields(document: Mapping[str, Any], operation: Mapping[str, Any]) -> Iterator[str]:
    for content in operation.get("requestBody", {}).get("content", {}).values():
        schema = document["components"]["schemas"][content["schema"]["$ref"].rpartition("/")[2]]
        required = schema.get("required", ())
        for name, field in schema.get("properties", {}).items():
            yield _row(name, "body, required" if name in required else "body", field.get("description", ""))


def _row(name: str, place: str, description: str) -> str:
    return f"<tr><td><code>{escape(name)}</code></td><td>{escape(place)}</td><td>{escape(description)}</td></tr>"
