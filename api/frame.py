"""The frame that every route stands in: key, scope, validation, answers, links.

``Frame.route`` is the only way to add a route under ``/v1``. The order of the checks is fixed there: address and method
(404, 405), key (401), scope (403), then query, headers and body (400, 413, 415), and only then the handler.
"""

from __future__ import annotations

import functools
import typing
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from urllib.parse import quote, urlencode

import orjson
from flask import Blueprint, Response, request
from pydantic import BaseModel

from callengine.api import spec as specs
from callengine.api.bodies import Body, PageQuery
from callengine.api.keys import Gate
from callengine.api.paths import decoded_slashes
from callengine.api.problems import Refusal
from callengine.api.services import Services
from callengine.api.spec import Answers, Operation, backend_of, new_spec, tag

View = Callable[..., Response]

_ALWAYS = (400, 401, 403, 429, 500, 503)


class Frame:
    """A blueprint under construction."""

    def __init__(self, services: Services, blueprint: Blueprint) -> None:
        http = services.settings.http
        self.services = services
        self.blueprint = blueprint
        self.spec = new_spec(http.max_body_bytes)
        self.gate = Gate(
            services.keys,
            max_waiting=max(1, http.max_concurrency // 8),
            now=services.monotonic_s,
            sleep=services.sleep,
        )
        self._public_url = http.public_url

    @property
    def operations(self) -> Sequence[Operation]:
        """What was declared so far."""
        return backend_of(self.spec).operations

    def route(
        self,
        method: str,
        rule: str,
        *,
        scope: str | None,
        answer: type[BaseModel],
        status: int = 200,
        headers: Sequence[str] = (),
        faults: Sequence[int] = (),
        topic: str = "calls",
        media: str = specs.JSON,
    ) -> Callable[[View], View]:
        """Adds a view for ``method`` on ``rule``, for keys with ``scope``; None: for every key.

        What the view takes it says by annotated parameters named ``query``, ``headers`` and ``json``; it also gets
        ``tenant_id`` and the path's ids, all by name. Its docstring describes the operation.
        """

        def declare(view: View) -> View:
            body = typing.get_type_hints(view).get("json")
            more = (413, 415) if body is not None else ()
            answers = Answers(status, answer, headers=headers, faults=sorted({*_ALWAYS, *faults, *more}), media=media)
            security = {specs.BEARER: [] if scope is None else [scope]}
            validated = self.spec.validate(resp=answers, tags=[tag(topic)], security=security)(view)

            @functools.wraps(view)
            def guarded(**ids: str) -> Any:
                remote = request.remote_addr or ""
                key = self.gate.admit(request.headers.get("Authorization"), remote, scope)
                return validated(tenant_id=key.tenant_id, **{name: decoded_slashes(ids[name]) for name in ids})

            self._add(method, rule, scope, guarded, validated, body)
            return view

        return declare

    def open_route(self, rule: str, *, answers: Answers, topic: str = "service") -> Callable[[View], View]:
        """Adds a GET that needs no key."""

        def declare(view: View) -> View:
            validated = self.spec.validate(resp=answers, tags=[tag(topic)], security=[])(view)
            self._add("GET", rule, None, validated, validated, None)
            return view

        return declare

    def _add(
        self, method: str, rule: str, scope: str | None, view: View, described: View, body: type[Body] | None
    ) -> None:
        # What is under /v1 answers OPTIONS and foreign methods by itself (see rest), so that it does so anywhere.
        self.blueprint.add_url_rule(
            rule,
            endpoint=view.__name__,
            view_func=view,
            methods=[method],
            provide_automatic_options=False if rule.startswith("/v1") else None,
        )
        operation = Operation(method=method, rule=rule, scope=scope, view=described, body=body)
        backend_of(self.spec).operations.append(operation)

    # -- answers -----------------------------------------------------------------------------------------------------

    def url(self, template: str, *ids: str) -> str:
        """The public URL of a path whose ``{}`` stand for ids."""
        return self._public_url + template.format(*(quote(part, safe="") for part in ids))

    def page(
        self, shown: Sequence[Any], total: int, query: PageQuery, template: str, *ids: str, given: Mapping[str, Any]
    ) -> Response:
        """A page of a list, with RFC 8288 links that keep the filters (``given`` is the query string as it came)."""
        total_pages = -(-total // query.page_size)
        body = {
            "data": shown,
            "page": query.page,
            "page_size": query.page_size,
            "total": total,
            "total_pages": total_pages,
        }
        last = max(total_pages, 1)
        relations = {"first": 1, "last": last}
        if query.page > 1:
            relations["prev"] = min(query.page - 1, last)
        if query.page < last:
            relations["next"] = query.page + 1
        base = self.url(template, *ids)
        links = ", ".join(
            f'<{base}?{urlencode({**given, "page": relations[name]})}>; rel="{name}"'
            for name in ("first", "prev", "next", "last")
            if name in relations
        )
        return answer(body, headers={"Link": links})


def answer(body: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """A JSON answer."""
    return Response(orjson.dumps(body), status=status, headers=dict(headers or {}), content_type=specs.JSON)


def unavailable(what: str) -> Refusal:
    """503 where this process has nothing that could do it."""
    return Refusal(503, "read-only", f"this process only reads: {what}", headers={"Retry-After": "60"})
