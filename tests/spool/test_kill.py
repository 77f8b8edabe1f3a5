"""kill -9 at random instants under load, on the real writer: no event is lost, nothing is doubled."""

from __future__ import annotations

import random
import re
import subprocess
import sys
import time
from pathlib import Path

from pydantic import SecretStr

from callengine.calls.book import Book, Rules
from callengine.calls.record import record_of
from callengine.config.sections import Database
from callengine.esl.intake import IntakeQueue
from callengine.esl.wire import EVENT_JSON
from callengine.metrics import Metrics
from callengine.store import sql
from callengine.store.database import open_database
from callengine.store.rows import decode_state, encode_json, note_from
from callengine.store.schema import text_of
from callengine.tracker import Tracker
from tests.calls import streams
from tests.spool.lives import TRANSLATOR, Kept
from tests.spool.victim import NODE, TENANT

KILLS = 20
COPIES = 2
_ROOT = Path(__file__).parents[2]
_UUID = re.compile(rb"[0-9a-f]{8}(?=-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12})")


def load() -> list[bytes]:
    """A recorded mixed load, several times, each time with channels of its own."""
    bodies = [f.body for f in streams.frames("load_slice.json") if f.content_type == EVENT_JSON]
    return [_UUID.sub(b"%08x" % copy, body) for copy in range(1, COPIES + 1) for body in bodies]


def start(folder: Path, file: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "tests.spool.victim", str(folder), str(file)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=_ROOT)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def kill(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.communicate(timeout=10)


def expected(bodies: list[bytes]) -> dict[str, object]:
    """What comes of it where nobody is killed."""
    store, book = Kept(), Book(NODE, Rules(default_tenant=TENANT))
    tracker = Tracker(book, IntakeQueue(), TRANSLATOR, store, Metrics(), clock=lambda: 100.0)
    for body in bodies:
        tracker._one(body)
    tracker._settle(book.tick(102.0))
    store.commit()
    return store.told()


def found(folder: Path) -> dict[str, object]:
    """The same, from the database."""
    store = open_database(Database(url=SecretStr(f"sqlite:///{folder / 'calls.db'}")), folder)
    calls = store.run(lambda db: sql.query(db, "SELECT id, state FROM call").fetchall(), 10)
    notes = store.run(
        lambda db: sql.query(
            db, "SELECT call_id, name, at_us, leg, source, detail FROM call_event ORDER BY call_id, n"
        ).fetchall(),
        10,
    )
    told = store.run(
        lambda db: sql.query(db, "SELECT call_id, seq, event, payload FROM outbox ORDER BY call_id, seq").fetchall(), 10
    )
    store.close()
    return {
        text_of(call_id): (
            encode_json(record_of(decode_state(state))),
            [note_from(row[1:]) for row in notes if row[0] == call_id],
            [(seq, event, payload.encode()) for of, seq, event, payload in told if of == call_id],
        )
        for call_id, state in calls
    }


def test_twenty_kills_under_load(tmp_path: Path) -> None:
    bodies = load()
    file = tmp_path / "load"
    file.write_bytes(b"".join(b"Content-Length: %d\nContent-Type: text/event-json\n\n%s" % (len(b), b) for b in bodies))
    dice = random.Random(20)
    for _ in range(KILLS):
        process = start(tmp_path, file)
        time.sleep(dice.uniform(0, 0.25))
        kill(process)
    part = int((tmp_path / "progress").read_text())
    assert 0 < part < len(bodies), "the load is to last longer than the kills"
    process = start(tmp_path, file)
    assert process.stdout is not None
    assert process.stdout.readline() == "done\n"
    kill(process)
    assert found(tmp_path) == expected(bodies)
