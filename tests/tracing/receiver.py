"""A receiver of OTLP over HTTP in a process's own thread: keeps what it was sent, and answers as it is told."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest


class Receiver:
    """What came: ``requests`` are headers and spans. ``status`` is answered; 0: nothing ever is."""

    def __init__(self) -> None:
        self.url = ""
        self.status = 200
        self.headers: list[dict[str, str]] = []
        self.spans: list[Any] = []
        self.services: list[str] = []
        self.hang = threading.Event()

    def named(self, name: str) -> list[Any]:
        """The spans of that name."""
        return [span for span in self.spans if span.name == name]

    def took(self, headers: dict[str, str], body: bytes) -> None:
        """Keeps it."""
        told = ExportTraceServiceRequest.FromString(body)
        self.headers.append(headers)
        for of_resource in told.resource_spans:
            self.services += [
                one.value.string_value for one in of_resource.resource.attributes if one.key == "service.name"
            ]
            for of_scope in of_resource.scope_spans:
                self.spans += of_scope.spans


def attributes(span: Any) -> dict[str, Any]:
    """By name."""
    return {one.key: getattr(one.value, one.value.WhichOneof("value")) for one in span.attributes}


@contextmanager
def receiving() -> Iterator[Receiver]:
    """One that listens on loopback until the body is left."""
    receiver = Receiver()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if not receiver.status:
                receiver.hang.wait(60)
                return
            if receiver.status == 200:
                receiver.took(dict(self.headers), body)
            self.send_response(receiver.status)
            self.end_headers()

        def log_message(self, *args: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    receiver.url = f"http://127.0.0.1:{server.server_address[1]}/v1/traces"
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield receiver
    finally:
        receiver.hang.set()
        server.shutdown()
        thread.join(5)
        server.server_close()
