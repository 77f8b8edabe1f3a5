"""What a call's span says: the switch's own stamps, and no person's number or name."""

from __future__ import annotations

import subprocess
import sys

import pytest

from callengine.calls.record import CallRecord
from callengine.config.settings import Settings
from callengine.daemon import _tracing
from callengine.errors import ConfigurationError
from callengine.metrics import Metrics
from callengine.spans import span_id, span_of_call, trace_id

CALL = "01890a5d-ac96-774b-bcce-b302099a8057"
T0 = 1_700_000_000_000_000


def a_record(**more: object) -> CallRecord:
    known = {"id": CALL, "tenant_id": "t", "node": "fs1", "fs_uuid": "x", "live": False, "status": "failed"}
    return CallRecord(**{**known, **more})  # type: ignore[arg-type]


def test_it_lasts_from_dial_to_hangup_with_the_milestones_between() -> None:
    record = a_record(
        status="completed",
        queued_us=T0 - 5,
        dial_us=T0,
        ring_us=T0 + 1,
        answer_us=T0 + 2,
        agent_connect_us=T0 + 3,
        end_us=T0 + 4,
        hangup_cause="NORMAL_CLEARING",
        gateway="carrier",
        sip_status=200,
        caller_number="+37255501001",
        caller_name="Mari",
        callee_number="+37255501002",
        notes="secret",
    )
    span = span_of_call(record)
    assert span is not None
    assert (span.start_us, span.end_us) == (T0, T0 + 4)
    assert span.events == (("ringing", T0 + 1), ("answered", T0 + 2), ("agent_connected", T0 + 3))
    assert span.error is None
    assert span.is_call
    assert span.attributes["callengine.outcome"] == "answered"
    assert span.attributes["callengine.sip_status"] == 200
    assert not [word for word in ("3725550", "Mari", "secret") if word in repr(span)]


@pytest.mark.parametrize(
    ("more", "end_us"),
    [
        ({"ended_after_us": T0 + 7, "ended_before_us": T0 + 9}, T0 + 9),
        ({"answer_us": T0 + 3, "ring_us": T0 + 2}, T0 + 3),
        ({}, T0),
        ({"end_us": T0 - 1}, T0),
    ],
)
def test_an_end_that_nobody_stamped_is_no_later_than_is_known(more: dict[str, int], end_us: int) -> None:
    span = span_of_call(a_record(dial_us=T0, **more))
    assert span is not None
    assert span.end_us == end_us


def test_a_call_that_was_never_sent_is_told_by_our_clock() -> None:
    span = span_of_call(a_record(queued_us=T0, end_us=T0 + 30, failure_reason="queue_timeout", end_source="clock"))
    assert span is not None
    assert (span.start_us, span.end_us, span.error) == (T0, T0 + 30, "queue_timeout")
    assert span.attributes["callengine.end_source"] == "clock"


def test_of_a_call_without_any_beginning_there_is_no_span() -> None:
    assert span_of_call(a_record(end_us=T0)) is None


@pytest.mark.parametrize("cause", ["USER_BUSY", "NO_ANSWER", "CALL_REJECTED"])
def test_what_the_user_did_is_no_error(cause: str) -> None:
    span = span_of_call(a_record(dial_us=T0, end_us=T0 + 1, hangup_cause=cause))
    assert span is not None
    assert span.error is None


def test_the_trace_is_the_calls_id() -> None:
    assert f"{trace_id(CALL):032x}" == CALL.replace("-", "")
    assert 0 < span_id(CALL) < 1 << 64
    assert trace_id("no uuid") == trace_id("no uuid") != trace_id("another")
    assert trace_id("00000000-0000-0000-0000-000000000000")


def test_without_the_extra_the_daemon_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "callengine.tracing", raising=False)
    monkeypatch.setitem(sys.modules, "opentelemetry.context", None)
    with pytest.raises(ConfigurationError, match=r"pip install 'callengine\[otel\]'"):
        _tracing(Settings.model_validate({"tracing": {"enabled": True}}), Metrics())


def test_nothing_of_opentelemetry_is_imported_unless_it_is_wanted() -> None:
    code = (
        "import callengine.patched, sys, callengine.daemon as d\n"
        "from callengine.config.settings import Settings\n"
        "assert d._tracing(Settings(), None) is None\n"
        "assert not [name for name in sys.modules if name.startswith('opentelemetry')]"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
