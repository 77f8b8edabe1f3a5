"""The files that are shipped for Prometheus and Grafana, as data."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any, Final

import yaml

from tests.prometheus.server import SHIPPED

RULES: Final = SHIPPED / "prometheus" / "callengine.rules.yml"
ALERTS: Final = SHIPPED / "prometheus" / "callengine.alerts.yml"
DASHBOARD: Final = SHIPPED / "grafana" / "callengine.json"


def rules(path: Any) -> list[dict[str, Any]]:
    """All rules of a file."""
    return [rule for group in yaml.safe_load(path.read_text())["groups"] for rule in group["rules"]]


def dashboard() -> dict[str, Any]:
    """The dashboard."""
    return dict(json.loads(DASHBOARD.read_text()))


def queries() -> Iterator[tuple[str, str]]:
    """Of each target of the dashboard: where it stands, and the query with the variables as Grafana fills them in."""
    for panel in dashboard()["panels"]:
        for target in panel.get("targets", ()):
            expression = target["expr"].replace("$instance", ".*").replace("$gateway", ".*")
            yield f"{panel['title']} {target['refId']}", expression.replace("$__rate_interval", "1m")


def variables() -> list[str]:
    """The series that the dashboard's variables are taken from."""
    texts = [v["query"]["query"] for v in dashboard()["templating"]["list"] if v["type"] == "query"]
    return [re.sub(r"^label_values\((.*), \w+\)$", r"\1", text).replace("$instance", ".*") for text in texts]


def metrics_in(expression: str) -> set[str]:
    """The names of metrics in an expression, those of ``le`` and the like left out."""
    bare = re.sub(r'"(?:[^"\\]|\\.)*"', "", expression)
    return set(re.findall(r"\b(?:(?:gateway|instance):)?(?:callengine|process)_[a-z0-9_]+(?::[a-z0-9_]+)?", bare))
