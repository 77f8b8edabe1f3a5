"""What the switch lists against what the book holds, on a connection."""

from __future__ import annotations

from collections.abc import Callable

import gevent
import pytest
from gevent.event import Event

from callengine.calls.book import Book
from callengine.calls.facts import Fact, LegReported
from callengine.calls.machine import Rules
from callengine.calls.record import record_of
from callengine.errors import EslError
from callengine.esl.headers import Translator
from callengine.esl.intake import IntakeQueue
from callengine.metrics import Metrics
from callengine.reconcile import Reconciler
from callengine.tracker import Tracker
from tests.engine.fakes import KeptWriter, Switch, event, headers

T = 1_795_343_615_000_000
U = [f"00000000-0000-4000-8000-{i:012d}" for i in range(10)]


class Rig:
    def __init__(self) -> None:
        self.writer, self.intake, self.metrics = KeptWriter(), IntakeQueue(), Metrics()
        self.book = Book("n1", Rules(default_tenant="t"))
        self.translator = Translator()
        self.taken: list[Fact] = []
        self.tracker = Tracker(
            self.book, self.intake, self.translator, self.writer, self.metrics, on_taken=self.taken.append
        )
        self.reconciler = Reconciler(self.tracker, self.translator, self.metrics)
        self.worker = gevent.spawn(self.tracker.run)

    def take(self, *bodies: bytes) -> None:
        for body in bodies:
            fact = self.translator.json(body)
            assert fact is not None
            self.tracker.take(fact)


@pytest.fixture
def rig() -> Rig:
    return Rig()


def test_a_call_that_began_while_we_were_away_is_adopted(rig: Rig) -> None:
    rig.reconciler.run(Switch({U[0]: headers(U[0], T, answered=T + 1_000_000)}))
    call = rig.book.call_of(U[0])
    assert call is not None
    record = record_of(call)
    assert (record.dial_us, record.answer_us, record.status) == (T, T + 1_000_000, "answered")
    assert [n.note.source for n in rig.writer.notes] == ["snapshot", "snapshot"]


def test_what_a_known_call_missed_is_fetched(rig: Rig) -> None:
    rig.take(event("CHANNEL_CREATE", headers(U[0], T)))
    rig.reconciler.run(Switch({U[0]: headers(U[0], T, progress=T + 20_000, answered=T + 900_000)}))
    record = record_of(rig.book.call_of(U[0]))  # type: ignore[arg-type]
    assert (record.ring_us, record.answer_us, record.live) == (T + 20_000, T + 900_000, True)


def test_what_a_known_call_missed_is_kept_where_it_is_new(rig: Rig) -> None:
    rig.take(event("CHANNEL_CREATE", headers(U[0], T)))
    switch = Switch({U[0]: headers(U[0], T, answered=T + 900_000)})
    rig.taken.clear()
    for _ in range(3):
        rig.reconciler.run(switch)
    assert [fact.uuid for fact in rig.taken] == [U[0]]  # type: ignore[union-attr]
    assert rig.metrics.registry.get_sample_value("callengine_reconciled_total", {"found": "known"}) == 3


def many(rig: Rig, count: int) -> dict[str, dict[str, str]]:
    """Channels that the book knows as created, and the switch as answered."""
    uuids = [f"00000000-0000-4000-8002-{i:012d}" for i in range(count)]
    for uuid in uuids:
        rig.take(event("CHANNEL_CREATE", headers(uuid, T)))
    return {uuid: headers(uuid, T, answered=T + 900_000) for uuid in uuids}


def answered(rig: Rig) -> int:
    return sum(1 for call in rig.book.live() if call.own.answered_us)


def test_of_many_known_calls_the_lists_are_compared_first_and_the_stamps_fetched_after_that(rig: Rig) -> None:
    channels = many(rig, 1000)
    rig.take(event("CHANNEL_CREATE", headers(U[0], T)))
    switch = Switch(channels | {U[1]: headers(U[1], T)})
    later = rig.reconciler.run(switch)
    assert rig.book.call_of(U[0]).over  # type: ignore[union-attr]
    assert rig.book.knows(U[1])
    assert (len(later), answered(rig)) == (500, 500)
    rig.reconciler.stamp(switch, later, Event())
    assert answered(rig) == 1000


def test_stamps_that_could_not_be_fetched_are_asked_for_again(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("callengine.reconcile._AFTER_FAILURE_S", 0.001)
    switch = Switch(many(rig, 700))
    later = rig.reconciler.run(switch)
    failures = iter([True] * 3)

    def fail(command: str) -> None:
        if later[150] in command and next(failures, False):
            raise EslError("too many commands")

    switch.before_answer = fail
    rig.reconciler.stamp(switch, later, Event())
    assert answered(rig) == 700


def test_no_stamps_are_fetched_over_a_connection_that_is_lost(rig: Rig) -> None:
    switch, closed = Switch(many(rig, 700)), Event()
    later = rig.reconciler.run(switch)
    closed.set()
    switch.down = True
    rig.reconciler.stamp(switch, later, closed)
    assert answered(rig) == 500


def test_a_call_that_is_gone_is_closed_without_an_invented_stamp(rig: Rig) -> None:
    rig.take(event("CHANNEL_CREATE", headers(U[0], T)), event("CHANNEL_ANSWER", headers(U[0], T, answered=T + 500_000)))
    rig.reconciler.run(Switch({}))
    record = record_of(rig.book.call_of(U[0]))  # type: ignore[arg-type]
    assert (record.status, record.end_us, record.hangup_cause, record.end_source) == ("completed", None, None, "bounds")
    assert record.ended_after_us == T + 500_000


def test_a_call_that_only_the_scoreboard_lost_goes_on(rig: Rig) -> None:
    rig.take(event("CHANNEL_CREATE", headers(U[0], T)))
    rig.reconciler.run(Switch({U[0]: headers(U[0], T)}, scoreboard=[]))
    assert rig.book.call_of(U[0]).over is False  # type: ignore[union-attr]


def test_a_call_that_only_the_scoreboard_still_has_is_no_call(rig: Rig) -> None:
    rig.reconciler.run(Switch({}, scoreboard=[U[0]]))
    assert not list(rig.book.live())


def test_a_call_that_the_scoreboard_did_not_have_yet_is_adopted_when_it_is_asked_again(rig: Rig) -> None:
    """It began just before we were subscribed: no event of ours tells of it, only those that come later."""
    switch = Switch({U[0]: headers(U[0], T)}, scoreboard=[])
    rig.reconciler.run(switch)
    rig.take(event("CHANNEL_ANSWER", headers(U[0], T, answered=T + 900_000)))
    assert rig.book.call_of(U[0]) is None
    switch.scoreboard = [U[0]]
    rig.reconciler.look_again(switch)
    record = record_of(rig.book.call_of(U[0]))  # type: ignore[arg-type]
    assert (record.dial_us, record.answer_us, record.status) == (T, T + 900_000, "answered")


def test_asked_again_it_asks_for_no_channel_that_is_known_or_whose_events_are_on_their_way(rig: Rig) -> None:
    rig.take(event("CHANNEL_CREATE", headers(U[0], T)))
    switch = Switch({uuid: headers(uuid, T) for uuid in U[:2]})
    created = event("CHANNEL_CREATE", headers(U[1], T))
    switch.before_answer = lambda command: (command.startswith("show") and rig.intake.put_many([created])) or None
    rig.reconciler.look_again(switch)
    assert [command.split()[0] for command in switch.asked] == ["show"]
    assert {call.fs_uuid for call in rig.book.live()} == set(U[:2])


def test_asked_again_it_leaves_others_alone_where_it_is_told_to(rig: Rig) -> None:
    switch = Switch({U[0]: headers(U[0], T)})
    Reconciler(rig.tracker, rig.translator, rig.metrics, adopting=lambda: False).look_again(switch)
    assert switch.asked == []
    assert not list(rig.book.live())


def test_a_leg_whose_channel_is_gone_is_not_counted_as_adopted(rig: Rig) -> None:
    orphan = headers(U[1], T) | {"Call-Direction": "outbound", "variable_originator": U[0]}
    switch = Switch({U[1]: orphan})
    for _ in range(2):
        rig.reconciler.look_again(switch)
    assert not rig.book.knows(U[1])
    assert rig.metrics.registry.get_sample_value("callengine_reconciled_total", {"found": "adopted"}) is None


def test_an_end_that_waits_in_the_intake_wins_over_bounds(rig: Rig) -> None:
    rig.take(event("CHANNEL_CREATE", headers(U[0], T)))
    switch = Switch({})
    ended = event("CHANNEL_HANGUP_COMPLETE", headers(U[0], T, hangup=T + 7_000_000), **{"Hangup-Cause": "USER_BUSY"})
    switch.before_answer = lambda command: (command.startswith("show") and rig.intake.put_many([ended])) or None
    rig.reconciler.run(switch)
    record = record_of(rig.book.call_of(U[0]))  # type: ignore[arg-type]
    assert (record.end_us, record.hangup_cause, record.end_source) == (T + 7_000_000, "USER_BUSY", "event")


def test_nothing_is_closed_before_all_that_had_arrived_was_applied(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """The database was away: what tells how these ended has waited in the intake for minutes, and is no news."""
    monkeypatch.setattr("callengine.reconcile._DRAIN_S", 0.05)
    rig.take(event("CHANNEL_CREATE", headers(U[0], T)))
    later: list[str] = []
    reconciler = Reconciler(rig.tracker, rig.translator, rig.metrics, later=later.append)
    rig.worker.kill()
    ended = event("CHANNEL_HANGUP_COMPLETE", headers(U[0], T, hangup=T + 7_000_000), **{"Hangup-Cause": "USER_BUSY"})
    rig.intake.put_many([ended])
    reconciler.run(Switch({}))
    assert later == [U[0]]
    assert [call.fs_uuid for call in rig.book.live()] == [U[0]]
    rig.worker = gevent.spawn(rig.tracker.run)
    reconciler.verify(Switch({}), later)
    record = record_of(rig.book.call_of(U[0]))  # type: ignore[arg-type]
    assert (record.end_us, record.hangup_cause, record.end_source) == (T + 7_000_000, "USER_BUSY", "event")


def test_legs_are_adopted_as_legs(rig: Rig) -> None:
    a, b = headers(U[0], T, answered=T + 1), headers(U[1], T + 10, answered=T + 20)
    b |= {"Call-Direction": "outbound", "Other-Leg-Unique-ID": U[0], "variable_originator": U[0]}
    a |= {"Other-Leg-Unique-ID": U[1], "Other-Type": "originatee"}
    rig.reconciler.run(Switch({U[1]: b, U[0]: a}))
    (call,) = rig.book.live()
    assert call.fs_uuid == U[0]
    assert [leg["fs_uuid"] for leg in record_of(call).legs] == [U[1]]


def test_a_lost_connection_ends_the_comparison(rig: Rig) -> None:
    switch = Switch({})
    switch.down = True
    with pytest.raises(EslError):
        rig.reconciler.run(switch)


def test_a_list_that_cannot_be_read_is_said(rig: Rig) -> None:
    class Garbled(Switch):
        def api(self, command: str, *, timeout_s: float | None = None) -> str:
            return "-ERR no"

    with pytest.raises(EslError, match="show channels"):
        rig.reconciler.run(Garbled({}))


def test_an_answer_that_is_no_denial_closes_nothing(rig: Rig) -> None:
    class Unsure(Switch):
        def api(self, command: str, *, timeout_s: float | None = None) -> str:
            return "-ERR busy" if command.startswith("uuid_exists") else super().api(command, timeout_s=timeout_s)

    rig.take(event("CHANNEL_CREATE", headers(U[0], T)))
    rig.reconciler.run(Unsure({}))
    assert rig.book.call_of(U[0]).over is False  # type: ignore[union-attr]


def test_thousands_that_are_gone_are_asked_for_side_by_side(rig: Rig) -> None:
    uuids = [f"00000000-0000-4000-8001-{i:012d}" for i in range(2000)]
    for uuid in uuids:
        rig.take(event("CHANNEL_CREATE", headers(uuid, T)))
    switch = Switch({})
    switch.before_answer = lambda command: gevent.sleep(0.001)
    with gevent.Timeout(3):
        rig.reconciler.run(switch)
    assert not list(rig.book.live())


def test_before_it_closes_it_waits_for_what_tells_the_end(rig: Rig) -> None:
    rig.take(event("CHANNEL_CREATE", headers(U[0], T)), event("CHANNEL_CREATE", headers(U[1], T)))
    asked: list[bool] = []

    def report(done: Callable[[], bool]) -> None:
        asked.append(done())
        for uuid in U[:2]:
            rig.tracker.take(LegReported(uuid=uuid, at_us=T + 5, created_us=T, hangup_us=T + 5, hangup_cause="BUSY"))
            asked.append(done())

    reconciler = Reconciler(rig.tracker, rig.translator, rig.metrics, before_closing=report)
    reconciler.run(Switch({}))
    assert asked == [False, False, True]
    assert [record_of(rig.book.call_of(uuid)).end_source for uuid in U[:2]] == ["cdr", "cdr"]  # type: ignore[arg-type]
    reconciler.run(Switch({}))
    assert len(asked) == 3
