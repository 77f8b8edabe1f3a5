"""How the process is doing, and what the API is: open without a key, and without data.

``/readyz`` tells its parts, and ``/metrics`` its numbers from elsewhere than this machine, only to who has a secret.
"""

from __future__ import annotations

import contextlib
import ipaddress

import orjson
from flask import Response, request

from callengine.api.brake import Patience
from callengine.api.explorer import add_explorer
from callengine.api.frame import Frame, answer
from callengine.api.keys import bearer, same_secret, unauthorized
from callengine.api.problems import Refusal
from callengine.api.shown import KeyShown, Ready
from callengine.api.spec import JSON, Answers, document
from callengine.errors import StoreError

_TEXT = "text/plain; charset=utf-8"
METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_MAX_WAITING = 4
_FORWARDED = ("Forwarded", "X-Forwarded-For", "X-Real-IP", "Via")


def _from_this_machine() -> bool:
    """Whether the peer is on loopback and speaks for itself: a proxy there forwards for anybody."""
    if any(name in request.headers for name in _FORWARDED):
        return False
    try:
        address = ipaddress.ip_address(request.remote_addr or "")
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)  # how a socket for both families names an IPv4 peer
    return (mapped or address).is_loopback


def _is_known(frame: Frame, database: str) -> bool:
    """Whether the request has a key; ``database`` is what readiness says of that, ``ok`` where it is there."""
    presented = bearer(request.headers.get("Authorization"))
    if presented is None:
        return False
    known = frame.gate.remembered(presented) is not None
    if known and database != "ok":
        return True  # to ask would be to wait, and it is told just then
    try:
        key = frame.gate.find(presented)
    except StoreError:
        return known
    if key is None:
        with contextlib.suppress(Refusal):  # likewise, where too many wait
            frame.gate.guessed(request.remote_addr or "")
    return key is not None


def add_system_routes(frame: Frame) -> None:
    """``/livez``, ``/readyz``, ``/metrics``."""
    services = frame.services
    patience = Patience(max_waiting=_MAX_WAITING, now=services.monotonic_s, sleep=services.sleep)

    @frame.open_route("/livez", answers=Answers(200, None, text="text/plain"))
    def livez() -> Response:
        """Whether the process answers at all"""
        return Response("alive\n", content_type=_TEXT)

    @frame.open_route("/readyz", answers=Answers(200, Ready, text="text/plain", otherwise=503))
    def readyz() -> Response:
        """Whether the process can do its work

        One word; with a valid key, of whatever scope, an object that names the parts."""
        readiness = services.readiness()
        status = 200 if readiness.ready else 503
        if _is_known(frame, readiness.parts.get("database", "ok")):
            return answer({"ready": readiness.ready, "parts": dict(readiness.parts)}, status=status)
        return Response("ready\n" if readiness.ready else "unready\n", status=status, content_type=_TEXT)

    @frame.open_route("/metrics", answers=Answers(200, None, faults=(401, 429), text="text/plain"))
    def metrics() -> Response:
        """Prometheus metrics

        Open to this machine; from elsewhere it takes `metrics.token` as a bearer token."""
        if not _from_this_machine():
            address = request.remote_addr or ""
            patience.check(address)
            presented = bearer(request.headers.get("Authorization"))
            metrics_token = services.settings.metrics.token.get_secret_value()  # read again on SIGHUP
            if not metrics_token or presented is None or not same_secret(presented, metrics_token):
                if presented is not None:
                    patience.failed(address)
                raise unauthorized()
        return Response(services.metrics(), content_type=METRICS_TYPE)


def add_key_route(frame: Frame) -> None:
    """``GET /v1/key``: what the page asks before it offers what the key does not allow."""

    @frame.route("GET", "/v1/key", scope=None, answer=KeyShown, topic="service")
    def get_key(tenant_id: str) -> Response:
        """See what the key may do

        For a key of whatever scope."""
        key = frame.gate.find(bearer(request.headers.get("Authorization")) or "")
        if key is None:  # revoked since it was let in, a moment ago
            raise unauthorized()
        return answer({"id": key.id, "scopes": sorted(key.scopes)})


def add_pages(frame: Frame) -> None:
    """``/openapi.json`` and ``/docs``; to be called once all operations are declared."""
    described = document(frame.spec)
    rendered = orjson.dumps(described)

    def openapi() -> Response:
        return Response(rendered, content_type=JSON)

    frame.blueprint.add_url_rule("/openapi.json", endpoint="openapi", view_func=openapi)
    add_explorer(frame, described)
