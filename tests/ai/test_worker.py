"""The worker's logic on a real store, with a Gemini that answers what the test wants and a clock that it sets."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import gevent
import pytest

from callengine.ai.faults import Blocked, Permanent, QuotaExhausted, Transient, Unusable, of_silence
from callengine.ai.prompt import PROMPT_VERSION
from callengine.ai.sdk import Answer, Ask, Uploads
from callengine.ai.worker import Analyst
from callengine.errors import BucketError, RecordingMissing
from callengine.spans import Span
from callengine.store import analyses, rows, sql
from callengine.store.analysed import again
from callengine.store.analyses import Status
from callengine.store.database import Store
from callengine.store.edits import Edits
from callengine.store.reads import Reads
from callengine.store.writer import Writer
from tests.ai.jobs import (
    MINUTE,
    NODE,
    NOW,
    SECOND,
    AnswerLost,
    AwayOnce,
    Bench,
    FakeSdk,
    Meanwhile,
    a_campaign,
    a_live_call,
    a_recorded_call,
    a_tenant,
    bench,
    reply,
    saying,
)
from tests.databases import database_settings, postgres_server, postgres_settings, sqlite_settings, store
from tests.store.build import T0, TENANT, ended

__all__ = ["database_settings", "postgres_server", "postgres_settings", "sqlite_settings", "store"]

HOUR = 60 * MINUTE


@pytest.fixture
def writer(store: Store) -> Iterator[Writer]:
    made = Writer(store, recordings=True, analyses=True, now_us=lambda: T0)
    made.start()
    yield made
    made.stop(10)


Make = Callable[..., Bench]


@pytest.fixture
def make(store: Store, writer: Writer) -> Make:
    return lambda *answers, **more: bench(store, writer, *answers, **more)


def test_a_call_is_analysed(make: Make) -> None:
    b = make()
    a_campaign(b.writer, "spring", "Sell routers", ["sold", "not sold"])
    b.sdk.answers = [reply(saying(disposition="sold"))]
    call = a_recorded_call(b.writer, {"duration_ms": 20_000}, {"duration_ms": 10_500}, campaign="spring")
    assert b.analyst.once()
    assert not b.analyst.once()
    record = b.record(call)
    assert record.ai_summary == "The caller wants a new router. It was promised for Monday."
    assert (record.ai_sentiment, record.ai_next_action) == ("positive", "Send the router.")
    assert (record.disposition, record.disposition_by, record.analysis_status) == ("sold", "ai", "completed")
    row = b.row(call)
    assert (row["sdk"], row["model"], row["prompt_version"]) == ("google-genai", "gemini-test-001", PROMPT_VERSION)
    assert (row["audio_ms"], row["input_tokens"], row["output_tokens"]) == (30_500, 2_000, 300)
    # 2000 x 0.30 + 300 x 2.50 USD for a million
    assert row["cost_micros"] == row["spent_micros"] == 1_350
    assert json.loads(row["statements"])[0]["quote"] == "I'd like a new router, please"
    assert json.loads(row["transcript"])[1] == {
        "speaker": "agent",
        "offset_ms": 4_000,
        "text": "Of course. You will have it",
    }
    ((event, _, detail),) = b.events(call)
    assert event == "call.analyzed"
    assert detail is not None
    assert detail["analysis"]["cost_usd"] == 0.00135
    assert "router" not in json.dumps(detail)
    (asked,) = b.sdk.asked
    assert [audio.duration_ms for audio in asked.audios] == [20_000, 10_500]
    assert [audio.label for audio in asked.audios] == ["recording-1", "recording-2"]
    assert asked.audios[0].mime_type == "audio/wav"
    assert asked.audios[0].open().read() != asked.audios[1].open().read()
    assert "Sell routers" in asked.prompt
    assert asked.schema["properties"]["disposition"]["enum"] == ["sold", "not sold", None]
    assert (asked.model, asked.deadline_s) == ("gemini-test", 300)
    assert b.metric("callengine_analyses_total", status="completed") == 1
    assert b.metric("callengine_analysis_tokens_total", kind="input") == 2_000
    assert b.metric("callengine_analysis_cost_usd_total") == pytest.approx(0.00135)


@pytest.mark.parametrize(
    ("files", "leg", "status"),
    [
        ([{"status": "failed"}], {}, Status.SKIPPED_NO_RECORDING),
        ([{"status": "deleted"}, {"status": "failed"}], {}, Status.SKIPPED_NO_RECORDING),
        ([{"duration_ms": 2_000}, {"duration_ms": 2_999}], {}, Status.SKIPPED_TOO_SHORT),
        ([{"loudness_cb": -12_000}, {"loudness_cb": -5_001}], {}, Status.SKIPPED_SILENT),
        ([{}], {"amd_result": "MACHINE"}, Status.SKIPPED_VOICEMAIL),
        ([{}], {"hangup_cause": "NO_PICKUP"}, Status.SKIPPED_VOICEMAIL),
    ],
)
def test_what_is_not_worth_it_is_not_sent_and_says_why(
    make: Make, files: list[dict[str, Any]], leg: dict[str, Any], status: Status
) -> None:
    b = make(skip_causes=("NO_PICKUP",))
    call = a_recorded_call(b.writer, *files, **{k: v for k, v in leg.items() if k != "hangup_cause"})
    if "hangup_cause" in leg:
        b.writer.put(ended_with(call, leg["hangup_cause"]))
        b.writer.flush(5)
    assert b.analyst.once()
    assert b.sdk.asked == []
    assert b.record(call).analysis_status == status
    ((event, _, detail),) = b.events(call)
    assert event == "call.analyzed"
    assert detail is not None
    assert (detail["analysis"]["status"], detail["analysis"]["cost_usd"]) == (status, 0)
    assert b.metric("callengine_analyses_total", status=status) == 1


def ended_with(call: Any, cause: str) -> Any:
    import msgspec

    own = msgspec.structs.replace(call.own, hangup_cause=cause)
    return msgspec.structs.replace(call, own=own, seq=call.seq + 1)


def test_a_silent_recording_among_others_is_left_out(make: Make) -> None:
    """DEFECTS 23."""
    b = make()
    files = [{"loudness_cb": -12_000}, {"loudness_cb": -5_000, "duration_ms": 7_000}, {"loudness_cb": None}]
    call = a_recorded_call(b.writer, *files)
    b.analyst.once()
    assert [audio.duration_ms for audio in b.sdk.asked[0].audios] == [7_000, 30_000]
    assert b.row(call)["audio_ms"] == 37_000


@pytest.mark.parametrize("more", [{"transcript": False}, {"transcript_max_s": 29}])
def test_without_a_transcript_there_is_a_summary_without_quotes(make: Make, more: dict[str, Any]) -> None:
    text = saying(transcript=..., statements=[{"text": "They talked."}])
    b = make(reply(text), **more)
    call = a_recorded_call(b.writer)
    b.analyst.once()
    record = b.record(call)
    assert (record.ai_summary, record.analysis_status) == ("They talked.", "completed_without_quotes")
    assert b.row(call)["transcript"] is None
    assert "transcript" not in b.sdk.asked[0].schema["properties"]


def test_where_no_quote_stands_the_summary_is_null(make: Make) -> None:
    b = make(reply(saying(statements=[{"text": "They argued.", "quote": "never said"}], disposition=None)))
    call = a_recorded_call(b.writer)
    b.analyst.once()
    record = b.record(call)
    assert (record.ai_summary, record.ai_sentiment, record.analysis_status) == (None, None, "unsupported")
    assert len(json.loads(b.row(call)["transcript"])) == 3
    assert b.metric("callengine_analysis_dropped_statements_total") == 1


def test_a_later_run_that_finds_nothing_takes_nothing_away(make: Make) -> None:
    b = make()
    a_campaign(b.writer, "spring", None, ["sold"])
    b.sdk.answers = [
        reply(saying(disposition="sold")),
        reply(saying(statements=[{"text": "They argued.", "quote": "never said"}], transcript=[], disposition=None)),
    ]
    call = a_recorded_call(b.writer, campaign="spring")
    assert b.analyst.once()
    before, quotes = b.record(call), (b.row(call)["statements"], b.row(call)["transcript"])
    b.do(lambda db: again(db, [call.id], b.clock.us))
    assert b.again(1)
    after = b.record(call)
    assert after.analysis_status == "unsupported"
    for name in ("ai_summary", "ai_sentiment", "ai_next_action", "disposition", "disposition_by"):
        assert getattr(after, name) == getattr(before, name) is not None
    assert (b.row(call)["statements"], b.row(call)["transcript"]) == quotes


def test_a_recording_that_comes_while_there_is_nothing_to_send_is_analysed(make: Make) -> None:
    """The row is still due then, so that nothing queues it again but the end of that run."""
    b = make()
    call = a_recorded_call(b.writer, {}, {"status": "failed"}, {"duration_ms": 1_000})
    b.do(lambda db: sql.run(db, "UPDATE recording SET status = 'failed' WHERE duration_ms = 30000"))
    executor = b.analyst._executor = Meanwhile(b.writer, "UPDATE recording SET status = 'ready'", after=1)
    assert b.analyst.once()
    assert executor.done
    assert (b.record(call).analysis_status, b.events(call), b.row(call)["run"]) == ("pending", [], 1)
    assert b.analyst.once()
    assert b.record(call).analysis_status == "completed"
    assert b.metric("callengine_analyses_total", status="skipped_too_short") == 0


# -- what fails ------------------------------------------------------------------------------------------------------


def test_a_passing_failure_is_repeated_with_growing_pauses_and_then_given_up(make: Make) -> None:
    b = make(*[Transient("Gemini answered 503 UNAVAILABLE") for _ in range(3)], max_attempts=3)
    call = a_recorded_call(b.writer)
    pauses = []
    for attempt in (1, 2):
        assert b.analyst.once()
        row = b.row(call)
        assert (row["status"], row["attempts"], bool(row["due"])) == ("retrying", attempt, True)
        assert row["error"] == "Gemini answered 503 UNAVAILABLE"
        assert b.record(call).analysis_status == "retrying"
        assert b.events(call) == []
        pauses.append((row["next_us"] - b.clock.us) / SECOND)
        assert not b.analyst.once()
        b.clock.us = row["next_us"]
    assert 7.5 <= pauses[0] <= 10
    assert 30 <= pauses[1] <= 40
    assert b.analyst.once()
    row = b.row(call)
    assert (row["status"], bool(row["due"]), row["error"]) == ("failed", False, "Gemini answered 503 UNAVAILABLE")
    assert [detail["analysis"]["error"] for _, _, detail in b.events(call) if detail] == [row["error"]]
    assert len(b.sdk.asked) == 3
    assert b.metric("callengine_analyses_put_off_total", why="transient") == 2


def test_a_pause_that_the_answer_asks_for_is_kept_by_all(make: Make) -> None:
    b = make(Transient("Gemini answered 429 RESOURCE_EXHAUSTED", retry_after_s=30))
    first = a_recorded_call(b.writer)
    second = a_recorded_call(b.writer)
    assert b.analyst.once()
    asked_first = first if b.row(first)["attempts"] else second
    assert b.row(asked_first)["next_us"] >= NOW + 30 * SECOND
    assert not b.again(29)
    assert b.again(1)
    assert len(b.sdk.asked) == 2


def test_a_daily_quota_parks_all_and_survives_a_restart(make: Make) -> None:
    b = make(QuotaExhausted("Gemini answered 429: the quota of the day is used up", 4 * 3600))
    calls = [a_recorded_call(b.writer) for _ in range(3)]
    assert b.analyst.once()
    assert [b.record(call).analysis_status for call in calls].count("parked") == 1
    assert not b.again(3600)
    after_restart = make(holder="host:2:bb")
    after_restart.clock.us = b.clock.us
    assert not after_restart.analyst.once()
    another_model = make(holder="host:3:cc", model="gemini-other")
    another_model.clock.us = b.clock.us
    assert another_model.analyst.once()
    b.clock.us = NOW + 4 * HOUR
    assert b.analyst.once()
    assert b.analyst.once()
    assert not b.analyst.once()
    assert {b.record(call).analysis_status for call in calls} == {"completed"}
    assert b.metric("callengine_analyses_put_off_total", why="quota") == 1


@pytest.mark.parametrize(
    "fault", [Permanent("Gemini answered 400 INVALID_ARGUMENT"), Blocked("Gemini blocked the recording")]
)
def test_what_will_not_change_is_not_repeated(make: Make, fault: Exception) -> None:
    b = make(fault)
    call = a_recorded_call(b.writer)
    assert b.analyst.once()
    row = b.row(call)
    assert (row["status"], row["error"], bool(row["due"])) == ("failed", str(fault), False)
    assert row["model"] == "gemini-test"
    assert b.record(call).ai_summary is None
    assert len(b.sdk.asked) == 1


def test_a_useless_answer_is_asked_for_twice_more_and_paid_for_each_time(make: Make) -> None:
    cut_off = Unusable("the answer is cut off", input_tokens=2_000, output_tokens=10_000)
    b = make(reply("no json"), cut_off, reply(saying(sentiment="furious")))
    call = a_recorded_call(b.writer)
    assert b.analyst.once()
    assert (b.row(call)["status"], b.row(call)["unusable"], b.row(call)["attempts"]) == ("retrying", 1, 0)
    assert b.again(5)
    assert b.again(5)
    row = b.row(call)
    assert (row["status"], row["error"]) == ("failed", "the answer is not as its schema has it, at $.sentiment")
    assert (row["input_tokens"], row["output_tokens"]) == (6_000, 10_600)
    assert row["spent_micros"] == row["cost_micros"] == 1_350 + 25_600 + 1_350
    assert not b.again(3600)


def test_a_useless_answer_and_then_a_good_one(make: Make) -> None:
    b = make(reply("{"))
    call = a_recorded_call(b.writer)
    assert b.analyst.once()
    assert b.again(5)
    assert (b.row(call)["status"], b.row(call)["error"], b.row(call)["spent_micros"]) == ("completed", None, 2_700)


@pytest.mark.parametrize(
    ("error", "status", "reason"),
    [
        (RecordingMissing("/secret/folder/x.wav"), "failed", "a recording is not there"),
        (BucketError("download", "SlowDown", transient=True), "retrying", "the bucket does not answer"),
        (BucketError("download", "NoSuchKey"), "failed", "the bucket refuses a recording: NoSuchKey"),
    ],
)
def test_a_recording_that_cannot_be_had(make: Make, error: Exception, status: str, reason: str) -> None:
    b = make()
    b.files.error = error
    call = a_recorded_call(b.writer)
    assert b.analyst.once()
    assert (b.row(call)["status"], b.row(call)["error"]) == (status, reason)


def test_an_error_that_nobody_foresaw_is_told_without_its_words(make: Make, capsys: pytest.CaptureFixture[str]) -> None:
    b = make(RuntimeError("https://example.com/?key=SECRET"))
    call = a_recorded_call(b.writer)
    assert b.analyst.once()
    assert b.row(call)["status"] == "failed"
    assert "RuntimeError" in b.row(call)["error"]
    assert "SECRET" not in str(b.row(call)) + "".join(capsys.readouterr())


def test_an_error_of_our_own_ends_one_analysis_and_no_worker(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    b = make()
    call = a_recorded_call(b.writer)
    monkeypatch.setattr("callengine.ai.triage.plan_of", lambda job, settings: 1 / 0)
    assert b.analyst.once()
    assert b.row(call)["status"] == "failed"
    assert b.row(call)["error"].startswith("unexpected ZeroDivisionError at test_worker.py")
    assert not b.analyst.once()


def test_a_timeout_that_gets_out_is_a_passing_failure(make: Make) -> None:
    b = make(gevent.Timeout(1))
    call = a_recorded_call(b.writer)
    assert b.analyst.once()
    assert (b.row(call)["status"], b.row(call)["error"]) == ("retrying", "no answer came in time")


# -- money -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("bound", "asked"), [(None, 2), (0, 0), (41_697, 0), (42_000, 1), (1_000_000, 2)])
def test_no_tenant_spends_more_than_it_may(make: Make, bound: int | None, asked: int) -> None:
    b = make()
    a_tenant(b.writer, bound_micros=bound)
    # 30 s may cost 1500 + 960 tokens in and 16384 out: 41698 millionths; 1350 are what they come to.
    calls = [a_recorded_call(b.writer) for _ in range(2)]
    assert b.analyst.once()
    assert b.analyst.once()
    assert len(b.sdk.asked) == asked
    statuses = [b.record(call).analysis_status for call in calls]
    assert statuses.count("skipped_over_budget") == 2 - asked
    if asked == 1:
        b.clock.forward(24 * 3600)
        skipped = calls[statuses.index("skipped_over_budget")]
        b.do(lambda db: again(db, [skipped.id], b.clock.us))
        assert b.analyst.once()
        assert b.record(skipped).analysis_status == "completed"


@pytest.mark.parametrize(
    ("bound", "settings", "share"),
    [(200_000, {}, 0.00675), (None, {"daily_spend_usd": 0.1}, 0.0135), (200_000, {"daily_spend_usd": 0.1}, 0.00675)],
)
def test_how_much_of_a_budget_is_spent_is_known(
    make: Make, bound: int | None, settings: dict[str, float], share: float
) -> None:
    b = make(**settings)
    a_tenant(b.writer, bound_micros=bound)
    a_tenant(b.writer, "0190b6d2-0000-7000-8000-00000000000f", bound_micros=0)  # which means: nothing is sent
    a_recorded_call(b.writer)
    b.analyst.keep_up()
    assert b.metric("callengine_analysis_budget_used_ratio") == 0
    assert b.analyst.once()
    b.analyst.keep_up()
    assert b.metric("callengine_analysis_budget_used_ratio") == pytest.approx(share)
    b.clock.forward(24 * 3600)
    b.analyst.keep_up()
    assert b.metric("callengine_analysis_budget_used_ratio") == 0


def test_where_nobody_is_bounded_no_budget_is_used(make: Make) -> None:
    b = make()
    a_tenant(b.writer)
    a_recorded_call(b.writer)
    assert b.analyst.once()
    b.analyst.keep_up()
    assert b.metric("callengine_analysis_budget_used_ratio") == 0


@pytest.mark.parametrize(
    ("answer", "error"), [(None, None), (Permanent("the model is unknown"), "the model is unknown")]
)
def test_asking_is_told_as_part_of_the_calls_trace(make: Make, answer: Exception | None, error: str | None) -> None:
    told: list[Span] = []
    b = make(*([answer] if answer else []))
    b.analyst._on_span = told.append
    call = a_recorded_call(b.writer)
    assert b.analyst.once()
    (span,) = told
    assert (span.name, span.call_id, span.error, span.is_call) == ("analysis", call.id, error, False)
    assert span.attributes == {"callengine.sdk": "google-genai", "gen_ai.request.model": "gemini-test"}


def test_the_settings_bound_holds_where_a_tenant_has_none(make: Make) -> None:
    b = make(daily_spend_usd=0.003)
    call = a_recorded_call(b.writer)
    assert b.analyst.once()
    assert b.record(call).analysis_status == "skipped_over_budget"
    assert b.row(call)["cost_micros"] is None


def unanswered() -> Transient:
    return of_silence("no answer within 300 s")


def test_what_may_have_been_paid_for_stays_counted(make: Make) -> None:
    """Each question that was not answered may have cost the most; nothing is sent for which there is no room."""
    b = make(unanswered(), unanswered(), unanswered(), daily_spend_usd=0.1)
    call = a_recorded_call(b.writer)
    costs = []
    for _ in range(3):
        assert b.again(60)
        costs.append((b.row(call)["status"], b.row(call)["cost_micros"], b.row(call)["spent_micros"]))
    assert costs == [("retrying", 41_698, 0), ("retrying", 83_396, 0), ("skipped_over_budget", 83_396, 0)]
    assert len(b.sdk.asked) == 2


def test_what_google_refused_costs_nothing(make: Make) -> None:
    b = make(Transient("Gemini answered 503 UNAVAILABLE"))
    call = a_recorded_call(b.writer)
    assert b.analyst.once()
    assert (b.row(call)["status"], b.row(call)["cost_micros"]) == ("retrying", 0)


@pytest.mark.parametrize("error", [gevent.Timeout(1), RuntimeError("?")])
def test_where_nobody_knows_what_happened_the_most_stays_counted(make: Make, error: BaseException) -> None:
    b = make(error)
    call = a_recorded_call(b.writer)
    assert b.analyst.once()
    assert b.row(call)["cost_micros"] == 41_698


def test_what_the_tenant_wrote_is_reserved_for_too(make: Make) -> None:
    b = make(unanswered())
    a_campaign(b.writer, "spring", "€" * 1_000, ["sold"])
    call = a_recorded_call(b.writer, campaign="spring")
    assert b.analyst.once()
    # At least a token for each of 3000 bytes, at 0.30 USD for a million.
    assert b.row(call)["cost_micros"] >= 41_698 + 900


def test_a_run_that_sends_nothing_leaves_the_cost_to_its_day(make: Make) -> None:
    b = make(daily_spend_usd=0.0417)
    call = a_recorded_call(b.writer)
    assert b.analyst.once()
    assert b.row(call)["cost_micros"] == 1_350
    b.clock.forward(24 * 3600)
    other = a_recorded_call(b.writer)
    b.do(lambda db: sql.run(db, "UPDATE recording SET duration_ms = 1000 WHERE call_id = ?", (packed(db, call),)))
    b.do(lambda db: again(db, [call.id], b.clock.us))
    while b.analyst.once():
        pass
    assert (b.record(call).analysis_status, b.record(other).analysis_status) == ("skipped_too_short", "completed")
    assert (b.row(call)["cost_micros"], b.row(call)["spent_micros"]) == (0, 1_350)


def packed(db: Any, call: Any) -> Any:
    return rows.packed(db, call.id)


# -- the agent, and other engines ------------------------------------------------------------------------------------


def test_an_agent_sets_the_disposition_while_it_is_analysed(make: Make, store: Store) -> None:
    """DEFECTS 24."""
    b = make()
    a_campaign(b.writer, "spring", None, ["sold", "not sold"])
    call = a_recorded_call(b.writer, campaign="spring")

    def ask(_ask: Ask, _uploads: Uploads) -> Answer:
        Edits(b.writer, Reads(store)).edit_call(TENANT, call.id, {"disposition": "not sold"})
        return reply(saying(disposition="sold"))

    b.sdk.answers = [ask]
    assert b.analyst.once()
    record = b.record(call)
    assert (record.disposition, record.disposition_by, record.analysis_status) == ("not sold", "agent", "completed")
    assert record.ai_summary is not None


def test_nobody_writes_what_was_taken_over_by_another(make: Make) -> None:
    b = make()
    call = a_recorded_call(b.writer, {"storage": "s3", "object_key": "k"})

    def ask(_ask: Ask, _uploads: Uploads) -> Answer:
        late = b.clock.us + 61 * SECOND
        assert b.do(lambda db: analyses.claim(db, call.id, "other@sw2", "sw2", late, 60 * SECOND)) is not None
        return reply()

    b.sdk.answers = [ask]
    assert b.analyst.once()
    assert (b.record(call).ai_summary, b.record(call).analysis_status) == (None, "running")
    assert b.row(call)["holder"] == "other@sw2"
    assert b.row(call)["spent_micros"] == 0
    assert b.events(call) == []


def test_who_finds_its_lease_lost_breaks_off(make: Make, store: Store, writer: Writer) -> None:
    b = make()
    call = a_recorded_call(b.writer, {"storage": "s3", "object_key": "k"})
    broken_off: list[bool] = []

    def ask(_ask: Ask, _uploads: Uploads) -> Answer:
        b.do(lambda db: analyses.claim(db, call.id, "other@sw2", "sw2", b.clock.us + HOUR, MINUTE))
        try:
            gevent.sleep(30)
        finally:
            broken_off.append(True)
        return reply()

    sdk = FakeSdk(ask)
    impatient = Analyst(
        b.writer,
        store,
        sdk,
        b.analyst._settings,
        b.files,
        b.analyst._counts,
        node=lambda: NODE,
        holder="host:1:aa",
        now_us=b.clock,
        lease_s=0.15,
    )
    assert impatient.once()
    assert broken_off == [True]
    assert b.row(call)["holder"] == "other@sw2"


def test_the_lease_is_renewed_while_it_is_asked(make: Make, store: Store) -> None:
    leases: list[int] = []
    b = make()

    def ask(_ask: Ask, _uploads: Uploads) -> Answer:
        for _ in range(3):
            b.clock.forward(10)
            leases.append(b.row(call)["lease_us"])
            gevent.sleep(0.12)
        return reply()

    b.sdk.answers = [ask]
    b.analyst._renew_every_s = 0.05
    call = a_recorded_call(b.writer)
    assert b.analyst.once()
    assert leases[0] < leases[1] < leases[2]
    assert b.record(call).analysis_status == "completed"


def test_what_is_asked_is_not_asked_again_by_a_clock_that_was_set(make: Make) -> None:
    """Its lease looks then as if it had expired, or were written by a clock that was ahead."""
    b = make()
    again: list[bool] = []

    def ask(_ask: Ask, _uploads: Uploads) -> Answer:
        for set_s in (3600, -3600, -7200):
            b.clock.us += set_s * 1_000_000
            again.append(b.analyst.once())
        return reply()

    b.sdk.answers = [ask, reply()]
    call = a_recorded_call(b.writer)
    assert b.analyst.once()
    assert again == [False] * 3
    assert len(b.sdk.asked) == 1
    assert b.record(call).analysis_status == "completed"


def test_without_a_switch_nothing_is_claimed(make: Make) -> None:
    b = make(node="")
    a_recorded_call(b.writer)
    assert not b.analyst.once()
    b.analyst.keep_up()


def test_a_call_waits_for_its_end_and_its_recordings(make: Make) -> None:
    b = make()
    live = a_live_call(b.writer)
    assert not b.analyst.once()
    b.writer.put(ended(live))
    b.writer.flush(5)
    assert not b.analyst.once()  # its recording has not been looked at


# -- uploads, and the end of the process -------------------------------------------------------------------------------


def test_an_upload_is_named_in_the_row_before_it_begins(make: Make) -> None:
    b = make()
    call = a_recorded_call(b.writer)
    seen: list[Any] = []

    def ask(_ask: Ask, uploads: Uploads) -> Answer:
        uploads.began("files/ce-1")
        seen.append(b.row(call)["uploads"])
        uploads.began("files/ce-2")
        uploads.ended("files/ce-1")
        return reply()

    b.sdk.answers = [ask]
    assert b.analyst.once()
    assert seen == ['["files/ce-1"]']
    assert b.row(call)["uploads"] == '["files/ce-2"]'
    assert b.record(call).analysis_status == "completed"
    b.analyst.keep_up()
    assert b.sdk.deleted == ["files/ce-2"]
    assert b.row(call)["uploads"] is None
    b.analyst.keep_up()  # not again before ten minutes are over
    assert b.sdk.deleted == ["files/ce-2"]


def test_a_leftover_that_cannot_be_deleted_stays_named(make: Make) -> None:
    b = make()
    call = a_recorded_call(b.writer)

    def ask(_ask: Ask, uploads: Uploads) -> Answer:
        uploads.began("files/ce-1")
        return reply()

    b.sdk.answers = [ask]
    b.sdk.delete_error = Transient("Gemini answered 503")
    b.analyst.once()
    b.analyst.keep_up()
    assert b.row(call)["uploads"] == '["files/ce-1"]'


def test_a_process_that_was_killed_is_taken_up_where_it_was(make: Make) -> None:
    b = make()
    call = a_recorded_call(b.writer)

    def killed(_ask: Ask, uploads: Uploads) -> Answer:
        uploads.began("files/ce-1")
        gevent.sleep(30)
        return reply()

    b.sdk.answers = [killed]
    worker = gevent.spawn(b.analyst.once)
    while not b.row(call)["uploads"]:
        gevent.sleep(0.01)
    # As after kill -9: nothing was given back; the next life of the engine has another holder, and the same node.
    next_life = make(holder="host:2:bb")
    next_life.clock.us = b.clock.us + 1
    assert not next_life.analyst.once()
    next_life.analyst.keep_up()
    assert next_life.sdk.deleted == ["files/ce-1"]
    assert b.record(call).analysis_status == "pending"
    assert next_life.analyst.once()
    assert b.record(call).analysis_status == "completed"
    assert [event for event, _, _ in b.events(call)] == ["call.analyzed"]
    # What may have been paid for by the dead one still counts for the day.
    assert b.row(call)["cost_micros"] == 41_698 + 1_350
    assert b.row(call)["spent_micros"] == 1_350
    worker.kill(timeout=5)


def test_stopping_gives_back_what_is_being_done(make: Make) -> None:
    b = make()
    call = a_recorded_call(b.writer)
    cleaned: list[bool] = []

    def slow(_ask: Ask, uploads: Uploads) -> Answer:
        uploads.began("files/ce-1")
        try:
            gevent.sleep(30)
        finally:
            uploads.ended("files/ce-1")
            cleaned.append(True)
        return reply()

    b.sdk.answers = [slow]
    worker = gevent.spawn(b.analyst.run_worker)
    while not b.row(call)["uploads"]:
        gevent.sleep(0.01)
    assert b.analyst.stop(5)
    assert cleaned == [True]
    row = b.row(call)
    assert (row["status"], row["holder"], row["uploads"], row["attempts"]) == ("pending", None, None, 0)
    gevent.sleep(0.1)
    assert len(b.sdk.asked) == 1  # nothing is begun any more
    worker.kill(timeout=5)
    assert make(holder="host:2:bb").analyst.once()


def test_a_worker_that_is_killed_stops_asking(make: Make) -> None:
    b = make()
    call = a_recorded_call(b.writer)
    ended_by: list[str] = []

    def slow(_ask: Ask, _uploads: Uploads) -> Answer:
        try:
            gevent.sleep(30)
        except gevent.GreenletExit:
            ended_by.append("kill")
            raise
        return reply()

    b.sdk.answers = [slow]
    worker = gevent.spawn(b.analyst.run_worker)
    while not b.sdk.asked:
        gevent.sleep(0.01)
    worker.kill(timeout=5)
    assert ended_by == ["kill"]
    assert b.record(call).analysis_status == "running"  # until its lease is over, or the engine is back


def test_workers_are_nudged_and_share_what_there_is(make: Make) -> None:
    b = make()
    b.analyst._poll_s = 30
    workers = [gevent.spawn(b.analyst.run_worker) for _ in range(3)]
    gevent.sleep(0.1)
    at_once: list[int] = []

    def ask(_ask: Ask, _uploads: Uploads) -> Answer:
        at_once.append(b.analyst._counts.running)
        gevent.sleep(0.3)
        return reply()

    b.sdk.answers = [ask] * 6
    calls = [a_recorded_call(b.writer) for _ in range(6)]
    b.analyst.nudge()
    with gevent.Timeout(10):
        while any(b.record(call).analysis_status != "completed" for call in calls):
            gevent.sleep(0.02)
    assert len(b.sdk.asked) == 6
    assert max(at_once) == 3
    assert all(len(b.events(call)) == 1 for call in calls)
    gevent.killall(workers, timeout=5)


def test_the_database_is_waited_for_with_what_was_paid(
    make: Make, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("callengine.ai.worker._COMMIT_PAUSE_S", 0.01)
    b = make()
    call = a_recorded_call(b.writer)
    executor = AwayOnce(b.writer, 0)
    b.analyst._executor = executor

    def ask(_ask: Ask, _uploads: Uploads) -> Answer:
        executor.failures = 3
        return reply()

    b.sdk.answers = [ask]
    assert b.analyst.once()
    assert executor.failures == 0
    assert (b.record(call).analysis_status, len(b.sdk.asked)) == ("completed", 1)


@pytest.mark.parametrize("wanted", ["completed", "retrying", "skipped_too_short"])
def test_a_commit_whose_answer_got_lost_is_no_takeover(
    make: Make, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, wanted: str
) -> None:
    """Each write but the claim is committed, and then told as failed once."""
    monkeypatch.setattr("callengine.ai.worker._COMMIT_PAUSE_S", 0.01)
    b = make(*([unusable()] if wanted == "retrying" else []))
    call = a_recorded_call(b.writer, {"duration_ms": 1_000 if wanted == "skipped_too_short" else 30_000})
    b.analyst._executor = executor = AnswerLost(b.writer)
    assert b.analyst.once()
    row = b.row(call)
    paid = 0 if wanted == "skipped_too_short" else 1_350
    assert (row["status"], row["spent_micros"], row["cost_micros"] or 0) == (wanted, paid, paid)
    assert executor.lost == (1 if wanted == "skipped_too_short" else 2)
    assert b.metric("callengine_analysis_cost_usd_total") == pytest.approx(paid / 1_000_000)
    if wanted == "retrying":
        assert b.metric("callengine_analyses_put_off_total", why="unusable") == 1
    else:
        assert b.metric("callengine_analyses_total", status=wanted) == 1
        assert len(b.events(call)) == 1
    assert "taken over" not in caplog.text


def unusable() -> Unusable:
    return Unusable("the answer is cut off", input_tokens=2_000, output_tokens=300)


def test_nothing_is_uploaded_whose_name_cannot_be_committed(make: Make) -> None:
    b = make()
    call = a_recorded_call(b.writer)
    executor = AwayOnce(b.writer, 0)
    b.analyst._executor = executor

    def ask(_ask: Ask, uploads: Uploads) -> Answer:
        executor.failures = 1
        uploads.began("files/ce-1")
        raise AssertionError("it was sent")

    b.sdk.answers = [ask]
    assert b.analyst.once()
    assert (b.row(call)["status"], b.row(call)["error"]) == ("retrying", "the database did not answer")


def test_the_queue_can_be_seen(make: Make) -> None:
    b = make()
    a_recorded_call(b.writer)
    b.analyst.keep_up()
    assert b.metric("callengine_analyses_waiting", status="pending") == 1
    assert b.metric("callengine_analyses_oldest_seconds") == (NOW - T0) / SECOND
    b.metrics.render()


@pytest.mark.parametrize("why", ["no switch yet", "paused"])
def test_a_nudge_that_nothing_can_be_done_about_holds_up_nobody(make: Make, why: str) -> None:
    """A worker that looked again at once, and never waited, would hold the hub for good."""
    b = make(**({"node": ""} if why == "no switch yet" else {}))
    if why == "paused":
        b.sdk.answers = [Transient("busy", 60.0)]
        a_recorded_call(b.writer, {"duration_ms": 20_000})
        assert b.analyst.once()
    looks = 0
    take = b.analyst._take

    def counted() -> Any:
        nonlocal looks
        looks += 1
        if looks > 100:  # else a failing test would never end
            raise gevent.GreenletExit
        return take()

    b.analyst._take = counted  # type: ignore[method-assign]
    worker = gevent.spawn(b.analyst.run_worker)
    b.analyst.nudge()
    gevent.sleep(0.05)
    b.analyst.nudge()
    gevent.sleep(0.05)
    worker.kill()
    assert 1 <= looks <= 10
