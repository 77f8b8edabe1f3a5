"""``callengine``: parses the command line, runs one command, and turns what went wrong into one line and an exit code.

Nothing heavy is imported here, and nothing that gevent would have to patch: the daemon's commands patch as their first
statement, the others stay as quick as they are plain.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

from callengine import __version__
from callengine.cli import (
    accounts,
    analyze,
    audit,
    call,
    check_config,
    completion,
    daemon,
    doctor,
    migrate,
    quarantine,
    replay,
    webhook,
)
from callengine.cli.demo import command as demo
from callengine.cli.exits import (
    BROKEN_PIPE,
    CONFIGURATION,
    EXPLAINED,
    FAILED,
    INTERRUPTED,
    NOT_FOUND,
    UNAVAILABLE,
    USAGE,
    Failed,
)
from callengine.cli.parser import Commands, Parser
from callengine.errors import (
    AddressUnavailable,
    CallengineError,
    ConfigurationError,
    EslError,
    NoSuchThing,
    StoreUnavailable,
    SwitchUnavailable,
)
from callengine.neutral import plain

_DESCRIPTION = """\
Tracks and places the calls of a FreeSWITCH, and serves them over HTTP."""

_EPILOG = f"""\
first steps:
  callengine demo                      live calls on a stand-in switch, in this terminal
  callengine check-config              are the settings good, and what are they
  callengine doctor                    is all of the live system as it has to be
  callengine tenant create acme        a tenant, and then a key to read its calls:
  callengine key create --tenant acme --scope calls:read
  callengine run                       the daemon

{EXPLAINED}"""


def build_parser() -> Parser:
    """The whole command line."""
    parser = Parser("callengine", description=_DESCRIPTION, epilog=_EPILOG)
    parser.add_argument("--version", action="version", version=f"callengine {__version__}")
    commands = Commands(parser)
    demo.register(commands)
    daemon.register(commands)
    check_config.register(commands)
    doctor.register(commands)
    accounts.register(commands)
    call.register(commands)
    webhook.register(commands)
    analyze.register(commands)
    audit.register(commands)
    migrate.register(commands)
    replay.register(commands)
    quarantine.register(commands)
    completion.register(commands)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line ``argv`` (default: the process's own). Returns the exit code; prints, never raises."""
    _mend_streams()
    # Files say for themselves that they are private; the folders above them that have to be made do not.
    os.umask(os.umask(0o077) | 0o077)
    args = build_parser().parse_args(argv)
    if args.handler is None:  # `callengine` or `callengine tenant` alone
        args.parser.print_help(sys.stderr)
        return USAGE
    try:
        code = _run(args)
        sys.stdout.flush()
    except BrokenPipeError:  # the reader went away, as in `| head`
        _give_up_output()
        return BROKEN_PIPE
    except OSError as error:
        _give_up_output()
        return _complain(FAILED, f"standard output: {error.strerror or error}")
    return code


def _mend_streams() -> None:
    """What is closed (``>&-``) is as if it were /dev/null; what cannot be printed is escaped."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115 - for as long as we live
        elif mode == "w" and hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


def _give_up_output() -> None:
    """What is still buffered must not complain again at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _run(args: argparse.Namespace) -> int:
    try:
        code: int = args.handler(args)
    except KeyboardInterrupt:
        return INTERRUPTED
    except Failed as error:
        return _complain(error.code, *error.message.splitlines())
    except ConfigurationError as error:
        return _complain(CONFIGURATION, *error.problems)
    except NoSuchThing as error:
        return _complain(NOT_FOUND, str(error))
    except (AddressUnavailable, StoreUnavailable, SwitchUnavailable, EslError) as error:
        return _complain(UNAVAILABLE, str(error))
    except CallengineError as error:
        return _complain(FAILED, str(error))
    except OSError as error:  # a file or folder that a command was pointed at; what is written to is told in main
        if error.filename is None:
            raise
        return _complain(FAILED, f"{os.fsdecode(error.filename)}: {error.strerror}")
    return code


def _complain(code: int, *lines: str) -> int:
    for line in lines:
        sys.stderr.write(f"callengine: {plain(' '.join(line.split()))}\n")
    return code


if __name__ == "__main__":
    sys.exit(main())
