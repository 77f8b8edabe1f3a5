"""What no operation takes: unknown addresses (404), other methods (405), OPTIONS.

A blueprint cannot handle its host's routing errors, so a route of its own takes all the rest under ``/v1``.
"""

from __future__ import annotations

from flask import Response, request
from flask.blueprints import BlueprintSetupState
from werkzeug.routing import Map, Rule

from callengine.api.frame import Frame
from callengine.api.problems import not_allowed, not_found

ENDPOINT = "rest"


def add_rest(frame: Frame) -> None:
    """Adds the route that takes what is left; to be called after all others."""
    ours = Map(
        [Rule(o.rule, methods=[o.method], endpoint=o.rule) for o in frame.operations if o.rule.startswith("/v1")],
        strict_slashes=True,
        merge_slashes=False,
    ).bind("localhost")

    def rest(below: str = "") -> Response:
        allowed = set(ours.allowed_methods(f"/v1/{below}"))
        if not allowed:
            raise not_found()
        allowed.add("OPTIONS")
        if request.method == "OPTIONS":
            answer = Response(status=204, headers={"Allow": ", ".join(sorted(allowed))})
            del answer.headers["Content-Type"]
            return answer
        raise not_allowed(request.method, sorted(allowed))

    def claim(state: BlueprintSetupState) -> None:
        endpoint = ".".join(part for part in (state.name_prefix, state.name, ENDPOINT) if part)
        state.app.view_functions[endpoint] = rest
        for rule in ("/v1", "/v1/", "/v1/<path:below>"):
            # Flask's own add_url_rule takes no rule for every method.
            state.app.url_map.add(Rule((state.url_prefix or "") + rule, endpoint=endpoint, methods=None))

    frame.blueprint.record(claim)
