"""The database: how it is opened, and how reads run on it without holding up the hub.

All work on a connection happens in native threads, for SQLite and Postgres alike: a query that is slow, a lock, a
network that swallows packets stop one thread, never the hub. It works alike in a process that is monkey-patched.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any, Final, Literal, TypeVar, cast
from urllib.parse import quote, unquote, urlsplit

import gevent
import peewee
from gevent import monkey
from gevent.event import AsyncResult
from gevent.lock import BoundedSemaphore

from callengine.config.sections import Database as Settings
from callengine.errors import StoreUnavailable
from callengine.store import faults, migrate
from callengine.store.silence import Silence
from callengine.threads import Threads

log = logging.getLogger(__name__)

T = TypeVar("T")
Kind = Literal["sqlite", "postgres"]
Outcome = tuple[T | None, Exception | None]
"""In a thread an error is a value: one that is raised in a pool's thread is printed on stderr."""

Runner = Callable[[Callable[[], Outcome[Any]], float], Outcome[Any]]

_get_thread_ident: Callable[[], int] = monkey.get_original("_thread", "get_ident")
_allocate_lock: Callable[[], Any] = monkey.get_original("_thread", "allocate_lock")

_CACHE_KB: Final = 32_000
_CHECKPOINT_PAGES: Final = 16_000
# How many steps of SQLite's machine lie between two looks at the clock: about 10 ms. Each look needs the interpreter.
_STEPS_BETWEEN_LOOKS: Final = 1_000_000
_GRACE_S: Final = 0.25
_POSTGRES_READ_TIMEOUT_S: Final = 30
_POSTGRES_WRITE_TIMEOUT_S: Final = 30


class Store:
    """One database. Cheap to make: connections are opened when they are needed, and again when they were lost."""

    def __init__(self, settings: Settings) -> None:
        self.kind: Kind = "postgres" if settings.is_postgres else "sqlite"
        self.settings = settings
        self.path = None if settings.is_postgres else Path(unquote(urlsplit(settings.url.get_secret_value()).path[1:]))
        self.reading = 0
        """How many work on the database at this moment; at most ``pool_size``."""
        self.waiting = 0
        """How many wait for one of those to end."""
        self.failures = 0
        """How many ended in StoreUnavailable."""
        self._idle: list[peewee.Database] = []
        self._pid = os.getpid()
        self._hub_thread = _get_thread_ident()
        self._turn = _allocate_lock()
        self._slots = BoundedSemaphore(settings.pool_size)
        self._threads: Threads | None = None
        self._silence = Silence()

    # -- connections -------------------------------------------------------------------------------------------------

    def connection(self, *, readonly: bool, busy_timeout_s: float | None = None) -> peewee.Database:
        """A connection of its own, not open yet, for the use of one thread at a time."""
        if self.path is None:
            return self._postgres(readonly)
        timeout_s = self.settings.busy_timeout_ms / 1000 if busy_timeout_s is None else busy_timeout_s
        if readonly:
            pragmas: dict[str, Any] = {"query_only": 1}
        else:
            pragmas = {
                "journal_mode": "wal",
                "synchronous": self.settings.sqlite_synchronous,
                "foreign_keys": 1,
                # Kilobytes: what a large group changes stays in memory until it is committed; so does what a statement
                # needs to be undone, which would go to a file of its own with each statement.
                "cache_size": -_CACHE_KB,
                "temp_store": 2,
                # Else a commit waits for the disk; this is for when nobody else does it (``checkpoint``).
                "wal_autocheckpoint": _CHECKPOINT_PAGES,
                "journal_size_limit": 64 << 20,
            }
        return peewee.SqliteDatabase(
            f"file:{quote(str(self.path))}?mode={'ro' if readonly else 'rw'}",
            uri=True,
            timeout=timeout_s,
            pragmas=pragmas,
            check_same_thread=False,
            thread_safe=False,
            autoconnect=False,
        )

    @contextmanager
    def turn(self, timeout_s: float) -> Iterator[bool]:
        """Of the writer's thread, or of the one that makes checkpoints; in no other. False where it did not come up in
        time: it only spares one the other, and the database has locks of its own.
        """
        held = self._turn.acquire(timeout=timeout_s)
        try:
            yield held
        finally:
            if held:
                self._turn.release()

    def _postgres(self, readonly: bool) -> peewee.Database:
        # Here, so that SQLite needs no psycopg.
        from callengine.store.postgres import Postgres

        seconds = _POSTGRES_READ_TIMEOUT_S if readonly else _POSTGRES_WRITE_TIMEOUT_S
        options = {
            "statement_timeout": f"{seconds}s",
            "lock_timeout": "5s",
            "idle_in_transaction_session_timeout": "60s",
            "default_transaction_read_only": "on" if readonly else "off",
        }
        if readonly:
            # A page and its total are of one moment, also where they take more than one statement.
            options["default_transaction_isolation"] = "repeatable\\ read"
        return Postgres(self.settings.url.get_secret_value(), options)

    def sql(self, text: str) -> str:
        """``text``, written with ``?``, in this database's parameter style."""
        return text.replace("?", "%s") if self.path is None else text

    # -- reading -----------------------------------------------------------------------------------------------------

    def run(self, fn: Callable[[peewee.Database], T], timeout_s: float) -> T:
        """``fn(connection)`` in a native thread, on a connection that can only read. Raises StoreUnavailable.

        In a thread other than the one that opened the store (a threaded web server), it runs right there.
        """
        deadline = time.monotonic() + timeout_s
        return self._outcome(lambda: self._read(fn, deadline), deadline + _GRACE_S, self._unless_silent)

    def _outcome(self, work: Callable[[], Outcome[T]], deadline: float, run: Runner) -> T:
        value, error = work() if _get_thread_ident() != self._hub_thread else run(work, deadline)
        if error is not None:
            if isinstance(error, StoreUnavailable):
                self.failures += 1
            raise error
        return cast(T, value)

    def _unless_silent(self, work: Callable[[], Outcome[T]], deadline: float) -> Outcome[T]:
        began_s = self._silence.enter(max(deadline - time.monotonic(), 0.0))
        if began_s is None:
            return None, StoreUnavailable(faults.TIMED_OUT)
        answered = False
        try:
            value, error = self._in_thread(work, deadline)
            answered = not isinstance(error, StoreUnavailable)
        finally:
            self._silence.leave(began_s, answered=answered)
        return value, error

    def _in_thread(self, work: Callable[[], Outcome[T]], deadline: float) -> Outcome[T]:
        """What came of ``work``. One that takes too long is left to end by itself, and keeps its slot until then."""
        self.waiting += 1
        try:
            if not self._slots.acquire(timeout=max(deadline - time.monotonic(), 0.0)):
                return None, StoreUnavailable("too many wait for it")
        finally:
            self.waiting -= 1
        self.reading += 1
        try:
            if self._threads is None:
                self._threads = Threads(self.settings.pool_size)
            result = self._threads.spawn(work)
        except BaseException:
            self._end(None)
            raise
        result.rawlink(self._end)
        result.rawlink(self._late)
        result.wait(max(deadline - time.monotonic(), 0.0))
        if not result.ready():
            return None, StoreUnavailable(faults.TIMED_OUT)
        return cast("Outcome[T]", result.get())

    def _end(self, _: object) -> None:
        self.reading -= 1
        self._slots.release()

    def _late(self, result: AsyncResult[Outcome[Any]]) -> None:
        """Nobody may wait for it any more; but the database has answered."""
        if result.successful() and not isinstance(cast("Outcome[Any]", result.value)[1], StoreUnavailable):
            self._silence.answered()

    def _read(self, fn: Callable[[peewee.Database], T], deadline: float) -> Outcome[T]:
        while True:
            db, fresh = self._take()
            try:
                db.connect(reuse_if_open=True)
                self._bound(db, deadline)
                value = fn(db)
            except Exception as error:  # noqa: BLE001  handed on to who asked
                reason = faults.away(error)
                if reason is None:
                    self._give_back(db)
                    return None, error
                discard(db)
                if not fresh and faults.disconnects(error) and time.monotonic() < deadline:
                    continue
                return None, StoreUnavailable(reason)
            self._give_back(db)
            return value, None

    def _bound(self, db: peewee.Database, deadline: float) -> None:
        """Ends a query of SQLite's at ``deadline``; Postgres has its own bound for that."""
        if self.path is not None:
            cast(Any, db).connection().set_progress_handler(lambda: time.monotonic() > deadline, _STEPS_BETWEEN_LOOKS)

    def _take(self) -> tuple[peewee.Database, bool]:
        if self._pid != os.getpid():  # a connection must not be shared with the parent of a fork
            self._pid, self._idle = os.getpid(), []
        try:
            return self._idle.pop(), False
        except IndexError:
            return self.connection(readonly=True), True

    def _give_back(self, db: peewee.Database) -> None:
        if len(self._idle) < self.settings.pool_size and not db.in_transaction():
            self._idle.append(db)
        else:
            discard(db)

    # -- writing without a writer ------------------------------------------------------------------------------------

    def execute(self, fn: Callable[[peewee.Database], T], timeout_s: float) -> T:
        """``fn(connection)`` in one transaction of its own: for a process that has no ``Writer``.

        Raises StoreUnavailable, and whatever ``fn`` raises; then nothing is changed.
        """
        return self._outcome(lambda: self._transact(fn), time.monotonic() + timeout_s, self._in_thread)

    def _transact(self, fn: Callable[[peewee.Database], T]) -> Outcome[T]:
        db = self.connection(readonly=False)
        try:
            db.connect()
            with transaction(db):
                value = fn(db)
        except Exception as error:  # noqa: BLE001  handed on to who asked
            reason = faults.away(error)
            return None, error if reason is None else StoreUnavailable(reason)
        finally:
            discard(db)
        return value, None

    def close(self) -> None:
        """Closes what is idle. What is in use is closed by the end of the process."""
        idle, self._idle = self._idle, []
        for db in idle:
            discard(db)
        if self._threads is not None and not len(self._threads):
            self._threads.kill()
            self._threads = None


def transaction(db: peewee.Database) -> Any:
    """A context manager; SQLite takes the write lock at once, since a later upgrade of a read lock may fail."""
    return db.transaction("IMMEDIATE") if isinstance(db, peewee.SqliteDatabase) else db.transaction()


def discard(db: peewee.Database) -> None:
    """Closes a connection, whatever state it is in."""
    while db.in_transaction():  # one that broke in a transaction would refuse to be closed
        cast(Any, db).pop_transaction()
    with suppress(Exception):  # it is gone then; that is all that was wanted
        db.close()


def open_database(
    settings: Settings,
    state_dir: Path,
    *,
    migrate_schema: bool = True,
    begins: Callable[[str], None] | None = None,
) -> Store:
    """The database of ``settings.database``, its file made if it is missing, its schema brought up to date.

    Blocks, though not the hub. Without ``migrate_schema`` the schema is only checked. ``begins`` is told the name of
    each migration before it is applied, in a native thread.
    Raises StoreUnavailable, SchemaTooNew.
    """
    store = Store(settings)
    lock_file = None
    if store.path is not None:
        if not store.path.is_absolute():
            store.path = state_dir / store.path
        lock_file = store.path.with_name(store.path.name + ".migrate-lock")
        if migrate_schema:
            _make_file(store.path)
    done, error = gevent.get_hub().threadpool.apply(_prepare, (store, lock_file, migrate_schema, begins))
    if error is not None:
        raise error
    if done:
        log.info("the database was migrated: %s", ", ".join(done))
    return store


def _prepare(
    store: Store, lock_file: Path | None, migrate_schema: bool, begins: Callable[[str], None] | None
) -> Outcome[list[str]]:
    """In a native thread, like all work on a connection; so it does not log."""
    db = store.connection(readonly=not migrate_schema)
    try:
        if migrate_schema:
            with nullcontext() if lock_file is None else migrate.file_lock(lock_file):
                db.connect()
                return migrate.upgrade(db, begins=begins), None
        db.connect()
        if migrate.pending(db):
            return None, StoreUnavailable("its schema is older than this callengine; run callengine migrate")
    except Exception as error:  # noqa: BLE001  handed on to who asked
        reason = faults.away(error)
        return None, error if reason is None else StoreUnavailable(reason)
    finally:
        discard(db)
    return [], None


def _make_file(path: Path) -> None:
    """For the eyes of our user only: the file holds whom people talked to."""
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    except OSError as error:
        raise StoreUnavailable(f"{path}: {error.strerror}") from None
