"""Serving HTTP as a process of its own, until it is told to stop: what the stand-ins that are HTTP servers share."""

from __future__ import annotations

import signal
import sys
import threading
from http.server import HTTPServer


def serve(server: HTTPServer, what: str, stopping: threading.Event) -> None:
    """Says where ``what`` listens, then serves until SIGTERM or SIGINT. ``stopping`` wakes up whoever waits then."""
    signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=server.shutdown, daemon=True).start())
    host, port = server.server_address[:2]
    sys.stdout.write(f"{what} at http://{host!s}:{port}\n")
    sys.stdout.flush()
    try:
        server.serve_forever(poll_interval=0.1)
    except KeyboardInterrupt:
        pass
    finally:
        stopping.set()
        server.server_close()
