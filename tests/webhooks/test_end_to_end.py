"""The deliverer, the sender and a receiver that is a process of its own and verifies by itself."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import gevent
import pytest
from standardwebhooks import Webhook

from callengine.metrics import Metrics
from callengine.store import sql
from callengine.store.deliveries import Deliveries
from callengine.store.holder import Holder
from callengine.store.lease import Lease
from callengine.webhooks.guard import Guard
from callengine.webhooks.sender import Sender
from callengine.webhooks.service import Webhooks
from callengine.webhooks.telemetry import Telemetry
from callengine.webhooks.worker import Deliverer, Storage
from tests.store.build import TENANT
from tests.webhooks.conftest import EVENTS, NOWHERE, House

LOCAL = ["127.0.0.0/8"]


@contextmanager
def receiver(folder: Path, secrets: str, *arguments: str, port: int = 0) -> Iterator[tuple[str, Path]]:
    """A running receiver: its URL, and the log of bodies that it took."""
    secret_file, log = folder / "secret", folder / "bodies"
    secret_file.write_text(secrets)
    command = [sys.executable, "-m", "callengine.standin.receiver", "--secret-file", str(secret_file)]
    command += ["--log", str(log), "--port", str(port), *arguments]
    output = (folder / "out").open("ab")
    process = subprocess.Popen(command, stdout=output, env={**os.environ, "PYTHONUNBUFFERED": "1"})
    try:
        deadline = time.monotonic() + 20
        url = ""
        while not url and time.monotonic() < deadline:
            gevent.sleep(0.02)
            said = [line for line in (folder / "out").read_text().splitlines() if " at http://" in line]
            url = said[-1].rpartition(" ")[2] if said else ""
        yield url, log
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0
        output.close()


def real(house: House, **more: object) -> tuple[Deliverer, Webhooks, Sender]:
    """As the daemon has it, by the true clock; networks of this machine are allowed."""
    guard = Guard(LOCAL)
    sender = Sender(guard, timeout_s=5)
    storage = Storage(Deliveries(house.store), house.writer, Lease(house.writer), Holder(NOWHERE))
    deliverer = Deliverer(storage, sender, house.settings, **more)  # type: ignore[arg-type]
    service = Webhooks(house.store, house.writer, house.settings, guard, sender, on_change=deliverer.nudge)
    return deliverer, service, sender


@pytest.fixture
def now_house(house: House) -> House:
    house.clock.us = time.time_ns() // 1000
    return house


def test_all_arrive_verified_and_in_order(now_house: House, tmp_path: Path) -> None:
    house = now_house
    metrics = Metrics()
    telemetry = Telemetry(metrics)
    deliverer, service, sender = real(house, on_attempt=telemetry.on_attempt)
    telemetry.watch(deliverer)
    endpoint, secret = service.create(TENANT, "http://127.0.0.1:1/", (), None, False)
    with receiver(tmp_path, secret, "--fail-rate", "0.02") as (url, log):
        service.update(TENANT, endpoint.id, {"url": url + "/hook", "enabled": True})
        assert service.test(TENANT, endpoint.id).status in (204, 500)
        house.tell(calls=25)
        working = gevent.spawn(deliverer.run)
        deliverer.nudge()
        with gevent.Timeout(60):
            while house.counts() != {"delivered": 100}:
                gevent.sleep(0.05)
        assert deliverer.stop(5)
        working.join(5)
        told = [json.loads(line) for line in log.read_text().splitlines()]
    sender.close()
    calls: dict[str, list[int]] = {}
    for one in told:
        if one["type"] != "webhook.test":
            calls.setdefault(one["data"]["call"]["id"], []).append(one["seq"])
    # At least once: what went out on a connection that broke just then is sent again, under the same id.
    assert [list(dict.fromkeys(seqs)) for seqs in calls.values()] == [[1, 2, 3, 4]] * 25
    assert all(seqs == sorted(seqs) for seqs in calls.values())
    said = (tmp_path / "out").read_text()
    assert "REFUSED" not in said
    assert said.count("call.dialing") >= 25
    text = metrics.render().decode()
    counted = re.search(r'callengine_webhook_attempts_total\{result="delivered"\} (\d+)', text)
    assert counted is not None
    assert 100 <= int(counted[1]) <= sum(map(len, calls.values()))
    assert "callengine_webhook_pending" in text


def test_what_the_receiver_is_told_to_do(now_house: House, tmp_path: Path) -> None:
    house = now_house
    _, service, sender = real(house)
    endpoint, secret = service.create(TENANT, "http://127.0.0.1:1/", (), None, True)
    with receiver(tmp_path, secret, "--mode", "gone") as (url, _):
        service.update(TENANT, endpoint.id, {"url": url})
        assert service.test(TENANT, endpoint.id).status == 410
    (tmp_path / "out").unlink()
    new, _ = service.rotate_secret(TENANT, endpoint.id, 0)
    with receiver(tmp_path, secret) as (url, log):  # it knows only the secret of before
        service.update(TENANT, endpoint.id, {"url": url})
        refused = service.test(TENANT, endpoint.id)
        assert (refused.status, refused.response) == (401, "is signed by another secret")
        assert log.read_text() == ""
    sender.close()
    assert new.old_secret_until_us is None


def test_rotated_while_pending_both_verify(house: House) -> None:
    house.endpoint()
    house.tell(calls=1)
    old = house.query("SELECT secret FROM endpoint")[0][0]
    (endpoint,), _ = house.service.endpoints(TENANT, 1, 10)
    changed, new = house.service.rotate_secret(TENANT, endpoint.id, 3600)
    assert changed.old_secret_until_us == house.clock() + 3_600_000_000
    kept: list[tuple[dict[str, str], bytes]] = []
    send = house.receivers.send

    def keeping(url: str, headers: dict[str, str], body: bytes, *, tenant_id: str) -> object:
        kept.append((headers, body))
        return send(url, headers, body, tenant_id=tenant_id)

    house.receivers.send = keeping  # type: ignore[method-assign, assignment]
    house.clock.us = time.time_ns() // 1000
    house.service.rotate_secret(TENANT, endpoint.id, 3600)
    house.writer.execute(lambda db: sql.run(db, "UPDATE endpoint SET secret = ?, old_secret = ?", (new, old)), 5)
    house.deliverer().step(20)
    assert len(kept) == len(EVENTS)
    for headers, body in kept:
        for secret in (old, new):
            assert Webhook(secret).verify(body, headers)["type"].startswith("call.")


def test_secrets_are_in_no_log_and_no_answer(now_house: House, caplog: pytest.LogCaptureFixture) -> None:
    house = now_house
    caplog.set_level("DEBUG", "callengine")
    caplog.set_level("DEBUG", "urllib3")
    deliverer, service, sender = real(house)
    endpoint, secret = service.create(TENANT, "http://127.0.0.1:1/s3cret-path", (), None, True)
    house.tell(calls=1)
    working = gevent.spawn(deliverer.run)
    gevent.sleep(0.5)
    deliverer.stop(5)
    working.join(5)
    sender.close()
    key = secret.removeprefix("whsec_")
    assert house.query("SELECT failures FROM endpoint")[0][0] >= 1
    for text in (
        caplog.text,
        repr(service.endpoint(TENANT, endpoint.id)),
        repr(Deliveries(house.store).work(endpoint.id, 2**62, 1)),
        str(house.query("SELECT error, response FROM attempt")),
        str(house.query("SELECT last_error FROM delivery")),
    ):
        assert key not in text
    assert "s3cret-path" not in caplog.text
