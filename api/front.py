"""The live page at ``/``: files of the package, held in memory, with validators. They are open, and carry no data.

The page reads the API like anybody else, with a key that is typed into it (``api/page/``). Its policy lets it load and
ask nothing but ourselves: no inline script or style, no markup made of strings (Trusted Types), no frame around it. The
one exception is the bucket that recordings are kept in, to which a recording's URL redirects.
"""

from __future__ import annotations

import hashlib
from importlib import resources
from typing import Final, NamedTuple
from urllib.parse import urlsplit

from flask import Response, request

from callengine.api.frame import Frame
from callengine.api.problems import not_found
from callengine.config.settings import Settings

INDEX: Final = "index.html"
_FOLDER: Final = "page"
_TYPES: Final = {
    "html": "text/html; charset=utf-8",
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
}


class File(NamedTuple):
    """A file of the page. ``etag`` is the hash of its content, without quotes."""

    content: bytes
    media_type: str
    etag: str


def page_files() -> dict[str, File]:
    """All files of the page, by name."""
    files = {}
    for path in (resources.files(__package__) / _FOLDER).iterdir():
        media_type = _TYPES.get(path.name.rpartition(".")[2])
        if media_type is not None:
            content = path.read_bytes()
            files[path.name] = File(content, media_type, hashlib.sha256(content).hexdigest()[:32])
    return files


def policy(settings: Settings) -> str:
    """The Content-Security-Policy of the page."""
    media = " ".join(["'self'", *_bucket(settings)])
    return "; ".join(
        (
            "default-src 'none'",
            "script-src 'self'",
            "style-src 'self'",
            "connect-src 'self'",
            "img-src 'self'",
            f"media-src {media}",
            "frame-ancestors 'none'",
            "base-uri 'none'",
            "form-action 'none'",
            "require-trusted-types-for 'script'",
            "trusted-types 'none'",
        )
    )


def _bucket(settings: Settings) -> list[str]:
    """The origin of the bucket's own URLs, where recordings are kept in one."""
    s3 = settings.s3
    if settings.recordings.storage != "s3":
        return []
    if not s3.endpoint_url:
        return [f"https://s3.{s3.region}.amazonaws.com", f"https://{s3.bucket}.s3.{s3.region}.amazonaws.com"]
    endpoint = urlsplit(s3.endpoint_url)
    host = endpoint.netloc if s3.path_style else f"{s3.bucket}.{endpoint.netloc}"
    return [f"{endpoint.scheme}://{host}"]


def add_front(frame: Frame) -> None:
    """``/`` and ``/page/...``."""
    files = page_files()
    headers = {
        # Held by the browser, and asked for with its ETag each time: a new version is seen at once.
        "Cache-Control": "no-cache",
        "Content-Security-Policy": policy(frame.services.settings),
        "Cross-Origin-Opener-Policy": "same-origin",
        "Cross-Origin-Resource-Policy": "same-origin",
    }

    def served(name: str) -> Response:
        file = files.get(name)
        if file is None:
            raise not_found()
        response = Response(file.content, content_type=file.media_type, headers=headers)
        response.set_etag(file.etag)
        response.make_conditional(request)
        return response

    add = frame.blueprint.add_url_rule
    add("/", endpoint="front", view_func=lambda: served(INDEX))
    add("/page/<name>", endpoint="page", view_func=served)
