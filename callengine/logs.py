"""Logging: lines for people on a terminal, JSON for machines.

A record never spans lines, forges none, and drives no terminal, whatever a caller put into it (``neutral``); a secret
of the settings never gets into one, whoever wrote it. Which call a record is about is the attribute ``call_id`` of the
record (``extra={"call_id": …}``), else that of the work it was written in (``about``).
"""

from __future__ import annotations

import logging
import re
import sys
import time
from collections.abc import Callable, Iterable
from typing import Final

import orjson

from callengine.about import call_at_work
from callengine.config.settings import Settings, secrets
from callengine.neutral import escaped, json_neutral

# HTTP clients log each request with its URL, and those of uploads let in whoever has them; peewee logs each statement
# with its values, secrets among them.
_TALKATIVE = "peewee httpx httpx2 httpcore urllib3 google google_genai botocore boto3 s3transfer".split()
_PLAIN = "%(asctime)s %(levelname)-7s %(name)s: %(message)s"
# What its exporter says, ``tracing`` says once.
_SILENCED = "opentelemetry"
# What is shorter is a word: to blank it would spoil the log, and keep no secret.
_LEAST_SECRET: Final = 6
_BLANK: Final = "[secret]"

Redact = Callable[[str], str]


def _encodable(text: str) -> str:
    return text.encode("utf-8", "backslashreplace").decode()


class Redaction:
    """Puts a blank in the place of each of these values, wherever it stands in a text."""

    def __init__(self, values: Iterable[str] = ()) -> None:
        self._pattern: re.Pattern[str] | None = None
        self.know(values)

    def know(self, values: Iterable[str]) -> None:
        """From now on these."""
        found = sorted({value for value in values if len(value) >= _LEAST_SECRET}, key=len, reverse=True)
        self._pattern = re.compile("|".join(re.escape(value) for value in found)) if found else None

    def __call__(self, text: str) -> str:
        """The text without them."""
        return text if self._pattern is None else self._pattern.sub(_BLANK, text)


_redaction: Final = Redaction()


def withhold(settings: Settings) -> None:
    """From now on the secrets of these settings get into no line."""
    _redaction.know(secrets(settings))


def _call_of(record: logging.LogRecord) -> str:
    named = getattr(record, "call_id", "")
    return named if isinstance(named, str) and named else call_at_work()


class PlainFormatter(logging.Formatter):
    """One line a record; a traceback follows it, indented."""

    def __init__(self, redact: Redact = str) -> None:
        super().__init__(_PLAIN)
        self._redact = redact

    def format(self, record: logging.LogRecord) -> str:
        """The record as text."""
        return "\n    ".join(escaped(line) for line in self._redact(super().format(record)).split("\n"))

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802  logging's own name
        """The message in one line: only a traceback has more of them. Ends with the call, where it does not name it."""
        line, call_id = escaped(super().formatMessage(record)), _call_of(record)
        return line if not call_id or call_id in line else f"{line} [call {escaped(call_id)}]"


class JsonFormatter(logging.Formatter):
    """One JSON object a line: ``ts`` (UTC), ``level``, ``logger``, ``message``; ``node``, the switch's name, once it is
    known; ``call_id`` where the record is about one call; ``exception``, a traceback.
    """

    def __init__(self, redact: Redact = str, node: Callable[[], str] = str) -> None:
        super().__init__()
        self._redact = redact
        self._node = node

    def format(self, record: logging.LogRecord) -> str:
        """The record as JSON."""
        line = {
            "ts": time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created)) + f".{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": _encodable(self._redact(record.getMessage())),
        }
        if node := self._node():
            line["node"] = _encodable(node)
        if call_id := _call_of(record):
            line["call_id"] = _encodable(call_id)
        if record.exc_info:
            line["exception"] = _encodable(self._redact(self.formatException(record.exc_info)))
        return json_neutral(orjson.dumps(line, default=str).decode())


def set_up_logging(settings: Settings, node: Callable[[], str] = str) -> None:
    """Log to stderr, in the form that the settings ask for; ``auto`` is text on a terminal and JSON elsewhere.

    ``node()`` is the name of the switch, empty until it is known.
    """
    wanted = settings.log
    as_json = wanted.format == "json" or (wanted.format == "auto" and not sys.stderr.isatty())
    withhold(settings)
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter(_redaction, node) if as_json else PlainFormatter(_redaction))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(wanted.level.upper())
    for name in _TALKATIVE:
        logging.getLogger(name).setLevel(max(root.level, logging.WARNING))
    logging.getLogger(_SILENCED).setLevel(logging.CRITICAL)
