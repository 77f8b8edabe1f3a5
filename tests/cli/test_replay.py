"""``callengine replay``: the traces as a user would replay them, and streams that are damaged."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from tests.calls import streams
from tests.cli.commands import lines, run

CONTRACT = (
    "id campaign_id lead_id agent_id fs_uuid direction status dial_time ring_time answer_time agent_connect_time"
    " end_time ring_duration_s talk_duration_s total_duration_s hangup_cause has_recording recording_url disposition"
    " notes ai_summary ai_sentiment ai_next_action"
).split()
BOTH_FORMS = "f3_uuid_bridge"


def golden(name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (streams.GOLDEN / f"{name}.json").read_text().splitlines()]


def calls(output: bytes) -> list[dict[str, Any]]:
    return [json.loads(line) for line in lines(output)]


def test_all_traces_in_one_go(tmp_path: Path) -> None:
    names = streams.names()
    files = [str(streams.TRACES / f"{name}.esl.gz") for name in names]
    done = run("replay", "--json", "--node", "golden", *files, state=tmp_path)
    assert (done.returncode, done.stderr) == (0, b"")
    assert calls(done.stdout) == [call for name in names for call in golden(name)]


def test_contract_fields_first(tmp_path: Path) -> None:
    done = run("replay", "--json", str(streams.TRACES / f"{BOTH_FORMS}.json.esl.gz"), state=tmp_path)
    for call in calls(done.stdout):
        assert list(call)[: len(CONTRACT)] == CONTRACT
        assert call["node"] == "replay"


def test_unpacked_and_from_standard_input(tmp_path: Path) -> None:
    content = streams.stream(f"{BOTH_FORMS}.plain")
    file = tmp_path / "no-telling-name"
    file.write_bytes(content)
    by_name = run("replay", "--json", "--node", "golden", str(file), state=tmp_path)
    piped = run("replay", "--json", "--node", "golden", "-", state=tmp_path, stdin=content)
    packed = run("replay", "--json", "--node", "golden", "-", state=tmp_path, stdin=gzip.compress(content))
    assert calls(by_name.stdout) == golden(f"{BOTH_FORMS}.plain")
    assert by_name.stdout == piped.stdout == packed.stdout


def doubled(name: str) -> bytes:
    """The stream with every event twice."""
    out = bytearray()
    for frame in streams.frames(name):
        if frame.is_event:
            head = f"Content-Length: {len(frame.body)}\nContent-Type: {frame.content_type}\n\n".encode()
            out += (head + frame.body) * 2
    return bytes(out)


@pytest.mark.parametrize("form", ["json", "plain"])
def test_every_event_twice(form: str, tmp_path: Path) -> None:
    done = run("replay", "--json", "--node", "golden", "-", state=tmp_path, stdin=doubled(f"{BOTH_FORMS}.{form}"))
    assert done.returncode == 0
    assert calls(done.stdout) == golden(f"{BOTH_FORMS}.{form}")


def test_table(tmp_path: Path) -> None:
    file = streams.TRACES / "b_busy_486.json.esl.gz"
    done = run("replay", str(file), state=tmp_path)
    assert done.returncode == 0
    assert b"USER_BUSY" in done.stdout
    assert b"1 call in" in done.stdout
    several = run("replay", str(file), str(file), state=tmp_path)
    assert several.stdout.count(b"== ") == 2


def test_truncated_tells_what_it_could_read(tmp_path: Path) -> None:
    name = "a_answer_far_bye.json"
    done = run("replay", "--json", "--node", "golden", "-", state=tmp_path, stdin=streams.stream(name)[:-100])
    assert done.returncode == 1
    assert [call["fs_uuid"] for call in calls(done.stdout)] == [call["fs_uuid"] for call in golden(name)]
    (line,) = lines(done.stderr)
    assert "standard input: ends inside a frame" in line


def test_truncated_gzip(tmp_path: Path) -> None:
    file = tmp_path / "cut.gz"
    file.write_bytes((streams.TRACES / "load_slice.json.esl.gz").read_bytes()[:200_000])
    done = run("replay", "--json", str(file), state=tmp_path)
    assert done.returncode == 1
    assert calls(done.stdout)
    assert b"Traceback" not in done.stderr


def test_no_event_stream(tmp_path: Path) -> None:
    done = run("replay", "-", state=tmp_path, stdin=b"GET / HTTP/1.1\r\n\r\n")
    assert done.returncode == 1
    (line,) = lines(done.stderr)
    assert "not an event socket stream, at byte 0" in line


def test_garbage_behind_good_events(tmp_path: Path) -> None:
    name = "b_busy_486.json"
    done = run(
        "replay", "--json", "--node", "golden", "-", state=tmp_path, stdin=streams.stream(name) + b"\x00\xff\n\n"
    )
    assert done.returncode == 1
    assert calls(done.stdout) == golden(name)
    assert b"not an event socket stream" in done.stderr


def test_poison_is_set_aside_and_told(tmp_path: Path) -> None:
    name = "b_busy_486.json"
    bad = b'{"Event-Name":"CHANNEL_CREATE"}'
    poison = b"Content-Length: %d\nContent-Type: text/event-json\n\n%s" % (len(bad), bad)
    done = run("replay", "--json", "--node", "golden", "-", state=tmp_path, stdin=poison * 12 + streams.stream(name))
    assert done.returncode == 1
    assert calls(done.stdout) == golden(name)
    told = lines(done.stderr)
    assert "event 1 is set aside" in told[0]
    assert len(told) == 11
    assert "2 more" in told[-1]


def test_missing_file_and_the_others(tmp_path: Path) -> None:
    good = streams.TRACES / "b_busy_486.json.esl.gz"
    done = run("replay", "--json", "--node", "golden", str(tmp_path / "none"), str(good), state=tmp_path)
    assert done.returncode == 1
    assert calls(done.stdout) == golden("b_busy_486.json")
    assert b"No such file" in done.stderr
    assert run("replay", str(tmp_path), state=tmp_path).returncode == 1  # a folder


def test_names_of_variables_from_the_settings(tmp_path: Path) -> None:
    file = tmp_path / "callengine.toml"
    file.write_text('[tracking]\ncampaign_variable = "sip_from_user"\n')
    trace = str(streams.TRACES / "e_inbound_answer_tone.json.esl.gz")
    plain = calls(run("replay", "--json", trace, state=tmp_path).stdout)
    named = calls(run("replay", "--json", "--config", str(file), trace, state=tmp_path).stdout)
    assert plain[0]["campaign_id"] is None
    assert named[0]["campaign_id"] is not None
