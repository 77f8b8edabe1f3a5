"""The blueprint: all routes in one place, mountable in any Flask application at any prefix."""

from __future__ import annotations

import logging

from flask import Blueprint, Flask, Response, request

from callengine.api import problems
from callengine.api.analyses import add_analysis_routes
from callengine.api.calls import add_call_routes, add_list_routes, shown_fields
from callengine.api.campaigns import add_campaign_routes, add_lead_routes
from callengine.api.cdr import add_cdr_route
from callengine.api.control import add_order_routes, add_originate_route, add_recording_routes
from callengine.api.frame import Frame
from callengine.api.front import add_front
from callengine.api.paths import EncodedSlashes
from callengine.api.recordings import add_recording_file_route
from callengine.api.rest import add_rest
from callengine.api.services import Services
from callengine.api.short import ShortWay
from callengine.api.stream import add_stream_route
from callengine.api.system import add_key_route, add_pages, add_system_routes
from callengine.api.webhooks import add_delivery_routes, add_endpoint_routes

log = logging.getLogger("callengine.api")

_HEADERS = {
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
}


def create_blueprint(services: Services) -> Blueprint:
    """All routes: ``/v1/...``, ``/livez``, ``/readyz``, ``/metrics``, ``/openapi.json``, ``/docs``, ``/``.

    Links are made with ``http.public_url``, which has to include the prefix that the blueprint is mounted at.
    """
    return _framed(services).blueprint


def _framed(services: Services) -> Frame:
    blueprint = Blueprint("callengine", __name__)
    frame = Frame(services, blueprint)
    add_key_route(frame)
    add_call_routes(frame)
    add_list_routes(frame)
    add_analysis_routes(frame)
    add_originate_route(frame)
    add_order_routes(frame)
    add_recording_routes(frame)
    add_campaign_routes(frame)
    add_lead_routes(frame)
    add_endpoint_routes(frame)
    add_delivery_routes(frame)
    add_recording_file_route(frame)
    add_cdr_route(frame)
    add_stream_route(frame)
    add_system_routes(frame)
    add_pages(frame)
    add_front(frame)
    add_rest(frame)

    def on_error(error: Exception) -> Response:
        return _answer_error(error, services)

    blueprint.register_error_handler(Exception, on_error)
    blueprint.after_request(_with_headers)
    return frame


def create_app(services: Services) -> Flask:
    """The application of the daemon and of ``callengine api``: the blueprint, and the same errors around it."""
    app = Flask("callengine", static_folder=None)
    # A path with a slash too many is another address, not one to be redirected.
    app.url_map.merge_slashes = False
    frame = _framed(services)
    app.register_blueprint(frame.blueprint)
    app.register_error_handler(Exception, lambda error: _with_headers(_answer_error(error, services)))
    app.wsgi_app = ShortWay(  # type: ignore[method-assign]
        EncodedSlashes(app.wsgi_app),
        frame.gate,
        services.reads,
        services.catch_up,
        lambda *values: shown_fields(services)(*values),
        lambda error: _told(error, services),
        _HEADERS,
    )
    return app


def _told(error: Exception, services: Services) -> Response | None:
    problem = problems.problem_of(error, services.data_as_of())
    return None if problem is None else _with_headers(problem.response())


def _answer_error(error: Exception, services: Services) -> Response:
    problem = problems.problem_of(error, services.data_as_of())
    if problem is None:
        # The path is not logged: ids are the tenant's, and the endpoint tells enough.
        log.error("%s %s failed", request.method, request.endpoint, exc_info=error)
        problem = problems.broken()
    return problem.response()


def _with_headers(response: Response) -> Response:
    for name, value in _HEADERS.items():
        response.headers.setdefault(name, value)
    return response
