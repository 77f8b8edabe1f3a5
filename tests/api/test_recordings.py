"""Recordings over HTTP: what a signed link opens, and what it does not."""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Callable, Iterator
from email.utils import formatdate
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import gevent
import pytest
from flask.testing import FlaskClient
from gevent import socket

from callengine.api.recordings import CONTENT_TYPES
from callengine.api.server import ApiServer, listen
from callengine.api.services import OpenRecording
from callengine.errors import BucketError, RecordingOutside, StoreUnavailable
from callengine.recordings.paths import Folders
from callengine.recordings.reading import Reading
from callengine.recordings.signing import Signer
from tests.api import fakes
from tests.api.fakes import World

ID, CALL = "0191d5a4-0000-7000-8000-0123456789ab", "0191d5a4-0000-7000-8000-00000000ca11"
NOW = 1_795_343_615.0
CONTENT = bytes(range(256)) * 800  # more than three pieces
SHA256 = hashlib.sha256(CONTENT).hexdigest()
MODIFIED = 1_795_000_000


class Stored(NamedTuple):
    """What the store knows of a recording."""

    id: str
    call_id: str
    status: str
    storage: str
    path: str
    format: str
    sha256: str | None = None
    bytes: int | None = None


class Kept:
    """Recordings on a real disk, with the real signer; what stands for the store and the bucket is in memory."""

    def __init__(self, folder: Path) -> None:
        self.signer = Signer(["k" * 32], "https://calls.example.com", 60)
        self.reading = Reading(Folders([folder], {}), threads=2)
        self.files: dict[str, Stored] = {}
        self.now_s = NOW
        self.opened: list[OpenRecording] = []
        self.looked_up = 0
        self.away: Exception | None = None

    def verify(self, recording_id: str, expires: str, signature: str) -> None:
        self.signer.verify(recording_id, expires, signature, self.now_s)

    def find(self, recording_id: str) -> Stored | None:
        self.looked_up += 1
        if self.away is not None:
            raise self.away
        return self.files.get(recording_id)

    def open(self, file: Stored) -> OpenRecording:
        self.opened.append(self.reading.open(file.path, file.sha256))
        return self.opened[-1]

    def presigned(self, file: Stored, filename: str, content_type: str, method: str) -> str:
        if file.path == "down":
            raise BucketError("presigning", "EndpointConnectionError", transient=True)
        return f"https://bucket.example.com/{file.path}?{method}&{filename}&{content_type}"

    def hold(self, content: bytes) -> None:
        """The recording has that content, and the store knows it."""
        file = self.files[ID]
        Path(file.path).write_bytes(content)
        self.files[ID] = file._replace(sha256=hashlib.sha256(content).hexdigest(), bytes=len(content))

    def link(self, recording_id: str = ID) -> str:
        """Path and query of a good link."""
        parts = urlsplit(self.signer.url(recording_id, self.now_s))
        return f"{parts.path}?{parts.query}"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    file = tmp_path / "rec" / "call.wav"
    file.parent.mkdir()
    file.write_bytes(CONTENT)
    os.utime(file, (MODIFIED, MODIFIED))
    return file


@pytest.fixture
def kept(path: Path) -> Iterator[Kept]:
    made = Kept(path.parent)
    made.files[ID] = Stored(ID, CALL, "ready", "disk", str(path), "wav", SHA256, len(CONTENT))
    yield made
    for opened in made.opened:
        with pytest.raises(ValueError, match="closed"):  # each file that was opened was closed again
            opened.read_at(0, 1)
    made.reading.close()


@pytest.fixture
def client(kept: Kept) -> FlaskClient:
    return fakes.app(World(), recordings=kept).test_client()


Get = Callable[..., Any]


@pytest.fixture
def get(client: FlaskClient, kept: Kept) -> Get:
    def _get(method: str = "GET", **headers: str) -> Any:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        with client.open(kept.link(), method=method, headers=named) as response:
            response.get_data()
        return response

    return _get


def test_the_whole_file_without_a_key(get: Get) -> None:
    response = get()
    assert (response.status_code, response.data) == (200, CONTENT)
    headers = response.headers
    assert headers["Content-Type"] == "audio/wav"
    assert headers["Content-Length"] == str(len(CONTENT))
    assert headers["Content-Disposition"] == f'inline; filename="{CALL}.wav"'
    assert headers["ETag"] == f'"{SHA256}"'
    assert headers["Last-Modified"] == formatdate(MODIFIED, usegmt=True)
    assert headers["Accept-Ranges"] == "bytes"
    assert headers["Cache-Control"] == "private, no-store"
    assert headers["Referrer-Policy"] == "no-referrer"
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert "default-src 'none'" in headers["Content-Security-Policy"]
    assert "Set-Cookie" not in headers


def test_head_says_the_same_without_the_body(get: Get) -> None:
    full, head = get(), get("HEAD", Range="bytes=0-9")
    assert (head.status_code, head.data) == (200, b"")
    assert {k: v for k, v in head.headers if k != "Date"} == {k: v for k, v in full.headers if k != "Date"}


@pytest.mark.parametrize(
    ("asked", "start", "stop"),
    [
        ("bytes=0-0", 0, 1),
        ("bytes=0-", 0, len(CONTENT)),
        ("bytes=1-65536", 1, 65_537),
        ("bytes=65535-65536", 65_535, 65_537),
        ("bytes=70000-140000", 70_000, 140_001),
        ("bytes=-1", len(CONTENT) - 1, len(CONTENT)),
        ("bytes=-999999999", 0, len(CONTENT)),
        ("bytes=204799-999999999", 204_799, len(CONTENT)),
        ("BYTES=5-6", 5, 7),
        ("bytes= 5-6\t", 5, 7),
    ],
)
def test_a_range(get: Get, asked: str, start: int, stop: int) -> None:
    response = get(Range=asked)
    assert (response.status_code, response.data) == (206, CONTENT[start:stop])
    assert response.headers["Content-Range"] == f"bytes {start}-{stop - 1}/{len(CONTENT)}"
    assert response.headers["Content-Length"] == str(stop - start)
    assert response.headers["Cache-Control"] == "private, no-store"


@pytest.mark.parametrize("asked", [f"bytes={len(CONTENT)}-", "bytes=999999999-999999999999", "bytes=-0"])
def test_a_range_behind_the_end(get: Get, asked: str) -> None:
    response = get(Range=asked)
    assert (response.status_code, response.content_type) == (416, "application/problem+json")
    assert response.headers["Content-Range"] == f"bytes */{len(CONTENT)}"


@pytest.mark.parametrize(
    "asked",
    [
        "bytes=0-1,5-6",
        "bytes=0-1, -1",
        "seconds=1-2",
        "bytes=",
        "bytes=x-1",
        "bytes",
        "",
        "bytes=9-3",
        "bytes=0-" + "9" * 5000,
    ],
)
def test_a_range_that_is_ignored(get: Get, asked: str) -> None:
    response = get(Range=asked)
    assert (response.status_code, response.data) == (200, CONTENT)


def test_a_range_of_another_version_gets_the_whole(get: Get) -> None:
    date = formatdate(MODIFIED, usegmt=True)
    for same in (f'"{SHA256}"', date):
        assert get(Range="bytes=1-2", If_Range=same).status_code == 206
    for other in ('"another"', formatdate(MODIFIED - 9, usegmt=True), f'W/"{SHA256}"'):
        response = get(Range="bytes=1-2", If_Range=other)
        assert (response.status_code, len(response.data)) == (200, len(CONTENT)), other


def test_conditions(get: Get) -> None:
    response = get(If_None_Match=f'"{SHA256}"')
    assert (response.status_code, response.data) == (304, b"")
    assert get(If_None_Match='"another"').status_code == 200
    response = get(If_Match='"another"')
    assert (response.status_code, response.content_type) == (412, "application/problem+json")


def test_a_file_of_unknown_content_has_an_etag_of_its_own(get: Get, kept: Kept) -> None:
    kept.files[ID] = kept.files[ID]._replace(sha256=None)
    response = get()
    assert response.data == CONTENT
    assert SHA256 not in response.headers["ETag"]


def test_an_empty_file(get: Get, kept: Kept) -> None:
    kept.hold(b"")
    assert (get().status_code, get().data) == (200, b"")


@pytest.mark.parametrize("kind", [*CONTENT_TYPES, "exe", 'x"; y'])
def test_the_type_follows_the_format(get: Get, kept: Kept, kind: str) -> None:
    kept.files[ID] = Stored(ID, CALL, "ready", "disk", kept.files[ID].path, kind, SHA256, len(CONTENT))
    headers = get().headers
    assert headers["Content-Type"] == CONTENT_TYPES.get(kind, "application/octet-stream")
    assert headers["Content-Disposition"] in {f'inline; filename="{CALL}.{end}"' for end in (kind, "bin")}


# -- what is refused -------------------------------------------------------------------------------------------------


def problem(response: Any) -> tuple[int, str]:
    assert response.content_type == "application/problem+json"
    assert response.headers["Cache-Control"] == "no-store"
    return response.status_code, response.get_json()["type"].rpartition(":")[2]


def test_without_a_good_signature_nobody_even_looks(client: FlaskClient, kept: Kept) -> None:
    good = kept.link()
    other = ID.replace("ab", "ac")
    for bad in (good[:-1] + ("A" if good[-1] != "A" else "E"), good.replace(ID, other), good.replace("=179", "=279")):
        assert problem(client.get(bad)) == (403, "link-invalid")
    kept.now_s += 60
    expired = client.get(good)
    assert problem(expired) == (403, "link-expired")
    assert ID not in expired.text
    assert kept.looked_up == 0


@pytest.mark.parametrize("query", ["", "?expires=1", "?signature=x", "?expires=x&signature=" + "A" * 43])
def test_a_link_without_its_parts(client: FlaskClient, query: str) -> None:
    assert problem(client.get(f"/v1/recordings/{ID}{query}")) == (400, "invalid-request")


def test_a_link_with_more_than_its_parts(client: FlaskClient, kept: Kept) -> None:
    good = kept.link()
    assert problem(client.get(f"{good}&key=x"))[0] == 400
    assert problem(client.get(f"{good}&{good.rpartition('&')[2]}"))[0] == 400
    assert problem(client.post(good)) == (405, "method-not-allowed")


def test_missing_unplayable_and_unreadable_read_alike(client: FlaskClient, kept: Kept, path: Path) -> None:
    kept.files |= {
        "failed": Stored("failed", CALL, "failed", "disk", str(path), "wav"),
        "waiting": Stored("waiting", CALL, "waiting", "disk", str(path), "wav"),
        "outside": Stored("outside", CALL, "ready", "disk", "/etc/passwd", "wav"),
        "link": Stored("link", CALL, "ready", "disk", f"{path.parent}/link", "wav"),
        "vanished": Stored("vanished", CALL, "ready", "disk", f"{path.parent}/none", "wav"),
    }
    (path.parent / "link").symlink_to("/etc/passwd")
    answers = set()
    for name in (*kept.files.keys() - {ID}, "missing", "..", "a/b", "%2e%2e%2fcall.wav"):
        response = client.get(kept.link(name))
        assert problem(response) == (404, "not-found")
        answers.add(response.data)
    # A name with a slash is no address of ours in a server that does not tell it as it came.
    assert len({body for body in answers if b"recording" in body}) == 1
    assert len(answers) <= 2


def test_a_deleted_one_is_gone(client: FlaskClient, kept: Kept) -> None:
    kept.files[ID] = Stored(ID, CALL, "deleted", "disk", "", "wav")
    assert problem(client.get(kept.link())) == (410, "recording-gone")


def test_one_that_another_was_recorded_over_is_gone(client: FlaskClient, kept: Kept, path: Path) -> None:
    path.write_bytes(CONTENT[::-1])
    assert problem(client.get(kept.link())) == (410, "recording-changed")
    assert client.head(kept.link()).status_code == 410


def test_no_path_is_told(client: FlaskClient, kept: Kept, path: Path, caplog: pytest.LogCaptureFixture) -> None:
    def outside(_: Stored) -> OpenRecording:
        raise RecordingOutside(path)

    kept.open = outside  # type: ignore[method-assign]
    with caplog.at_level(logging.INFO):
        response = client.get(kept.link())
    assert str(path) not in response.text
    assert "recordings.directories" in caplog.text


def test_the_database_is_away(client: FlaskClient, kept: Kept) -> None:
    kept.away = StoreUnavailable("x")
    assert problem(client.get(kept.link())) == (503, "store-unavailable")


def test_a_process_without_recordings(kept: Kept) -> None:
    assert problem(fakes.app(World()).test_client().get(kept.link())) == (503, "not-served")


# -- in a bucket -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_what_is_in_a_bucket_is_there(client: FlaskClient, kept: Kept, method: str) -> None:
    kept.files[ID] = Stored(ID, CALL, "ready", "s3", "t/x.wav", "wav", SHA256, 5)
    response = client.open(kept.link(), method=method)
    assert (response.status_code, response.data) == (307, b"")
    assert response.location == f"https://bucket.example.com/t/x.wav?{method}&{CALL}.wav&audio/wav"
    assert response.headers["Cache-Control"] == "private, no-store"
    assert response.headers["Referrer-Policy"] == "no-referrer"


def test_the_bucket_is_away(client: FlaskClient, kept: Kept) -> None:
    kept.files[ID] = Stored(ID, CALL, "ready", "s3", "down", "wav", SHA256, 5)
    assert problem(client.get(kept.link())) == (503, "bucket-unavailable")


# -- over a socket ---------------------------------------------------------------------------------------------------


Serve = Callable[..., ApiServer]


@pytest.fixture
def serve(kept: Kept) -> Iterator[Serve]:
    running: list[ApiServer] = []

    def _serve(**http: Any) -> ApiServer:
        chosen = fakes.settings(host="127.0.0.1", **http)
        server = ApiServer(fakes.app(World(), chosen, recordings=kept), chosen.http, listen("127.0.0.1", 0))
        server.start()
        running.append(server)
        return server

    with gevent.Timeout(20):
        yield _serve
        for server in running:
            server.stop(0.2)


def ask(server: ApiServer, link: str) -> socket.socket:
    peer = socket.create_connection(("127.0.0.1", server.port), timeout=5)
    peer.sendall(f"GET {link} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
    return peer


def rest(peer: socket.socket) -> tuple[bytes, bytes]:
    """Head and body of the answer."""
    raw = b""
    with peer:
        while piece := peer.recv(65_536):
            raw += piece
    head, _, body = raw.partition(b"\r\n\r\n")
    return head, body


def test_the_token_reaches_no_log(serve: Serve, kept: Kept, caplog: pytest.LogCaptureFixture) -> None:
    link = kept.link()
    signature = link.rpartition("=")[2]
    with caplog.at_level(logging.DEBUG):
        server = serve()
        assert rest(ask(server, link))[1] == CONTENT
        assert b" 400 " in rest(ask(server, link[:-1] + "."))[0]
        del kept.files[ID]
        assert b" 404 " in rest(ask(server, link))[0]
        kept.away = ZeroDivisionError("x")
        assert b" 500 " in rest(ask(server, link))[0]
    assert f"GET /v1/recordings/{ID} 200 " in caplog.text
    assert signature[:-1] not in caplog.text
    assert "expires=" not in caplog.text


def test_a_slow_reader_gets_all_of_it_and_one_that_stops_is_cut_off(serve: Serve, kept: Kept) -> None:
    large = os.urandom(1 << 20) * 24
    kept.hold(large)
    server = serve(request_timeout_s=0.3)
    slow, stuck = ask(server, kept.link()), ask(server, kept.link())
    received = 0
    while piece := slow.recv(1 << 20):
        received += len(piece) if received else len(piece.partition(b"\r\n\r\n")[2])
        gevent.sleep(0.03)  # in all longer than a request may take
    assert received == len(large)
    while server.long_lived.count("recording"):
        gevent.sleep(0.01)
    assert len(rest(stuck)[1]) < len(large)
    slow.close()


def test_a_file_that_becomes_shorter_ends_the_connection(serve: Serve, kept: Kept, path: Path) -> None:
    kept.hold(b"x" * 50_000_000)
    server = serve()
    peer = ask(server, kept.link())
    assert peer.recv(1000)
    os.truncate(path, 1_000_000)
    assert len(rest(peer)[1]) < 50_000_000
    while server.long_lived.count("recording"):
        gevent.sleep(0.001)


def test_so_many_at_once(serve: Serve, kept: Kept) -> None:
    kept.hold(b"x" * 30_000_000)
    server = serve(max_long_lived=1)
    first = ask(server, kept.link())
    assert first.recv(1000)
    head, body = rest(ask(server, kept.link()))
    assert b" 503 " in head
    assert b"too-many" in body
    assert b"Retry-After" in head
    rest(first)
    while server.long_lived.count("recording"):
        gevent.sleep(0.001)
    assert b" 200 " in rest(ask(server, kept.link()))[0]
