"""From event bodies to the writer: one event that cannot be read, or applied, stops nothing."""

from __future__ import annotations

from typing import Any

import gevent
import pytest
from prometheus_client.parser import text_string_to_metric_families

from callengine.calls.book import Book
from callengine.calls.call import Call
from callengine.calls.machine import Rules
from callengine.esl.headers import Translator
from callengine.esl.intake import IntakeQueue
from callengine.esl.sieve import Sieve
from callengine.metrics import Metrics
from callengine.tracker import Tracker
from tests.engine.fakes import KeptWriter, event, headers

T = 1_795_343_615_000_000


class Rig:
    def __init__(self) -> None:
        self.writer, self.metrics, self.intake = KeptWriter(), Metrics(), IntakeQueue()
        self.repeats = 0
        self.sieve = Sieve(Translator(), self._repeated)
        self.over: list[Call] = []
        self.poison: list[tuple[bytes, str]] = []
        self.book = Book("n1", Rules(default_tenant="t"))
        self.tracker = Tracker(
            self.book,
            self.intake,
            Translator(),
            self.writer,
            self.metrics,
            on_over=self.over.append,
            on_poison=lambda body, reason: self.poison.append((body, reason)),
        )

    def work_off(self, bodies: list[bytes]) -> None:
        bodies = self.sieve(bodies)
        self.intake.put_many(bodies)
        worker = gevent.spawn(self.tracker.run)
        with gevent.Timeout(5):
            while self.tracker.applied < len(bodies):
                gevent.sleep(0.001)
        worker.kill()

    def _repeated(self, count: int) -> None:
        self.repeats += count

    def samples(self) -> dict[str, float]:
        families = text_string_to_metric_families(self.metrics.render().decode())
        return {f"{s.name}{sorted(s.labels.items())}": s.value for f in families for s in f.samples}


def whole_call(uuid: str = "u1") -> list[bytes]:
    begun = headers(uuid, T)
    answered = headers(uuid, T, answered=T + 1_000_000)
    ended = headers(uuid, T, answered=T + 1_000_000, hangup=T + 5_000_000)
    return [
        event("CHANNEL_CREATE", begun),
        event("CHANNEL_ANSWER", answered),
        event("CHANNEL_HANGUP", answered, **{"Hangup-Cause": "NORMAL_CLEARING"}),
        event("CHANNEL_HANGUP_COMPLETE", ended, **{"Hangup-Cause": "NORMAL_CLEARING"}),
    ]


def test_a_call_reaches_the_writer_and_is_over_once() -> None:
    rig = Rig()
    rig.work_off([*whole_call(), *whole_call()])
    (call,) = rig.writer.calls.values()
    assert call.over
    assert [c.id for c in rig.over] == [call.id]
    assert [p.event for p in rig.writer.published] == ["call.dialing", "call.answered", "call.ended"]
    assert [n.note.name for n in rig.writer.notes] == ["created", "answered", "hung_up", "ended"]


def test_poison_is_set_aside_counted_and_the_next_call_works() -> None:
    rig = Rig()
    bad = [b"{", b'{"Event-Name":"CHANNEL_CREATE"}', b"\xff\xfe", b"[]", b'{"no":"name"}']
    rig.work_off([*bad, *whole_call()])
    assert [body for body, _ in rig.poison] == bad
    assert rig.samples()["callengine_poison_total[('kind', 'event')]"] == len(bad)
    assert len(rig.over) == 1


def test_a_fact_that_breaks_the_book_is_set_aside_too(monkeypatch: pytest.MonkeyPatch) -> None:
    rig = Rig()
    real = rig.book.apply

    def apply(fact: Any, now: float) -> Any:
        if getattr(fact, "uuid", "") == "cursed":
            raise RuntimeError("boom")
        return real(fact, now)

    monkeypatch.setattr(rig.book, "apply", apply)
    rig.work_off([*whole_call("cursed"), *whole_call("u1")])
    assert len(rig.poison) == 4
    assert "RuntimeError" in rig.poison[0][1]
    assert [c.fs_uuid for c in rig.over] == ["u1"]


def test_metrics_tell_of_the_call_with_closed_labels() -> None:
    rig = Rig()
    odd = [b.replace(b"NORMAL_CLEARING", b"MADE_UP_CAUSE") for b in whole_call("u2")]
    rig.work_off([*whole_call("u1"), *odd])
    samples = rig.samples()
    assert samples["callengine_calls_total[('direction', 'inbound'), ('status', 'completed')]"] == 2
    assert samples["callengine_hangups_total[('cause', 'NORMAL_CLEARING')]"] == 1
    assert samples["callengine_hangups_total[('cause', 'other')]"] == 1
    assert samples["callengine_talk_seconds_sum[('direction', 'inbound'), ('gateway', 'none')]"] == 8.0


def test_the_switchs_clock_is_its_last_event_moved_on() -> None:
    rig = Rig()
    assert rig.tracker.switch_now_us() == 0
    rig.work_off(whole_call())
    assert T + 5_000_000 <= rig.tracker.switch_now_us() < T + 10_000_000


def test_what_the_store_cannot_take_waits_in_the_intake() -> None:
    rig = Rig()
    rig.writer.full = True
    rig.intake.put_many(whole_call())
    worker = gevent.spawn(rig.tracker.run)
    gevent.sleep(0.05)
    assert (rig.tracker.applied, len(rig.intake)) == (0, 4)
    rig.writer.full = False
    with gevent.Timeout(5):
        while rig.tracker.applied < 4:
            gevent.sleep(0.01)
    worker.kill()


def test_a_refused_transition_is_counted_each_time_and_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    rig = Rig()
    changed = event("CHANNEL_ANSWER", headers("u1", T, answered=T + 2_000_000))
    rig.work_off([*whole_call()[:2], changed, changed])
    assert sum(v for k, v in rig.samples().items() if k.startswith("callengine_refused_transitions_total")) == 2
    assert sum("refused" in r.message for r in caplog.records) == 1


def destroy(uuid: str, created: int, **stamps: int) -> bytes:
    return event("CHANNEL_DESTROY", headers(uuid, created, **stamps), **{"Hangup-Cause": "NORMAL_CLEARING"})


def test_a_destroy_that_repeats_the_end_is_counted_and_no_more() -> None:
    rig = Rig()
    last = destroy("u1", T, answered=T + 1_000_000, hangup=T + 5_000_000)
    rig.work_off([*whole_call(), last])
    assert rig.repeats == 1
    assert [p.event for p in rig.writer.published] == ["call.dialing", "call.answered", "call.ended"]


def test_a_destroy_whose_completion_never_came_ends_the_call() -> None:
    rig = Rig()
    rig.work_off([*whole_call()[:2], destroy("u1", T, answered=T + 1_000_000, hangup=T + 5_000_000)])
    (call,) = rig.writer.calls.values()
    assert call.over
    assert call.own.hangup_us == T + 5_000_000


def test_a_destroy_of_another_life_is_read() -> None:
    rig = Rig()
    rig.work_off([*whole_call(), destroy("u1", T + 9_000_000, hangup=T + 10_000_000)])
    (call,) = rig.writer.calls.values()
    assert call.own.created_us == T + 9_000_000


def test_a_destroy_that_is_not_plain_is_read_in_full() -> None:
    rig = Rig()
    odd = b'{"Event-Name":"CHANNEL_DESTROY","Unique-ID":"u\\u00311","Caller-Channel-Created-Time":"x"}'
    rig.work_off([*whole_call(), odd])
    assert len(rig.poison) == 1
