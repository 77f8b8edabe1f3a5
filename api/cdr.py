"""``POST /fs/cdr``: FreeSWITCH posts the record of a channel that has just ended (mod_json_cdr.c, ``process_cdr``).

It does so from the channel's own thread, which waits for the answer: so it is given as soon as the record is on our own
disk, and never after anything that may be away. What cannot be kept is refused at once; the switch then writes it to
its ``err-log-dir``. The route is there only if ``cdr.http_secret`` is set, and is no part of the API for tenants.
"""

from __future__ import annotations

import hmac
from typing import Final

from flask import Response, request

from callengine.api.brake import Patience
from callengine.api.frame import Frame
from callengine.api.problems import Refusal

# With ``encode``, and with ``encode`` as base64.
_TYPES: Final = frozenset(
    {"application/json", "application/x-www-form-urlencoded", "application/x-www-form-base64-encoded"}
)
_CHALLENGE: Final = {"WWW-Authenticate": 'Basic realm="callengine", charset="UTF-8"'}
_MAX_WAITING: Final = 4
_RETRY_AFTER_S: Final = "5"


def add_cdr_route(frame: Frame) -> None:
    """Adds it, where CDRs are taken over HTTP at all."""
    services, chosen = frame.services, frame.services.settings.cdr
    inbox = services.cdr
    if inbox is None or not chosen.http_secret.get_secret_value():
        return
    patience = Patience(max_waiting=_MAX_WAITING, now=services.monotonic_s, sleep=services.sleep)

    def take_cdr() -> Response:
        address = request.remote_addr or ""
        patience.check(address)
        # Read each time: both may be changed while we run.
        if not _is_admitted(f"{chosen.http_user}:{chosen.http_secret.get_secret_value()}".encode()):
            patience.failed(address)
            raise Refusal(401, "unauthorized", "this needs the user and password of cdr.http_…", headers=_CHALLENGE)
        if request.mimetype not in _TYPES or request.headers.get("Content-Encoding", "identity") != "identity":
            raise Refusal(415, "unsupported-media-type", "the request's body must be a record of mod_json_cdr")
        request.max_content_length = chosen.max_bytes
        body = request.get_data(cache=False, parse_form_data=False)
        if not body.strip():
            raise Refusal(400, "invalid-request", "the request has no body")
        if not inbox.put(body):
            raise Refusal(
                503, "inbox-full", "the record cannot be kept at the moment", headers={"Retry-After": _RETRY_AFTER_S}
            )
        return Response("kept\n", content_type="text/plain; charset=utf-8")

    frame.blueprint.add_url_rule(
        "/fs/cdr", endpoint="take_cdr", view_func=take_cdr, methods=["POST"], provide_automatic_options=False
    )


def _is_admitted(expected: bytes) -> bool:
    """Whether ``Authorization`` has user and password (RFC 7617), compared in a time that does not tell how far."""
    try:
        given = request.authorization
    except ValueError:  # werkzeug decodes it, and stumbles over what is not ASCII
        given = None
    if given is None or given.type != "basic" or given.username is None or given.password is None:
        presented = b""
    else:
        presented = f"{given.username}:{given.password}".encode("utf-8", "surrogateescape")
    return hmac.compare_digest(presented, expected)
