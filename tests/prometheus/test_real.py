"""A real Prometheus scrapes a running engine, and every query of the dashboard and every rule is asked of it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.acceptance.daemon import Daemon
from tests.prometheus.conftest import NUMBERS, place, until
from tests.prometheus.server import Prometheus, in_window, installed
from tests.prometheus.shipped import ALERTS, RULES, queries, rules, variables

pytestmark = pytest.mark.skipif(not installed("prometheus"), reason="there is no Prometheus")

_WINDOW = "40s"
# What is rightly empty while all is well.
_QUIET = {"Crashes A", "Event socket B"}
# An analysis may, or may not, have ended between two scrapes.
_PERHAPS = {"Analyses A"}


@pytest.fixture(scope="module")
def prometheus(engine: Daemon, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    """It has scraped the engine twice at least, with calls between."""
    folder: Path = tmp_path_factory.mktemp("prometheus")
    target = engine.url.removeprefix("http://")
    with Prometheus(folder, [target], every_s=1, window=_WINDOW) as server:
        scrapes = f'count_over_time(up{{instance="{target}"}}[1m])'
        server.until(lambda: float(server.query(scrapes)[0]["value"][1]) >= 2, 60)
        answered, *_ = [place(engine, number) for number in NUMBERS]
        until(lambda: engine.ask("GET", f"/v1/calls/{answered}")["status"] == "answered", engine)
        engine.ask("POST", f"/v1/calls/{answered}/hangup", {})
        server.until(lambda: all(server.query(rule["record"]) for rule in rules(RULES)), 90)
        yield server


def _rule_errors(server: Prometheus) -> list[str]:
    return [
        f"{rule['name']}: {rule['lastError']}"
        for group in server.ask("rules")["groups"]
        for rule in group["rules"]
        if rule.get("lastError")
    ]


def test_it_is_up(prometheus: Prometheus) -> None:
    (target,) = prometheus.ask("targets")["activeTargets"]
    assert (target["health"], target["lastError"]) == ("up", "")


def test_every_rule_evaluates_and_those_of_quality_have_values(prometheus: Prometheus) -> None:
    assert _rule_errors(prometheus) == []
    evaluated = [rule["name"] for group in prometheus.ask("rules")["groups"] for rule in group["rules"]]
    assert sorted(evaluated) == sorted(
        [rule["record"] for rule in rules(RULES)] + [rule["alert"] for rule in rules(ALERTS)]
    )
    for rule in rules(RULES):
        assert prometheus.query(rule["record"]), rule["record"]


@pytest.mark.parametrize("rule", [*rules(RULES), *rules(ALERTS)], ids=lambda rule: rule.get("record") or rule["alert"])
def test_every_rule_as_it_is_shipped_is_a_query(prometheus: Prometheus, rule: dict[str, str]) -> None:
    prometheus.query(rule["expr"])


@pytest.mark.parametrize(("place", "query"), list(queries()), ids=[place for place, _ in queries()])
def test_every_query_of_the_dashboard_runs_and_has_data(prometheus: Prometheus, place: str, query: str) -> None:
    found = prometheus.query(in_window(query, _WINDOW) if "increase" in query else query)
    if place in _QUIET:
        assert found == []
    elif place not in _PERHAPS:
        assert found, query


def test_the_dashboards_variables_have_values(prometheus: Prometheus) -> None:
    for series in variables():
        assert prometheus.ask("series", **{"match[]": series}), series


def test_ner_counts_what_met_its_user(prometheus: Prometheus) -> None:
    """Busy and rejected were delivered; a number that is none and a gateway that is overloaded were not."""
    outcomes = {
        sample["metric"]["outcome"]: float(sample["value"][1])
        for sample in prometheus.query('callengine_call_outcomes_total{gateway="carrier", direction="outbound"}')
    }
    assert set(outcomes) == {"answered", "busy", "rejected", "failed"}
    assert outcomes["failed"] == 2 * outcomes["busy"] == 2 * outcomes["rejected"] == 2 * outcomes["answered"] == 4


def test_a_healthy_engine_sets_off_no_alert(prometheus: Prometheus) -> None:
    expected = {"CallengineOriginateFailures", "CallengineLowNER", "CallengineWebhookBacklog", "CallengineHubLate"}
    assert set(prometheus.firing()) - expected == set()
