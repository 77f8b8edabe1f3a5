"""The files that recordings leave: real audio, silence where it was masked, nothing where it was too short."""

from __future__ import annotations

import wave
from array import array
from pathlib import Path

from callengine.standin import StandIn, recording
from tests.conformance.client import Event, Switch
from tests.standin.conftest import LogIn, StartStandIn, answered, place


def samples(path: Path) -> tuple[int, array[int]]:
    """The number of channels and the samples of a file, which has to be what the switch says it writes."""
    with wave.open(str(path)) as file:
        assert (file.getframerate(), file.getsampwidth(), file.getcomptype()) == (8000, 2, "NONE")
        frames = file.getnframes()
        data = file.readframes(frames)
        channels = file.getnchannels()
    assert len(data) == frames * 2 * channels
    assert path.stat().st_size == 44 + len(data)
    return channels, array("h", data)


def loudness(part: array[int]) -> float:
    return sum(abs(sample) for sample in part) / max(1, len(part))


def recorded(switch: Switch, path: Path, variables: str = "", seconds: float = 0.5) -> Event:
    """Record a call for so long; its RECORD_STOP."""
    uuid = answered(switch, variables)
    assert switch.api(f"uuid_record {uuid} start {path}") == "+OK Success\n"
    switch.settle(seconds)
    switch.api(f"uuid_record {uuid} stop {path}")
    return switch.wait(uuid, "RECORD_STOP")


def test_mono(switch: Switch, tmp_path: Path) -> None:
    path = tmp_path / "a folder" / "mono.wav"
    uuid = answered(switch)
    assert switch.api(f"uuid_record {uuid} start '{path}'") == "+OK Success\n"
    switch.settle(1.2)
    switch.api(f"uuid_kill {uuid}")
    stop = switch.wait(uuid, "RECORD_STOP")
    channels, sound = samples(path)
    assert channels == 1
    assert 0.9 < len(sound) / 8000 < 1.6
    assert len(sound) * 1000 // 8000 == int(stop["variable_record_ms"])
    assert loudness(sound) > 300


def test_stereo_has_each_party_on_its_side(switch: Switch, tmp_path: Path) -> None:
    path = tmp_path / "stereo.wav"
    recorded(switch, path, "RECORD_STEREO=true", seconds=1.0)
    channels, sound = samples(path)
    assert channels == 2
    left, right = sound[0::2], sound[1::2]
    assert left != right
    assert max(loudness(left), loudness(right)) > 300


def test_masked_is_silent(switch: Switch, tmp_path: Path) -> None:
    path = tmp_path / "masked.wav"
    uuid = answered(switch)
    switch.api(f"uuid_record {uuid} start {path}")
    switch.settle(0.4)
    switch.api(f"uuid_record {uuid} mask {path}")
    switch.settle(0.6)
    switch.api(f"uuid_record {uuid} unmask {path}")
    switch.settle(0.4)
    switch.api(f"uuid_record {uuid} stop {path}")
    switch.wait(uuid, "RECORD_STOP")
    _, sound = samples(path)
    silent = [index for index, sample in enumerate(sound) if sample == 0]
    middle = sound[int(0.55 * 8000) : int(0.9 * 8000)]
    assert set(middle) == {0}
    assert loudness(sound[: int(0.3 * 8000)]) > 50
    assert 0.4 * 8000 < len(silent) < 1.0 * 8000


def test_too_short_is_thrown_away(switch: Switch, tmp_path: Path) -> None:
    path = tmp_path / "short.wav"
    stop = recorded(switch, path, "RECORD_MIN_SEC=3", seconds=0.2)
    assert not path.exists()
    assert stop["variable_RECORD_DISCARDED"] == "true"


def test_a_file_that_stays_at_its_header(switch: Switch, tmp_path: Path) -> None:
    path = tmp_path / "header.wav"
    switch.api("standin_fault header_only on")
    stop = recorded(switch, path)
    assert path.stat().st_size == 44
    assert int(stop["variable_record_file_size"]) > 44


def test_a_relative_path_needs_a_folder(start: StartStandIn, login: LogIn, tmp_path: Path) -> None:
    with_folder, without = login(start(recordings=tmp_path)), login(start())
    for switch, answer in ((with_folder, "+OK Success\n"), (without, "-ERR Cannot record session!\n")):
        uuid = answered(switch)
        assert switch.api(f"uuid_record {uuid} start sub/x.wav") == answer
    assert (tmp_path / "sub" / "x.wav").stat().st_size == 44


def test_the_number_that_is_recorded(start: StartStandIn, login: LogIn, tmp_path: Path) -> None:
    switch = login(start(recordings=tmp_path))
    uuid = place(switch, "203", "standin_ring_s=0.04,standin_talk_s=0.6")
    switch.wait(uuid, "CHANNEL_DESTROY")
    path = Path(switch.first(uuid, "RECORD_STOP")["Record-File-Path"])
    assert path == tmp_path / f"{uuid}.wav"
    assert samples(path)[0] == 1


def test_two_files_of_one_call(switch: Switch, tmp_path: Path) -> None:
    uuid = answered(switch)
    paths = [tmp_path / "one.wav", tmp_path / "two.wav"]
    for path in paths:
        switch.api(f"uuid_record {uuid} start {path}")
    switch.settle(0.3)
    assert switch.api(f"uuid_record {uuid} stop all") == "+OK Success\n"
    switch.pump(lambda: len(switch.of(uuid, "RECORD_STOP")) == 2, 5)
    assert {each["Record-File-Path"] for each in switch.of(uuid, "RECORD_STOP")} == {str(path) for path in paths}
    for path in paths:
        samples(path)


def test_nothing_to_hear_before_the_answer(switch: Switch, tmp_path: Path) -> None:
    uuid = place(switch, "180")
    switch.wait(uuid, "CHANNEL_PROGRESS")
    path = tmp_path / "early.wav"
    assert switch.api(f"uuid_record {uuid} start {path}") == "-ERR Cannot record session!\n"
    assert not path.exists()


def test_a_header_says_how_long_it_is(standin: StandIn) -> None:
    header = recording.wav_header(320, 2)
    assert len(header) == 44
    assert header[40:] == (320).to_bytes(4, "little")
    assert header[4:8] == (356).to_bytes(4, "little")
