"""The keeper killed at any moment: each recording ends told once, and each upload in one place."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from pathlib import Path

from callengine.config.sections import Database
from callengine.store.database import open_database
from tests.recordings.audio import tone, write_wav
from tests.recordings.house import House

CALLS = 40
KILLS = 8
CHILD = """
import hashlib, os, sys
import callengine.patched
import gevent
from pathlib import Path
from callengine.config.sections import Database
from callengine.store.clock import clock_us
from callengine.store.database import open_database
from tests.recordings.house import House

state, folder, objects = map(Path, sys.argv[1:])

class Shelf:
    def key(self, tenant_id, call_id, recording_id, at_us, ending):
        return f"{call_id}.{recording_id}.{ending}"

    def upload(self, descriptor, key, sha256, content_type):
        gevent.sleep(0.01)
        content = os.pread(descriptor, 1 << 30, 0)
        assert hashlib.sha256(content).hexdigest() == sha256
        return (objects / key).write_bytes(content)

house = House(open_database(Database(url=f"sqlite:///{state}/calls.db"), state), folder, bucket=Shelf())
house.keeper._now_us = clock_us
print("at work", flush=True)
workers = [gevent.spawn(house.keeper.run) for _ in range(4)]
while house.keeper.waiting or not house.keeper._read_at > 0:
    gevent.sleep(0.02)
    house.keeper._read_at += 1
    house.keeper.nudge()
house.close()
"""


def test_killed_again_and_again(tmp_path: Path) -> None:
    state, folder, objects = (tmp_path / name for name in ("state", "rec", "objects"))
    objects.mkdir()
    store = open_database(Database(url=f"sqlite:///{state}/calls.db"), state)
    house = House(store, folder)
    calls = []
    for n in range(CALLS):
        write_wav(house.path(f"{n}.wav"), tone(1 + n / 100))
        calls.append(house.recorded(f"{n}.wav", duration_ms=1000 + n * 10))
    house.writer.stop(10)
    chance = random.Random(7)
    command = [sys.executable, "-c", CHILD, str(state), str(folder), str(objects)]
    for kill in (*[True] * KILLS, False):
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2]) as child:
            assert child.stdout is not None
            assert child.stdout.readline() == "at work\n"
            if kill:
                time.sleep(chance.uniform(0.0, 0.12))
                child.kill()
            else:
                assert child.wait(60) == 0
    assert {house.row(call).status for call in calls} == {"ready"}
    assert [[event.seq for event in house.events(call)] for call in calls] == [[1]] * CALLS
    assert [len(house.record(call).files) for call in calls] == [1] * CALLS
    assert [sum(note.name == "recording_ready" for note in house.notes(call)) for call in calls] == [1] * CALLS
    assert len(list(objects.iterdir())) == CALLS
    store.close()
