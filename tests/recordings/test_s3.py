"""The bucket, against a server in a process of its own that verifies every signature."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import subprocess
import sys
import traceback
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gevent
import pytest
from gevent import monkey
from pydantic import SecretStr

pytest.importorskip("boto3", reason="the extra s3 is not installed")

from callengine.config.sections import S3
from callengine.errors import BucketError, ConfigurationError
from callengine.recordings import s3
from callengine.recordings.s3 import MULTIPART_ABOVE_BYTES, PART_BYTES, Bucket
from tests.recordings.s3_server import ACCESS_KEY, BUCKET, REGION, SECRET_KEY

CONTENT = os.urandom(300_000)


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    command = [sys.executable, str(Path(__file__).with_name("s3_server.py"))]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        assert process.stdout is not None
        yield f"http://127.0.0.1:{int(process.stdout.readline())}"
        process.kill()


def settings(url: str, **more: Any) -> S3:
    given = {
        "endpoint_url": url,
        "bucket": BUCKET,
        "region": REGION,
        "access_key_id": ACCESS_KEY,
        "secret_access_key": SecretStr(SECRET_KEY),
        "concurrency": 2,
    }
    return S3.model_validate(given | more)


@pytest.fixture
def bucket(url: str) -> Iterator[Bucket]:
    made = Bucket(settings(url))
    with gevent.Timeout(60):
        yield made
    made.close()


def stored(tmp_path: Path, content: bytes = CONTENT) -> tuple[int, str]:
    """An open file with that content, and its hash."""
    (tmp_path / "x.wav").write_bytes(content)
    return os.open(tmp_path / "x.wav", os.O_RDONLY), hashlib.sha256(content).hexdigest()


def seen(url: str) -> dict[str, Any]:
    with urllib.request.urlopen(f"{url}/__seen", timeout=10) as answer:
        told: dict[str, Any] = json.load(answer)
        return told


def test_up_down_and_away(bucket: Bucket, url: str, tmp_path: Path) -> None:
    descriptor, sha256 = stored(tmp_path)
    bucket.check()
    bucket.upload(descriptor, "a/x.wav", sha256, "audio/wav")
    bucket.upload(descriptor, "a/x.wav", sha256, "audio/wav")
    os.fstat(descriptor)  # still the caller's
    with (tmp_path / "back.wav").open("w+b") as back:
        bucket.download("a/x.wav", back.fileno(), sha256, len(CONTENT))
        assert back.read() == CONTENT
    bucket.delete("a/x.wav")
    bucket.delete("a/x.wav")
    with (tmp_path / "gone.wav").open("w+b") as gone, pytest.raises(BucketError) as caught:
        bucket.download("a/x.wav", gone.fileno(), sha256, len(CONTENT))
    assert (caught.value.code, caught.value.status, caught.value.transient) == ("NoSuchKey", 404, False)
    assert (bucket.running, bucket.waiting, bucket.failures) == (0, 0, 1)
    os.close(descriptor)


def test_what_is_large_goes_in_parts(bucket: Bucket, url: str, tmp_path: Path) -> None:
    content = os.urandom(1 << 20) * ((MULTIPART_ABOVE_BYTES >> 20) + 1)
    descriptor, sha256 = stored(tmp_path, content)
    bucket.upload(descriptor, "large.wav", sha256, "audio/wav")
    parts = [way for way in seen(url)["seen"] if way == ["PUT", f"/{BUCKET}/large.wav"]]
    assert len(parts) == -(-len(content) // PART_BYTES) > 1
    with (tmp_path / "back.wav").open("w+b") as back:
        bucket.download("large.wav", back.fileno(), sha256, len(content))
        assert hashlib.sha256(back.read()).hexdigest() == sha256
    os.close(descriptor)


def test_what_was_begun_in_parts_and_failed_is_given_up(bucket: Bucket, url: str, tmp_path: Path) -> None:
    descriptor, sha256 = stored(tmp_path, b"x" * (MULTIPART_ABOVE_BYTES + 1))
    real, bucket._clients = bucket._clients, [_FailingParts(client) for client in bucket._clients]
    with pytest.raises(BucketError, match="no space"):
        bucket.upload(descriptor, "partly.wav", sha256, "audio/wav")
    bucket._clients = real
    told = seen(url)
    assert told["uploads"] == 0
    assert "partly.wav" not in told["objects"]
    os.close(descriptor)


class _FailingParts:
    """A client whose second part fails."""

    def __init__(self, client: Any) -> None:
        self._client = client

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)

    def upload_part(self, **named: Any) -> Any:
        if named["PartNumber"] == 2:
            raise OSError(28, "no space")
        return self._client.upload_part(**named)


def test_a_file_that_was_changed_is_not_sent(bucket: Bucket, url: str, tmp_path: Path) -> None:
    descriptor, _ = stored(tmp_path)
    with pytest.raises(BucketError) as caught:
        bucket.upload(descriptor, "changed.wav", "0" * 64, "audio/wav")
    assert (caught.value.code, caught.value.transient) == ("ContentChanged", False)
    assert ["PUT", f"/{BUCKET}/changed.wav"] not in seen(url)["seen"]
    os.close(descriptor)


@pytest.mark.parametrize(("key", "code"), [("x@truncated.wav", "NotAsSent"), ("x@500.wav", "InternalError")])
def test_what_the_store_gets_wrong_is_noticed(bucket: Bucket, tmp_path: Path, key: str, code: str) -> None:
    descriptor, sha256 = stored(tmp_path)
    with pytest.raises(BucketError) as caught:
        bucket.upload(descriptor, key, sha256, "audio/wav")
    assert (caught.value.code, caught.value.transient) == (code, True)
    os.close(descriptor)


def test_a_download_that_is_not_what_it_was(bucket: Bucket, tmp_path: Path) -> None:
    descriptor, sha256 = stored(tmp_path)
    bucket.upload(descriptor, "y.wav", sha256, "audio/wav")
    with (tmp_path / "back.wav").open("w+b") as back:
        for wanted, size in (("0" * 64, len(CONTENT)), (sha256, len(CONTENT) - 1), (sha256, len(CONTENT) + 1)):
            with pytest.raises(BucketError, match="ContentChanged"):
                bucket.download("y.wav", back.fileno(), wanted, size)
    os.close(descriptor)


def test_it_is_tried_twice_and_no_more(bucket: Bucket, url: str) -> None:
    bucket.delete("@once.wav")
    with pytest.raises(BucketError):
        bucket.delete("z@500.wav")
    asked = [way for way in seen(url)["seen"] if way == ["DELETE", f"/{BUCKET}/z%40500.wav"]]
    assert len(asked) == 2


# -- links -----------------------------------------------------------------------------------------------------------


def fetch(link: str, method: str = "GET") -> tuple[int, dict[str, str], bytes]:
    try:
        with urllib.request.urlopen(urllib.request.Request(link, method=method), timeout=10) as answer:
            return answer.status, dict(answer.headers), answer.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, {}, b""


def test_a_presigned_url_works_for_its_method_and_object_alone(bucket: Bucket, tmp_path: Path) -> None:
    descriptor, sha256 = stored(tmp_path)
    bucket.upload(descriptor, "p/x.wav", sha256, "audio/wav")
    link = bucket.presigned("p/x.wav", "call.wav", "audio/wav")
    assert "X-Amz-Expires=300" in link
    status, headers, body = fetch(link)
    assert (status, body) == (200, CONTENT)
    assert headers["Content-Disposition"] == 'inline; filename="call.wav"'
    assert headers["Content-Type"] == "audio/wav"
    head = bucket.presigned("p/x.wav", "call.wav", "audio/wav", "HEAD")
    assert fetch(head, "HEAD")[0] == 200
    for bad in (link.replace("p/x.wav", "p/y.wav"), link.replace("call.wav", "evil.wav"), link.partition("?")[0]):
        assert fetch(bad)[0] == 403
    assert fetch(link, "DELETE")[0] == 403
    assert SECRET_KEY not in link
    os.close(descriptor)


# -- what goes wrong -------------------------------------------------------------------------------------------------


def test_bounds_hold(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    bucket = Bucket(settings(url))
    monkeypatch.setattr(s3, "CHECK_TIMEOUT_S", 0.5)
    deletes = [gevent.spawn(bucket.delete, f"@hang{n}.wav") for n in range(3)]
    gevent.sleep(0.1)
    assert (bucket.running, bucket.waiting) == (2, 1)
    with gevent.Timeout(10):
        codes = []
        for one in deletes:
            with pytest.raises(BucketError) as caught:
                one.get()
            codes.append(caught.value.code)
            assert caught.value.transient
    assert sorted(codes) == ["TimedOut", "TimedOut", "TooManyTransfers"] or codes == ["TimedOut"] * 3
    assert (bucket.running, bucket.waiting) == (0, 0)
    monkeypatch.undo()
    bucket.check()  # the clients are as good as new
    bucket.close()


@pytest.mark.parametrize(("key", "code"), [("@odd.wav", "AnswerKeyError"), ("@odd-html.wav", "500")])
def test_an_answer_that_no_store_would_give(bucket: Bucket, tmp_path: Path, key: str, code: str) -> None:
    descriptor, sha256 = stored(tmp_path, bytes(MULTIPART_ABOVE_BYTES + 1))
    with pytest.raises(BucketError) as caught:
        bucket.upload(descriptor, key, sha256, "audio/wav")
    assert caught.value.transient
    assert code in caught.value.code
    assert bucket.running == 0
    os.close(descriptor)


def test_a_disk_that_hangs_is_not_waited_for(
    bucket: Bucket, url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    descriptor, sha256 = stored(tmp_path)
    free = monkey.get_original("_thread", "allocate_lock")()  # as a disk would: no timeout of gevent's ends it
    free.acquire()
    hash_of = s3._hash
    hashed = []

    def hang(number: int) -> str:
        free.acquire(timeout=20)
        hashed.append(hash_of(number))
        return hashed[-1]

    monkeypatch.setattr(s3, "_hash", hang)
    monkeypatch.setattr(s3, "_timeout_s", lambda _size: 0.1)
    monkeypatch.setattr(s3, "_DISK_S", 0.1)
    with gevent.Timeout(10), pytest.raises(BucketError, match="TimedOut") as caught:
        bucket.upload(descriptor, "disk.wav", sha256, "audio/wav")
    assert caught.value.transient
    assert bucket.running == 0
    os.close(descriptor)
    (tmp_path / "other").write_bytes(b"another's")
    other = os.open(tmp_path / "other", os.O_RDONLY)  # gets the number
    free.release()
    with gevent.Timeout(10):
        while not hashed:
            gevent.sleep(0.01)
    assert (other, hashed) == (descriptor, [sha256])
    os.close(other)


def test_a_server_that_says_nothing_is_not_waited_for(url: str) -> None:
    bucket = Bucket(settings(url, read_timeout_s=0.2))
    with gevent.Timeout(15), pytest.raises(BucketError) as caught:
        bucket.delete("@hang-read.wav")
    assert (caught.value.code, caught.value.transient) == ("ReadTimeoutError", True)
    bucket.close()


@pytest.mark.parametrize(
    ("more", "code"),
    [
        ({"secret_access_key": SecretStr("a-wrong-secret")}, "403"),
        ({"access_key_id": "AKIAWRONG"}, "403"),
        ({"bucket": "another"}, "404"),
        ({"endpoint_url": "http://127.0.0.1:9"}, "EndpointConnectionError"),
    ],
)
def test_no_error_and_no_log_has_a_secret(
    url: str, more: dict[str, Any], code: str, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    chosen = settings(url, **more)
    descriptor, sha256 = stored(tmp_path)
    with caplog.at_level(logging.DEBUG):
        bucket = Bucket(chosen)
        for attempt in (bucket.check, lambda: bucket.upload(descriptor, "s.wav", sha256, "audio/wav")):
            with pytest.raises(BucketError) as caught:
                attempt()
            told = "".join(traceback.format_exception(caught.value)) + repr(caught.value)
            for secret in (SECRET_KEY, "a-wrong-secret", chosen.access_key_id):
                assert secret not in told
                assert secret not in caplog.text
    with pytest.raises(BucketError) as caught:
        bucket.check()
    assert caught.value.code == code
    bucket.close()
    os.close(descriptor)


def test_without_boto3_it_says_what_to_install(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "boto3", None)
    with pytest.raises(ConfigurationError, match=r"callengine\[s3\]"):
        Bucket(settings(url))


def test_nothing_of_amazon_is_imported_unless_it_is_asked_for() -> None:
    code = "import sys, callengine.recordings.s3; sys.exit(any(n.startswith('boto') for n in sys.modules))"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_the_hub_goes_on_while_files_go_up(bucket: Bucket, tmp_path: Path) -> None:
    """A bound that a busy machine keeps too; what it is on a quiet one stands in the module's docstring."""
    descriptor, sha256 = stored(tmp_path, os.urandom(1 << 20))
    uploads = [gevent.spawn(bucket.upload, descriptor, f"@slow{n}.wav", sha256, "audio/wav") for n in range(4)]
    ticks = 0
    while not all(upload.ready() for upload in uploads):
        gevent.sleep(0.001)
        ticks += 1
    gevent.joinall(uploads, raise_error=True)
    assert ticks > 100  # each takes 0.4 s on the server's side alone: a hub that waited would have seen a handful
    os.close(descriptor)
