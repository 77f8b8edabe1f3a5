"""The database: reached, of our schema, writable; and who holds the switch."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import gevent
import peewee

from callengine.config.places import database_file
from callengine.doctor import access
from callengine.doctor.finding import Finding, Findings, fail, ok, skip, warn
from callengine.doctor.patient import Patient
from callengine.errors import SchemaTooNew, StoreUnavailable
from callengine.store import faults, holder, migrate, sql
from callengine.store.database import Outcome, Store, discard, transaction

_BUSY_S: Final = 3.0
_UNCHANGED: Final = "UPDATE lease SET expires_us = expires_us WHERE 1 = 0"


def database(patient: Patient) -> Findings:
    """Nothing is written: an update of no row is begun and taken back, which takes the rights of one that does."""
    settings = patient.settings.database
    where = settings.url_without_password
    file = database_file(patient.settings)
    if file is not None and not file.exists():
        yield _none_yet(file)
        return
    store = Store(settings)
    if file is not None:
        store.path = file
        if not access.may(file, os.R_OK | os.W_OK):
            yield fail("database", f"{access.us()} cannot write {file}", f"chown {access.us()} {file}*")
            return
    pending, error = gevent.get_hub().threadpool.apply(_looked, (store,))
    if error is None:
        patient.store = None if pending else store
        yield _schema(where, pending or [])
    elif isinstance(error, SchemaTooNew):
        yield fail("database", str(error), "install the newer callengine, or restore a backup")
    elif isinstance(error, StoreUnavailable) and "locked" in str(error):
        yield fail("database", f"{where} is locked by another program", f"see which: fuser -v {file}")
    elif isinstance(error, StoreUnavailable):
        yield fail("database", f"{where}: {error}", _remedy(patient, str(error)))
    else:
        yield fail("database", f"{where}: {faults.away(error) or type(error).__name__}", "set database.url")


def _none_yet(file: Path) -> Finding:
    folder = file.parent
    if not folder.exists() or access.may(folder, os.W_OK | os.X_OK):
        return ok("database", f"there is none yet at {file}: callengine run makes it")
    return fail("database", f"{access.us()} cannot make {file}", f"chown {access.us()} {folder}; or set database.url")


def _looked(store: Store) -> Outcome[list[str]]:
    """In a native thread. The migrations that are still to be applied."""
    db = store.connection(readonly=False, busy_timeout_s=_BUSY_S)
    try:
        db.connect()
        pending = migrate.pending(db)
        if not pending:
            _try_to_write(db)
    except Exception as error:  # noqa: BLE001  handed on to who asked
        reason = faults.away(error)
        return None, error if reason is None else StoreUnavailable(reason)
    finally:
        discard(db)
    return pending, None


def _try_to_write(db: peewee.Database) -> None:
    with transaction(db) as begun:
        sql.run(db, _UNCHANGED, ())
        begun.rollback()


def _schema(where: str, pending: list[str]) -> Finding:
    if pending:
        text = f"{where} is of an older callengine: {len(pending)} migrations are still to be applied"
        return warn("database", text, "callengine run applies them when it starts; or now: callengine migrate run")
    return ok("database", f"{where}: reached, of this callengine, writable")


def _remedy(patient: Patient, said: str) -> str:
    if not patient.settings.database.is_postgres:
        return "set database.url"
    parts = urlsplit(patient.settings.database.url.get_secret_value())
    if "psycopg" in said:
        return "pip install 'callengine[postgres]'"
    return (
        f"see that PostgreSQL runs and lets us in: psql -h {parts.hostname or '/var/run/postgresql'} {parts.path[1:]}"
    )


def lease(patient: Patient) -> Findings:
    """Whether another engine has the switch, which would let this one wait."""
    if patient.store is None or not patient.node:
        yield skip("lease", "not looked at: it takes the database and the switch's name")
        return
    rows: list[Any] = patient.store.run(
        lambda db: list(sql.run(db, "SELECT holder, expires_us FROM lease WHERE node = ?", (patient.node,)).fetchall()),
        5.0,
    )
    held_by, expires_us = rows[0] if rows else ("", 0)
    if not expires_us or expires_us < time.time() * 1e6:
        yield ok("lease", f"{patient.node} is nobody's at the moment")
    elif held_by == holder.at_work(patient.settings.state.directory):
        yield ok("lease", f"{patient.node} is held by the daemon of this state directory")
    else:
        remedy = "stop that one, or give the switches different names (switch.name); a standby is meant to wait"
        yield warn("lease", f"{patient.node} is held by another engine ({held_by}): one here would wait", remedy)
