"""How a command ends. ``callengine --help`` prints the list."""

from __future__ import annotations

from typing import Final

OK: Final = 0
FAILED: Final = 1
USAGE: Final = 2
NOT_FOUND: Final = 3
UNAVAILABLE: Final = 4
DOUBTFUL: Final = 5
CONFIGURATION: Final = 78  # EX_CONFIG of sysexits.h; systemd/callengine.service does not restart on it
INTERRUPTED: Final = 130  # 128 + SIGINT, as shells have it
BROKEN_PIPE: Final = 141  # 128 + SIGPIPE

EXPLAINED: Final = """\
exit codes:
  0    done
  1    not done: refused, or part of it failed
  2    wrong usage
  3    there is no such call, tenant, key, …
  4    the database, the daemon or the switch cannot be reached, or the port cannot be had, now
  5    doctor: nothing fails, something is doubtful
  70   the daemon gave up over a fault of its own
  78   the settings cannot be used
  130  interrupted by Ctrl-C
  141  whoever read the output went away, as in `| head`
"""


class Failed(Exception):
    """The command ends here: ``message`` is one line for standard error, ``code`` the exit code."""

    def __init__(self, message: str, code: int = FAILED) -> None:
        self.message = message
        self.code = code
        super().__init__(message)
