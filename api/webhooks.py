"""Webhook endpoints, what they were told, and what could not be told."""

from __future__ import annotations

import re
from typing import Any

from flask import Response, request

from callengine.api.bodies import NoBody, PageQuery
from callengine.api.frame import Frame, answer, unavailable
from callengine.api.services import Services, Webhooks
from callengine.api.webhook_models import (
    DeliveriesQuery,
    DeliveryList,
    DeliveryShown,
    DeliveryWithAttempts,
    EndpointChanges,
    EndpointDeliveriesQuery,
    EndpointList,
    EndpointShown,
    EndpointWithSecret,
    NewEndpoint,
    ReplayRequest,
    ReplayShown,
    RotateRequest,
    TrialShown,
)
from callengine.calls.view import iso
from callengine.errors import NoSuchDelivery, NoSuchEndpoint

_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", re.ASCII)
_ENDPOINTS = "/v1/webhooks/endpoints"
_ONE = f"{_ENDPOINTS}/<endpoint_id>"
_DELIVERY = f"{_ONE}/deliveries/<event_id>"


def endpoint_shown(endpoint: Any) -> dict[str, Any]:
    """An endpoint as the API and the command show it."""
    return {
        "id": endpoint.id,
        "url": endpoint.url,
        "description": endpoint.description,
        "events": list(endpoint.events),
        "enabled": endpoint.enabled,
        "disabled_reason": endpoint.disabled_reason,
        "failures": endpoint.failures,
        "failing_since": iso(endpoint.failing_since_us),
        "paused_until": iso(endpoint.retry_us or None),
        "old_secret_until": iso(endpoint.old_secret_until_us),
        "created_time": iso(endpoint.created_us),
    }


def delivery_shown(delivery: Any) -> dict[str, Any]:
    """A delivery as the API and the command show it."""
    return {
        "endpoint_id": delivery.endpoint_id,
        "event_id": delivery.event_id,
        "event": delivery.event,
        "call_id": delivery.call_id,
        "seq": delivery.seq,
        "status": delivery.status,
        "attempts": delivery.attempts,
        "next_attempt_time": iso(delivery.next_us) if delivery.status == "pending" else None,
        "last_status": delivery.last_status,
        "last_error": delivery.last_error,
        "created_time": iso(delivery.created_us),
        "ended_time": iso(delivery.ended_us),
    }


def reply_shown(reply: Any) -> dict[str, Any]:
    """What came of a test."""
    return {
        "delivered": reply.ok,
        "status": reply.status,
        "error": reply.error,
        "response": reply.response,
        "duration_ms": int(reply.duration_s * 1000),
    }


def _attempt(attempt: Any) -> dict[str, Any]:
    return {
        "n": attempt.n,
        "time": iso(attempt.at_us),
        "duration_ms": attempt.duration_ms,
        "status": attempt.status,
        "error": attempt.error,
        "response": attempt.response,
    }


def _webhooks(services: Services) -> Webhooks:
    if services.webhooks is None:
        raise unavailable("webhooks are kept where the engine runs")
    return services.webhooks


def _endpoint_id(given: str) -> str:
    """An id that is no UUID is a missing one."""
    if not _UUID.fullmatch(given.lower()):
        raise NoSuchEndpoint
    return given.lower()


def _event_id(services: Services, tenant_id: str, endpoint_id: str, given: str) -> str:
    if not _UUID.fullmatch(given.lower()):
        _webhooks(services).endpoint(tenant_id, endpoint_id)  # of a foreign endpoint nothing else is told
        raise NoSuchDelivery
    return given.lower()


def _filters(query: EndpointDeliveriesQuery) -> dict[str, str]:
    given = {"status": query.status, "event": query.event, "call_id": query.call}
    return {name: value for name, value in given.items() if value is not None}


def add_endpoint_routes(frame: Frame) -> None:
    """Register, read, change, delete and try out endpoints."""
    services = frame.services

    def located(body: dict[str, Any], endpoint_id: str, status: int = 200) -> Response:
        return answer(body, status=status, headers={"Location": frame.url(f"{_ENDPOINTS}/{{}}", endpoint_id)})

    @frame.route(
        "POST",
        _ENDPOINTS,
        scope="webhooks:write",
        answer=EndpointWithSecret,
        status=201,
        headers=("Location",),
        faults=(409,),
        topic="webhooks",
    )
    def create_endpoint(tenant_id: str, json: NewEndpoint) -> Response:
        """Register an endpoint

        The answer has the secret that signs (Standard Webhooks); it is not shown again."""
        made, secret = _webhooks(services).create(
            tenant_id, json.url, json.events or (), json.description, json.enabled
        )
        return located({**endpoint_shown(made), "secret": secret}, made.id, 201)

    @frame.route("GET", _ENDPOINTS, scope="webhooks:read", answer=EndpointList, headers=("Link",), topic="webhooks")
    def list_endpoints(tenant_id: str, query: PageQuery) -> Response:
        """List endpoints"""
        found, total = _webhooks(services).endpoints(tenant_id, query.page, query.page_size)
        given = request.args.to_dict()
        return frame.page([endpoint_shown(one) for one in found], total, query, _ENDPOINTS, given=given)

    @frame.route("GET", _ONE, scope="webhooks:read", answer=EndpointShown, faults=(404,), topic="webhooks")
    def get_endpoint(tenant_id: str, endpoint_id: str) -> Response:
        """Get an endpoint"""
        return answer(endpoint_shown(_webhooks(services).endpoint(tenant_id, _endpoint_id(endpoint_id))))

    @frame.route("PATCH", _ONE, scope="webhooks:write", answer=EndpointShown, faults=(404,), topic="webhooks")
    def edit_endpoint(tenant_id: str, endpoint_id: str, json: EndpointChanges) -> Response:
        """Change an endpoint

        With another URL, or enabled again, it is tried at once."""
        given = json.model_dump(exclude_unset=True)
        changes = {name: value for name, value in given.items() if value is not None or name == "description"}
        return answer(endpoint_shown(_webhooks(services).update(tenant_id, _endpoint_id(endpoint_id), changes)))

    @frame.route("DELETE", _ONE, scope="webhooks:write", answer=EndpointShown, faults=(404,), topic="webhooks")
    def delete_endpoint(tenant_id: str, endpoint_id: str) -> Response:
        """Delete an endpoint

        Nothing more is sent to it, and its log is gone. The answer is the endpoint as it was."""
        return answer(endpoint_shown(_webhooks(services).delete(tenant_id, _endpoint_id(endpoint_id))))

    @frame.route(
        "POST",
        f"{_ONE}/rotate-secret",
        scope="webhooks:write",
        answer=EndpointWithSecret,
        headers=("Location",),
        faults=(404,),
        topic="webhooks",
    )
    def rotate_endpoint_secret(tenant_id: str, endpoint_id: str, json: RotateRequest) -> Response:
        """Change the secret of an endpoint

        Both sign while they overlap. The new one is not shown again."""
        endpoint_id = _endpoint_id(endpoint_id)
        changed, secret = _webhooks(services).rotate_secret(tenant_id, endpoint_id, json.overlap_s)
        return located({**endpoint_shown(changed), "secret": secret}, endpoint_id)

    @frame.route(
        "POST",
        f"{_ONE}/test",
        scope="webhooks:write",
        answer=TrialShown,
        headers=("Location",),
        faults=(404,),
        topic="webhooks",
    )
    def test_endpoint(tenant_id: str, endpoint_id: str, json: NoBody) -> Response:
        """Try an endpoint out

        Sends an event of type `webhook.test`, once, and answers what came back."""
        endpoint_id = _endpoint_id(endpoint_id)
        return located(reply_shown(_webhooks(services).test(tenant_id, endpoint_id)), endpoint_id)


def add_delivery_routes(frame: Frame) -> None:
    """The log, and dead letters."""
    services = frame.services

    @frame.route(
        "GET",
        "/v1/webhooks/deliveries",
        scope="webhooks:read",
        answer=DeliveryList,
        headers=("Link",),
        topic="webhooks",
    )
    def list_deliveries(tenant_id: str, query: DeliveriesQuery) -> Response:
        """List deliveries"""
        found, total = _webhooks(services).deliveries(tenant_id, _filters(query), query.page, query.page_size)
        given = request.args.to_dict()
        return frame.page([delivery_shown(d) for d in found], total, query, "/v1/webhooks/deliveries", given=given)

    @frame.route(
        "GET",
        f"{_ONE}/deliveries",
        scope="webhooks:read",
        answer=DeliveryList,
        headers=("Link",),
        faults=(404,),
        topic="webhooks",
    )
    def list_endpoint_deliveries(tenant_id: str, endpoint_id: str, query: EndpointDeliveriesQuery) -> Response:
        """List deliveries to an endpoint"""
        endpoint_id = _endpoint_id(endpoint_id)
        filters = {**_filters(query), "endpoint_id": endpoint_id}
        found, total = _webhooks(services).deliveries(tenant_id, filters, query.page, query.page_size)
        template, given = f"{_ENDPOINTS}/{{}}/deliveries", request.args.to_dict()
        return frame.page([delivery_shown(d) for d in found], total, query, template, endpoint_id, given=given)

    @frame.route("GET", _DELIVERY, scope="webhooks:read", answer=DeliveryWithAttempts, faults=(404,), topic="webhooks")
    def get_delivery(tenant_id: str, endpoint_id: str, event_id: str) -> Response:
        """Get a delivery with its attempts"""
        endpoint_id = _endpoint_id(endpoint_id)
        event_id = _event_id(services, tenant_id, endpoint_id, event_id)
        found, attempts = _webhooks(services).delivery(tenant_id, endpoint_id, event_id)
        return answer({**delivery_shown(found), "attempts_made": [_attempt(one) for one in attempts]})

    @frame.route(
        "POST",
        f"{_DELIVERY}/replay",
        scope="webhooks:write",
        answer=DeliveryShown,
        status=202,
        headers=("Location",),
        faults=(404,),
        topic="webhooks",
    )
    def replay_delivery(tenant_id: str, endpoint_id: str, event_id: str, json: NoBody) -> Response:
        """Deliver an event again

        Under the same id, whether it is a dead letter or was delivered."""
        endpoint_id = _endpoint_id(endpoint_id)
        event_id = _event_id(services, tenant_id, endpoint_id, event_id)
        found = _webhooks(services).replay(tenant_id, endpoint_id, event_id)
        location = frame.url(f"{_ENDPOINTS}/{{}}/deliveries/{{}}", endpoint_id, event_id)
        return answer(delivery_shown(found), status=202, headers={"Location": location})

    @frame.route(
        "POST",
        f"{_ONE}/replay",
        scope="webhooks:write",
        answer=ReplayShown,
        status=202,
        headers=("Location",),
        faults=(404,),
        topic="webhooks",
    )
    def replay_dead_letters(tenant_id: str, endpoint_id: str, json: ReplayRequest) -> Response:
        """Deliver the dead letters of an endpoint again

        In their order, under their own ids."""
        endpoint_id = _endpoint_id(endpoint_id)
        replayed, complete = _webhooks(services).replay_dead(tenant_id, endpoint_id, json.since or 0)
        location = frame.url(f"{_ENDPOINTS}/{{}}/deliveries", endpoint_id)
        return answer({"replayed": replayed, "complete": complete}, status=202, headers={"Location": location})
