"""spectree, made strict: one declaration for each operation, which validates its requests and describes it.

Three things are done other than spectree does them by itself, all through its own seams: requests are read strictly
(``StrictFlask``), errors are described as problem+json (``Answers``), and the operations come from our own list instead
of the host application's, so that the document is the same wherever the blueprint is mounted.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl

import flask
import orjson
from pydantic import BaseModel, ValidationError
from spectree import Response, SecurityScheme, SpecTree, Tag
from spectree.model_adapter.pydantic_adapter import PydanticModelAdapter
from spectree.models import SecureType, SecuritySchemeData
from spectree.plugins.base import Context
from spectree.plugins.flask_plugin import FlaskPlugin

from callengine import __version__
from callengine.api import problems
from callengine.api.bodies import Body
from callengine.api.examples import code_samples
from callengine.api.fields import ID_MAX
from callengine.api.problems import Refusal, fault, invalid, invalid_by
from callengine.api.shown import Problem

JSON = "application/json"
BEARER = "key"
MAX_PARAMETERS = 64
"""In a query string, of whatever names."""

_FAULTS = {
    400: "The request does not have the form that it must have; `errors` says where.",
    401: "No API key, or a wrong one.",
    403: "The key lacks the scope that this needs.",
    404: "There is no such thing, or it is another tenant's.",
    409: "The call is over, or its state does not allow this.",
    410: "It was deleted.",
    412: "What If-Match asks for is not so.",
    413: "The body is too large.",
    415: "The body is not `application/json`.",
    416: "The range begins behind the end; Content-Range says where that is.",
    422: "The Idempotency-Key came before, with another body.",
    429: "Too much at once; Retry-After says when to come back.",
    500: "Our own fault; the log says what.",
    503: "The database or FreeSWITCH is away, or this process only reads; Retry-After says when to come back.",
    504: "FreeSWITCH did not answer in time; what was asked may yet happen.",
}
_HEADERS: Mapping[str, Mapping[str, Any]] = {
    "Content-Range": {"description": "RFC 9110", "required": True, "schema": {"type": "string"}},
    "Link": {"description": "RFC 8288: first, prev, next, last", "required": True, "schema": {"type": "string"}},
    "Location": {"description": "Where it can be read", "required": True, "schema": {"type": "string"}},
    "Retry-After": {"description": "Seconds", "schema": {"type": "integer", "minimum": 1}},
    "WWW-Authenticate": {"description": "RFC 9110", "required": True, "schema": {"type": "string"}},
}
_FAULT_HEADERS = {
    401: ("WWW-Authenticate",),
    409: ("Retry-After",),
    416: ("Content-Range",),
    429: ("Retry-After",),
    503: ("Retry-After",),
}
_PATH_SCHEMAS: Mapping[str, Mapping[str, Any]] = {
    "call_id": {"type": "string", "format": "uuid"},
    "campaign_id": {"type": "string", "format": "own-id", "minLength": 1, "maxLength": ID_MAX},
    "lead_id": {"type": "string", "format": "own-id", "minLength": 1, "maxLength": ID_MAX},
    "endpoint_id": {"type": "string", "format": "uuid"},
    "event_id": {"type": "string", "format": "uuid"},
    "recording_id": {"type": "string", "format": "uuid"},
}


class Answers(Response):
    """What an operation may answer: one success, and problems."""

    def __init__(
        self,
        status: int,
        model: type[BaseModel] | None,
        *,
        headers: Sequence[str] = (),
        faults: Sequence[int] = (),
        text: str | None = None,
        otherwise: int | None = None,
        media: str = JSON,
    ) -> None:
        codes: dict[str, Any] = {f"HTTP_{fault}": (Problem, _FAULTS[fault]) for fault in faults}
        if otherwise is not None:
            codes[f"HTTP_{otherwise}"] = None
        super().__init__(**{f"HTTP_{status}": model, **codes})
        self._texts = {str(status), str(otherwise)} if text else set()
        self._status = status
        self._headers = tuple(headers)
        self._text = text
        self._media = media

    def generate_spec(self, naming_strategy: Any = None) -> dict[str, Any]:
        """spectree's own, with the media types and headers that it has no words for."""
        described = super().generate_spec(naming_strategy)
        for code, answer in described.items():
            names = self._headers if int(code) == self._status else _FAULT_HEADERS.get(int(code), ())
            if names:
                answer["headers"] = {name: dict(_HEADERS[name]) for name in names}
            if int(code) == self._status and "content" in answer:
                answer["content"] = {self._media: answer["content"][JSON]}
            if int(code) >= 400 and "content" in answer:
                answer["content"] = {problems.MEDIA_TYPE: answer["content"][JSON]}
        if self._text is not None:
            for code in self._texts & described.keys():
                described[code].setdefault("content", {})[self._text] = {"schema": {"type": "string"}}
        return dict(sorted(described.items()))


@dataclass(frozen=True, kw_only=True)
class Operation:
    """A method on a path, as it was declared. ``scope`` None: open without a key."""

    method: str
    rule: str
    scope: str | None
    view: Callable[..., Any] = field(repr=False)
    body: type[Body] | None = None

    def __str__(self) -> str:
        return self.rule


class _Schemas(PydanticModelAdapter):
    """Makes each model's schema once: spectree asks for that of ``Problem`` two hundred times."""

    def __init__(self) -> None:
        super().__init__()
        self._made: dict[tuple[type[Any], str], dict[str, Any]] = {}

    def json_schema(self, model: type[Any], *, ref_template: str, mode: Any = "validation") -> dict[str, Any]:
        if (model, mode) not in self._made:
            self._made[model, mode] = super().json_schema(model, ref_template=ref_template, mode=mode)
        return self._made[model, mode]


_SCHEMAS: Any = _Schemas()  # Any: its base narrows the type of an argument


class StrictFlask(FlaskPlugin):
    """Reads requests to the letter.

    spectree's own takes a body that is no JSON for an empty object. ``max_body_bytes`` bounds bodies.
    """

    max_body_bytes: int = 65_536

    def __init__(self, spectree: SpecTree) -> None:
        super().__init__(spectree)
        self.operations: list[Operation] = []

    # -- requests ----------------------------------------------------------------------------------------------------

    def request_validation(self, request: Any, query: Any, json: Any, form: Any, headers: Any, cookies: Any) -> None:
        """Raises ``Refusal`` for whatever the models do not take."""
        given = _read_query(request)
        if query is None and given:
            raise invalid([fault("query", name, msg="there is no such parameter here") for name in given])
        request.context = Context(
            query and _validated("query", query, given),
            json and _validated("body", json, _read_body(request, json, self.max_body_bytes)),
            None,
            headers and _validated("header", headers, dict(request.headers)),
            None,
        )

    def validate_response(
        self, resp: Any, resp_model: Any, skip_validation: bool, force_resp_serialize: bool
    ) -> tuple[Any, None]:
        """Passes answers as they are: the tests hold them against the models, a reader should not wait for that."""
        return flask.make_response(resp), None

    # -- description -------------------------------------------------------------------------------------------------

    def find_routes(self) -> Iterator[Operation]:
        """Our own operations, wherever the blueprint is mounted."""
        return iter(self.operations)

    def parse_func(self, route: Operation) -> Iterator[tuple[str, Callable[..., Any]]]:
        """The one method of an operation."""
        yield route.method, route.view

    def parse_path(self, route: Any, path_parameter_descriptions: Any) -> tuple[str, list[dict[str, Any]]]:
        """Path and path parameters as OpenAPI has them."""
        path, parameters = super().parse_path(route, path_parameter_descriptions)
        for parameter in parameters:
            parameter["schema"] = dict(_PATH_SCHEMAS[parameter["name"]])
        return path, parameters

    def get_func_operation_id(self, func: Callable[..., Any], path: str, method: str) -> str:
        """The view's name."""
        return func.__name__


def _read_query(request: Any) -> dict[str, str]:
    """As werkzeug does, which fails where what is no UTF-8 is not percent-encoded, and knows no bound."""
    try:
        pairs = parse_qsl(request.query_string.decode(), keep_blank_values=True, max_num_fields=MAX_PARAMETERS)
    except UnicodeDecodeError:
        raise invalid([fault("query", msg="is no UTF-8")]) from None
    except ValueError:
        raise invalid([fault("query", msg=f"must not have more than {MAX_PARAMETERS} parameters")]) from None
    given = dict(pairs)
    if len(given) < len(pairs):
        times = Counter(name for name, _ in pairs)
        raise invalid([fault("query", name, msg="must be given once") for name, n in times.items() if n > 1])
    return given


def _read_body(request: Any, model: type[Body], max_bytes: int) -> Any:
    """The decoded JSON. Raises ``Refusal``, and werkzeug's 413."""
    request.max_content_length = max_bytes
    if not _has_body(request) and not request.mimetype:
        if model.optional:
            return {}
        raise invalid([fault("body", msg="is missing")])
    if request.mimetype != JSON or request.headers.get("Content-Encoding", "identity") != "identity":
        raise Refusal(415, "unsupported-media-type", "the request's body must be application/json, without encoding")
    try:
        data = request.get_data(cache=False)
        found = orjson.loads(data)
    except orjson.JSONDecodeError as error:
        raise invalid(
            [fault("body", msg=f"is no JSON: {error.msg} (line {error.lineno}, column {error.colno})")]
        ) from None
    if twice := _given_twice(data):
        raise invalid([fault("body", *way, msg="must be given once") for way in twice])
    return found


class _Pairs(list[tuple[str, Any]]):
    """An object, with all that stands in it."""


def _given_twice(data: bytes) -> list[tuple[str | int, ...]]:
    """Where in this JSON a name stands twice in one object: of such, one reader takes the first, another the last."""
    repeated = False

    def look(pairs: list[tuple[str, Any]]) -> _Pairs:
        nonlocal repeated
        repeated = repeated or len(dict(pairs)) < len(pairs)
        return _Pairs(pairs)

    try:
        found = json.loads(data, object_pairs_hook=look, parse_int=str, parse_float=str)
        return list(_repeated(found, ())) if repeated else []
    except RecursionError:
        return []  # no model takes what is so deep


def _repeated(found: Any, way: tuple[str | int, ...]) -> Iterator[tuple[str | int, ...]]:
    inner: Iterable[tuple[str | int, Any]] = ()
    if isinstance(found, _Pairs):
        yield from ((*way, name) for name, times in Counter(name for name, _ in found).items() if times > 1)
        inner = found
    elif isinstance(found, list):
        inner = enumerate(found)
    for part, value in inner:
        yield from _repeated(value, (*way, part))


def _has_body(request: Any) -> bool:
    return bool(request.content_length) or "Transfer-Encoding" in request.headers


def _validated(place: str, model: type[BaseModel], data: Any) -> BaseModel:
    try:
        return model.model_validate(data)
    except ValidationError as error:
        raise invalid_by(place, error) from None


# -- the document ------------------------------------------------------------------------------------------------------

TAGS = {
    "calls": "Calls that were placed or received, and what can be done to them",
    "campaigns": "Campaigns and leads",
    "webhooks": "Endpoints that are told of calls, and what they were told",
    "recordings": "What was recorded",
    "service": "How the service itself is doing",
}

_DESCRIPTION = """Calls on FreeSWITCH: tracked live, read and placed over HTTP.

A key (`Authorization: Bearer …`) belongs to one tenant and has scopes; what is another tenant's is answered like what
is not there. Errors are RFC 9457 problems. Unknown query parameters and fields are refused, and nothing is clamped.
Times are ISO 8601 in UTC with milliseconds, truncated; durations are whole seconds, floored."""


def new_spec(max_body_bytes: int) -> SpecTree:
    """An empty document; operations are added to its backend's ``operations``."""
    spec = SpecTree(
        "flask",
        backend=StrictFlask,
        mode="strict",
        title="callengine",
        version=__version__,
        description=_DESCRIPTION,
        openapi_version="3.1.0",
        validation_error_status=400,
        validation_error_model=Problem,
        model_adapter=_SCHEMAS,
        naming_strategy=lambda model: model.__name__,
        nested_naming_strategy=lambda _parent, child: child,
        security_schemes=[
            SecurityScheme(
                name=BEARER,
                data=SecuritySchemeData(
                    type=SecureType.HTTP,
                    scheme="bearer",
                    description="An API key, as `callengine key create` prints it.",
                ),
            )
        ],
    )
    backend_of(spec).max_body_bytes = max_body_bytes
    return spec


def backend_of(spec: SpecTree) -> StrictFlask:
    """The plugin of a spec made by ``new_spec``."""
    backend = spec.backend
    assert isinstance(backend, StrictFlask)
    return backend


def tag(name: str) -> Tag:
    """One of ``TAGS``."""
    return Tag(name=name, description=TAGS[name])


def document(spec: SpecTree) -> dict[str, Any]:
    """The OpenAPI document of all operations."""
    described: dict[str, Any] = spec.spec
    for operation in backend_of(spec).operations:
        path, _ = spec.backend.parse_path(operation, None)
        entry = described["paths"][path][operation.method.lower()]
        if operation.body is not None:
            entry["requestBody"]["required"] = not operation.body.optional
        for parameter in entry["parameters"]:
            _tidy(parameter)
        entry["x-codeSamples"] = code_samples(operation.method, path, entry)
    return described


def _tidy(parameter: dict[str, Any]) -> None:
    """No text in a query string or a header means null: what may be left out is not what may be null."""
    schema = parameter["schema"]
    if "anyOf" in schema:
        (meant,) = (choice for choice in schema.pop("anyOf") if choice != {"type": "null"})
        schema |= meant
    for needless in ("title", "description"):
        schema.pop(needless, None)
    if schema.get("default", ...) is None:
        del schema["default"]
    if not parameter["description"]:
        del parameter["description"]
