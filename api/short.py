"""A short way for what is asked most: one call. Flask's routing and request cost more than the read.

It only gives answers that the long way would give, byte for byte (``tests/api/test_short.py``), and only where all is
plain: GET of a UUID in lower case, no query, no body, a key that was seen a moment ago and has the scope, a call that
is there. All else goes the long way, which decides.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

import orjson
from flask import Response

from callengine.api.keys import Gate, bearer
from callengine.api.services import Reads

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

_CALL = re.compile(r"/v1/calls/([0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12})", re.ASCII)
_SCOPE = "calls:read"
CAUGHT_UP = "callengine.caught_up"
"""Set in the WSGI environment where what arrived of the call was waited for already."""


class ShortWay:
    """WSGI middleware.

    ``shown`` makes a call of the values of its ``CallRecord``, ``failed`` the answer of an error of ours. ``headers``
    are those of every answer.
    """

    def __init__(
        self,
        application: WSGIApplication,
        gate: Gate,
        reads: Reads,
        catch_up: Callable[[str], None],
        shown: Callable[..., dict[str, Any]],
        failed: Callable[[Exception], Response | None],
        headers: Mapping[str, str],
    ) -> None:
        self._application = application
        self._gate = gate
        self._reads = reads
        self._catch_up = catch_up
        self._shown = shown
        self._failed = failed
        self._headers = list(headers.items())

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        found = _CALL.fullmatch(environ["PATH_INFO"]) if environ["REQUEST_METHOD"] == "GET" else None
        tenant_id = self._admitted(environ) if found is not None else None
        if found is None or tenant_id is None:
            return self._application(environ, start_response)
        try:
            self._catch_up(found[1])
            environ[CAUGHT_UP] = True
            call = self._reads.shown_call(tenant_id, found[1], self._shown)
            body = None if call is None else orjson.dumps(call)
        except Exception as error:  # noqa: BLE001  what has no answer here has one there
            response = self._failed(error)
            return (response or self._application)(environ, start_response)
        if body is None:
            return self._application(environ, start_response)
        length = ("Content-Length", str(len(body)))
        start_response("200 OK", [("Content-Type", "application/json"), length, *self._headers])
        return [body]

    def _admitted(self, environ: WSGIEnvironment) -> str | None:
        """The tenant that may read here; None where that is not plain."""
        has_body = "HTTP_TRANSFER_ENCODING" in environ or (environ.get("CONTENT_LENGTH") or "0") != "0"
        if (
            has_body
            or environ.get("QUERY_STRING")
            or environ.get("SCRIPT_NAME")
            or "%" in environ.get("REQUEST_URI", "")
        ):
            return None
        presented = bearer(environ.get("HTTP_AUTHORIZATION"))
        if presented is None:
            return None
        key = self._gate.known(presented)
        return key.tenant_id if key is not None and _SCOPE in key.scopes else None
