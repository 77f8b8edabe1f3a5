"""What a database's error means to us: it is away, it refuses this row, or we made a mistake.

The reasons are a closed set of our own words: a driver's text may hold an address or a part of a query.
"""

from __future__ import annotations

import logging
import sqlite3
from typing import Final

import msgspec
import peewee

TIMED_OUT: Final = "it did not answer in time"
_GONE: Final = "the connection is gone or was never made"

_SQLITE_REASONS: Final = {
    "SQLITE_BUSY": "it is locked by another process",
    "SQLITE_LOCKED": "it is locked by another connection",
    "SQLITE_PROTOCOL": "it is locked by another process",
    "SQLITE_FULL": "the disk is full",
    "SQLITE_READONLY": "it cannot be written",
    "SQLITE_PERM": "its file may not be opened",
    "SQLITE_AUTH": "its file may not be opened",
    "SQLITE_CANTOPEN": "its file cannot be opened",
    "SQLITE_IOERR": "its disk fails",
    "SQLITE_NOTADB": "its file is no SQLite database",
    "SQLITE_CORRUPT": "its file is damaged",
    "SQLITE_INTERRUPT": TIMED_OUT,
    "SQLITE_NOMEM": "out of memory",
    "SQLITE_SCHEMA": "its schema just changed",
}
_POSTGRES_REASONS: Final = {
    "08": "the connection is gone",
    "25": "it cannot be written",
    "28": "it rejects the user or the password",
    "3D": "it has no database of that name",
    "40": "a deadlock or a conflict with another transaction",
    "53": "it is out of resources",
    "53100": "the disk is full",
    "53300": "it takes no more connections",
    "55": "a lock was not granted in time",
    "57": "it is shutting down or starting up",
    "57014": TIMED_OUT,
    "58": "its disk fails",
    "XX": "it is damaged",
}
# What libpq says while connecting, where there is no code yet.
_CONNECTING_REASONS: Final = {
    "Connection refused": "nothing accepts connections there",
    "password authentication failed": "it rejects the user or the password",
    "no password supplied": "it wants a password",
    "pg_hba.conf": "it does not let this host, user and database in (pg_hba.conf)",
    'FATAL:  role "': "it rejects the user or the password",
    'FATAL:  database "': "it has no database of that name, or lets nobody into it",
    "too many clients": "it takes no more connections",
    "starting up": "it is starting up",
    "shutting down": "it is shutting down",
    "it does not answer": TIMED_OUT,
    "does not resolve": "its host's name does not resolve",
}


class Trouble:
    """What is tried every few seconds, and fails as long as the database is away: said once, and that it is over."""

    def __init__(self, log: logging.Logger, what: str) -> None:
        self._log = log
        self._what = what
        self._met = False

    def met(self, error: Exception) -> None:
        """It failed."""
        level = logging.DEBUG if self._met else logging.WARNING
        self._met = True
        self._log.log(level, "%s: %s", self._what, error)

    def over(self) -> None:
        """It worked."""
        if self._met:
            self._met = False
            self._log.info("over: %s", self._what)


def driver_error(error: BaseException) -> BaseException:
    """The driver's own error below peewee's."""
    inner = getattr(error, "orig", None) if isinstance(error, peewee.PeeweeException) else None
    return inner if isinstance(inner, BaseException) else error


def away(error: BaseException) -> str | None:
    """Why the database cannot be used at the moment; None where the error says something else."""
    at: BaseException | None = error
    while at is not None:
        if (reason := _away(at)) is not None:
            return reason
        # Where rolling back failed as well (SQLite on a full disk has done so by itself), the first error tells more.
        at = at.__context__ if isinstance(at, peewee.DatabaseError | sqlite3.Error) else None
    return None


def _away(error: BaseException) -> str | None:
    inner = driver_error(error)
    if isinstance(inner, sqlite3.Error):
        name = getattr(inner, "sqlite_errorname", None) or ""
        return next((reason for code, reason in _SQLITE_REASONS.items() if name.startswith(code)), None)
    state: str | None = getattr(inner, "sqlstate", None)
    kind = type(inner).__name__
    if state:
        return _POSTGRES_REASONS.get(state) or _POSTGRES_REASONS.get(state[:2])
    if kind == "ConnectionTimeout":
        return TIMED_OUT
    if type(inner).__module__.startswith("psycopg") and kind in {"OperationalError", "InterfaceError"}:
        text = str(inner)
        return next((reason for hint, reason in _CONNECTING_REASONS.items() if hint in text), _GONE)
    if isinstance(inner, OSError):
        return inner.strerror or type(inner).__name__
    if isinstance(inner, peewee.InterfaceError):
        return _GONE
    return None


def disconnects(error: BaseException) -> bool:
    """Whether the connection is not to be used again, while a new one may well work."""
    inner = driver_error(error)
    if isinstance(inner, sqlite3.Error):
        return False
    state: str | None = getattr(inner, "sqlstate", None)
    return away(error) is not None and (state is None or (state[:2] in {"08", "57"} and state != "57014"))


def refuses_row(error: BaseException) -> bool:
    """Whether the database will never take what it was given, however often it is tried."""
    if isinstance(error, OverflowError | ValueError | TypeError | msgspec.MsgspecError):
        return True
    inner = driver_error(error)
    if type(inner).__name__ in {"DataError", "IntegrityError"}:
        return True
    state: str | None = getattr(inner, "sqlstate", None)
    if state:
        return state[:2] in {"22", "23"}
    return isinstance(inner, sqlite3.DataError | sqlite3.IntegrityError | sqlite3.InterfaceError)
