"""What the demo stands on: a folder of its own, a switch, a daemon on SQLite, a key; with the stand-in switch also who
analyses its recordings, and who is told by webhooks."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from callengine.cli.client import Client
from callengine.cli.demo import traffic
from callengine.cli.demo.beside import Analysis, Receiver, without_keys
from callengine.cli.demo.children import Child, free_port, is_free, is_listening, own_module, wait_for
from callengine.cli.exits import Failed

DEFAULT_PORT = 8088
TENANT = "demo"
_SCOPES = ("calls:read", "calls:write", "campaigns:read", "campaigns:write", "webhooks:read", "webhooks:write")
_STARTED_WITHIN_S = 60.0
_CONNECTED_WITHIN_S = 20.0
_DAEMON_STOPS_WITHIN_S = 8.0
_SWITCH_STOPS_WITHIN_S = 2.0


@dataclass(frozen=True)
class Switch:
    """The switch to watch. ``address`` is ``host:port``; ``environ`` is what the daemon needs to know of it.

    ``is_analysed``: whether the settings that name it have its recordings analysed.
    """

    address: str
    is_standin: bool
    environ: Mapping[str, str] = field(repr=False)
    config: Path | None = None
    is_analysed: bool = False


def configured_switch(config: Path | None, environ: Mapping[str, str]) -> Switch | None:
    """The event socket that the file or the environment names, if one of them does. Raises ``ConfigurationError``."""
    from callengine.config import sources
    from callengine.config.settings import Settings, find_file, load

    if config is not None:
        load(config, environ)  # what was named on purpose has to be usable, also where the stand-in is watched
    file = find_file(config, environ)
    named = sources.collect(Settings, file, environ).data.get("esl")
    if not isinstance(named, dict) or not named.keys() & {"host", "port"}:
        return None
    settings = load(config, environ)
    # Secrets may have come as systemd credentials, which the demo's daemon has not.
    ours = {"CALLENGINE_ESL__PASSWORD": settings.esl.password.get_secret_value()}
    if settings.ai.enabled:
        ours["CALLENGINE_AI__API_KEY"] = settings.ai.api_key.get_secret_value()
    # Who only watches neither records others' calls nor moves or deletes a recording: that is the real daemon's to do.
    if settings.recordings.start == "all":
        ours["CALLENGINE_RECORDINGS__START"] = "answer"
    ours |= {"CALLENGINE_RECORDINGS__STORAGE": "disk", "CALLENGINE_RECORDINGS__KEEP_DAYS": "0"}
    kept = {name: value for name, value in without_keys(environ).items() if name != "CREDENTIALS_DIRECTORY"}
    return Switch(settings.esl.address, False, kept | ours, file, settings.ai.enabled)


class Stage:
    """Built up by ``start``, taken down by ``stop``, which may be called at any point in between."""

    def __init__(self, switch: Switch | None, port: int | None, inbound_rate: float) -> None:
        self._port = _choose_port(port)
        self._inbound_rate = inbound_rate
        self.key = ""
        self._standin_port = 0
        if switch is None:
            self._standin_port = free_port()
            switch = Switch(f"127.0.0.1:{self._standin_port}", True, _without_ours(os.environ))
        self.switch = switch
        self.analysis: Analysis | None = None
        self.receiver: Receiver | None = None
        self.url = f"http://127.0.0.1:{self._port}"
        self.folder = Path(tempfile.mkdtemp(prefix="callengine-demo-"))
        self._children: list[tuple[Child, float]] = []
        if switch.is_standin:
            self.analysis = Analysis(os.environ)
            self.receiver = Receiver(self.folder)

    def start(self, stopping: Callable[[], bool], say: Callable[[str], None]) -> bool:
        """Starts everything; False where we are told to stop meanwhile. Raises ``Failed``."""
        environ = self._environ()
        if self.switch.is_standin:
            say("starting the stand-in switch")
            if not self._start_standin(environ, stopping):
                return False
        if self.analysis is not None and not self.analysis.start(self._spawn, environ, stopping):
            return False
        say("starting the daemon")
        if not self._start_daemon(environ, stopping):
            return False
        self.key = self._create_key(environ)
        with contextlib.closing(Client(self.url, self.key)) as client:
            if self.switch.is_standin:
                _create_campaigns(client)
            return self.receiver is None or self.receiver.start(client, self._spawn, environ, stopping)

    def _start_daemon(self, environ: Mapping[str, str], stopping: Callable[[], bool]) -> bool:
        settings = self.analysis.settings() if self.analysis is not None else {}
        daemon = self._spawn(
            "the daemon", ["callengine", "run"], {**environ, **settings}, "daemon.log", _DAEMON_STOPS_WITHIN_S
        )
        client = Client(self.url, "", timeout_s=5.0)
        what = f"the daemon's readiness (with the switch at {self.switch.address})"
        within_s = _STARTED_WITHIN_S if self.switch.is_standin else _CONNECTED_WITHIN_S
        return wait_for(what, lambda: _is_ready(client), daemon, stopping, within_s)

    def check(self) -> None:
        """Raises ``Failed`` where one of the processes has ended."""
        for child, _ in self._children:
            child.check()

    def stop(self) -> None:
        """Ends the processes, the last started first, and removes the folder. Bounded; safe to call again."""
        while self._children:
            child, within_s = self._children.pop()
            child.stop(within_s)
        shutil.rmtree(self.folder, ignore_errors=True)

    def _spawn(
        self, name: str, arguments: list[str], environ: Mapping[str, str], log: str, stops_within_s: float
    ) -> Child:
        child = Child(name, arguments, environ, self.folder / log)
        self._children.append((child, stops_within_s))
        return child

    def _start_standin(self, environ: Mapping[str, str], stopping: Callable[[], bool]) -> bool:
        arguments = [
            "callengine.standin",
            "--port",
            str(self._standin_port),
            "--recordings",
            str(self.folder / "recordings"),
            "--inbound-rate",
            f"{self._inbound_rate:g}",
        ]
        child = self._spawn("the stand-in switch", arguments, environ, "standin.log", _SWITCH_STOPS_WITHIN_S)
        return wait_for(
            "the stand-in switch", lambda: is_listening(self._standin_port), child, stopping, _STARTED_WITHIN_S
        )

    def _environ(self) -> dict[str, str]:
        """The settings of the daemon: those of the switch, and for all else our own folder and port."""
        ours = {
            "CALLENGINE_STATE__DIRECTORY": str(self.folder),
            "CALLENGINE_DATABASE__URL": f"sqlite:///{self.folder}/callengine.db",
            "CALLENGINE_HTTP__HOST": "127.0.0.1",
            "CALLENGINE_HTTP__PORT": str(self._port),
            "CALLENGINE_HTTP__PUBLIC_URL": self.url,
            "CALLENGINE_TRACKING__DEFAULT_TENANT": TENANT,
            "CALLENGINE_LOG__FORMAT": "text",
            "CALLENGINE_LOG__LEVEL": "warning",  # what is shown of it, where it fails, is to say why
            "PYTHONUNBUFFERED": "1",
            "TMPDIR": str(self.folder),  # what a process that is killed leaves there goes with it
        }
        if self.switch.config is not None:
            ours["CALLENGINE_CONFIG"] = str(self.switch.config)
        if self.switch.is_standin:
            ours |= self._standin_settings()
        if self.receiver is not None:
            ours |= self.receiver.settings()
        return {**self.switch.environ, **ours}

    def _standin_settings(self) -> dict[str, str]:
        file = self.folder / "callengine.toml"
        file.write_text("# The demo's settings stand in the environment of its daemon.\n")
        originate = {
            "GATEWAYS": {traffic.GATEWAY: {"dial_string": "sofia/gateway/{gateway}/{destination}"}},
            "AGENTS": {traffic.AGENTS: {"dial_string": "user/{agent}"}},
            "QUEUES": [traffic.QUEUE],
            "VARIABLES": [traffic.TALK_VARIABLE],
            "APPLICATIONS": {traffic.APPLICATION: {"application": "playback", "arguments": "silence_stream://8000"}},
        }
        return {
            "CALLENGINE_CONFIG": str(file),  # else the daemon would read the machine's own
            "CALLENGINE_ESL__HOST": "127.0.0.1",
            "CALLENGINE_ESL__PORT": str(self._standin_port),
            "CALLENGINE_RECORDINGS__DIRECTORIES": json.dumps([str(self.folder / "recordings")]),
            "CALLENGINE_ORIGINATE__MAX_PER_SECOND": "100",
            **{f"CALLENGINE_ORIGINATE__{name}": json.dumps(value) for name, value in originate.items()},
        }

    def _create_key(self, environ: Mapping[str, str]) -> str:
        """By the command that anybody would use, beside the running daemon, which has made its default tenant."""
        scopes = [part for scope in _SCOPES for part in ("--scope", scope)]
        try:
            done = subprocess.run(
                own_module("callengine", "key", "create", "--tenant", TENANT, *scopes),
                env=dict(environ),
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=_STARTED_WITHIN_S,
                start_new_session=True,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise Failed(f"no key could be made within {_STARTED_WITHIN_S:g} s") from None
        if done.returncode != 0:
            raise Failed(f"no key could be made: {done.stderr.strip() or done.returncode}")
        return done.stdout.strip()


def _without_ours(environ: Mapping[str, str]) -> dict[str, str]:
    """The environment without settings: the stand-in's daemon is told all it needs by us."""
    return {
        name: value
        for name, value in without_keys(environ).items()
        if not name.startswith("CALLENGINE_")
        and name not in {"CREDENTIALS_DIRECTORY", "STATE_DIRECTORY", "NOTIFY_SOCKET"}
    }


def _choose_port(port: int | None) -> int:
    if port is not None:
        if not is_free(port):
            raise Failed(f"port {port} is taken; give another with --port")
        return port
    return DEFAULT_PORT if is_free(DEFAULT_PORT) else free_port()


def _create_campaigns(client: Client) -> None:
    """Before their first call, so that the line on the screen works from the beginning, and the analysis knows them."""
    for campaign, fields in traffic.CAMPAIGNS.items():
        client.post("/v1/campaigns", {"id": campaign, **fields})


def _is_ready(client: Client) -> bool:
    with contextlib.suppress(Failed):
        return client.ask("GET", "/readyz").status == 200
    return False


class Stopping:
    """Becomes true at the first SIGINT, SIGTERM or SIGHUP. The handlers set a flag and nothing more."""

    def __init__(self) -> None:
        self._asked = False
        self._before: list[tuple[signal.Signals, object]] = []

    def __call__(self) -> bool:
        return self._asked

    def __enter__(self) -> Self:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            self._before.append((number, signal.signal(number, self._handle)))
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before:
            signal.signal(number, handler)  # type: ignore[arg-type]

    def _handle(self, _number: int, _frame: object) -> None:
        self._asked = True
