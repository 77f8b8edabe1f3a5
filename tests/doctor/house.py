"""A healthy house: a stand-in switch, a database, folders, Gemini, an endpoint, a daemon's port. Each can be spoilt."""

from __future__ import annotations

import os
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

from gevent.pywsgi import WSGIServer
from gevent.server import StreamServer

from callengine.config.settings import Settings
from callengine.doctor.finding import Finding
from callengine.doctor.patient import Patient
from callengine.doctor.visit import visit
from callengine.standin import Options
from callengine.standin.server import StandIn
from callengine.store.accounts import Accounts
from callengine.store.database import open_database
from callengine.store.webhooks import Endpoint, EndpointStore

PASSWORD = "sesame-of-the-event-socket"
KEY = "AIzaSy-the-key-that-must-not-be-seen"
SECRET = "secret-of-the-cdrs"
NOBODY = 65534


class House:
    """``sections`` are the settings; ``look`` visits. Everything listens on loopback, on ports of its own."""

    def __init__(self, gemini_url: str) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="callengine-doctor-")
        self.root = Path(self._folder.name)
        self.root.chmod(0o755)
        self.state, self.cdr, self.recordings = (self.root / name for name in ("state", "cdr", "recordings"))
        for folder in (self.state, self.cdr, self.recordings):
            folder.mkdir(mode=0o750)
        (self.cdr / "a.cdr.json").write_text("{}")
        (self.recordings / "a.wav").write_bytes(b"RIFF")
        self.standin = StandIn(Options(password=PASSWORD, cdr=self.cdr, gateways=("carrier",)))
        self.endpoint = StreamServer(("127.0.0.1", 0), lambda sock, _: sock.close())
        self.answers = {"/livez": "200 OK", "/readyz": "200 OK", "/metrics": "200 OK"}
        self.daemon = WSGIServer(("127.0.0.1", 0), self._serve, log=None, error_log=None)
        self.clock_ahead_s = 0.0
        self._gemini_url = gemini_url
        self.sections: dict[str, dict[str, Any]] = {}

    def __enter__(self) -> Self:
        for server in (self.standin, self.endpoint, self.daemon):
            server.start()
        self.sections = {
            "esl": {"port": self.standin.port, "password": PASSWORD, "connect_timeout_s": 0.5},
            "http": {"port": self.daemon.server_port},
            "state": {"directory": str(self.state)},
            "recordings": {"directories": [str(self.recordings)]},
            "cdr": {"directories": [str(self.cdr)]},
            "ai": {"enabled": False, "api_key": KEY, "base_url": self._gemini_url},
            "webhooks": {"allow_networks": ["127.0.0.0/8"]},
            "originate": {"gateways": {"carrier": {}}},
        }
        settings = self.settings()
        store = open_database(settings.database, self.state)
        tenant = Accounts(store, store).ensure_tenant("acme")
        self.endpoints = EndpointStore(store, store)
        self.tenant_id, self._store = tenant.id, store
        self.add_endpoint(f"http://127.0.0.1:{self.endpoint.server_port}/hook")
        return self

    def __exit__(self, *_: object) -> None:
        self._store.close()
        for server in (self.daemon, self.endpoint, self.standin):
            server.stop()
        self._folder.cleanup()

    def _serve(self, environ: dict[str, Any], start: Any) -> list[bytes]:
        """What a daemon would say."""
        path = environ["PATH_INFO"]
        start(self.answers[path], [("Content-Type", "text/plain")])
        return [{"/livez": b"alive\n", "/readyz": b"ready\n", "/metrics": b"# HELP x\n"}[path]]

    def add_endpoint(self, url: str) -> None:
        endpoint = Endpoint(
            id=str(uuid.uuid4()),
            url=url,
            description=None,
            events=("call.ended",),
            enabled=True,
            disabled_reason=None,
            failures=0,
            failing_since_us=None,
            retry_us=0,
            old_secret_until_us=None,
            created_us=1,
        )
        self.endpoints.add(self.tenant_id, endpoint, "whsec_x", 10)

    def set(self, section: str, **values: Any) -> None:
        """Changes settings."""
        self.sections.setdefault(section, {}).update(values)

    def settings(self) -> Settings:
        return Settings.model_validate(self.sections)

    def look(self) -> list[Finding]:
        """The whole round."""
        patient = Patient(self.settings(), "the test", wall_s=lambda: time.time() - self.clock_ahead_s)
        return list(visit(patient))


@contextmanager
def without_rights(house: House) -> Iterator[None]:
    """As somebody who is not root, whose house it is."""
    if os.geteuid() != 0:
        yield
        return
    for path in [house.root, *house.root.rglob("*")]:
        os.chown(path, NOBODY, NOBODY)
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)
