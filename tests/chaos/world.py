"""What a row of the table runs in: a switch, the road to it, a database, a daemon, and who is told of the calls."""

from __future__ import annotations

import random
import shutil
import sqlite3
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import gevent

from callengine.calls.facts import LegReported
from callengine.cdr.comparing import is_call
from callengine.cdr.reading import CdrReader
from callengine.errors import MalformedEvent
from tests.acceptance.daemon import Daemon
from tests.acceptance.surroundings import Surroundings
from tests.chaos.databases import PostgresUnderTest
from tests.chaos.delivered import Delivered
from tests.chaos.disk import SmallDisk
from tests.chaos.judge import Evidence
from tests.chaos.load import Load
from tests.chaos.options import Options
from tests.chaos.proxy import Proxy
from tests.chaos.skewed import set_offset
from tests.chaos.switches import Switch
from tests.chaos.witness import Witness

_SMALL_DISK_MB: Final = 192
_RESTART_S: Final = 2.0
# What came so shortly before it is killed, a daemon may not have read, or not have in its spool.
_UNREAD_S: Final = 0.5
_NO_PROGRESS_S: Final = 60.0
_LOOKS: Final = 5
_LOOK_S: Final = 2.0
EXIT_SETTINGS: Final = 78


class World:
    """A context manager. ``needs``: what the fault has to be able to touch (see ``faults``)."""

    def __init__(self, options: Options, needs: frozenset[str], seed: int) -> None:
        self.dice = random.Random(seed)
        self._stack = ExitStack()
        self._options, self._needs = options, needs
        self.gave_up = 0
        self.ready_late = 0
        self.stuck = 0
        self.half_cdrs = 0
        self._watching = False
        self.expected_down = False
        self._down_since: float | None = None
        self.unheard: list[tuple[float, float]] = []
        self.deck: list[str] = []

    # -- its making ----------------------------------------------------------------------------------------------------

    def __enter__(self) -> Self:
        try:
            self._make()
        except BaseException:
            self._stack.close()
            raise
        return self

    def _make(self) -> None:
        o = self._options
        self.folder = self._folder()
        state = self.folder / "state"
        state.mkdir(mode=0o755)
        self.disk: SmallDisk | None = None
        if "disk" in self._needs:
            self.disk = self._stack.enter_context(SmallDisk(state, _SMALL_DISK_MB))
        self.switch = Switch(o, self.folder)
        self._stack.callback(self.switch.close)
        self.switch.clear()
        self.proxy: Proxy | None = None
        host, port = self.switch.options.host, self.switch.options.port
        if "proxy" in self._needs:
            self.proxy = self._stack.enter_context(Proxy(host, port, self.folder, seed=o.seed))
            host, port = self.proxy.address
        self.postgres: PostgresUnderTest | None = None
        secrets = {"CALLENGINE_ESL__PASSWORD": o.password}
        if "postgres" in self._needs or o.database == "postgres":
            self.postgres = self._stack.enter_context(PostgresUnderTest())
            secrets["CALLENGINE_DATABASE__URL"] = self.postgres.url
        around = self._stack.enter_context(Surroundings(self.folder, with_gemini=False))
        self.offset: Path | None = None
        program: tuple[str, ...] = ("-m", "callengine")
        if "clock" in self._needs:
            self.offset = self.folder / "offset"
            set_offset(self.offset, 0.0)
            program = ("-m", "tests.chaos.skewed", str(self.offset))
        self.daemon = Daemon(state, self._configuration(host, port) + around.settings(), secrets, program=program)
        self._stack.callback(self._end_daemon)
        self.daemon.start()
        around.register(self.daemon)
        self.delivered = Delivered(around.bodies)
        self.load = Load(self.switch.options, self.daemon, self.dice)
        self.witness = Witness(self.switch.options)
        self._watching = True
        self._keeper = gevent.spawn(self._keep)

    def _folder(self) -> Path:
        if self._options.keep is not None:
            folder = Path(tempfile.mkdtemp(prefix="row-", dir=self._options.keep))
        else:
            folder = Path(tempfile.mkdtemp(prefix="callengine-chaos-"))
            self._stack.callback(shutil.rmtree, folder, ignore_errors=True)
        folder.chmod(0o755)
        return folder

    def _configuration(self, host: str, port: int) -> str:
        o = self._options
        return f"""
[esl]
host = "{host}"
port = {port}
heartbeat_timeout_s = {2 * o.heartbeat_s + 1}
[recordings]
directories = ["{self.switch.recordings}"]
[cdr]
directories = ["{self.switch.cdr}"]
[originate]
max_per_second = 1000
max_concurrent = 5000
queue_max = 5000
[originate.gateways.far]
dial_string = "sofia/gateway/{o.gateway}/{{destination}}"
[originate.gateways.nowhere]
dial_string = "sofia/gateway/no_such_gateway/{{destination}}"
[originate.gateways.loop]
dial_string = "loopback/{{destination}}/default"
[originate.agents.desk]
dial_string = "sofia/gateway/{o.agents_gateway}/{{agent}}"
"""

    # -- the daemon, as systemd would keep it --------------------------------------------------------------------------

    def _keep(self) -> None:
        while self._watching:
            gevent.sleep(0.2)
            if self._down_since is not None:
                self._is_ready()
            process = self.daemon.process
            if self.expected_down or process is None or process.poll() in (None, 0, EXIT_SETTINGS):
                continue
            self.gave_up += 1
            gevent.sleep(_RESTART_S)
            if not self.expected_down and self._watching:
                self.daemon.start(wait=False)

    def until_ready(self, timeout_s: float = 120.0) -> bool:
        """Whether the daemon said that it is ready within that time."""
        until = time.monotonic() + timeout_s
        while time.monotonic() < until:
            if self._is_ready():
                return True
            gevent.sleep(0.1)
        self.ready_late += 1
        return False

    def _is_ready(self) -> bool:
        ready = self.daemon.is_ready()
        # It may have been killed while its answer was on the way.
        if ready and not self.expected_down:
            self._down_since = None
        return ready

    def kill_daemon(self) -> None:
        """kill -9. What the switch tells until the daemon is ready again, it will tell again, unless it dies too."""
        if self._down_since is None:
            self._down_since = time.time() - _UNREAD_S
        self.daemon.kill()

    def end_switch(self, end: Callable[[], None]) -> None:
        """By ``end``; and notes what the daemon cannot have heard, where it was down then."""
        down_since = None if self._is_ready() else self._down_since
        end()
        if down_since is not None:
            self.unheard.append((down_since, self.switch.deaths[-1][1]))

    def _end_daemon(self) -> None:
        self._watching = False
        if self.daemon.process is not None and self.daemon.process.poll() is None:
            self.daemon.kill()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._watching = False
        self.load.stop()
        self.witness.stop()
        self._stack.close()

    # -- the end -------------------------------------------------------------------------------------------------------

    def settle(self) -> None:
        """Waits until no call is live and every CDR is read, within the bound, then until all is delivered, as long as
        anything is."""
        until = time.monotonic() + self._options.settle_s
        while (live := self._live()) and time.monotonic() < until:
            gevent.sleep(1.0)
        self.stuck = live
        while self._unread() and time.monotonic() < until:
            gevent.sleep(_LOOK_S)
        came, since = -1, time.monotonic()
        while self._undelivered() and time.monotonic() - since < _NO_PROGRESS_S:
            if self.delivered.events > came:
                came, since = self.delivered.events, time.monotonic()
            gevent.sleep(2.0)

    def _live(self) -> int:
        live = ("dialing", "ringing", "answered", "agent_connected")
        try:
            return sum(self.daemon.ask("GET", f"/v1/calls?status={s}&page_size=1")["total"] for s in live)
        except OSError:
            return 1

    def _unread(self) -> bool:
        """Whether a call has a CDR and is not in the book: the daemon takes its time to look through a full folder."""
        try:
            cdrs = self._cdrs()
        except MalformedEvent:  # it is being written
            return True
        known = {call["fs_uuid"] for call in self.daemon.calls()}
        return any(uuid not in known and is_call(cdr, cdrs.get) for uuid, cdr in cdrs.items())

    def _undelivered(self) -> bool:
        self.delivered.look()
        came, nothing = self.delivered.calls, (set[int](), {})
        return any(call["seq"] > len(came.get(call["id"], nothing)[0]) for call in self.daemon.calls())

    def evidence(self) -> Evidence:
        """All that there is to judge by."""
        told = self._at_rest()
        return Evidence(
            told=told,
            cdrs=self._cdrs(),
            far=self.switch.arrived(self.load.tag),
            placed=self.load.placed,
            deaths=self.switch.deaths,
            heard=self.witness.heard,
            delivered=self.delivered.calls,
            retold=self.delivered.retold,
            stuck=self.stuck,
            unheard=self.unheard,
        )

    def _at_rest(self) -> list[dict[str, Any]]:
        """The book, with nothing new in it since the deliveries were read: a CDR may still correct something."""
        told = list(self.daemon.calls())
        for _ in range(_LOOKS):
            before = told
            self.delivered.look()
            told = list(self.daemon.calls())
            if {call["id"]: call["seq"] for call in told} == {call["id"]: call["seq"] for call in before}:
                break
            gevent.sleep(_LOOK_S)
        return told

    def _cdrs(self) -> dict[str, LegReported]:
        """A switch that is killed leaves half of one here and there, which nobody can read: as if there were none."""
        reader, found = CdrReader(), {}
        for path in self.switch.cdr.glob("*.json"):
            try:
                fact = reader.read(path.read_bytes()).fact
            except MalformedEvent:
                if not self.switch.deaths:
                    raise
                self.half_cdrs += 1
            else:
                found[fact.uuid] = fact
        return found

    def integrity(self) -> list[str]:
        """What SQLite says of its file."""
        path = self.daemon.state / "callengine.db"
        if self.postgres is not None or not path.exists():
            return []
        with sqlite3.connect(path, timeout=10) as db:
            found = [row[0] for row in db.execute("PRAGMA integrity_check")]
        return [] if found == ["ok"] else found
