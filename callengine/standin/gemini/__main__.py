"""``python -m callengine.standin.gemini``: the stand-in for Gemini's REST API as a process of its own."""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from callengine.standin.gemini import behaviours
from callengine.standin.gemini.files import Files
from callengine.standin.gemini.journal import Journal
from callengine.standin.gemini.server import Server
from callengine.standin.gemini.service import Service
from callengine.standin.serving import serve


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m callengine.standin.gemini",
        description="A stand-in for Gemini's REST API, for tests and demos. It is not Gemini, and its answers say so.",
        epilog=behaviours.__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default %(default)s)")
    parser.add_argument("--port", type=int, default=0, help="port to listen on; 0: any that is free")
    parser.add_argument("--key", help="the only API key that is accepted (default: any)")
    parser.add_argument("--latency-ms", type=float, default=0.0, help="how long an analysis takes (default none)")
    parser.add_argument("--processing-ms", type=float, default=50.0, help="how long a file is PROCESSING")
    parser.add_argument("--log", type=Path, help="file to append a line of JSON to for each request")
    return parser


def main(argv: list[str] | None = None) -> int:
    given = _parser().parse_args(argv)
    with tempfile.TemporaryDirectory(prefix="standin-gemini-") as folder, Journal(given.log) as journal:
        files = Files(Path(folder), processing_s=given.processing_ms / 1000)
        service = Service(files, journal, key=given.key, latency_s=given.latency_ms / 1000)
        try:
            server = Server((given.host, given.port), service)
        except OSError as error:
            sys.stderr.write(f"cannot listen on {given.host}:{given.port}: {error.strerror or error}\n")
            return 1
        serve(server, "stand-in for Gemini (not Google's)", service.stopping)
    return 0


if __name__ == "__main__":
    sys.exit(main())
