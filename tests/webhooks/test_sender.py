"""One request: to the address that was looked at, over TLS that was verified, within its bound."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import gevent
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from gevent.server import StreamServer

from callengine.webhooks.guard import Guard
from callengine.webhooks.sender import KEPT_CHARS, NO_ANSWER, UNREACHABLE, Reply, Sender

LOCAL = ["127.0.0.0/8"]
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


@dataclass
class Raw:
    """A server that answers requests with bytes; ``act`` gets the socket in place of an answer."""

    answers: list[bytes | Callable[[socket.socket], None]] = field(default_factory=list)
    requests: list[bytes] = field(default_factory=list)
    connections: int = 0
    port: int = 0

    def __call__(self, sock: socket.socket, _: Any) -> None:
        self.connections += 1
        while True:
            request = _request(sock)
            if request is None:
                return
            self.requests.append(request)
            answer = self.answers.pop(0) if self.answers else OK
            if callable(answer):
                answer(sock)
                return
            sock.sendall(answer)


def _request(sock: socket.socket) -> bytes | None:
    data = b""
    while b"\r\n\r\n" not in data:
        part = sock.recv(65536)
        if not part or not (data + part).startswith(b"POST"[: len(data + part)]):
            return None
        data += part
    head, _, body = data.partition(b"\r\n\r\n")
    (length,) = (int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length"))
    while len(body) < length:
        body += sock.recv(65536)
    return head + b"\r\n\r\n" + body


@pytest.fixture
def raw() -> Iterator[Raw]:
    made = Raw()
    server = StreamServer(("127.0.0.1", 0), made)
    server.start()
    made.port = server.server_port
    yield made
    server.stop(1)


def local(host: str, port: int) -> list[Any]:
    return [(2, 1, 6, "", ("127.0.0.1", port))]


_made: list[Sender] = []


@pytest.fixture(autouse=True)
def closed() -> Iterator[None]:
    yield
    while _made:
        _made.pop().close()


def sender(timeout_s: float = 5, guard: Guard | None = None, **more: Any) -> Sender:
    _made.append(Sender(guard or Guard(LOCAL, resolve=local), timeout_s=timeout_s, **more))
    return _made[-1]


def post(one: Sender, raw: Raw, path: str = "/hook", host: str = "receiver.test") -> Reply:
    return one.send(f"http://{host}:{raw.port}{path}", {"webhook-id": "x"}, b'{"a":1}')


def test_a_delivery(raw: Raw) -> None:
    reply = post(sender(), raw, "/hook?token=secret")
    assert (reply.ok, reply.status, reply.error, reply.response) == (True, 200, None, "ok")
    head, _, body = raw.requests[0].partition(b"\r\n\r\n")
    lines = head.decode().split("\r\n")
    assert lines[0] == "POST /hook?token=secret HTTP/1.1"
    assert f"Host: receiver.test:{raw.port}" in lines
    assert "Content-Type: application/json" in lines
    assert "webhook-id: x" in lines
    assert body == b'{"a":1}'
    assert [line for line in lines if line.lower().startswith("user-agent: callengine/")]


def test_connections_are_kept_and_a_stale_one_is_replaced(raw: Raw) -> None:
    one = sender()
    for _ in range(5):
        assert post(one, raw).ok
    assert (raw.connections, one.connects) == (1, 1)
    raw.answers = [lambda sock: sock.close()]  # it takes the request and goes away, as with an idle timeout
    assert post(one, raw).ok
    assert raw.connections == 2
    raw.answers = [b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"]
    assert post(one, raw).ok
    assert post(one, raw).ok
    assert raw.connections == 3
    one.close()


def test_side_by_side_no_connection_is_shared(raw: Raw) -> None:
    one = sender()
    working = [gevent.spawn(post, one, raw) for _ in range(12)]
    gevent.joinall(working, timeout=10)
    assert all(greenlet.value.ok for greenlet in working)
    assert sum(map(len, one._idle.values())) == one._idle_count <= 4
    one.close()
    assert one._idle_count == 0


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_not_followed(raw: Raw, status: int) -> None:
    location = f"Location: http://127.0.0.1:{raw.port}/elsewhere\r\n"
    raw.answers = [f"HTTP/1.1 {status} Moved\r\n{location}Content-Length: 0\r\n\r\n".encode()]
    reply = post(sender(), raw)
    assert (reply.ok, reply.status) == (False, status)
    assert "redirect" in (reply.error or "")
    assert len(raw.requests) == 1


def test_what_was_answered_is_cut_and_cleaned(raw: Raw) -> None:
    body = b"\x1b[31mno\x00\r\n" + b"x" * 100_000
    raw.answers = [b"HTTP/1.1 500 No\r\nContent-Length: %d\r\n\r\n" % len(body) + body]
    one = sender()
    reply = post(one, raw)
    assert reply.status == 500
    assert reply.response is not None
    assert reply.response.startswith("[31mno  ")
    assert len(reply.response) <= KEPT_CHARS
    assert reply.response.isprintable()
    assert one._idle_count == 0  # the rest is not waited for


def test_chunked_and_without_length(raw: Raw) -> None:
    raw.answers = [
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
        b"HTTP/1.1 204 None\r\n\r\n",
        lambda sock: (sock.sendall(b"HTTP/1.0 200 OK\r\n\r\nall"), sock.close())[1],
    ]
    one = sender()
    assert [post(one, raw).response for _ in range(3)] == ["abc", "", "all"]


def test_retry_after(raw: Raw) -> None:
    for value, expected in (("120", 120.0), ("Wed, 21 Oct 2026 07:28:00 GMT", None), ("-5", None), ("9" * 12, None)):
        raw.answers = [f"HTTP/1.1 429 Slow\r\nRetry-After: {value}\r\nContent-Length: 0\r\n\r\n".encode()]
        assert post(sender(), raw).retry_after_s == expected


def trickle(sock: socket.socket) -> None:
    sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
    for _ in range(1000):
        gevent.sleep(0.05)
        sock.sendall(b"x")


@pytest.mark.parametrize("act", [trickle, lambda sock: gevent.sleep(5)])
def test_one_that_trickles_or_hangs_is_cut(raw: Raw, act: Callable[[socket.socket], None]) -> None:
    raw.answers = [act]
    reply = post(sender(0.4), raw)
    assert (reply.status, reply.kind) == (None, NO_ANSWER)
    assert 0.35 < reply.duration_s < 2


def test_somebody_elses_timeout_is_not_taken_for_ours(raw: Raw) -> None:
    raw.answers = [lambda sock: gevent.sleep(5)]
    with pytest.raises(gevent.Timeout) as caught, gevent.Timeout(0.2) as outer:
        post(sender(3), raw)
    assert caught.value is outer


@pytest.mark.parametrize(
    "answer",
    [
        b"garbage\r\n\r\n",
        b"HTTP/1.1 abc\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 200 + b"\r\n",
        b"\x00" * 100_000,
    ],
)
def test_what_is_no_http(raw: Raw, answer: bytes) -> None:
    raw.answers = [lambda sock: (sock.sendall(answer), sock.close())[1]]
    reply = post(sender(), raw)
    assert (reply.status, reply.kind) == (None, NO_ANSWER)


def test_reset_and_closed_without_an_answer(raw: Raw) -> None:
    def reset(sock: socket.socket) -> None:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        sock.close()

    for act in (reset, lambda sock: sock.close()):
        raw.answers = [act]
        reply = post(sender(), raw)
        assert (reply.status, reply.kind) == (None, NO_ANSWER)


def test_nothing_listens_there() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    reply = sender().send(f"http://x.test:{port}/", {}, b"{}")
    assert (reply.error, reply.kind) == ("the connection was refused", UNREACHABLE)


def test_nothing_is_sent_where_the_guard_says_no(raw: Raw) -> None:
    for guard in (Guard(resolve=local), Guard(LOCAL, resolve=lambda host, port: [])):
        reply = sender(2, guard).send(f"https://x.test:{raw.port}/s3cret", {}, b"{}")
        assert (reply.status, reply.kind) == (None, UNREACHABLE)
        assert "s3cret" not in (reply.error or "")
    assert raw.connections == 0


def test_an_idle_connection_is_not_used_once_the_name_leads_elsewhere(raw: Raw) -> None:
    leads_to = ["127.0.0.1"]
    guard = Guard(["127.0.0.1/32"], resolve=lambda host, port: [(2, 1, 6, "", (leads_to[0], port))])
    one = sender(2, guard)
    assert post(one, raw).ok
    leads_to[0] = "127.0.0.2"
    assert post(one, raw).kind == UNREACHABLE
    assert len(raw.requests) == 1


# -- TLS ---------------------------------------------------------------------------------------------------------------


def certificate(folder: Path, *names: str) -> tuple[Path, Path]:
    """A certificate for names that signs itself, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test")])
    alternatives: list[x509.GeneralName] = [
        x509.IPAddress(ip_address(one)) if one[0].isdigit() else x509.DNSName(one) for one in names
    ]
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    cert_file, key_file = folder / "cert.pem", folder / "key.pem"
    cert_file.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    pkcs8, plain = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    key_file.write_bytes(key.private_bytes(serialization.Encoding.PEM, pkcs8, plain))
    return cert_file, key_file


@pytest.fixture
def secure(tmp_path: Path) -> Iterator[tuple[Raw, Path]]:
    cert_file, key_file = certificate(tmp_path, "receiver.test", "127.0.0.1")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert_file, key_file)
    made = Raw()
    server = StreamServer(("127.0.0.1", 0), made, ssl_context=context)
    server.start()
    made.port = server.server_port
    yield made, cert_file
    server.stop(1)


def test_tls_is_verified_for_the_hosts_name(secure: tuple[Raw, Path]) -> None:
    raw, cert_file = secure
    trusting = ssl.create_default_context(cafile=str(cert_file))
    one = sender(tls=trusting)
    for host in ("receiver.test", "receiver.test.", "127.0.0.1"):
        assert one.send(f"https://{host}:{raw.port}/", {}, b"{}").ok, host
    count = len(raw.requests)
    other = one.send(f"https://other.test:{raw.port}/", {}, b"{}")
    assert (other.status, other.kind) == (None, UNREACHABLE)
    assert "certificate is not valid" in (other.error or "")
    unknown = sender().send(f"https://receiver.test:{raw.port}/", {}, b"{}")
    assert "certificate is not valid" in (unknown.error or "")
    assert len(raw.requests) == count
    for _ in range(3):
        assert one.send(f"https://receiver.test:{raw.port}/", {}, b"{}").ok
    assert one.connects <= 3


def test_plain_where_tls_is_asked_for(raw: Raw) -> None:
    reply = sender().send(f"https://receiver.test:{raw.port}/", {}, b"{}")
    assert (reply.status, reply.kind) == (None, UNREACHABLE)
