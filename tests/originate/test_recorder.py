"""Rules for recording: whose count, how long they are remembered, and who records the calls of others by them."""

from __future__ import annotations

import logging
from typing import Any

import gevent
import pytest

from callengine.calls.call import Call
from callengine.errors import EslDisconnected, StoreUnavailable
from callengine.originate.control import Control
from callengine.originate.recorder import MAX_WAITING, Recorder
from callengine.originate.rulebook import REFRESH_S, Rulebook, rule_of
from callengine.store.entities import RecordRules
from tests.originate.fakes import OTHER_TENANT, REQUEST, TENANT, FakeCounts, Rig, path_of

CALL = "0190aaaa-0000-7000-8000-000000000001"


class Source:
    """What the store would read."""

    def __init__(self, tenants: dict[str, str] | None = None, campaigns: dict[tuple[str, str], str] | None = None):
        self.rules = RecordRules(tenants=tenants or {}, campaigns=campaigns or {})
        self.away = False
        self.reads = 0

    def __call__(self) -> RecordRules:
        self.reads += 1
        if self.away:
            raise StoreUnavailable("it is away")
        return self.rules


# -- the rules ---------------------------------------------------------------------------------------------------------


def test_the_campaign_goes_before_the_tenant_and_the_tenant_before_the_settings() -> None:
    source = Source({TENANT: "all"}, {(TENANT, "spring"): "never", (OTHER_TENANT, "spring"): "originated"})
    book = Rulebook(source, "answer")
    book.refresh()
    assert book.of(TENANT, "spring") == "never"
    assert book.of(TENANT, "autumn") == book.of(TENANT, None) == "all"
    assert book.of(OTHER_TENANT, "spring") == "originated"
    assert book.of(OTHER_TENANT, None) == "originated"  # the settings'
    assert [rule_of(start) for start in ("never", "answer", "all")] == ["never", "originated", "all"]


def test_rules_are_read_again_after_some_seconds() -> None:
    now = [0.0]
    source = Source({TENANT: "all"})
    book = Rulebook(source, "never", lambda: now[0])
    assert not book.known
    assert book.of(TENANT, None) == "never"
    for seconds, reads in ((0.0, 1), (REFRESH_S - 1, 1), (1.0, 2)):
        now[0] += seconds
        book.refresh()
        assert source.reads == reads
    assert book.known
    source.rules = RecordRules(tenants={}, campaigns={})
    source.away = True
    now[0] += REFRESH_S
    book.refresh()  # the old ones count
    assert book.of(TENANT, None) == "all"
    source.away = False
    now[0] += REFRESH_S
    book.refresh()
    assert book.of(TENANT, None) == "never"


def test_rules_that_were_never_read_are_not_guessed() -> None:
    source = Source()
    source.away = True
    book = Rulebook(source, "never")
    with pytest.raises(StoreUnavailable):
        book.refresh()
    source.away = False
    book.refresh()
    assert book.known


# -- calls of ours -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("asked", "campaign", "start", "recorded"),
    [
        (None, None, "never", True),  # the tenant's
        (None, "spring", "answer", False),
        (None, "autumn", "never", True),
        (True, "spring", "never", True),
        (False, "autumn", "answer", False),
    ],
)
def test_an_originate_follows_them(asked: bool | None, campaign: str | None, start: str, recorded: bool) -> None:
    rig = Rig({"recordings": {"start": start}})
    source = Source({TENANT: "originated"}, {(TENANT, "spring"): "never", (TENANT, "autumn"): "all"})
    book = Rulebook(source, start, rig.monotonic)
    control = Control(rig, rig.originator, rig.settings, rig, sleep=rig.sleep, rulebook=book)
    made = control.originate(TENANT, {**REQUEST, "record": asked, "campaign_id": campaign})
    rig.work()
    (command,) = rig.originates()
    assert ("record_session" in command) is recorded
    assert (path_of(rig, made.id) in command) is recorded
    assert source.reads == (1 if asked is None else 0)


def test_an_originate_is_refused_where_they_cannot_be_known() -> None:
    rig = Rig()
    source = Source()
    source.away = True
    control = Control(rig, rig.originator, rig.settings, rig, sleep=rig.sleep, rulebook=Rulebook(source, "never"))
    with pytest.raises(StoreUnavailable):
        control.originate(TENANT, REQUEST)
    assert rig.book.calls == {}


# -- calls of others ---------------------------------------------------------------------------------------------------


class Desk:
    """A rig with a recorder, and an inbound call that is answered."""

    def __init__(self, source: Source | None = None, **recordings: Any) -> None:
        self.rig = rig = Rig({"recordings": recordings} if recordings else None)
        self.source = source or Source({TENANT: "all"})
        self.book = Rulebook(self.source, rig.settings.recordings.start, rig.monotonic)
        self.control = Control(rig, rig.originator, rig.settings, rig, sleep=rig.sleep, rulebook=self.book)
        self.counts = FakeCounts()
        self.recorder: Recorder = self.control.recorder(self.counts)
        self.recorder._sleep = rig.sleep
        self.book.refresh()

    def inbound(self, uuid: str = CALL, **leg: Any) -> Call:
        self.rig.create(uuid, direction="inbound", **leg)
        self.rig.answer(uuid)
        call = self.rig.book.call_of(uuid)
        assert call is not None
        return call

    def work(self) -> None:
        """All that stands in line."""
        while self.recorder._line.qsize():
            self.recorder.look(*self.recorder._line.get())

    @property
    def records(self) -> list[str]:
        return [command for command in self.rig.link.sent if command.startswith("uuid_record")]


def test_a_call_of_others_is_recorded_on_its_answer() -> None:
    desk = Desk()
    call = desk.inbound()
    assert desk.rig.link.sent == []
    desk.recorder.on_answered(call)
    assert desk.rig.link.sent == []  # the tracker does not wait
    desk.work()
    path = path_of(desk.rig, call.id)
    assert desk.rig.link.sent == [
        f"uuid_setvar {CALL} recording_follow_transfer true",
        f"uuid_setvar {CALL} RECORD_STEREO true",
        f"uuid_record {CALL} start {path}",
    ]
    assert desk.rig.notes[-1][0] == "recording_start"
    assert desk.recorder.started == 1


def test_it_is_recorded_once() -> None:
    desk = Desk()
    call = desk.inbound()
    for _ in range(3):
        desk.recorder.on_answered(call)
        desk.work()
    desk.rig.record_started(CALL, path_of(desk.rig, call.id))
    desk.rig.record_stopped(CALL, path_of(desk.rig, call.id))
    desk.recorder.on_answered(call)
    desk.work()
    assert len(desk.records) == 1


def test_what_the_dialplan_records_is_left_alone() -> None:
    desk = Desk()
    call = desk.inbound()
    desk.recorder.on_answered(call)
    desk.rig.record_started(CALL, "/elsewhere/x.wav")  # within the moment that it is given
    desk.work()
    assert desk.records == []
    assert (desk.recorder.started, desk.recorder.failed) == (0, 0)


def test_call_control_and_the_recorder_know_of_each_other() -> None:
    desk = Desk()
    call = desk.inbound()
    desk.recorder.on_answered(call)
    desk.control.recording(TENANT, call.id, "start")
    desk.work()  # RECORD_START is still on its way
    assert len(desk.records) == 1
    other = desk.inbound("0190aaaa-0000-7000-8000-000000000002")
    desk.recorder.on_answered(other)
    desk.work()
    desk.control.recording(TENANT, other.id, "start")
    assert len(desk.records) == 2


@pytest.mark.parametrize(
    ("tenants", "campaigns", "start", "recorded"),
    [
        ({}, {}, "never", False),
        ({}, {}, "answer", False),
        ({}, {}, "all", True),
        ({TENANT: "originated"}, {}, "all", False),
        ({TENANT: "never"}, {(TENANT, "spring"): "all"}, "never", True),
        ({TENANT: "all"}, {(TENANT, "spring"): "originated"}, "all", False),
        ({OTHER_TENANT: "all"}, {(OTHER_TENANT, "spring"): "all"}, "never", False),
    ],
)
def test_whose_rule_it_is(
    tenants: dict[str, str], campaigns: dict[tuple[str, str], str], start: str, recorded: bool
) -> None:
    desk = Desk(Source(tenants, campaigns), start=start, directories=["/var/spool/recordings"])
    desk.recorder.on_answered(desk.inbound(campaign="spring"))
    desk.work()
    assert (len(desk.records) == 1) is recorded


def test_a_call_of_ours_is_not_its_business() -> None:
    desk = Desk()
    call_id = desk.rig.answered(record=False)
    desk.recorder.on_answered(desk.rig.book.calls[call_id])
    desk.work()
    assert desk.records == []


def test_a_call_that_is_gone_is_let_go() -> None:
    desk = Desk()
    desk.recorder.on_answered(desk.inbound())
    desk.rig.end(CALL)
    desk.work()
    assert desk.rig.link.sent == []
    assert desk.recorder.failed == 0


def test_rules_that_are_not_known_yet_are_waited_for() -> None:
    desk = Desk()
    desk.book._rules = None
    desk.source.rules = RecordRules(tenants={TENANT: "all"}, campaigns={})
    desk.recorder.on_answered(desk.inbound())
    desk.work()
    assert len(desk.records) == 1


@pytest.mark.parametrize("answer", ["-ERR Cannot record session!\n", EslDisconnected()])
def test_what_fails_is_counted_and_stops_nothing(answer: object, caplog: pytest.LogCaptureFixture) -> None:
    desk = Desk()
    desk.rig.link.answers["uuid_record"] = answer
    desk.recorder.on_answered(desk.inbound())
    with caplog.at_level(logging.WARNING):
        desk.work()
    assert desk.recorder.failed == 1
    assert "is not recorded" in caplog.text
    desk.rig.link.answers.clear()
    desk.recorder.on_answered(desk.inbound("0190aaaa-0000-7000-8000-000000000002"))
    desk.work()
    assert desk.recorder.started == 1


def test_without_a_directory_nothing_can_be_recorded() -> None:
    desk = Desk(directories=[])
    desk.recorder.on_answered(desk.inbound())
    desk.work()
    assert (desk.recorder.failed, desk.records) == (1, [])


def test_the_line_is_bounded(caplog: pytest.LogCaptureFixture) -> None:
    desk = Desk()
    with caplog.at_level(logging.ERROR):
        for n in range(MAX_WAITING + 3):
            desk.recorder.on_answered(desk.inbound(f"0190aaaa-0000-7000-8000-{n:012x}"))
    assert desk.recorder.dropped == 3
    assert desk.counts.gauges["callengine_recorder_waiting"]() == MAX_WAITING


def test_it_runs_by_itself() -> None:
    desk = Desk()
    desk.book._rules = None
    running = [gevent.spawn(desk.recorder.run) for _ in range(2)]
    gevent.sleep(0)
    assert desk.book.known
    desk.recorder.on_answered(desk.inbound())
    with gevent.Timeout(5):
        while not desk.recorder.started:
            gevent.sleep(0.005)
    assert len(desk.records) == 1
    assert desk.counts.gauges["callengine_recorder_started"]() == 1
    gevent.killall(running)
