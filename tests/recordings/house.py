"""A switch's folder, a store, and who keeps recordings between them; the clocks are the test's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import peewee

from callengine.calls.call import Call, Recording
from callengine.calls.ids import recording_id_of
from callengine.calls.leg import Note
from callengine.calls.record import CallRecord, StoredEvent
from callengine.config.settings import Settings
from callengine.metrics import Metrics
from callengine.recordings.keeper import Keeper
from callengine.recordings.paths import Folders
from callengine.store import recordings, tell
from callengine.store.accounts import Accounts
from callengine.store.database import Store
from callengine.store.outbox import OutboxReads
from callengine.store.reads import Reads
from callengine.store.writer import Writer
from tests.store.build import T0, a_call, ended

NODE = "sw1"
# Our clock has nothing to do with the switch's.
OURS_US = 1_000_000_000_000


class House:
    """``tick`` lets our clock go on; ``settle`` does all that is due."""

    def __init__(self, store: Store, folder: Path, **keeper: Any) -> None:
        self.store = store
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self.now_us = OURS_US
        self.metrics = Metrics()
        self.done: list[str] = []
        self.bucket = keeper.get("bucket")
        settings, ai = keeper.pop("recordings", {}), keeper.pop("ai", {})
        self.settings = Settings(
            recordings={"directories": (folder,), "path_map": {"/switch": folder}, **settings},
            s3={"prefix": "rec"},
            ai=ai,
        )
        self.writer = Writer(store, recordings=True, analyses=True, now_us=lambda: self.now_us)
        self.writer.start()
        self.folders = Folders(self.settings.recordings.directories, self.settings.recordings.path_map)
        self.keeper = self.new_keeper(**keeper)
        self.reads = Reads(store)
        self.tenant = Accounts(store, self.writer).ensure_tenant("default").id

    def new_keeper(self, **keeper: Any) -> Keeper:
        """Another one over the same rows, as after a restart."""
        return Keeper(
            self.writer,
            self.store,
            self.folders,
            self.settings,
            lambda: NODE,
            self.metrics,
            on_done=self.done.append,
            now_us=lambda: self.now_us,
            monotonic_s=lambda: self.now_us / 1_000_000,
            **keeper,
        )

    def tick(self, seconds: float) -> None:
        """Our clock goes on."""
        self.now_us += int(seconds * 1_000_000)

    def settle(self, keeper: Keeper | None = None) -> int:
        """Deals with all that is due now; how many that were."""
        keeper = keeper or self.keeper
        keeper.nudge()
        looks = 0
        while keeper.once():
            looks += 1
            keeper.nudge()
        return looks

    def path(self, name: str) -> Path:
        """Where this machine has the switch's ``/switch/<name>``."""
        return self.folder / name

    def recorded(self, name: str, *, live: bool = False, call: Call | None = None, **claim: Any) -> Call:
        """A call whose recording the switch says it made; ``stopped_us=0`` for one that it did not stop."""
        fields = {"started_us": T0 + 1_000_000, "stopped_us": T0 + 5_000_000, "duration_ms": 4000} | claim
        call = a_call(tenant_id=self.tenant, answered_us=T0 + 500_000) if call is None else call
        said = Recording(path=name if name.startswith("/") else f"/switch/{name}", leg=call.own.uuid, **fields)
        kept = tuple(r for r in call.recordings if r.path != said.path)
        call = msgspec.structs.replace(call, recordings=(*kept, said))
        call = call if live else ended(call)
        self.writer.put(call)
        self.writer.flush(10)
        return call

    # -- what came of it ---------------------------------------------------------------------------------------------

    def row(self, call: Call, at: int = -1) -> recordings.Recording:
        """The row of one of the call's recordings, as the switch named them."""
        said = call.recordings[at]
        wanted = recording_id_of(call.id, said.leg, said.path)
        found = self.store.run(lambda db: recordings.find(db, wanted), 10)
        assert found is not None
        return found

    def rows(self, call: Call) -> list[recordings.Recording]:
        """All of the call's rows."""
        return self.store.run(lambda db: recordings.of_call(db, call.id), 10)

    def record(self, call: Call) -> CallRecord:
        """The call as it stands."""

        def read(db: peewee.Database) -> CallRecord:
            return tell.record_by_id(db, call.id)

        return self.store.run(read, 10)

    def events(self, call: Call) -> list[StoredEvent]:
        """What was told of it from outside the book."""
        found = OutboxReads(self.store).after(0, 1000)
        return [event for event in found if event.call_id == call.id and event.detail is not None]

    def notes(self, call: Call) -> list[Note]:
        """Its timeline."""
        return self.reads.timeline(self.tenant, call.id)

    def counted(self, result: str) -> float:
        """Of ``callengine_recordings``."""
        return self.metrics.registry.get_sample_value("callengine_recordings_total", {"result": result}) or 0.0

    def close(self) -> None:
        """Ends the writer."""
        self.writer.stop(10)
