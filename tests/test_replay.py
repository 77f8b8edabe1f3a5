"""Replaying a recorded stream: the daemon's own code, a clock made of stamps, and files that are damaged."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from callengine.calls.facts import Fact, JobAnswered
from callengine.calls.machine import Published, Rules
from callengine.calls.record import record_of
from callengine.errors import MalformedStream
from callengine.esl.headers import Translator, Variables
from callengine.replay import Poison, facts_in, replay, replay_file
from tests.calls import streams
from tests.calls.build import Channel, us

NAME = "f_bridge_app_sip.json"


def trace(tmp_path: Path, data: bytes, name: str = "stream.esl") -> Path:
    path = tmp_path / name
    path.write_bytes(data)
    return path


def test_a_file_is_replayed_whole(tmp_path: Path) -> None:
    done = replay_file(streams.TRACES / f"{NAME}.esl.gz", "golden")
    calls, effects = replay(streams.facts(NAME), "golden")
    assert done.calls == calls
    assert len(done.effects) == len(effects)
    assert (done.poison, done.refusals, done.truncated, done.fault) == ([], 0, False, None)
    assert done.events == sum(frame.is_event for frame in streams.frames(NAME))


@pytest.mark.parametrize("name", ["stream.esl", "stream.esl.gz", "stream"])
@pytest.mark.parametrize("packed", [True, False])
def test_packed_or_not_whatever_it_is_called(tmp_path: Path, name: str, packed: bool) -> None:
    data = streams.stream(NAME)
    done = replay_file(trace(tmp_path, gzip.compress(data) if packed else data, name))
    assert (len(done.calls), done.truncated) == (1, False)


@pytest.mark.parametrize("name", ["f3_uuid_bridge.json", "f3_uuid_bridge.plain"])
def test_json_and_plain(name: str) -> None:
    assert len(replay_file(streams.TRACES / f"{name}.esl.gz").calls) == 2


def test_calls_stand_in_the_order_in_which_they_appeared() -> None:
    done = replay_file(streams.TRACES / "d2_other_failures.json.esl.gz")
    dialled = [record_of(call).dial_us for call in done.calls]
    assert dialled == sorted(dialled)  # type: ignore[type-var]


def test_the_names_of_variables_are_the_translators(tmp_path: Path) -> None:
    done = replay_file(streams.TRACES / "m_callcenter.json.esl.gz", translator=Translator(Variables(agents=("no",))))
    assert record_of(done.calls[0]).agent_id is None
    assert record_of(replay_file(streams.TRACES / "m_callcenter.json.esl.gz").calls[0]).agent_id == "1001@default"


# -- damaged ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cut", [1, 100, 5_000])
def test_a_stream_cut_in_the_middle_tells_what_was_read_and_where_it_broke(tmp_path: Path, cut: int) -> None:
    data = streams.stream(NAME)
    path = trace(tmp_path, data[: len(data) - cut])
    done = replay_file(path)
    assert done.truncated
    assert done.fault is not None
    assert str(path) in done.fault
    assert "inside a frame" in done.fault
    assert f"at byte {len(data) - cut}" in done.fault
    assert len(done.calls) == 1


def test_cut_between_two_events_it_is_whole(tmp_path: Path) -> None:
    first = streams.stream(NAME).split(b"\n\n{", 1)[0]
    length = int(first.split(b"Content-Length: ")[1].split(b"\n")[0])
    done = replay_file(trace(tmp_path, streams.stream(NAME)[: len(first) + 2 + length]))
    assert (done.truncated, done.events) == (False, 1)


def test_rubbish_behind_events_is_named_by_its_place(tmp_path: Path) -> None:
    done = replay_file(trace(tmp_path, streams.stream(NAME) + b"and then nonsense\n\n"))
    assert done.truncated
    assert done.fault is not None
    assert f"behind event {done.events}" in done.fault
    assert "byte" in done.fault
    assert len(done.calls) == 1


@pytest.mark.parametrize("where", [0.5, 0.9, 0.999])
def test_a_gz_that_was_cut_tells_what_could_be_unpacked(tmp_path: Path, where: float) -> None:
    data = gzip.compress(streams.stream("load_slice.json"))
    done = replay_file(trace(tmp_path, data[: int(len(data) * where)], "x.gz"))
    assert done.truncated
    assert done.events > 500
    assert done.calls


def test_a_gz_with_damage_inside(tmp_path: Path) -> None:
    data = bytearray(gzip.compress(streams.stream("load_slice.json")))
    data[len(data) // 2] ^= 0xFF
    done = replay_file(trace(tmp_path, bytes(data), "x.gz"))
    assert done.truncated or done.poison


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "is empty"),
        (gzip.compress(b""), "is empty"),
        (b"2026-11-22 10:00:00 [INFO] not a stream\n", "not an event socket stream, at byte 0"),
        (b"\x89PNG\r\n\x1a\n" * 100, "not an event socket stream"),
        (gzip.compress(b"a log file\n"), "not an event socket stream"),
        (b"\x1f\x8b\x08nothing", "cannot be read"),
        (b"\x1f\x8b", "cannot be read"),
        (b"Content-Length: 99\nContent-Type: text/event-json\n\n{", "ends inside a frame"),
    ],
)
def test_what_is_no_event_stream_is_an_error_that_names_the_file(tmp_path: Path, data: bytes, reason: str) -> None:
    path = trace(tmp_path, data)
    with pytest.raises(MalformedStream, match=reason) as caught:
        replay_file(path)
    assert str(caught.value).startswith(f"{path}: ")


def test_a_stream_without_events_has_no_calls(tmp_path: Path) -> None:
    done = replay_file(
        trace(tmp_path, b"Content-Type: auth/request\n\nContent-Type: command/reply\nReply-Text: +OK\n\n")
    )
    assert (done.calls, done.events, done.truncated) == ([], 0, False)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="nowhere"):
        replay_file(tmp_path / "nowhere.esl")


def test_an_event_that_cannot_be_read_is_set_aside_by_its_number(tmp_path: Path) -> None:
    bad = b'{"Event-Name":"CHANNEL_ANSWER"}'
    frame = b"Content-Length: %d\nContent-Type: text/event-json\n\n%b" % (len(bad), bad)
    done = replay_file(trace(tmp_path, frame + streams.stream(NAME)))
    (poison,) = done.poison
    assert poison.number == 1
    assert "CHANNEL_ANSWER" in poison.reason
    assert "Unique-ID" in poison.reason
    assert (len(done.calls), done.truncated) == (1, False)


def test_facts_in_collects_what_it_set_aside() -> None:
    bad = b"Content-Length: 2\nContent-Type: text/event-json\n\n{}"
    poison: list[Poison] = []
    assert len(list(facts_in([bad, streams.stream(NAME)], Translator(), poison))) > 5
    assert [p.number for p in poison] == [1]


@pytest.mark.parametrize("size", [1, 7, 4096])
def test_pieces_of_any_size(size: int) -> None:
    data = streams.stream("b_busy_486.json")
    pieces = (data[i : i + size] for i in range(0, len(data), size))
    translator = Translator()
    assert list(facts_in(pieces, translator, [])) == list(facts_in([data], translator, []))


# -- the clock and the end
# ------------------------------------------------------------------------------------------------


def rows(facts: list[Fact], **options: object) -> dict[str, str]:
    calls, _ = replay(facts, "n", **options)  # type: ignore[arg-type]
    return {call.fs_uuid: record_of(call).status for call in calls}


def test_a_hangup_without_its_completion_is_an_end() -> None:
    """There is no switch to ask, and a channel that hangs up does not come back."""
    a, b = Channel("A"), Channel("B")
    calls, effects = replay([a.created(), b.created(), a.answered(1), a.hung_up(5), b.rang(90)], "n")
    record = record_of(calls[0])
    assert (record.status, record.end_us, record.ended_after_us) == ("completed", None, us(5))
    assert [e.event.value for e in effects if isinstance(e, Published)].count("call.ended") == 1
    assert record_of(calls[1]).status == "ringing"


def test_also_at_the_end_of_the_stream() -> None:
    a = Channel()
    assert rows([a.created(), a.hung_up(5, "NO_ANSWER")]) == {"A": "failed"}


def test_what_lives_at_the_end_of_the_stream_lives() -> None:
    a = Channel()
    assert rows([a.created(), a.answered(1)]) == {"A": "answered"}


def test_what_waited_for_a_tenants_name_is_told_at_the_end() -> None:
    rules = Rules(default_tenant="op", tenants={"op": "op", "acme": "acme"})
    _, effects = replay([Channel().created()], "n", rules=rules)
    assert [e.event.value for e in effects if isinstance(e, Published)] == ["call.dialing"]


def test_the_clock_of_a_replay_is_that_of_the_stamps() -> None:
    rules = Rules(default_tenant="op", tenants={"op": "op", "acme": "acme"})
    a, b = Channel("A"), Channel("B", 1.9)
    held = [a.created(), b.created()]
    later = Channel("C", 2.1)
    _, effects = replay([*held, later.created(), a.ended(3)], "n", rules=rules)
    told = [e.record.fs_uuid for e in effects if isinstance(e, Published)]
    assert told == ["A", "A", "B", "C"]


def test_one_stamp_gone_wrong_does_not_stop_the_clock() -> None:
    rules = Rules(default_tenant="op", tenants={"op": "op", "acme": "acme"})
    a, b = Channel("A"), Channel("B", 10)
    wrong = JobAnswered(job_uuid="x", text="+OK", at_us=16_725_225_600_000_000)
    _, effects = replay([a.created(), wrong, b.created(), Channel("C", 13).created()], "n", rules=rules)
    told = [e.record.fs_uuid for e in effects if isinstance(e, Published)]
    assert told == ["A", "B", "C"]
    assert rows([a.created(), wrong, a.answered(2), a.ended(9)]) == {"A": "completed"}


def test_stamps_that_go_back_a_little_do_not_wind_the_clock_on() -> None:
    """The wire is not monotonic: events are stamped at their creation, not at their sending."""
    rules = Rules(default_tenant="op", tenants={"op": "op", "acme": "acme"})
    a = Channel()
    jitter: list[Fact] = [JobAnswered(job_uuid="x", text="+OK", at_us=us(n % 2)) for n in range(1000)]
    _, effects = replay([a.created(), *jitter], "n", rules=rules)
    _, early = replay([a.created(), *jitter[:1]], "n", rules=rules)
    assert len(effects) == len(early)
