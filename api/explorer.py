"""``/docs``: the OpenAPI document to read and to try, by Swagger UI; ``/docs/plain``: the same without a script.

Swagger UI comes from the package flask-swagger-ui, of which only the files are used. Nothing is asked of anybody else,
and the Content-Security-Policy sees to it.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Mapping
from importlib import resources
from typing import Any, Final

from flask import Response, request

from callengine.api.docs import PAGE_HEADERS, docs_page
from callengine.api.frame import Frame

_HTML: Final = "text/html; charset=utf-8"
_OURS: Final = "callengine.api"
_THEIRS: Final = "flask_swagger_ui"
_ASSETS: Final[Mapping[str, tuple[str, str, str]]] = {
    "docs.css": (_OURS, "assets/docs.css", "text/css; charset=utf-8"),
    "docs.js": (_OURS, "assets/docs.js", "text/javascript; charset=utf-8"),
    "favicon-32x32.png": (_THEIRS, "dist/favicon-32x32.png", "image/png"),
    "swagger-ui-bundle.js": (_THEIRS, "dist/swagger-ui-bundle.js", "text/javascript; charset=utf-8"),
    "swagger-ui.css": (_THEIRS, "dist/swagger-ui.css", "text/css; charset=utf-8"),
}
"""File below ``/docs/`` -> package, file in it, media type."""
_PAGE: Final = (_OURS, "assets/docs.html", _HTML)
HEADERS: Final = {
    # data: is what the arrows in Swagger UI's style sheet are.
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:;"
        " connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
}


@functools.cache
def _asset(package: str, file: str) -> tuple[bytes, str]:
    """The content, and its entity tag. Read when it is first asked for, and then kept: 2 MB in all."""
    content = resources.files(package).joinpath(file).read_bytes()
    return content, hashlib.sha256(content).hexdigest()[:32]


def _answer(asset: tuple[str, str, str]) -> Response:
    package, file, media_type = asset
    content, tag = _asset(package, file)
    response = Response(content, content_type=media_type, headers=HEADERS)
    response.set_etag(tag)
    response.headers["Cache-Control"] = "no-cache"  # kept, and asked whether it is still so
    response.make_conditional(request)
    return response


def add_explorer(frame: Frame, document: Mapping[str, Any]) -> None:
    """The pages of ``document``, and what they load."""
    plain = docs_page(document)

    def explorer() -> Response:
        return _answer(_PAGE)

    def without_scripts() -> Response:
        return Response(plain, content_type=_HTML, headers=PAGE_HEADERS)

    def serve(asset: tuple[str, str, str]) -> Response:
        return _answer(asset)

    frame.blueprint.add_url_rule("/docs", endpoint="docs", view_func=explorer)
    frame.blueprint.add_url_rule("/docs/plain", endpoint="docs_plain", view_func=without_scripts)
    for name, asset in _ASSETS.items():
        frame.blueprint.add_url_rule(
            f"/docs/{name}", endpoint=f"docs_{name.replace('.', '_')}", view_func=functools.partial(serve, asset)
        )
