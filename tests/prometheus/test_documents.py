"""docs/metrics.md has every metric that there is, and rules and dashboard ask for no other. Needs no Prometheus."""

from __future__ import annotations

import re
import urllib.request
from typing import NamedTuple

import pytest
import yaml
from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families

from callengine.calls.causes import CAUSES
from tests.acceptance.daemon import Daemon
from tests.prometheus.server import SHIPPED
from tests.prometheus.shipped import ALERTS, DASHBOARD, RULES, dashboard, metrics_in, queries, rules, variables

ROOT = SHIPPED.parent
_HERE = ROOT / "tests" / "prometheus"


class Documented(NamedTuple):
    type: str
    labels: frozenset[str]
    unit: str
    text: str


def documented() -> dict[str, Documented]:
    """The tables of docs/metrics.md, by the name that the exposition has."""
    found = {}
    row = re.compile(r"^\| `((?:callengine|process)_\w+)` \| (\w+) \| (.*?) \| (.*?) \| (.+) \|$", re.MULTILINE)
    for name, kind, labels, unit, text in row.findall((ROOT / "docs" / "metrics.md").read_text()):
        assert name not in found, f"{name} is documented twice"
        found[name] = Documented(kind, frozenset(re.findall(r"`(\w+)`", labels)), unit.strip(), text)
    return found


@pytest.fixture(scope="session")
def exposed(engine: Daemon) -> dict[str, Metric]:
    """The families that a running engine exposes, by the name that samples begin with."""
    with urllib.request.urlopen(engine.url + "/metrics", timeout=10) as answer:
        families = list(text_string_to_metric_families(answer.read().decode()))
    return {f.name + ("_total" if f.type == "counter" else ""): f for f in families}


def test_every_metric_is_documented_and_nothing_else(exposed: dict[str, Metric]) -> None:
    there = set(exposed)
    if "callengine_tracing_queued" not in there:
        there |= {"callengine_tracing_queued", "callengine_tracing_spans_total"}  # the extra is not installed
    assert there - set(documented()) == set(), "describe it in docs/metrics.md"
    assert set(documented()) - there == set()


def test_types_labels_and_units_are_as_documented(exposed: dict[str, Metric]) -> None:
    for name, metric in exposed.items():
        told = documented()[name]
        assert told.type == metric.type, name
        labels = {label for sample in metric.samples for label in sample.labels} - {"le"}
        assert not metric.samples or labels == told.labels, name
        if name.endswith("_seconds"):
            assert told.unit == "s", name
        if name.endswith(("_bytes", "_bytes_total")):
            assert told.unit == "bytes", name
        assert metric.documentation.endswith("."), f"{name} has no help that is a sentence"


def known_names() -> set[str]:
    """All that a query may ask for: metrics, their series, and what the rules record."""
    names = {rule["record"] for rule in rules(RULES)}
    for name, told in documented().items():
        names |= {f"{name}_{end}" for end in ("bucket", "sum", "count")} if told.type == "histogram" else {name}
    return names


def test_rules_alerts_and_dashboard_ask_for_what_there_is() -> None:
    asked = [rule["expr"] for path in (RULES, ALERTS) for rule in rules(path)]
    asked += [query for _, query in queries()] + variables()
    for expression in asked:
        names = metrics_in(expression) | set(re.findall(r"^up\b|^ALERTS\b", expression))
        assert names or "ALERTS{" in expression, f"no metric found in {expression}"
        assert metrics_in(expression) <= known_names(), expression


def test_causes_in_the_alerts_are_freeswitchs() -> None:
    (failures,) = [rule for rule in rules(ALERTS) if rule["alert"] == "CallengineOriginateFailures"]
    (spared,) = re.findall(r'result!~"([^"]*)"', failures["expr"])
    assert {name for name in spared.split("|") if name.isupper()} <= CAUSES
    assert {name for name in spared.split("|") if not name.isupper()} == {"answered", "cancelled"}


def test_every_alert_is_documented_with_its_severity() -> None:
    page = (ROOT / "docs" / "metrics.md").read_text()
    told = dict(re.findall(r"^\| `(Callengine\w+)` \| (\w+) \| .+ \|$", page, re.MULTILINE))
    assert told == {rule["alert"]: rule["labels"]["severity"] for rule in rules(ALERTS)}
    for rule in rules(ALERTS):
        assert set(rule["annotations"]) == {"summary", "description"}, rule["alert"]
        assert "$labels.instance" in rule["annotations"]["summary"] + rule["annotations"]["description"], rule["alert"]


def test_every_recording_rule_is_documented() -> None:
    page = (ROOT / "docs" / "metrics.md").read_text()
    for rule in rules(RULES):
        _, metric, operation = rule["record"].split(":")
        assert f"`{metric}:{operation}`" in page or f"`…:{operation}`" in page, rule["record"]


def test_every_alert_has_a_unit_test_in_which_it_fires_and_one_in_which_it_does_not() -> None:
    cases = yaml.safe_load((_HERE / "alerts.test.yml").read_text())["tests"]
    looks = [look for case in cases for look in case["alert_rule_test"]]
    for rule in rules(ALERTS):
        mine = [look for look in looks if look["alertname"] == rule["alert"]]
        assert {bool(look["exp_alerts"]) for look in mine} == {True, False}, rule["alert"]


def test_every_recording_rule_has_a_unit_test() -> None:
    tested = {
        name
        for case in yaml.safe_load((_HERE / "quality.test.yml").read_text())["tests"]
        for look in case["promql_expr_test"]
        for name in metrics_in(look["expr"])
    }
    inner = {"gateway:callengine_answered:increase15m", "gateway:callengine_delivered:increase15m"}
    assert {rule["record"] for rule in rules(RULES)} - tested == inner  # by way of the ratios


def test_the_dashboard_is_one_that_grafana_takes() -> None:
    board = dashboard()
    assert board["title"] == "callengine"
    assert len({panel["id"] for panel in board["panels"]}) == len(board["panels"])
    for panel in board["panels"]:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24, panel["title"]
        if panel["type"] != "row":
            assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}, panel["title"]
            assert panel["targets"], panel["title"]
    text = DASHBOARD.read_text()
    assert "http://" not in text
    assert "https://" not in text


def test_the_drill_sets_every_alert_off() -> None:
    named = set(re.findall(r"\bCallengine[A-Z]\w+", (_HERE / "drill.py").read_text()))
    assert named == {rule["alert"] for rule in rules(ALERTS)}
