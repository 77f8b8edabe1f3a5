"""Logging: lines for people on a terminal, JSON for machines.

A record never spans lines, forges none, and drives no terminal, whatever a caller put into it (``neutral``).
"""

from __future__ import annotations

import logging
import sys
import time

import orjson

from callengine.config.sections import Log
from callengine.neutral import escaped, json_neutral

# HTTP clients log each request with its URL, and those of uploads let in whoever has them; peewee logs each statement
# with its values, secrets among them.
_TALKATIVE = "peewee httpx httpx2 httpcore urllib3 google google_genai botocore boto3 s3transfer".split()
_PLAIN = "%(asctime)s %(levelname)-7s %(name)s: %(message)s"


def _encodable(text: str) -> str:
    return text.encode("utf-8", "backslashreplace").decode()


class PlainFormatter(logging.Formatter):
    """One line a record; a traceback follows it, indented."""

    def __init__(self) -> None:
        super().__init__(_PLAIN)

    def format(self, record: logging.LogRecord) -> str:
        """The record as text."""
        return "\n    ".join(escaped(line) for line in super().format(record).split("\n"))

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802  logging's own name
        """The message in one line: only a traceback has more of them."""
        return escaped(super().formatMessage(record))


class JsonFormatter(logging.Formatter):
    """One JSON object a line."""

    def format(self, record: logging.LogRecord) -> str:
        """The record as JSON."""
        line = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created)) + f".{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": _encodable(record.getMessage()),
        }
        if record.exc_info:
            line["exception"] = _encodable(self.formatException(record.exc_info))
        return json_neutral(orjson.dumps(line, default=str).decode())


def set_up_logging(settings: Log) -> None:
    """Log to stderr, in the form that the settings ask for; ``auto`` is text on a terminal and JSON elsewhere."""
    as_json = settings.format == "json" or (settings.format == "auto" and not sys.stderr.isatty())
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter() if as_json else PlainFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(settings.level.upper())
    for name in _TALKATIVE:
        logging.getLogger(name).setLevel(max(root.level, logging.WARNING))
