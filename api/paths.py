"""Ids with a slash in them. WSGI hands paths over decoded, so that ``a%2Fb`` looks like two segments.

Where the server tells the path as it came (REQUEST_URI), an encoded slash is carried through the routing as a character
that no id may contain. Elsewhere such a path is no address of ours: 404.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING
from urllib.parse import unquote_to_bytes

from flask import request

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

_STAND_IN = "\x1f"
_CARRIED = "callengine.encoded_slashes"
_ENCODED_SLASH = re.compile("%2f", re.IGNORECASE)


class EncodedSlashes:
    """WSGI middleware that keeps encoded slashes apart from those that divide the path."""

    def __init__(self, application: WSGIApplication) -> None:
        self._application = application

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        raw = str(environ.get("REQUEST_URI", "")).partition("?")[0]
        lowered = raw.lower()
        if "%2f" in lowered and "%1f" not in lowered and raw.startswith("/") and not environ.get("SCRIPT_NAME"):
            environ["PATH_INFO"] = unquote_to_bytes(_ENCODED_SLASH.sub(_STAND_IN, raw)).decode("latin-1")
            environ[_CARRIED] = True
        return self._application(environ, start_response)


def decoded_slashes(part: str) -> str:
    """A path parameter as its sender meant it."""
    return part.replace(_STAND_IN, "/") if request.environ.get(_CARRIED) else part
