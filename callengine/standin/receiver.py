"""``python -m callengine.standin.receiver``: a webhook receiver as a process of its own, for the demo and the tests.

It verifies what it gets by the words of Standard Webhooks, with nothing of the sender's code; says what came in one
line each; and can be told to fail, to be slow, to hang, or to answer 410.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import hmac
import json
import random
import sys
import threading
import time
from collections import OrderedDict
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final

from callengine.standin.serving import serve

_MAX_BODY: Final = 4 << 20
_REMEMBERED: Final = 100_000
_TOLERANCE_S: Final = 300
_HANG_S: Final = 3600.0


class Book:
    """What came so far. All threads share it."""

    def __init__(self, secrets: list[bytes], log: Path | None) -> None:
        self._secrets = secrets
        self._lock = threading.Lock()
        self._seen: OrderedDict[str, None] = OrderedDict()
        self._log = log.open("ab") if log is not None else None
        self.stopping = threading.Event()

    def verifies(self, headers: Any, body: bytes) -> str | None:
        """None where it is genuine; else why not."""
        message_id, at, given = (headers.get(f"webhook-{name}") for name in ("id", "timestamp", "signature"))
        if not (message_id and at and given):
            return "has no webhook headers"
        if not at.isdigit() or abs(time.time() - int(at)) > _TOLERANCE_S:
            return "is not of now"
        content = f"{message_id}.{at}.".encode() + body
        for secret in self._secrets:
            mine = "v1," + base64.b64encode(hmac.new(secret, content, hashlib.sha256).digest()).decode()
            if any(hmac.compare_digest(mine.encode(), one.encode()) for one in given.split()):
                return None
        return "is signed by another secret"

    def take(self, message_id: str, body: bytes) -> bool:
        """Remembers it and appends it to the log. Whether it came before."""
        with self._lock:
            repeated = message_id in self._seen
            self._seen[message_id] = None
            if len(self._seen) > _REMEMBERED:
                self._seen.popitem(last=False)
            if self._log is not None:
                self._log.write(body.replace(b"\n", b" ") + b"\n")
                self._log.flush()
        return repeated

    def close(self) -> None:
        """Closes the log."""
        if self._log is not None:
            self._log.close()


def line_of(body: bytes, note: str) -> str:
    """One line: the time, the event, the call, its seq, and ``note``; nothing in it drives a terminal."""
    try:
        told = json.loads(body)
        call = (told.get("data") or {}).get("call") or {}
        parts = [
            str(told.get("type")),
            str(call.get("id") or "-"),
            f"seq {told.get('seq')}",
            str(call.get("status") or ""),
        ]
    except (ValueError, AttributeError):
        parts = ["what is no JSON object"]
    text = "  ".join([datetime.now(UTC).strftime("%H:%M:%S.%f")[:-3], *parts, note]).rstrip()
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)


class Handler(BaseHTTPRequestHandler):
    """POST anywhere."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    book: Book
    given: argparse.Namespace

    def do_POST(self) -> None:
        """Takes a delivery."""
        length = self.headers.get("Content-Length", "")
        if not length.isdigit() or int(length) > _MAX_BODY:
            self.close_connection = True
            self._answer(413, b"")
            return
        body = self.rfile.read(int(length))
        given = self.given
        if given.delay_ms:
            self.book.stopping.wait(given.delay_ms / 1000)
        if given.mode == "hang":
            self.book.stopping.wait(_HANG_S)
            self.close_connection = True
            return
        if given.mode == "gone":
            self._say(body, "answered 410")
            self._answer(410, b"gone")
        elif (fault := self.book.verifies(self.headers, body)) is not None:
            self._say(body, f"REFUSED: it {fault}")
            self._answer(401, fault.encode())
        elif random.random() < given.fail_rate:
            self._say(body, "failed, as told")
            self._answer(500, b"failed, as told")
        else:
            repeated = self.book.take(self.headers["webhook-id"], body)
            self._say(body, "again" if repeated else "")
            self._answer(204, b"")

    def _say(self, body: bytes, note: str) -> None:
        sys.stdout.write(line_of(body, note) + "\n")
        sys.stdout.flush()

    def _answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        if status != 204:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  its name in the standard library
        """What came is said once, by ``_say``."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A sender that goes away is nothing to be said."""


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m callengine.standin.receiver",
        description="Receives webhooks, verifies them, and prints one line for each.",
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default %(default)s)")
    parser.add_argument("--port", type=int, default=0, help="port to listen on; 0: any that is free")
    parser.add_argument(
        "--secret-file", type=Path, required=True, help="file with the endpoint's secret (whsec_…), one a line"
    )
    parser.add_argument("--fail-rate", type=float, default=0.0, help="share that is answered 500, from 0 to 1")
    parser.add_argument("--delay-ms", type=float, default=0.0, help="how long each answer takes")
    parser.add_argument("--mode", choices=("ok", "hang", "gone"), default="ok", help="hang: never answer; gone: 410")
    parser.add_argument("--log", type=Path, help="file to append each body to that was taken, one a line")
    return parser


def _secrets(path: Path) -> list[bytes]:
    return [base64.b64decode(line.removeprefix("whsec_")) for line in path.read_text().split()]


def main(argv: list[str] | None = None) -> int:
    """Serves until SIGTERM or SIGINT. The first line says where."""
    given = _parser().parse_args(argv)
    try:
        book = Book(_secrets(given.secret_file), given.log)
        handler = type("_Handler", (Handler,), {"book": book, "given": given})
        server = _Server((given.host, given.port), handler)
    except (OSError, ValueError) as error:
        sys.stderr.write(f"the receiver cannot start: {error}\n")
        return 1
    try:
        serve(server, "webhook receiver", book.stopping)
    finally:
        book.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
