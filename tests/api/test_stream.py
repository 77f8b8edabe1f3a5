"""``GET /v1/stream``, over a feed of events in memory, and on the real server."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gevent
import jsonschema
import orjson
import pytest
from flask import Blueprint, Flask
from flask.testing import FlaskClient
from gevent import socket
from gevent.queue import Queue

from callengine.api.blueprint import create_app
from callengine.api.frame import Frame
from callengine.api.server import ApiServer, listen
from callengine.api.services import Services
from callengine.api.spec import document
from callengine.api.stream import add_stream_route
from callengine.config.sections import Http
from callengine.stream import Bounds, Feed, Reason
from tests.api import fakes
from tests.api.fakes import ALICE, BOB, World
from tests.stream.reading import FakeOutbox, parse

URL = "/v1/stream"


@pytest.fixture
def outbox() -> FakeOutbox:
    return FakeOutbox()


@pytest.fixture
def feed(outbox: FakeOutbox) -> Iterator[Feed]:
    made = Feed(outbox, Bounds(readers=3, of_tenant=2), heartbeat_s=0.2)
    running = gevent.spawn(made.run)
    with gevent.Timeout(30):
        yield made
    running.kill()


@pytest.fixture
def services(feed: Feed) -> Services:
    return fakes.services(World(), stream=feed)


@pytest.fixture
def world(services: Services) -> World:
    found: Any = services.reads
    world: World = found.world
    world.key("key-of-bob", BOB)
    return world


@pytest.fixture
def app(services: Services) -> Flask:
    return with_stream(create_app(services), services)


def with_stream(app: Flask, services: Services) -> Flask:
    """The whole application, with the stream's route in any case."""
    if URL not in {rule.rule for rule in app.url_map.iter_rules()}:
        blueprint = Blueprint("stream", __name__)
        add_stream_route(Frame(services, blueprint))
        app.register_blueprint(blueprint)
    return app


@pytest.fixture
def client(app: Flask) -> FlaskClient:
    return app.test_client()


def first_messages(response: Any, count: int) -> list[Any]:
    """The first messages of an answer, which is then left."""
    raw = b""
    for piece in response.iter_encoded():
        raw += piece
        if len(parse(raw)[0]) >= count:
            break
    response.close()
    return parse(raw)[0]


def test_what_was_missed_then_what_comes(
    client: FlaskClient, alice: dict[str, str], outbox: FakeOutbox, feed: Feed
) -> None:
    start = outbox.add(ALICE)
    missed = [outbox.add(ALICE), outbox.add(BOB), outbox.add(ALICE)]
    response = client.get(URL, headers={**alice, "Last-Event-ID": start.id})
    assert response.status_code == 200
    assert response.headers["Content-Type"] == "text/event-stream"
    assert response.headers["Cache-Control"] == "no-store"
    assert response.headers["X-Accel-Buffering"] == "no"
    assert "Content-Length" not in response.headers
    messages = first_messages(response, 2)
    assert [m.id for m in messages] == [missed[0].id, missed[2].id]
    assert feed.readers == 0


def test_the_query_may_name_the_last_event_and_the_header_goes_first(
    client: FlaskClient, alice: dict[str, str], outbox: FakeOutbox
) -> None:
    rows = [outbox.add(ALICE) for _ in range(4)]
    first = client.get(f"{URL}?last_event_id={rows[0].id.upper()}", headers=alice)
    assert first_messages(first, 1)[0].id == rows[1].id
    second = client.get(f"{URL}?last_event_id={rows[0].id}", headers={**alice, "Last-Event-ID": rows[2].id})
    assert [m.id for m in first_messages(second, 1)] == [rows[3].id]


def test_filters(client: FlaskClient, alice: dict[str, str], outbox: FakeOutbox) -> None:
    start = outbox.add(ALICE)
    rows = [
        outbox.add(ALICE, campaign_id="a/b ü", lead_id="l", agent_id="7", event="call.ended"),
        outbox.add(ALICE, campaign_id="a/b ü", event="call.corrected"),
        outbox.add(ALICE, event="call.ended"),
    ]
    for query, wanted in (
        ({"event": "call.ended"}, rows[0]),
        ({"event": "call.analyzed,call.corrected"}, rows[1]),
        ({"campaign": "a/b ü", "event": "call.corrected"}, rows[1]),
        ({"call": rows[2].call_id.upper()}, rows[2]),
        ({"lead": "l"}, rows[0]),
        ({"agent": "7"}, rows[0]),
    ):
        response = client.get(URL, query_string=query, headers={**alice, "Last-Event-ID": start.id})
        assert first_messages(response, 1)[0].id == wanted.id, query


@pytest.mark.parametrize(
    ("query", "loc"),
    [
        ("event=call.nothing", ["query", "event"]),
        ("event=", ["query", "event"]),
        ("event=call.ended,", ["query", "event"]),
        ("event=call.ended&event=call.ringing", ["query", "event"]),
        ("call=nobody", ["query", "call"]),
        ("campaign=", ["query", "campaign"]),
        ("since=beginning", ["query", "since"]),
        ("key=key-of-alice", ["query", "key"]),
        ("last_event_id=1", ["query", "last_event_id"]),
    ],
)
def test_what_cannot_be_meant_is_refused(
    client: FlaskClient, alice: dict[str, str], feed: Feed, query: str, loc: list[str]
) -> None:
    response = client.get(f"{URL}?{query}", headers=alice)
    assert response.status_code == 400
    assert response.json is not None
    assert [error["loc"] for error in response.json["errors"]] == [loc]
    assert feed.readers == 0


def test_an_id_of_no_form_is_refused(client: FlaskClient, alice: dict[str, str]) -> None:
    response = client.get(URL, headers={**alice, "Last-Event-ID": "7"})
    assert response.status_code == 400
    assert response.json is not None
    assert response.json["errors"][0]["loc"] == ["header", "Last-Event-Id"]


def test_who_gets_in(client: FlaskClient, world: World, feed: Feed) -> None:
    assert client.get(URL).status_code == 401
    assert client.get(URL, headers=world.key("writes", ALICE, "calls:write")).status_code == 403
    assert client.get(f"{URL}?api_key=key-of-bob").status_code == 401
    assert feed.readers == 0


def test_head_takes_no_place(client: FlaskClient, alice: dict[str, str], feed: Feed) -> None:
    response = client.head(URL, headers=alice)
    assert (response.status_code, response.data) == (200, b"")
    assert response.headers["Content-Type"] == "text/event-stream"
    assert feed.readers == 0


def test_without_a_feed_it_is_503(world: World, alice: dict[str, str]) -> None:
    without = fakes.services(world)
    app = with_stream(create_app(without), without)
    response = app.test_client().get(URL, headers=alice)
    assert response.status_code == 503
    assert response.headers["Retry-After"]


def test_it_is_described(services: Services) -> None:
    frame = Frame(services, Blueprint("stream", __name__))
    add_stream_route(frame)
    described = document(frame.spec)
    operation = described["paths"][URL]["get"]
    assert [p["name"] for p in operation["parameters"]] == [
        *("event", "call", "campaign", "lead", "agent", "last_event_id"),
        "Last-Event-Id",
    ]
    assert {"200", "400", "401", "403", "429", "500", "503"} == set(operation["responses"])
    row = FakeOutbox().add(ALICE)
    (message,) = parse(Feed(FakeOutbox()).render(row))[0]
    jsonschema.validate(
        message.data, {"$ref": "#/components/schemas/StreamEvent", "components": described["components"]}
    )


# -- on the real server ------------------------------------------------------------------------------------------------


@pytest.fixture
def server(app: Flask) -> Iterator[ApiServer]:
    http = Http(host="127.0.0.1", max_concurrency=1, request_timeout_s=1)
    made = ApiServer(app, http, listen("127.0.0.1", 0))
    made.start()
    yield made
    made.stop(0.2)


class Client:
    """A client that reads a stream off a socket."""

    def __init__(self, server: ApiServer, *headers: str, key: str = "key-of-alice") -> None:
        self.socket = socket.create_connection(("127.0.0.1", server.port), timeout=5)
        lines = [f"GET {URL} HTTP/1.1", f"Authorization: Bearer {key}", *headers, "", ""]
        self.socket.sendall("\r\n".join(lines).encode())
        self.stream = self.socket.makefile("rb")
        self.status = int(self.stream.readline().split()[1])
        self.headers = {}
        while (line := self.stream.readline().strip()) != b"":
            name, _, value = line.decode().partition(": ")
            self.headers[name.lower()] = value

    def piece(self) -> bytes:
        """One chunk; empty at the end."""
        size = int(self.stream.readline() or b"0", 16)
        piece = self.stream.read(size)
        self.stream.readline()
        return piece

    def problem(self) -> Any:
        return orjson.loads(self.stream.read(int(self.headers["content-length"])))

    def close(self) -> None:
        self.stream.close()
        self.socket.close()


def test_events_arrive_while_others_are_served(
    server: ApiServer, alice: dict[str, str], outbox: FakeOutbox, feed: Feed
) -> None:
    reader = Client(server)
    assert (reader.status, reader.headers["transfer-encoding"]) == (200, "chunked")
    assert reader.piece().startswith(b"retry: ")
    other = Client(server, key="key-of-bob")
    assert other.status == 200  # though one request at once is served
    rows = [outbox.add(ALICE), outbox.add(BOB)]
    feed.nudge()
    assert parse(reader.piece())[0][0].id == rows[0].id
    assert other.piece().startswith(b"retry: ")
    assert parse(other.piece())[0][0].id == rows[1].id
    for _ in range(8):  # longer than a request may take
        assert reader.piece().startswith(b":")
    reader.close()
    other.close()
    with gevent.Timeout(5):
        while feed.readers:
            gevent.sleep(0.01)
    assert server.long_lived.count("stream") == 0


def test_places(server: ApiServer, alice: dict[str, str], world: World, feed: Feed) -> None:
    mine = [Client(server) for _ in range(2)]
    third = Client(server)
    assert third.status == 503
    assert third.headers["content-type"] == "application/problem+json"
    assert third.headers["retry-after"] == "10"
    assert third.problem()["type"].endswith(":too-many-readers")
    other = Client(server, key="key-of-bob")
    assert other.status == 200
    for reader in (*mine, third, other):
        reader.close()


def test_a_revoked_key_is_put_out(
    server: ApiServer, alice: dict[str, str], world: World, feed: Feed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("callengine.stream.KEY_LOOK_S", 0.05)
    reader = Client(server)
    reader.piece()
    del world.keys["key-of-alice"]
    world.clock_s += 60  # what the gate remembers is over
    raw = b""
    while piece := reader.piece():
        raw += piece
    messages, _ = parse(raw)
    assert [(m.event, m.data["reason"]) for m in messages] == [("dropped", "key")]
    reader.close()


def test_a_client_that_does_not_read_is_dropped_and_cut_off(
    server: ApiServer, alice: dict[str, str], outbox: FakeOutbox, feed: Feed
) -> None:
    reader = Client(server)
    quick = Client(server, key="key-of-alice")
    drain = gevent.spawn(lambda: [None for _ in iter(quick.piece, b"")])
    with gevent.Timeout(25):
        while feed.readers == 2:
            for _ in range(20):
                outbox.add(ALICE, size=50_000)
            feed.nudge()
            gevent.sleep(0.01)
    assert feed.dropped == 1
    assert feed.readers == 1
    assert not drain.ready()
    drain.kill()
    reader.close()
    quick.close()


def test_a_stop_does_not_wait(server: ApiServer, alice: dict[str, str], feed: Feed) -> None:
    reader = Client(server)
    reader.piece()
    gevent.spawn_later(0.05, feed.close)
    messages, _ = parse(reader.piece())
    assert messages[0].data["reason"] == "stopping"
    again = Client(server, key="key-of-bob")
    assert again.status == 503
    with gevent.Timeout(2):
        server.stop(5)
    reader.close()
    again.close()


def test_the_reader_in_the_documents_works(
    server: ApiServer, alice: dict[str, str], outbox: FakeOutbox, feed: Feed, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = (Path(__file__).parents[2] / "docs" / "stream.md").read_text()
    source = page.partition("```python\n")[2].partition("```")[0]
    namespace: dict[str, Any] = {}
    exec(source.partition("\nfor event in")[0], namespace)
    monkeypatch.setattr(namespace["time"], "sleep", lambda _: gevent.sleep(0.01))
    told: Queue[str] = Queue(maxsize=100)

    def read() -> None:
        for event in namespace["events"](f"http://127.0.0.1:{server.port}{URL}", "key-of-alice"):
            told.put(event["id"])

    reading = gevent.spawn(read)
    rows = []
    for _ in range(5):
        while not feed.readers:
            gevent.sleep(0.01)
        rows += [outbox.add(ALICE, caller_name=": \u2028 ü") for _ in range(3)]
        feed.nudge()
        assert [told.get(timeout=5) for _ in range(3)] == [row.id for row in rows[-3:]]
        for mine in list(feed._open.values()):
            for reader in list(mine):
                reader.end(Reason.SLOW)  # its connection ends
        rows += [outbox.add(ALICE)]
        assert told.get(timeout=5) == rows[-1].id
    reading.kill()
