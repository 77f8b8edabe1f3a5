"""Placing calls, and orders to live ones. Each is answered 202: what it led to, the switch tells later."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

import orjson
from flask import Response

from callengine.api.bodies import (
    BridgeRequest,
    CallRequest,
    DtmfRequest,
    HangupRequest,
    NoBody,
    OriginateHeaders,
    TransferRequest,
)
from callengine.api.calls import canonical, shown
from callengine.api.frame import Frame, View, answer, unavailable
from callengine.api.services import Control, Idempotency, Services
from callengine.api.shown import Call
from callengine.calls.record import CallRecord


def fingerprint(request: dict[str, Any]) -> str:
    """SHA-256 (hex) of what a request asks for: white space and the order of fields make no difference."""
    return hashlib.sha256(orjson.dumps(request, option=orjson.OPT_SORT_KEYS)).hexdigest()


def _control(services: Services) -> Control:
    if services.control is None:
        raise unavailable("calls are placed and controlled where the engine runs")
    return services.control


def _accepted(frame: Frame, record: CallRecord) -> Response:
    location = frame.url("/v1/calls/{}", record.id)
    return answer(shown(frame.services, record), status=202, headers={"Location": location})


def _order(frame: Frame, path: str) -> Callable[[View], View]:
    return frame.route(
        "POST",
        f"/v1/calls/<call_id>/{path}",
        scope="calls:write",
        answer=Call,
        status=202,
        headers=("Location",),
        faults=(404, 409, 504),
    )


def add_originate_route(frame: Frame) -> None:
    """Placing a call."""

    @frame.route(
        "POST",
        "/v1/calls",
        scope="calls:write",
        answer=Call,
        status=202,
        headers=("Location",),
        faults=(409, 422, 504),
    )
    def originate(tenant_id: str, json: CallRequest, headers: OriginateHeaders) -> Response:
        """Place a call

        Answered once the call is committed; it is dialled as soon as rate and concurrency allow, and never twice.
        What may be asked is the closed set that the configuration opens: anything else is refused with 400."""
        request = json.model_dump()
        key = headers.idempotency_key
        # Only what was said: a default that a later version adds must not make another request of the same body.
        said = json.model_dump(exclude_unset=True)
        idempotency = None if key is None else Idempotency(key, fingerprint(said))
        return _accepted(frame, _control(frame.services).originate(tenant_id, request, idempotency))


def add_order_routes(frame: Frame) -> None:
    """What can be done to a live call."""

    @_order(frame, "hangup")
    def hang_up(tenant_id: str, call_id: str, json: HangupRequest) -> Response:
        """Hang up

        A call that still waits to be dialled is cancelled. A call that is over stays as it is."""
        return _accepted(frame, _control(frame.services).hangup(tenant_id, canonical(call_id), json.cause))

    @_order(frame, "bridge")
    def bridge(tenant_id: str, call_id: str, json: BridgeRequest) -> Response:
        """Connect to an agent or to another call"""
        return _accepted(frame, _control(frame.services).bridge(tenant_id, canonical(call_id), json.to.model_dump()))

    @_order(frame, "transfer")
    def transfer(tenant_id: str, call_id: str, json: TransferRequest) -> Response:
        """Transfer to a queue, an extension or an application, or park"""
        return _accepted(frame, _control(frame.services).transfer(tenant_id, canonical(call_id), json.to.model_dump()))

    @_order(frame, "hold")
    def hold(tenant_id: str, call_id: str, json: NoBody) -> Response:
        """Hold"""
        return _accepted(frame, _control(frame.services).hold(tenant_id, canonical(call_id)))

    @_order(frame, "unhold")
    def unhold(tenant_id: str, call_id: str, json: NoBody) -> Response:
        """Take off hold"""
        return _accepted(frame, _control(frame.services).unhold(tenant_id, canonical(call_id)))

    @_order(frame, "dtmf")
    def send_dtmf(tenant_id: str, call_id: str, json: DtmfRequest) -> Response:
        """Send tones"""
        control = _control(frame.services)
        return _accepted(frame, control.dtmf(tenant_id, canonical(call_id), json.digits, json.duration_ms))


def add_recording_routes(frame: Frame) -> None:
    """Recording a live call."""

    @_order(frame, "recording/start")
    def start_recording(tenant_id: str, call_id: str, json: NoBody) -> Response:
        """Start recording"""
        return _accepted(frame, _control(frame.services).recording(tenant_id, canonical(call_id), "start"))

    @_order(frame, "recording/stop")
    def stop_recording(tenant_id: str, call_id: str, json: NoBody) -> Response:
        """Stop recording"""
        return _accepted(frame, _control(frame.services).recording(tenant_id, canonical(call_id), "stop"))

    @_order(frame, "recording/pause")
    def pause_recording(tenant_id: str, call_id: str, json: NoBody) -> Response:
        """Mask what is said, as while a card number is spoken"""
        return _accepted(frame, _control(frame.services).recording(tenant_id, canonical(call_id), "pause"))

    @_order(frame, "recording/resume")
    def resume_recording(tenant_id: str, call_id: str, json: NoBody) -> Response:
        """Go on recording after a pause"""
        return _accepted(frame, _control(frame.services).recording(tenant_id, canonical(call_id), "resume"))
