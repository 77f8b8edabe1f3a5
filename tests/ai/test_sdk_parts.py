"""The parts below the seam that need no server."""

from __future__ import annotations

import io
import ssl
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gevent
import pytest
import requests
from gevent import monkey
from gevent.threadpool import ThreadPool

from callengine.ai.adapters import OneContext
from callengine.ai.faults import Permanent
from callengine.ai.reading import PIECE_BYTES, Reader
from callengine.ai.tls import trusted, trusted_by_requests
from callengine.ai.unexpected import unexpected
from callengine.errors import StoreUnavailable
from tests.ai.fake import audio_of, record


@pytest.fixture
def pool() -> Any:
    made = ThreadPool(2)
    yield made
    made.kill()


def test_a_part_is_read_in_pieces_and_can_be_sent_again(pool: ThreadPool, tmp_path: Path) -> None:
    path = record(tmp_path / "a.wav", 60)
    with Reader(pool, audio_of(path)) as reader:
        assert reader.seek(0, io.SEEK_END) == path.stat().st_size
        reader.seek(0)
        part = reader.part(3 * PIECE_BYTES + 5)
        assert len(part) == 3 * PIECE_BYTES + 5
        assert [len(piece) for piece in part] == [PIECE_BYTES] * 3 + [5]
        assert b"".join(part) == path.read_bytes()[: len(part)] == b"".join(part)
        assert reader.read() == path.read_bytes()[len(part) :]
        assert reader.read() == b""


def test_what_the_opener_raises_is_raised(pool: ThreadPool, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = record(tmp_path / "a.wav", 1)

    def away() -> Any:
        raise StoreUnavailable("it is away")

    with pytest.raises(StoreUnavailable):
        Reader(pool, audio_of(path, opener=away))
    audio = audio_of(path)
    path.unlink()
    with pytest.raises(Permanent):
        Reader(pool, audio)
    assert capfd.readouterr() == ("", ""), "the hub prints what a thread dies of"


def test_a_file_that_opens_too_late_is_closed(pool: ThreadPool, tmp_path: Path) -> None:
    path = record(tmp_path / "a.wav", 1)
    opened = []
    gate = monkey.get_original("_thread", "allocate_lock")()  # a native one: it is waited for in a native thread
    gate.acquire()

    def slowly() -> Any:
        gate.acquire()
        opened.append(path.open("rb"))
        return opened[0]

    greenlet = gevent.spawn(Reader, pool, audio_of(path, opener=slowly))
    gevent.sleep(0.05)
    greenlet.kill(timeout=5)
    gate.release()
    with gevent.Timeout(5):
        while not opened or not opened[0].closed:
            gevent.sleep(0.01)


def test_an_error_that_nobody_foresaw_tells_its_place_alone() -> None:
    try:
        raise RuntimeError("the key is AIza")
    except RuntimeError as error:
        fault = unexpected(error)
    assert str(fault).startswith("unexpected RuntimeError at test_sdk_parts.py:")
    assert "AIza" not in str(fault)


def test_certificates_are_checked_and_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/nowhere")
    with pytest.raises(FileNotFoundError):
        trusted_by_requests()
    context = trusted()
    assert context.verify_mode == ssl.CERT_REQUIRED
    assert context.check_hostname
    adapter = OneContext(context)
    request = requests.Request("GET", "https://localhost/").prepare()
    _, attributes = adapter.build_connection_pool_key_attributes(request, "/nowhere")
    assert attributes == {"cert_reqs": "CERT_REQUIRED"}
    connection = SimpleNamespace()
    adapter.cert_verify(connection, "https://localhost/", "/nowhere", None)
    assert vars(connection) == {"cert_reqs": "CERT_REQUIRED"}
    adapter.close()
