"""The server on real sockets: its bounds, its stop, its log."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Self

import gevent
import pytest
from gevent import socket
from gevent.event import Event

from callengine.api import server as servers
from callengine.api.long_lived import BodyEnded
from callengine.api.server import MAX_HEADER_BYTES, ApiServer
from callengine.config.sections import Http
from tests.api import fakes
from tests.api.fakes import ALICE, World

Start = Callable[..., ApiServer]
Answer = tuple[int, dict[str, str], bytes]


@pytest.fixture
def start() -> Iterator[Start]:
    running: list[ApiServer] = []

    def _start(application: Any, **http: Any) -> ApiServer:
        server = ApiServer(application, Http(host="127.0.0.1", **http), servers.listen("127.0.0.1", 0))
        server.start()
        running.append(server)
        return server

    with gevent.Timeout(20):
        yield _start
        for server in running:
            server.stop(0.2)


class Peer:
    """A client's connection."""

    def __init__(self, server: ApiServer) -> None:
        self.socket = socket.create_connection(("127.0.0.1", server.port), timeout=5)
        self.stream = self.socket.makefile("rb")

    def send(self, raw: bytes) -> Peer:
        self.socket.sendall(raw)
        return self

    def answer(self) -> Answer:
        """One answer off the connection."""
        status = int(self.stream.readline().split()[1])
        headers = {}
        while (line := self.stream.readline().strip()) != b"":
            name, _, value = line.decode().partition(": ")
            headers[name.lower()] = value
        return status, headers, self.stream.read(int(headers.get("content-length", 0)))

    def at_end(self) -> bool:
        """Whether the server hung up; waits for it."""
        try:
            return self.stream.read(1) == b""
        except ConnectionError:
            return True

    def close(self) -> None:
        self.stream.close()
        self.socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def open_connections(server: ApiServer) -> int:
    assert server.pool is not None
    return len(server.pool)


def places(server: ApiServer) -> int:
    assert server.pool is not None
    return server.pool.size or 0


def exchange(server: ApiServer, raw: bytes) -> Answer:
    with Peer(server) as peer:
        return peer.send(raw).answer()


def hello(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"hello"]


def test_it_serves_the_api_and_keeps_the_connection(start: Start) -> None:
    world = World()
    world.key("k", ALICE)
    record = world.add_call(ALICE, campaign_id="a/b")
    server = start(fakes.app(world))
    with Peer(server) as peer:
        for path in (f"/v1/calls/{record.id}", "/v1/campaigns/a%2Fb/calls"):
            peer.send(f"GET {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer k\r\n\r\n".encode())
            status, headers, body = peer.answer()
            assert (status, headers["content-type"]) == (200, "application/json")
            assert record.id.encode() in body


def test_small_answers_are_sent_at_once(start: Start) -> None:
    listener = servers.listen("127.0.0.1", 0)
    assert listener.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
    assert listener.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR)
    listener.close()


def test_a_connection_that_says_nothing_is_closed(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(servers, "IDLE_S", 0.05)
    server = start(hello)
    with Peer(server) as silent:
        assert silent.at_end()
    with Peer(server) as idle:
        assert idle.send(b"GET / HTTP/1.1\r\n\r\n").answer()[0] == 200
        assert idle.at_end()


@pytest.mark.parametrize(
    ("head", "drop"),
    [
        (b"", b"G"),
        (b"GET / HTTP/1.1\r\n", b"X: y\r\n"),
        (b"GET / HTTP/1.1\r\nX: ", b"y"),
        (b"GET / HTTP/1.1\r\n\r\n" * 3, b"G"),
    ],
)
def test_a_request_that_drips_is_cut_off(start: Start, head: bytes, drop: bytes) -> None:
    server = start(hello, request_timeout_s=0.2)
    with Peer(server) as peer:
        dripping = gevent.spawn(_drip, peer.send(head), drop)
        for _ in range(head.count(b"\r\n\r\n")):
            assert peer.answer()[0] == 200
        assert peer.at_end()
        dripping.kill()


def _drip(peer: Peer, drop: bytes) -> None:
    with contextlib.suppress(OSError):
        while True:
            peer.send(drop)
            gevent.sleep(0.01)


@pytest.mark.parametrize(
    ("head", "drop"),
    [
        (b"Content-Length: 10000\r\n\r\n", b"x"),
        (b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n"),
        (b"Transfer-Encoding: chunked\r\n\r\n1;", b"x"),
    ],
)
def test_a_body_that_drips_is_answered_and_cut_off(start: Start, head: bytes, drop: bytes) -> None:
    def read(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        environ["wsgi.input"].read()
        return hello(environ, start_response)

    server = start(read, request_timeout_s=0.2)
    with Peer(server) as peer:
        dripping = gevent.spawn(_drip, peer.send(b"POST / HTTP/1.1\r\n" + head), drop)
        status, headers, body = peer.answer()
        dripping.kill()
    assert (status, headers["connection"]) == (503, "close")
    assert b"urn:problem-type:callengine:timeout" in body


def test_a_slow_application_is_cut_off_with_a_problem(start: Start) -> None:
    def slow(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        gevent.sleep(60)
        return hello(environ, start_response)

    status, headers, _ = exchange(start(slow, request_timeout_s=0.1), b"GET / HTTP/1.1\r\n\r\n")
    assert (status, headers["content-type"], headers["connection"]) == (503, "application/problem+json", "close")
    assert int(headers["retry-after"]) > 0


def test_a_reader_that_does_not_read_is_cut_off(start: Start) -> None:
    def large(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        start_response("200 OK", [])
        return [b"x" * 50_000_000]

    server = start(large, request_timeout_s=0.2)
    with Peer(server) as peer:
        peer.send(b"GET / HTTP/1.1\r\n\r\n")
        while not open_connections(server):
            gevent.sleep(0.001)
        while open_connections(server):
            gevent.sleep(0.01)


def test_requests_at_once_are_bounded_and_the_rest_waits(start: Start) -> None:
    inside, most, go = [0], [0], Event()

    def counted(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        if environ["PATH_INFO"] == "/livez":
            return hello(environ, start_response)
        inside[0] += 1
        most[0] = max(most[0], inside[0])
        go.wait(5)
        inside[0] -= 1
        return hello(environ, start_response)

    server = start(counted, max_concurrency=3)
    waiting = [gevent.spawn(exchange, server, b"GET / HTTP/1.1\r\n\r\n") for _ in range(12)]
    while inside[0] < 3:
        gevent.sleep(0.001)
    assert exchange(server, b"GET /livez HTTP/1.1\r\n\r\n")[0] == 200
    go.set()
    gevent.joinall(waiting, raise_error=True)
    assert [greenlet.get()[0] for greenlet in waiting] == [200] * 12
    assert most[0] == 3


def test_a_flood_of_connections_waits_without_an_end(start: Start) -> None:
    server = start(hello, max_concurrency=1, max_long_lived=1)
    peers = [Peer(server) for _ in range(30)]
    while open_connections(server) < places(server):
        gevent.sleep(0.001)
    gevent.sleep(0.05)
    assert open_connections(server) == places(server) == servers.CONNECTIONS_PER_REQUEST + 2
    for peer in peers:
        peer.close()
    assert exchange(server, b"GET / HTTP/1.1\r\n\r\n")[0] == 200


def test_where_places_are_few_connections_are_not_kept(start: Start) -> None:
    server = start(hello, max_concurrency=1, max_long_lived=1)
    others = [Peer(server) for _ in range(places(server) - 1)]
    while open_connections(server) < len(others):
        gevent.sleep(0.001)
    assert exchange(server, b"GET / HTTP/1.1\r\n\r\n")[1]["connection"] == "close"
    for other in others:
        other.close()
    while open_connections(server):
        gevent.sleep(0.001)
    assert "connection" not in exchange(server, b"GET / HTTP/1.1\r\n\r\n")[1]


@pytest.mark.parametrize(
    ("raw", "status"),
    [
        (b"GET /" + b"x" * 9000 + b" HTTP/1.1\r\n\r\n", 414),
        (b"GET / HTTP/1.1\r\nX: " + b"x" * MAX_HEADER_BYTES + b"\r\n\r\n", 431),
        (b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 6000 + b"\r\n", 431),
        (b"nonsense\r\n\r\n", 400),
        (b"GET /\r\n\r\n", 400),
        (b"GET / HTTP/3.0\r\n\r\n", 400),
        (b"GET livez HTTP/1.1\r\n\r\n", 400),
        (b"CONNECT example.com:443 HTTP/1.1\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nContent-Length: x\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nContent-Length: +1\r\n\r\na", 400),
        (b"POST / HTTP/1.1\r\nContent-Length: -1\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab", 400),
        (b"POST / HTTP/1.1\r\nTransfer-Encoding: gzip, chunked\r\nContent-Length: 1\r\n\r\na", 400),
    ],
)
def test_what_is_no_request_is_refused(
    start: Start, raw: bytes, status: int, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    got, headers, body = exchange(start(hello), raw)
    assert (got, headers["connection"].lower()) == (status, "close")
    assert b'"type":"urn:problem-type:callengine:unreadable-request"' in body
    assert "Traceback" not in capfd.readouterr().err


def test_a_refused_body_is_not_read_to_its_end(start: Start) -> None:
    world = World()
    world.key("k", ALICE)
    server = start(fakes.app(world))
    head = b"POST /v1/campaigns HTTP/1.1\r\nAuthorization: Bearer k\r\nContent-Type: application/json\r\n"
    status, headers, body = exchange(server, head + b"Content-Length: 10000000000\r\n\r\n" + b"x" * 1000)
    assert (status, headers["connection"]) == (413, "close")
    assert b"content-too-large" in body
    status, headers, _ = exchange(
        server, head + b"Transfer-Encoding: chunked\r\n\r\n" + b"ffff\r\n" + b"x" * 65_535 + b"\r\n" * 2
    )
    assert status in {400, 413}


def test_a_chunked_body_is_read_and_the_connection_goes_on(start: Start) -> None:
    world = World()
    world.key("k", ALICE)
    head = b"POST /v1/campaigns HTTP/1.1\r\nAuthorization: Bearer k\r\nContent-Type: application/json\r\n"
    with Peer(start(fakes.app(world))) as peer:
        for name in (b"a", b"b"):
            body = b'{"id":"' + name + b'"}'
            peer.send(head + b"Transfer-Encoding: chunked\r\n\r\n%x\r\n" % len(body) + body + b"\r\n0\r\n\r\n")
            assert peer.answer()[0] == 201


def test_who_waits_for_our_100_gets_the_refusal_instead(start: Start) -> None:
    world = World()
    world.key("k", ALICE)
    server = start(fakes.app(world))
    head = b"POST /v1/campaigns HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 12\r\n"
    assert exchange(server, head + b"\r\n")[0] == 401


def test_a_path_in_absolute_form_is_served(start: Start) -> None:
    world = World()
    assert exchange(start(fakes.app(world)), b"GET http://any.example/livez HTTP/1.1\r\n\r\n")[2] == b"alive\n"


def test_an_upgrade_is_not_taken_up(start: Start) -> None:
    raw = b"GET /livez HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
    assert exchange(start(fakes.app(World())), raw)[2] == b"alive\n"


def test_the_log_has_no_query_and_no_key(start: Start, caplog: pytest.LogCaptureFixture) -> None:
    world = World()
    world.key("very-secret-key", ALICE)
    server = start(fakes.app(world))
    with caplog.at_level(logging.DEBUG):
        exchange(
            server,
            b"GET /v1/calls?lead=secret-a&number=%2B49301234 HTTP/1.1\r\nAuthorization: Bearer very-secret-key\r\n\r\n",
        )
        exchange(
            server,
            b"GET /v1/calls?number=49301234%00 HTTP/1.1\r\nAuthorization: Bearer very-secret-key\r\n\r\n",
        )
        exchange(server, b"GET /v1/\x1b[31mcalls?token=secret HTTP/1.1\r\n\r\n")
        exchange(server, b"BAD /?token=secret\r\n\r\n")
    assert "GET /v1/calls 200 " in caplog.text
    assert "GET /v1/?[31mcalls 404 " in caplog.text
    assert " - - 400 " in caplog.text
    assert "secret" not in caplog.text
    assert "9301234" not in caplog.text
    assert "\x1b" not in caplog.text


def test_a_stop_hangs_up_the_idle_and_lets_requests_end(start: Start) -> None:
    entered, go = Event(), Event()

    def held(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        entered.set()
        go.wait(5)
        return hello(environ, start_response)

    server = start(held)
    with Peer(server) as idle:
        busy = gevent.spawn(exchange, server, b"GET / HTTP/1.1\r\n\r\n")
        entered.wait(5)
        stopping = gevent.spawn(server.stop, 5.0)
        assert idle.at_end()
    assert not stopping.ready()
    go.set()
    status, headers, _ = busy.get(timeout=5)
    assert (status, headers["connection"]) == (200, "close")
    stopping.get(timeout=5)


def test_a_stop_does_not_wait_for_ever(start: Start) -> None:
    def stuck(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        gevent.sleep(60)
        return hello(environ, start_response)

    server = start(stuck)
    busy = gevent.spawn(exchange, server, b"GET / HTTP/1.1\r\n\r\n")
    while not open_connections(server):
        gevent.sleep(0.001)
    gevent.sleep(0.01)
    with gevent.Timeout(2):
        server.stop(0.05)
    assert busy.get(timeout=5)[0] == 503


def test_an_error_under_flask_is_told_to_the_log_only(start: Start, caplog: pytest.LogCaptureFixture) -> None:
    def broken(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        raise SystemError("secret of the inside")

    status, headers, body = exchange(start(broken), b"GET /x?token=hidden HTTP/1.1\r\n\r\n")
    assert (status, headers["content-type"]) == (500, "application/problem+json")
    assert b"secret" not in body
    assert "SystemError" in caplog.text
    assert "hidden" not in caplog.text


# -- answers that live long ------------------------------------------------------------------------------------------


PIECE = b"x" * 1000


def lasting(pieces: Iterable[bytes], *, endless: bool = False, told: list[bool] | None = None) -> Any:
    """An application whose answer is long-lived."""

    def application(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        taken = environ["callengine.long_lived"]("stream" if endless else "recording", endless)
        if told is not None:
            told.append(taken)
        start_response("200 OK" if taken else "503 Service Unavailable", [])
        return pieces if taken else [b""]

    return application


def slowly(count: int, every_s: float) -> Iterator[bytes]:
    for _ in range(count):
        gevent.sleep(every_s)
        yield PIECE


def unchunked(raw: bytes) -> bytes:
    body = b""
    while raw and (length := int(raw.partition(b"\r\n")[0], 16)):
        raw = raw.partition(b"\r\n")[2]
        body, raw = body + raw[:length], raw[length + 2 :]
    return body


def test_a_long_answer_may_take_longer_as_long_as_it_goes_on(start: Start) -> None:
    server = start(lasting(slowly(10, 0.05)), request_timeout_s=0.2)
    with Peer(server) as peer:
        peer.send(b"GET / HTTP/1.1\r\nConnection: close\r\n\r\n")
        assert peer.answer()[0] == 200
        assert unchunked(peer.stream.read()) == PIECE * 10
    assert server.long_lived.count("recording") == 0


def test_an_answer_that_says_nothing_has_no_more_time_than_any_other(start: Start) -> None:
    def slow(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        start_response("200 OK", [])
        return slowly(10, 0.05)

    with Peer(start(slow, request_timeout_s=0.2)) as peer:
        peer.send(b"GET / HTTP/1.1\r\nConnection: close\r\n\r\n")
        peer.answer()
        assert len(peer.stream.read()) < 10 * len(PIECE)


def test_who_no_longer_reads_a_long_answer_is_cut_off_and_its_body_closed(start: Start) -> None:
    class Body:
        closed = False

        def __iter__(self) -> Iterator[bytes]:
            while True:
                yield b"x" * 65_536

        def close(self) -> None:
            self.closed = True

    body = Body()
    server = start(lasting(body), request_timeout_s=0.2)
    with Peer(server) as peer:
        peer.send(b"GET / HTTP/1.1\r\n\r\n")
        while not open_connections(server):
            gevent.sleep(0.001)
        while open_connections(server):
            gevent.sleep(0.01)
    assert body.closed
    assert server.long_lived.count("recording") == 0


def test_a_source_that_has_dried_up_is_cut_off(start: Start) -> None:
    with Peer(start(lasting(slowly(2, 60)), request_timeout_s=0.1)) as peer:
        assert peer.send(b"GET / HTTP/1.1\r\n\r\n").answer()[0] == 503


def test_long_answers_take_no_turn_and_have_a_bound_of_their_own(start: Start) -> None:
    go, told = Event(), list[bool]()

    def until_told() -> Iterator[bytes]:
        yield PIECE
        go.wait(5)

    class Fresh:
        def __iter__(self) -> Iterator[bytes]:
            return until_told()

    long = lasting(Fresh(), told=told)

    def application(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        return (hello if environ["PATH_INFO"] == "/short" else long)(environ, start_response)

    server = start(application, max_concurrency=1, max_long_lived=2)
    readers = [Peer(server).send(b"GET / HTTP/1.1\r\nConnection: close\r\n\r\n") for _ in range(2)]
    for reader in readers:
        assert reader.answer()[0] == 200
    assert server.long_lived.count("recording") == 2
    assert exchange(server, b"GET /short HTTP/1.1\r\n\r\n")[2] == b"hello"
    assert exchange(server, b"GET / HTTP/1.1\r\n\r\n")[0] == 503
    assert told == [True, True, False]
    go.set()
    for reader in readers:
        reader.stream.read()
        reader.close()
    assert exchange(server, b"GET / HTTP/1.1\r\nConnection: close\r\n\r\n")[0] == 200


def test_a_stop_does_not_wait_for_what_has_no_end(start: Start) -> None:
    def forever() -> Iterator[bytes]:
        while True:
            yield PIECE
            gevent.sleep(60)

    server = start(lasting(forever(), endless=True))
    with Peer(server) as reader:
        assert reader.send(b"GET / HTTP/1.1\r\n\r\n").answer()[0] == 200
        with gevent.Timeout(2):
            server.stop(10)
        reader.stream.read()


def test_a_body_that_ends_too_early_ends_the_connection(start: Start, caplog: pytest.LogCaptureFixture) -> None:
    def application(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        def body() -> Iterator[bytes]:
            yield PIECE
            raise BodyEnded("the file became shorter")

        start_response("200 OK", [("Content-Length", "2000")])
        return body()

    with Peer(start(application)) as peer:
        peer.send(b"GET /x?signature=hidden HTTP/1.1\r\n\r\n")
        status, _, body = peer.answer()
        assert (status, body) == (200, PIECE)
        assert peer.at_end()
    assert "the file became shorter" in caplog.text
    assert "hidden" not in caplog.text
    assert "Traceback" not in caplog.text
