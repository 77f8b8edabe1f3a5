"""A CDR tells the very same call as the events: alone, before them, after them, and twice."""

from __future__ import annotations

import random
from collections.abc import Iterable

import pytest

from callengine.calls.facts import Fact, LegReported
from callengine.calls.record import CallRecord, record_of
from callengine.cdr.reading import CdrReader
from callengine.replay import replay
from tests.calls import streams
from tests.calls.build import PATIENT
from tests.cdr.records_of_events import of_trace

NAMES = streams.names("json")


def reports(name: str) -> list[LegReported]:
    reader = CdrReader()
    return [reader.read(body).fact for body in of_trace(name)]


def rows(facts: Iterable[Fact]) -> dict[str, CallRecord]:
    calls, _ = replay(facts, "n", timing=PATIENT)
    return {call.fs_uuid: _without_count(record_of(call)) for call in calls}


def _without_count(record: CallRecord) -> CallRecord:
    record.seq = 0
    return record


@pytest.mark.parametrize("name", NAMES)
def test_after_the_events_it_changes_nothing(name: str) -> None:
    told = streams.facts(name)
    by_events = rows(told)
    assert rows([*told, *reports(name)]) == by_events
    assert rows([*told, *reports(name), *reports(name)]) == by_events


@pytest.mark.parametrize("name", NAMES)
def test_anywhere_among_the_events(name: str) -> None:
    told: list[Fact] = [*streams.facts(name)]
    by_events = rows(told)
    dice = random.Random(name)
    for _ in range(5):
        mixed = list(told)
        for report in reports(name):
            mixed.insert(dice.randrange(len(mixed) + 1), report)
        assert _sources_out(rows(mixed)) == _sources_out(by_events)


def _sources_out(found: dict[str, CallRecord]) -> dict[str, CallRecord]:
    for record in found.values():
        record.end_source = None
    return found


@pytest.mark.parametrize("name", NAMES)
def test_alone_it_tells_what_the_events_tell(name: str) -> None:
    """All but what no CDR has: recordings, when bridges were parted, and a UUID's lives before its last one."""
    told = reports(name)
    by_events = {uuid: row for uuid, row in rows(streams.facts(name)).items() if uuid in {fact.uuid for fact in told}}
    by_cdrs = rows(told)
    for row in (*by_events.values(), *by_cdrs.values()):
        row.end_source = None
        row.recordings, row.has_recording = [], False
        for agent in row.agents:
            agent["disconnect_us"] = None
        if name == "o_failover_forked.json":
            row.id, row.dial_us, row.callee_number = "", None, None
    assert by_cdrs.keys() == by_events.keys()
    for uuid, row in by_cdrs.items():
        assert row == by_events[uuid], uuid
