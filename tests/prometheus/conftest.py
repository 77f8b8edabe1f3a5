"""A running engine that has lived: calls of every outcome, a webhook, an analysis, and all that has metrics enabled."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from callengine.standin.gemini.launch import launch as launch_gemini
from callengine.standin.launch import launch as launch_switch
from tests.acceptance.daemon import Daemon, free_port
from tests.acceptance.switches import hang_up
from tests.ai.fake import KEY

NUMBERS = ("15550201", "15550486", "15550503", "15550603", "15550404")
_WITHIN_S = 150.0


@pytest.fixture(scope="session")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """The daemon, with one call still live."""
    state = tmp_path_factory.mktemp("engine")
    for name in ("recordings", "cdrs"):
        (state / name).mkdir()
    switch_options = ["--seed", "3", "--recordings", str(state / "recordings"), "--cdr", str(state / "cdrs")]
    with launch_switch(switch_options, timeout_s=60) as switch, launch_gemini(timeout_s=60) as gemini:
        tracing = "[tracing]\nenabled = true\ncommits = false\nendpoint = 'http://127.0.0.1:9'" if _has_otel() else ""
        daemon = Daemon(
            state,
            f"""
[esl]
host = "{switch.host}"
port = {switch.port}
[recordings]
directories = ["{state}/recordings"]
start = "answer"
[cdr]
directories = ["{state}/cdrs"]
http_secret = "posted-cdrs"
[ai]
enabled = true
api_key = "{KEY}"
base_url = "{gemini.base_url}"
model = "gemini-simulated"
min_audio_s = 0.1
daily_spend_usd = 1
[webhooks]
allow_networks = ["127.0.0.0/8"]
[originate.gateways.carrier]
{tracing}
""",
        )
        url = f"http://127.0.0.1:{free_port()}/"
        daemon.command("webhook", "create", "--tenant", "default", "--url", url)
        daemon.start(wait=False)
        daemon.wait_ready(_WITHIN_S)
        live_through(daemon, switch)
        yield daemon
        daemon.stop()


def live_through(daemon: Daemon, switch: object) -> None:
    """Calls of every outcome through the gateway, one of them still there."""
    calls = [place(daemon, number) for number in NUMBERS]
    staying = place(daemon, NUMBERS[0])
    until(lambda: daemon.ask("GET", f"/v1/calls/{calls[0]}")["status"] == "answered", daemon)
    time.sleep(1.5)  # of audio
    hang_up(switch, calls[:1])  # type: ignore[arg-type]
    until(lambda: all(daemon.ask("GET", f"/v1/calls/{c}")["status"] in ("completed", "failed") for c in calls), daemon)
    until(lambda: daemon.ask("GET", f"/v1/calls/{staying}")["status"] == "answered", daemon)
    until(lambda: any("callengine_analyses_total" in n and v for n, v in daemon.metrics().items()), daemon)


def place(daemon: Daemon, number: str) -> str:
    """Has a call placed; its id."""
    body = {"destination": number, "gateway": "carrier", "on_answer": {"type": "park"}}
    return str(daemon.ask("POST", "/v1/calls", body)["id"])


def until(holds: object, daemon: Daemon) -> None:
    """Fails with the daemon's log where it does not come to hold."""
    deadline = time.monotonic() + _WITHIN_S
    while not holds():  # type: ignore[operator]
        assert time.monotonic() < deadline, daemon.said()[-2000:]
        time.sleep(0.1)


def _has_otel() -> bool:
    try:
        import opentelemetry.exporter.otlp.proto.http  # noqa: F401
    except ModuleNotFoundError:
        return False
    return True
