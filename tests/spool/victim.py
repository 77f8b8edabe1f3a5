"""An engine without a switch, to be killed: it takes in a recorded load, and says in a file how far it got.

    python -m tests.spool.victim FOLDER LOAD

What it says it took in was on the disk by then; it goes on from there. It prints ``ready`` once it works, and ``done``
when all is committed.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import gevent
from pydantic import SecretStr

import callengine.patched  # noqa: F401  first of all
from callengine.calls.book import Book, Rules
from callengine.config.sections import Database
from callengine.esl.headers import Translator
from callengine.esl.intake import IntakeQueue
from callengine.esl.sieve import Sieve
from callengine.esl.wire import Framer
from callengine.metrics import Metrics
from callengine.spool.replay import Replay
from callengine.spool.segments import Spool
from callengine.store.database import open_database
from callengine.store.reads import Reads
from callengine.store.writer import Writer
from callengine.tracker import Tracker

NODE = "n1"
TENANT = "01949c5c-0000-7000-8000-00000000000a"
BATCH = 8
PAUSE_S = 0.006


def run(folder: Path, load: Path) -> None:
    bodies = [frame.body for frame in Framer().feed(load.read_bytes())]
    store = open_database(Database(url=SecretStr(f"sqlite:///{folder / 'calls.db'}")), folder)
    writer, reads = Writer(store), Reads(store)
    writer.start()
    spool = Spool(folder / "spool", node=NODE, max_bytes=1 << 30, segment_bytes=1 << 20, segment_s=0.3, linger_s=0.2)
    spool.open()
    intake = IntakeQueue(disk=spool, spill_events=500)
    book = Book(NODE, Rules(default_tenant=TENANT))
    translator = Translator()
    sieve = Sieve(translator)
    tracker = Tracker(book, intake, translator, writer, Metrics(), on_taken=spool.keep_fact)
    for call in reads.live_calls(NODE):
        book.restore(call, time.monotonic())
    Replay(spool, tracker, translator, reads).run(NODE)
    gevent.spawn(tracker.run)
    gevent.spawn(_tend, spool, tracker, writer)
    progress = os.open(folder / "progress", os.O_RDWR | os.O_CREAT, 0o600)
    at = int(os.pread(progress, 20, 0) or b"0")
    _say("ready")
    while at < len(bodies):
        assert intake.put_many(sieve(bodies[at : at + BATCH]))
        at += BATCH
        os.pwrite(progress, b"%020d" % at, 0)
        gevent.sleep(PAUSE_S)
    while tracker.behind:
        gevent.sleep(0.01)
    gevent.sleep(1.5)  # whoever hung up is waited for
    writer.flush(30)
    _say("done")
    gevent.sleep(30)


def _say(word: str) -> None:
    sys.stdout.write(word + "\n")
    sys.stdout.flush()


def _tend(spool: Spool, tracker: Tracker, writer: Writer) -> None:
    while True:
        gevent.sleep(0.05)
        spool.tend(tracker.done, writer.mark, writer.committed)


if __name__ == "__main__":
    run(Path(sys.argv[1]), Path(sys.argv[2]))
