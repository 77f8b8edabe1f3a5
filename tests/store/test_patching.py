"""It works alike in a process that is monkey-patched, in one that is not, and in one that patched too late."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from callengine.config.sections import Database

_PROGRAM = """
import sys
if sys.argv[3] == "late":
    import psycopg
if sys.argv[3] != "never":
    from gevent import monkey
    monkey.patch_all()
import json, time
from pathlib import Path
import gevent
from gevent._hub_local import get_hub_if_exists
from pydantic import SecretStr
from callengine.config.sections import Database
from callengine.store import sql
from callengine.store.database import open_database
from callengine.store.reads import Reads
from callengine.store.writer import Writer
from tests.store.build import TENANT, a_call

late = []
def tick():
    while True:
        wanted = time.perf_counter() + 0.001
        gevent.sleep(0.001)
        late.append(time.perf_counter() - wanted)

store = open_database(Database(url=SecretStr(sys.argv[1])), Path(sys.argv[2]))
writer = Writer(store)
writer.start()
ticker = gevent.spawn(tick)
slow = "SELECT pg_sleep(0.5)" if store.kind == "postgres" else (
    "WITH RECURSIVE t(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM t WHERE n < 1500000) SELECT max(n) FROM t")
readers = [gevent.spawn(store.run, lambda db: sql.query(db, slow).fetchone(), 20) for _ in range(3)]
calls = [a_call(campaign="c") for _ in range(50)]
for call in calls:
    writer.put(call)
    gevent.sleep(0.001)
writer.flush(10)
gevent.joinall(readers, timeout=20, raise_error=True)
ticker.kill()
total = Reads(store).calls(TENANT, {}, 1, 25)[1]
writer_hub = writer.execute(lambda db: get_hub_if_exists(), 5)
stopped = writer.stop(5)
hubs = [hub for hub in (store.run(lambda db: get_hub_if_exists(), 5), writer_hub) if hub is not None]
print(json.dumps({"hubs": len(hubs), "total": total, "stopped": stopped, "late": max(late)}))
"""


@pytest.mark.parametrize("patched", ["never", "first", "late"])
def test_the_hub_runs_while_the_database_works(database_settings: Database, tmp_path: Path, patched: str) -> None:
    # A name, so that it has to be resolved; often to ::1 first, where nobody listens.
    url = database_settings.url.get_secret_value().replace("127.0.0.1", "localhost")
    root = Path(__file__).parents[2]
    # Patching late is what gevent warns of, and what is tried here.
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", _PROGRAM, url, str(tmp_path), patched],
        cwd=root,
        env={**os.environ, "PYTHONPATH": str(root)},
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode()
    told = json.loads(done.stdout)
    assert (told["total"], told["stopped"], told["hubs"]) == (50, True, 0)
    assert told["late"] < 0.3, "the hub was held up by a query of half a second"
    assert done.stderr == b""
