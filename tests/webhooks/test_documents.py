"""The receiver in docs/webhooks.md works as it is printed, and the page names what there is."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
import time
from pathlib import Path

import gevent
import orjson
import pytest

from callengine.calls.call import EventName
from callengine.webhooks import signature
from callengine.webhooks.guard import Guard
from callengine.webhooks.schedule import GAPS_S
from callengine.webhooks.sender import Sender

PAGE = (Path(__file__).parents[2] / "docs" / "webhooks.md").read_text(encoding="utf-8")


def test_every_event_is_named() -> None:
    assert re.findall(r"^\| `(call\.[a-z_]+)` \|", PAGE, re.MULTILINE) == list(EventName)


def test_the_gaps_are_those_that_are_kept() -> None:
    assert GAPS_S == (5, 30, 120, 600, 1800, 3600, 2 * 3600, 4 * 3600, 8 * 3600, 8 * 3600)
    assert "5 s, 30 s, 2 min, 10 min, 30 min, 1 h, 2 h, 4 h, 8 h and 8 h" in " ".join(PAGE.split())


def test_the_receiver_of_the_page(tmp_path: Path) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    secret = signature.new_secret()
    environ = {**os.environ, "WEBHOOK_SECRET": secret, "PORT": str(port)}
    with (tmp_path / "out").open("wb") as out:
        process = subprocess.Popen([sys.executable, "-c", code], env=environ, stdout=out, stderr=subprocess.DEVNULL)
    sender = Sender(Guard(["127.0.0.0/8"]), timeout_s=5)

    def send(key: str, body: bytes) -> int | None:
        signed = signature.headers([signature.key_of(key)], "an-id", int(time.time()), body)
        return sender.send(f"http://127.0.0.1:{port}/", signed, body).status

    try:
        body = orjson.dumps({"type": "call.ended", "id": "an-id", "seq": 4, "data": {}})
        deadline = time.monotonic() + 20
        while (status := send(secret, body)) is None and time.monotonic() < deadline:
            gevent.sleep(0.05)
        assert status == 204
        assert send(secret, body) == 204
        assert send(signature.new_secret(), body) == 401
        assert (tmp_path / "out").read_text() == "call.ended 4\n"
    finally:
        sender.close()
        process.kill()
        process.wait(10)


@pytest.mark.parametrize("name", ["webhook-id", "webhook-timestamp", "webhook-signature"])
def test_the_headers_are_named(name: str) -> None:
    assert f"`{name}`" in PAGE
