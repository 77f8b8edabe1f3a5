"""The S3-compatible store that recordings are kept in, through boto3 (the extra ``s3``), off the hub.

Measured with a 1 ms ticker on two busy cores, five files of 58 MB one after another: in native threads it is late by
2.3 ms (p99) and 11 ms at most, with a process of its own by 2.8 and 72 (its start), with nothing going on by 1.1 and
16. In greenlets forty files of 1 MB stall it for 98 ms. So each transfer runs in a native thread. It takes a client
that no other uses meanwhile, and closes its connections at the end: a socket of gevent's belongs to the thread that
made it, and has to be closed there.

What goes up is hashed before, hashed again by the store (the signature covers the body), and asked for afterwards.
No message here has anything of what the store or boto3 said but the error's code, since the rest may repeat secrets.
"""

from __future__ import annotations

import hashlib
import importlib
import io
import logging
import os
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, Final, Self, TypeVar

import gevent
from gevent import monkey
from gevent.lock import BoundedSemaphore

from callengine.config.sections import S3
from callengine.errors import BucketError, ConfigurationError
from callengine.threads import Threads, within

T = TypeVar("T")

# gevent's own asks the hub, of which each thread would get one of its own.
_close: Callable[[int], None] = monkey.get_original("os", "close")

MULTIPART_ABOVE_BYTES: Final = 16 << 20
PART_BYTES: Final = 8 << 20
PIECE_BYTES: Final = 256 << 10
ATTEMPTS: Final = 2
"""Of each request; whoever asked may try again later, with pauses of its own."""
CHECK_TIMEOUT_S: Final = 20.0
BASE_TIMEOUT_S: Final = 60.0
SLOWEST_BYTES_PER_S: Final = 128 << 10
"""A transfer that is slower than that has failed, after ``BASE_TIMEOUT_S``."""
_DISK_S: Final = 10.0

_CODE: Final = re.compile(r"[A-Za-z0-9.]{1,64}", re.ASCII)
_ODD: Final = (LookupError, TypeError, ValueError, AttributeError)
"""What follows from an answer that lacks what each answer of a store's has."""
_TRANSIENT: Final = frozenset(
    "BadDigest InternalError RequestTimeout RequestTimeTooSkewed ServiceUnavailable SlowDown Throttling"
    " XAmzContentSHA256Mismatch".split()
)


class Bucket:
    """One bucket. Every method but ``presigned`` waits, within a bound, and raises ``BucketError``."""

    def __init__(self, settings: S3) -> None:
        self._settings = settings
        self._errors, self._unparsed, make = _boto(settings)
        self._clients = [make() for _ in range(settings.concurrency)]
        self._signing = make()
        self._threads = Threads(settings.concurrency)
        self._places = BoundedSemaphore(settings.concurrency)
        self.running = 0
        """How many transfers are going on; at most ``s3.concurrency``."""
        self.waiting = 0
        """How many wait for one of those to end."""
        self.failures = 0
        """How many failed since the start."""

    def check(self) -> None:
        """Asks for the bucket: for the start, so that a wrong key is known before the first recording."""
        self._do("the check", CHECK_TIMEOUT_S, lambda client: client.head_bucket(Bucket=self._settings.bucket))

    def key(self, tenant_id: str, call_id: str, recording_id: str, at_us: int, ending: str) -> str:
        """The name of a recording's object: ``prefix/tenant/yyyy/mm/dd/call/recording.ending``, by the day in UTC."""
        day = time.strftime("%Y/%m/%d", time.gmtime(at_us // 1_000_000))
        prefix = f"{self._settings.prefix}/" if self._settings.prefix else ""
        return f"{prefix}{tenant_id}/{day}/{call_id}/{recording_id}.{ending}"

    def upload(self, descriptor: int, key: str, sha256: str, content_type: str) -> None:
        """Puts the open regular file there under ``key``.

        ``sha256`` (hex) is what the file has to have; one that has another was changed since (``ContentChanged``). The
        descriptor stays the caller's. Doing it again does no harm.
        """
        size = os.fstat(descriptor).st_size
        more = {"ContentType": content_type, "Metadata": {"sha256": sha256}}

        def put(client: Any, descriptor: int) -> None:
            if _hash(descriptor) != sha256:
                raise BucketError("upload", "ContentChanged")
            if size > MULTIPART_ABOVE_BYTES:
                self._upload_parts(client, descriptor, key, size, more)
            else:
                client.put_object(**self._named(key), Body=_part(descriptor, 0, size), ContentLength=size, **more)
            there = client.head_object(**self._named(key))
            if there["ContentLength"] != size or there.get("Metadata", {}).get("sha256") != sha256:
                raise BucketError("upload", "NotAsSent", transient=True)

        with _Own(descriptor) as own:
            self._do("upload", _timeout_s(size), lambda client: own.lend("upload", lambda lent: put(client, lent)))

    def _upload_parts(self, client: Any, descriptor: int, key: str, size: int, more: dict[str, Any]) -> None:
        named = self._named(key)
        upload = {**named, "UploadId": client.create_multipart_upload(**named, **more)["UploadId"]}
        parts = []
        try:
            for number, offset in enumerate(range(0, size, PART_BYTES), start=1):
                body = _part(descriptor, offset, min(PART_BYTES, size - offset))
                etag = client.upload_part(**upload, PartNumber=number, Body=body)["ETag"]
                parts.append({"PartNumber": number, "ETag": etag})
            client.complete_multipart_upload(**upload, MultipartUpload={"Parts": parts})
        except BaseException:
            # What was begun and not completed is paid for and seen nowhere.
            with suppress(BucketError), self._told("upload"):
                gevent.with_timeout(CHECK_TIMEOUT_S, client.abort_multipart_upload, timeout_value=None, **upload)
            raise

    def download(self, key: str, descriptor: int, sha256: str, size: int) -> None:
        """Writes the object into the open file, from its beginning. ``sha256`` and ``size`` (bytes) are what it has to
        have; raises ``BucketError`` (``ContentChanged``) where it has not."""

        def get(client: Any, descriptor: int) -> None:
            digest, at = hashlib.sha256(), 0
            for piece in _pieces(client.get_object(**self._named(key))["Body"]):
                digest.update(piece)
                if at + len(piece) > size:
                    break
                at += os.pwrite(descriptor, piece, at)
            if at != size or digest.hexdigest() != sha256:
                raise BucketError("download", "ContentChanged")

        with _Own(descriptor) as own:
            self._do("download", _timeout_s(size), lambda client: own.lend("download", lambda lent: get(client, lent)))

    def delete(self, key: str) -> None:
        """Deletes the object; one that is not there is deleted already."""
        self._do("deleting", CHECK_TIMEOUT_S, lambda client: client.delete_object(**self._named(key)))

    def presigned(self, key: str, filename: str, content_type: str, method: str = "GET") -> str:
        """A URL of the object for ``GET`` or ``HEAD``, good for ``s3.url_ttl_s``. Asks nobody, and does not wait."""
        given = self._named(key) | {
            "ResponseContentType": content_type,
            "ResponseContentDisposition": f'inline; filename="{filename}"',
            "ResponseCacheControl": "private, no-store",
        }
        operation = "head_object" if method == "HEAD" else "get_object"
        with self._told("presigning"):
            url: str = self._signing.generate_presigned_url(operation, given, ExpiresIn=self._settings.url_ttl_s)
            return url

    def close(self) -> None:
        """Lets the threads end; a transfer that goes on is not awaited."""
        if not self.running:
            self._threads.kill()

    # -- how it is done ----------------------------------------------------------------------------------------------

    def _named(self, key: str) -> dict[str, Any]:
        return {"Bucket": self._settings.bucket, "Key": key}

    def _do(self, verb: str, timeout_s: float, work: Callable[[Any], T]) -> T:
        """``work(client)`` in a native thread; waiting for one is within ``timeout_s`` too."""
        deadline = time.monotonic() + timeout_s
        try:
            self._enter(verb, timeout_s)
            try:
                # The inner bound ends what waits for the network, the outer one what waits for the disk.
                return within(timeout_s + _DISK_S, self._threads, lambda: self._work(verb, deadline, work))
            except TimeoutError:
                raise BucketError(verb, "TimedOut", transient=True) from None
            finally:
                self.running -= 1
                self._places.release()
        except BucketError:
            self.failures += 1
            raise

    def _enter(self, verb: str, timeout_s: float) -> None:
        self.waiting += 1
        try:
            if not self._places.acquire(timeout=timeout_s):
                raise BucketError(verb, "TooManyTransfers", transient=True)
        finally:
            self.waiting -= 1
        self.running += 1

    def _work(self, verb: str, deadline: float, work: Callable[[Any], T]) -> T:
        """In the thread. Its sockets are gevent's, on a hub of the thread's own, so that a timeout ends what waits."""
        client = self._clients.pop()
        try:
            with gevent.Timeout(max(deadline - time.monotonic(), 0.001)) as timeout, self._told(verb):
                try:
                    return work(client)
                except gevent.Timeout as error:
                    if error is not timeout:
                        raise
                    raise BucketError(verb, "TimedOut", transient=True) from None
        finally:
            client.close()
            self._clients.append(client)

    @contextmanager
    def _told(self, verb: str) -> Iterator[None]:
        """boto3's errors as ours, without their text."""
        errors = self._errors
        try:
            yield
        except errors.ClientError as error:
            code = str(error.response.get("Error", {}).get("Code", ""))
            status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode")
            transient = code in _TRANSIENT or status in {408, 429} or (status or 0) >= 500
            raise BucketError(
                verb, code if _CODE.fullmatch(code) else "Unnamed", status=status, transient=transient
            ) from None
        except (errors.BotoCoreError, errors.HTTPClientError) as error:
            raise BucketError(verb, type(error).__name__, transient=True) from None
        except OSError as error:
            raise BucketError(verb, error.strerror or type(error).__name__, transient=True) from None
        except (*_ODD, self._unparsed) as error:
            # What answered is no store, or not in order: a page of a proxy's, say.
            raise BucketError(verb, f"Answer{type(error).__name__}", transient=True) from None


def _boto(settings: S3) -> tuple[Any, type[Exception], Callable[[], Any]]:
    """botocore's exceptions, the one of its parsers, and what makes a client. A third of a second: for the start."""
    try:
        boto3, config, errors, parsers = (
            importlib.import_module(n) for n in ("boto3", "botocore.config", "botocore.exceptions", "botocore.parsers")
        )
    except ImportError:
        raise ConfigurationError(
            ["recordings.storage: s3 needs boto3, which is not installed: pip install 'callengine[s3]'"]
        ) from None
    logging.getLogger("botocore").setLevel(logging.WARNING)  # at DEBUG it logs what it signs
    session = boto3.session.Session()
    chosen = config.Config(
        signature_version="s3v4",
        s3={"addressing_style": "path" if settings.path_style else "virtual", "payload_signing_enabled": True},
        connect_timeout=settings.connect_timeout_s,
        read_timeout=settings.read_timeout_s,
        retries={"total_max_attempts": ATTEMPTS, "mode": "standard"},
        # What newer SDKs add by themselves is unknown to many stores other than Amazon's.
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
        ignore_configured_endpoint_urls=True,
        proxies={},
        max_pool_connections=1,
    )

    def make() -> Any:
        client = session.client(
            "s3",
            endpoint_url=settings.endpoint_url or None,
            region_name=settings.region,
            aws_access_key_id=settings.access_key_id,
            aws_secret_access_key=settings.secret_access_key.get_secret_value(),
            config=chosen,
        )
        _close_at_once(client)
        return client

    return errors, parsers.ResponseParserError, make


def _close_at_once(client: Any) -> None:
    """Makes ``client.close()`` close the connections. By itself urllib3 only forgets them, and they are closed with
    other garbage, in whichever thread that is collected. The client can be used on."""
    client._endpoint.http_session._manager.pools.dispose_func = lambda pool: pool.close()


class _Part(io.RawIOBase):
    """A part of an open file, with a position of its own: that of a descriptor is shared by all who read it."""

    def __init__(self, descriptor: int, start: int, length: int) -> None:
        self._descriptor = descriptor
        self._start = start
        self._length = length
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        wanted = min(len(buffer), self._length - self._at)
        piece = os.pread(self._descriptor, wanted, self._start + self._at) if wanted > 0 else b""
        buffer[: len(piece)] = piece
        self._at += len(piece)
        return len(piece)

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._length}[whence]
        self._at = max(0, base + offset)
        return self._at

    def tell(self) -> int:
        return self._at


class _Own:
    """A descriptor for a thread, of the same file as the caller's. The caller may close his while the thread, which
    nobody waits for any more, still reads: the number may be another file's by then."""

    def __init__(self, descriptor: int) -> None:
        self._held = [os.dup(descriptor)]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Closes it unless it was lent: whoever takes it out of the list closes it."""
        for descriptor in self._take():
            _close(descriptor)

    def lend(self, verb: str, work: Callable[[int], T]) -> T:
        """``work(descriptor)``, in the thread; it is closed then. Raises BucketError where the caller has gone."""
        for descriptor in self._take():
            try:
                return work(descriptor)
            finally:
                _close(descriptor)
        raise BucketError(verb, "TimedOut", transient=True)

    def _take(self) -> list[int]:
        try:
            return [self._held.pop()]
        except IndexError:
            return []


def _part(descriptor: int, start: int, length: int) -> io.BufferedReader:
    return io.BufferedReader(_Part(descriptor, start, length), PIECE_BYTES)


def _timeout_s(size: int) -> float:
    return BASE_TIMEOUT_S + size / SLOWEST_BYTES_PER_S


def _hash(descriptor: int) -> str:
    digest, at = hashlib.sha256(), 0
    while piece := os.pread(descriptor, PIECE_BYTES, at):
        digest.update(piece)
        at += len(piece)
    return digest.hexdigest()


def _pieces(body: Any) -> Iterator[bytes]:
    try:
        while piece := body.read(PIECE_BYTES):
            yield piece
    finally:
        body.close()
