"""An S3-compatible store for tests: a process of its own that verifies each request's signature, and hashes each body.

Signatures are checked with botocore's own signer over what came in, so that what passes here is signed as AWS reads it
(Signature Version 4, in the header or in the query). Objects are kept in memory. ``python s3_server.py`` prints its
port. A key that holds ``@slow``, ``@500`` or ``@hang`` does what it says, ``@once`` fails the first time only, and
``@odd`` is answered as no store would, with success.
``GET /__seen`` tells what was asked, without a signature.
"""

from __future__ import annotations

import hashlib
import json
import sys
import time
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit
from xml.sax.saxutils import escape

from botocore.auth import S3SigV4Auth, S3SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

ACCESS_KEY, SECRET_KEY, REGION, BUCKET = "test-access-key", "test-secret-key-never-shown", "eu-test-1", "calls"
_UNSIGNED = "UNSIGNED-PAYLOAD"


class Refused(Exception):
    """An error in S3's form."""

    def __init__(self, status: int, code: str) -> None:
        super().__init__(code)
        self.status, self.code = status, code


class Store:
    """The objects, and the uploads that are not complete yet."""

    def __init__(self) -> None:
        self.objects: dict[str, tuple[bytes, dict[str, str]]] = {}
        self.uploads: dict[str, tuple[str, dict[str, str], dict[int, bytes]]] = {}
        self.seen: list[tuple[str, str]] = []
        self.failed: set[str] = set()


STORE = Store()


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *_: Any) -> None:
        """Says nothing."""

    def _answer(self, status: int, body: bytes = b"", headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        if "Content-Length" not in (headers or {}):
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _serve(self) -> None:
        split = urlsplit(self.path)
        if split.path == "/__seen":
            told = {"seen": STORE.seen, "uploads": len(STORE.uploads), "objects": sorted(STORE.objects)}
            return self._answer(200, json.dumps(told).encode())
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        try:
            query = dict(parse_qsl(split.query, keep_blank_values=True))
            STORE.seen.append((self.command, split.path))
            self._check_signature(query)
            self._check_body(body)
            bucket, _, key = unquote(split.path).lstrip("/").partition("/")
            if bucket != BUCKET:
                raise Refused(404, "NoSuchBucket")
            self._misbehave(key)
            getattr(self, f"_{self.command.lower()}")(key, query, body)
        except Refused as refused:
            text = f"<?xml version='1.0'?><Error><Code>{refused.code}</Code><Message>{SECRET_KEY}</Message></Error>"
            self._answer(refused.status, text.encode(), {"Content-Type": "application/xml"})
        return None

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = _serve  # noqa: N815

    # -- what is checked ---------------------------------------------------------------------------------------------

    def _check_signature(self, query: dict[str, str]) -> None:
        in_query = "X-Amz-Signature" in query
        if in_query:
            given, stamp, scope = query["X-Amz-Signature"], query["X-Amz-Date"], query["X-Amz-Credential"]
            signed = query["X-Amz-SignedHeaders"]
            began = datetime.strptime(stamp, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
            if datetime.now(UTC) > began + timedelta(seconds=int(query["X-Amz-Expires"])):
                raise Refused(403, "AccessDenied")
        else:
            header = self.headers.get("Authorization", "")
            if not header.startswith("AWS4-HMAC-SHA256 "):
                raise Refused(403, "AccessDenied")
            fields = dict(part.strip().split("=", 1) for part in header.partition(" ")[2].split(","))
            given, stamp, scope = fields["Signature"], self.headers["X-Amz-Date"], fields["Credential"]
            signed = fields["SignedHeaders"]
        if scope.split("/")[0] != ACCESS_KEY or scope.split("/")[2:] != [REGION, "s3", "aws4_request"]:
            raise Refused(403, "InvalidAccessKeyId")
        path = self.path.replace(f"&X-Amz-Signature={given}", "")
        headers = {name: self.headers[name] for name in signed.split(";")}
        request = AWSRequest(self.command, f"http://{self.headers['Host']}{path}", headers=headers)
        request.context.update(timestamp=stamp, signing={})
        kind = S3SigV4QueryAuth if in_query else S3SigV4Auth
        auth = kind(Credentials(ACCESS_KEY, SECRET_KEY), "s3", REGION)
        auth.timestamp = stamp
        text = auth.string_to_sign(request, auth.canonical_request(request))
        if auth.signature(text, request) != given:
            raise Refused(403, "SignatureDoesNotMatch")

    def _check_body(self, body: bytes) -> None:
        told = self.headers.get("X-Amz-Content-SHA256", _UNSIGNED)
        if told != _UNSIGNED and told != hashlib.sha256(body).hexdigest():
            raise Refused(400, "XAmzContentSHA256Mismatch")

    def _misbehave(self, key: str) -> None:
        if "@slow" in key:
            time.sleep(0.2)
        if "@hang" in key:
            time.sleep(60)
        if "@500" in key:
            raise Refused(500, "InternalError")
        if "@once" in key and key not in STORE.failed:
            STORE.failed.add(key)
            raise Refused(503, "SlowDown")

    def _meta(self) -> dict[str, str]:
        kept = {n: v for n, v in self.headers.items() if n.lower().startswith("x-amz-meta-")}
        return kept | {"Content-Type": self.headers.get("Content-Type", "binary/octet-stream")}

    # -- what is done ------------------------------------------------------------------------------------------------

    def _put(self, key: str, query: dict[str, str], body: bytes) -> None:
        etag = {"ETag": f'"{hashlib.md5(body).hexdigest()}"'}
        if "uploadId" in query:
            if query["uploadId"] not in STORE.uploads:
                raise Refused(404, "NoSuchUpload")
            STORE.uploads[query["uploadId"]][2][int(query["partNumber"])] = body
        else:
            STORE.objects[key] = (body, self._meta())
        self._answer(200, b"", etag)

    def _post(self, key: str, query: dict[str, str], body: bytes) -> None:
        if "@odd" in key:
            return self._answer(200, b"<html>" if "@odd-html" in key else b"<?xml version='1.0'?><ok/>")
        if "uploads" in query:
            upload = f"upload-{len(STORE.seen)}"
            STORE.uploads[upload] = (key, self._meta(), {})
            inner = f"<UploadId>{upload}</UploadId>"
            name = "InitiateMultipartUploadResult"
        else:
            _, meta, parts = STORE.uploads.pop(query["uploadId"])
            if any(len(parts[n]) < 5 << 20 for n in sorted(parts)[:-1]):
                raise Refused(400, "EntityTooSmall")
            STORE.objects[key] = (b"".join(parts[n] for n in sorted(parts)), meta)
            inner, name = '<ETag>"x-2"</ETag>', "CompleteMultipartUploadResult"
        text = f"<?xml version='1.0'?><{name}><Bucket>{BUCKET}</Bucket><Key>{escape(key)}</Key>{inner}</{name}>"
        return self._answer(200, text.encode(), {"Content-Type": "application/xml"})

    def _delete(self, key: str, query: dict[str, str], body: bytes) -> None:
        if "uploadId" in query:
            STORE.uploads.pop(query["uploadId"], None)
        else:
            STORE.objects.pop(key, None)
        self._answer(204)

    def _head(self, key: str, query: dict[str, str], body: bytes) -> None:
        self._get(key, query, body)

    def _get(self, key: str, query: dict[str, str], body: bytes) -> None:
        if not key:  # HeadBucket
            return self._answer(200)
        if key not in STORE.objects:
            raise Refused(404, "NoSuchKey")
        content, meta = STORE.objects[key]
        headers = meta | {"ETag": '"x"', "Last-Modified": "Sun, 22 Nov 2026 10:00:00 GMT"}
        for asked, name in (("type", "Content-Type"), ("disposition", "Content-Disposition")):
            if given := query.get(f"response-content-{asked}"):
                headers[name] = given
        if "@truncated" in key:
            content = content[:-1]
        status, wanted = 200, self.headers.get("Range")
        if wanted:
            first, _, last = wanted.removeprefix("bytes=").partition("-")
            status, content = 206, content[int(first) : int(last) + 1 if last else None]
        return self._answer(status, content, headers | {"Content-Length": str(len(content))})


if __name__ == "__main__":
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    sys.stdout.write(f"{server.server_address[1]}\n")
    sys.stdout.flush()
    server.serve_forever()
