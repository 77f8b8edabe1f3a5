"""``callengine run`` and ``callengine api``: the processes that serve."""

from __future__ import annotations

import argparse
import gc

from callengine.cli.parser import Commands, config_option


def register(commands: Commands) -> None:
    """Declares both."""
    run = commands.add(
        "run",
        _run,
        "the daemon: track and place calls, serve them over HTTP",
        "Connects to FreeSWITCH's event socket, keeps every call in the database, and serves the API and the "
        "metrics. Runs until SIGTERM or Ctrl-C; the database is migrated first where that is needed. SIGHUP reads the "
        "settings again. Exits with 0 when it was told to stop, 4 when the database cannot be reached or the port is "
        "taken, 70 when a part of it cannot go on (start it again after both), 78 when the settings are wrong.",
        [
            "callengine run",
            "callengine run --config ./callengine.toml",
            "CALLENGINE_ESL__PASSWORD=secret callengine run",
        ],
    )
    config_option(run)
    api = commands.add(
        "api",
        _api,
        "the reads of the API in a process of their own, without a switch",
        "Serves the reads from the database that the daemon writes, and nothing else: what places or changes a "
        "call is answered 503. For heavy readers; give it a port of its own.",
        [
            "CALLENGINE_HTTP__PORT=8089 callengine api",
        ],
    )
    config_option(api)


# Both patch before anything else is imported. Up to here only modules are loaded that gevent has nothing to patch in;
# tests/cli/test_main.py holds it.


def _run(args: argparse.Namespace) -> int:
    gc.disable()  # what is imported stays: callengine.daemon freezes it, and turns this on again
    import callengine.patched  # noqa: F401
    from callengine.cli.settings import load_settings, make_state_directory
    from callengine.daemon import run

    settings = load_settings(args)
    make_state_directory(settings)
    return run(settings, lambda: load_settings(args))


def _api(args: argparse.Namespace) -> int:
    gc.disable()
    import callengine.patched  # noqa: F401
    from callengine.cli.settings import load_settings
    from callengine.daemon import serve_reads

    return serve_reads(load_settings(args), lambda: load_settings(args))
