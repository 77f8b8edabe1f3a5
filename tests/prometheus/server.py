"""A Prometheus of one's own, on loopback, with the configuration that is shipped; and what can be asked of it."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import yaml

from tests.acceptance.daemon import free_port

SHIPPED: Final = Path(__file__).parents[2] / "config"
_READY_S: Final = 30.0
_STOP_S: Final = 10.0


def installed(program: str) -> bool:
    """Whether it is there to be run."""
    return shutil.which(program) is not None


class Prometheus:
    """A context manager that starts it and ends it. ``targets`` are ``host:port`` of daemons; see ``watch``.

    The shipped files as they are, but for the intervals and, where ``window`` is given, the length of every range, so
    that a test of half a minute has what the rules want to see.
    """

    def __init__(
        self, folder: Path, targets: Sequence[str] = (), *, every_s: int = 5, window: str | None = None
    ) -> None:
        self._folder = folder
        self.url = f"http://127.0.0.1:{free_port()}"
        settings = yaml.safe_load((SHIPPED / "prometheus" / "prometheus.yml").read_text())
        settings["global"] = {"scrape_interval": f"{every_s}s", "evaluation_interval": f"{every_s}s"}
        (job,) = settings["scrape_configs"]
        del job["static_configs"]
        job["file_sd_configs"] = [{"files": ["targets.json"]}]
        self._targets: list[str] = []
        for target in targets:
            self.watch(target)
        job["scrape_timeout"] = f"{every_s}s"
        for name in settings["rule_files"]:
            groups = yaml.safe_load((SHIPPED / "prometheus" / name).read_text())
            for group in groups["groups"]:
                group["interval"] = f"{every_s}s"
                for rule in group["rules"] if window is not None else ():
                    rule["expr"] = in_window(rule["expr"], window)
            (folder / name).write_text(yaml.safe_dump(groups))
        (folder / "prometheus.yml").write_text(yaml.safe_dump(settings))
        self._process: subprocess.Popen[bytes] | None = None

    def watch(self, target: str) -> None:
        """One more to scrape, also while it runs."""
        self._targets.append(target)
        draft = self._folder / "targets.draft"
        draft.write_text(json.dumps([{"targets": self._targets}]))
        draft.replace(self._folder / "targets.json")

    def __enter__(self) -> Self:
        command = [
            "prometheus",
            f"--config.file={self._folder / 'prometheus.yml'}",
            f"--storage.tsdb.path={self._folder / 'data'}",
            f"--web.listen-address={self.url.removeprefix('http://')}",
        ]
        with (self._folder / "prometheus.log").open("wb") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        try:
            self.until(self._is_ready, _READY_S)
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        assert self._process is not None
        self._process.terminate()
        try:
            self._process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(_STOP_S)

    def _is_ready(self) -> bool:
        with urllib.request.urlopen(f"{self.url}/-/ready", timeout=5) as answer:
            return bool(answer.status == 200)

    def ask(self, path: str, **parameters: str) -> Any:
        """``data`` of an answer of its API. Raises ValueError with its words where it refuses."""
        url = f"{self.url}/api/v1/{path}?{urllib.parse.urlencode(parameters)}"
        try:
            with urllib.request.urlopen(url, timeout=10) as answer:
                return json.loads(answer.read())["data"]
        except urllib.error.HTTPError as error:
            raise ValueError(error.read().decode()) from None

    def query(self, expression: str) -> list[dict[str, Any]]:
        """The samples of now. Raises ValueError where it does not parse."""
        data = self.ask("query", query=expression)
        return list(data["result"]) if data["resultType"] in ("vector", "matrix") else [{"value": data["result"]}]

    def firing(self) -> dict[str, list[dict[str, str]]]:
        """The labels of alerts that fire, by the alert's name."""
        found: dict[str, list[dict[str, str]]] = {}
        for alert in self.ask("alerts")["alerts"]:
            if alert["state"] == "firing":
                found.setdefault(alert["labels"]["alertname"], []).append(alert["labels"])
        return found

    def until(self, holds: Callable[[], bool], within_s: float) -> None:
        """Raises TimeoutError where it does not come to hold."""
        deadline = time.monotonic() + within_s
        while True:
            try:
                if holds():
                    return
            except (OSError, ValueError, IndexError):
                pass  # not there yet
            if time.monotonic() > deadline:
                said = (self._folder / "prometheus.log").read_text()
                raise TimeoutError(f"it did not come to hold within {within_s} s: {said[-1000:]}")
            time.sleep(0.2)


def in_window(expression: str, window: str) -> str:
    """An expression whose ranges all have that length."""
    return re.sub(r"\[[0-9]+[smhd]\]", f"[{window}]", expression)
