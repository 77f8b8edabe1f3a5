"""What promtool says of the shipped files. Skipped where it is not installed."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.acceptance.daemon import Daemon
from tests.prometheus.server import SHIPPED, installed

HERE = Path(__file__).parent

pytestmark = pytest.mark.skipif(not installed("promtool"), reason="there is no promtool")


def promtool(*words: str | Path, given: bytes = b"") -> None:
    done = subprocess.run(["promtool", *map(str, words)], input=given, capture_output=True, timeout=120, check=False)
    assert done.returncode == 0, (done.stdout + done.stderr).decode()


def test_the_configuration_is_valid() -> None:
    promtool("check", "config", SHIPPED / "prometheus" / "prometheus.yml")


@pytest.mark.parametrize("name", ["callengine.rules.yml", "callengine.alerts.yml"])
def test_the_rules_are_valid(name: str) -> None:
    promtool("check", "rules", SHIPPED / "prometheus" / name)


@pytest.mark.parametrize("name", ["alerts.test.yml", "quality.test.yml"])
def test_the_rules_do_what_they_say(name: str) -> None:
    promtool("test", "rules", HERE / name)


def test_the_exposition_is_as_prometheus_would_have_it(engine: Daemon) -> None:
    import urllib.request

    with urllib.request.urlopen(engine.url + "/metrics", timeout=10) as answer:
        promtool("check", "metrics", given=answer.read())
