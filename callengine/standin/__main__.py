"""``python -m callengine.standin``: the stand-in switch as a process of its own."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from callengine.standin import Options, dialplan, endpoints, fault_command, scenarios
from callengine.standin.server import StandIn, serve


def _parser() -> argparse.ArgumentParser:
    tables = [module.__doc__ or "" for module in (scenarios, endpoints, dialplan, fault_command)]
    parser = argparse.ArgumentParser(
        prog="python -m callengine.standin",
        description="A stand-in for FreeSWITCH's event socket, for tests and demos. It is not FreeSWITCH.",
        epilog="\n\n".join(tables),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default %(default)s)")
    parser.add_argument("--port", type=int, default=0, help="port of the event socket; 0: any that is free")
    parser.add_argument("--password", default="ClueCon", help="event socket password (default %(default)s)")
    parser.add_argument("--recordings", type=Path, help="folder of recordings with a relative path")
    parser.add_argument("--cdr", type=Path, help="folder to write CDRs to, as mod_json_cdr does")
    parser.add_argument("--far-end", type=Path, help="file to list the calls in that reach the far end, as JSON lines")
    parser.add_argument("--seed", type=int, default=1, help="what is drawn, is drawn from this (default %(default)s)")
    parser.add_argument("--inbound-rate", type=float, default=0.0, help="incoming calls a second (default none)")
    parser.add_argument("--inbound-numbers", default="", help="numbers they call, with commas between")
    parser.add_argument("--time-scale", type=float, default=1.0, help="how much faster calls live (default 1)")
    parser.add_argument("--max-sessions", type=int, default=5000)
    parser.add_argument("--sessions-per-second", type=int, default=1000)
    parser.add_argument("--gateways", default="", help="the gateways that exist, with commas between (default: any)")
    parser.add_argument("--hostname", default="standin")
    parser.add_argument("--heartbeat", type=float, default=20.0, help="seconds between heartbeats")
    parser.add_argument("--print-address", action="store_true", help="print host:port alone, as a second line")
    return parser


def _listed(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())


def main(argv: list[str] | None = None) -> int:
    given = _parser().parse_args(argv)
    options = Options(
        host=given.host,
        port=given.port,
        password=given.password,
        recordings=given.recordings,
        cdr=given.cdr,
        far_end=given.far_end,
        seed=given.seed,
        inbound_rate=given.inbound_rate,
        time_scale=given.time_scale,
        max_sessions=given.max_sessions,
        sessions_per_second=given.sessions_per_second,
        gateways=_listed(given.gateways),
        hostname=given.hostname,
        heartbeat_s=given.heartbeat,
    )
    if given.inbound_numbers:
        options.inbound_numbers = _listed(given.inbound_numbers)
    standin = StandIn(options)

    def ready() -> None:
        sys.stdout.write(standin.banner() + "\n")
        if given.print_address:
            sys.stdout.write(standin.address + "\n")
        sys.stdout.flush()

    try:
        serve(standin, ready)
    except OSError as error:
        sys.stderr.write(f"standin: cannot listen on {given.host}:{given.port}: {error.strerror or error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
