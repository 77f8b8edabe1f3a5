"""The probe: what counts is the audio that is there, not what a header says of it."""

from __future__ import annotations

import hashlib
import os
import random
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import numpy
import pytest
import soundfile

from callengine.recordings.probe import SILENCE_CB, NotAudio, Probed, probe, sha256_of
from tests.recordings.audio import tone, with_data_size, write_mp3, write_wav


def probed(path: Path) -> Probed:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        return probe(descriptor)
    finally:
        os.close(descriptor)


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("seconds", [0.02, 1.0, 3.48])
def test_a_wav(tmp_path: Path, seconds: float, channels: int) -> None:
    found = probed(write_wav(tmp_path / "a.wav", tone(seconds, channels=channels)))
    assert found[:4] == (round(seconds * 1000), channels, 8000, "wav")
    # A sine with its peak at -6.02 dBFS has an RMS 3.01 dB below.
    assert found.loudness_cb == pytest.approx(-903, abs=8)


def test_an_mp3_has_about_the_length_of_what_it_was_made_of(tmp_path: Path) -> None:
    found = probed(write_mp3(tmp_path / "a.mp3", tone(5, channels=2)))
    assert found.duration_ms == pytest.approx(5000, abs=150)  # its frames are 72 ms, and it is padded
    assert (found.channels, found.rate, found.format) == (2, 8000, "mp3")
    assert found.loudness_cb > -2000
    assert probed(write_mp3(tmp_path / "b.mp3", tone(5))).loudness_cb == pytest.approx(-903, abs=10)
    assert probed(write_mp3(tmp_path / "c.mp3", tone(5, level=0))).loudness_cb < -7000


@pytest.mark.parametrize("size", [0, 16, 0x7FFFFFFF, 0xFFFFFFFF])
def test_a_header_that_lies_about_its_length(tmp_path: Path, size: int) -> None:
    path = with_data_size(write_wav(tmp_path / "a.wav", tone(2)), size)
    assert probed(path).duration_ms == (1 if size == 16 else 2000)


def test_a_file_without_a_length_is_read_to_its_end_however_long(tmp_path: Path) -> None:
    path = with_data_size(write_wav(tmp_path / "a.wav", tone(100, channels=2)), 0)
    assert probed(path)[:4] == (100_000, 2, 8000, "wav")
    assert probed(path).loudness_cb == pytest.approx(-903, abs=8)


def test_an_empty_file_with_something_behind_its_audio_stays_empty(tmp_path: Path) -> None:
    path = write_wav(tmp_path / "a.wav", tone(0))
    path.write_bytes(path.read_bytes() + b"LIST\x1a\0\0\0INFOISFT\x0e\0\0\0Lavf58.76.100\0")
    assert probed(path).duration_ms == 0


def test_a_killed_switchs_44_bytes_are_no_audio(tmp_path: Path) -> None:
    path = write_wav(tmp_path / "a.wav", tone(0))
    assert path.stat().st_size == 44
    assert probed(path).duration_ms == 0
    assert probed(path).loudness_cb == SILENCE_CB
    assert probed(with_data_size(path, 22_000_000)).duration_ms == 0  # 1375 s, claimed by the header too


@pytest.mark.parametrize("kind", ["wav", "mp3"])
def test_what_is_left_of_a_truncated_file_counts(tmp_path: Path, kind: str) -> None:
    path = tmp_path / f"a.{kind}"
    (write_wav if kind == "wav" else write_mp3)(path, tone(10))
    os.truncate(path, path.stat().st_size // 2)
    assert probed(path).duration_ms == pytest.approx(5000, abs=250)


@pytest.mark.parametrize("body", [b"", b"R", b"RIFF\xff\xff\xff\xffWAVE", b"\0" * 5000, b"\xff\xfb" * 40, b"{}\n" * 99])
def test_what_is_no_audio(tmp_path: Path, body: bytes) -> None:
    path = tmp_path / "a.wav"
    path.write_bytes(body)
    with suppress(NotAudio):
        assert probed(path).duration_ms == 0


def test_random_damage_never_raises_anything_else(tmp_path: Path) -> None:
    chance = random.Random(1)
    good = [
        write_wav(tmp_path / "g.wav", tone(0.3)).read_bytes(),
        write_mp3(tmp_path / "g.mp3", tone(0.5)).read_bytes(),
    ]
    path = tmp_path / "damaged"
    for _ in range(300):
        body = bytearray(chance.choice(good))
        for _ in range(chance.randint(1, 12)):
            body[chance.randrange(min(len(body), 200))] = chance.randrange(256)
        path.write_bytes(body[: chance.randint(1, len(body))])
        with suppress(NotAudio):
            assert probed(path).duration_ms >= 0


def test_a_folder_is_no_audio(tmp_path: Path) -> None:
    with pytest.raises((NotAudio, IsADirectoryError)):
        probed(tmp_path)


def test_silence_is_at_the_floor(tmp_path: Path) -> None:
    silent = probed(write_wav(tmp_path / "a.wav", tone(3, level=0)))
    assert (silent.duration_ms, silent.loudness_cb) == (3000, SILENCE_CB)


def test_loudness_is_that_of_the_loudest_second_of_the_loudest_channel(tmp_path: Path) -> None:
    samples = numpy.concatenate([tone(5, 0.001, 2), tone(1, 0.5, 2), tone(5, 0.001, 2)])
    samples[:, 1] = 0
    assert probed(write_wav(tmp_path / "a.wav", samples)).loudness_cb == pytest.approx(-903, abs=8)
    # A click at the end is not a loud second.
    samples = numpy.concatenate([tone(3, 0.001), tone(0.01, 0.5)])
    assert probed(write_wav(tmp_path / "b.wav", samples)).loudness_cb < -2800


def test_floating_point_that_is_no_number_is_silence(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    soundfile.write(path, numpy.full((8000, 1), numpy.nan, dtype="float32"), 8000, subtype="FLOAT")
    assert probed(path)[:1] + probed(path)[4:] == (1000, SILENCE_CB)


def test_the_hash_is_that_of_the_whole_file_wherever_the_descriptor_stands(tmp_path: Path) -> None:
    path = write_wav(tmp_path / "a.wav", tone(40))
    descriptor = os.open(path, os.O_RDONLY)
    os.lseek(descriptor, 100, os.SEEK_SET)
    assert sha256_of(descriptor) == hashlib.sha256(path.read_bytes()).hexdigest()
    assert probe(descriptor).duration_ms == 40_000
    os.fstat(descriptor)  # still open
    os.close(descriptor)


def test_an_hour_in_stereo_takes_little_memory(tmp_path: Path) -> None:
    path = write_wav(tmp_path / "hour.wav", tone(3600, channels=2))
    script = f"""
import os, resource
from callengine.recordings import probe
probe.prepare()
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
descriptor = os.open({str(path)!r}, os.O_RDONLY)
before = peak()
probe.sha256_of(descriptor)
assert probe.probe(descriptor).duration_ms == 3_600_000
print(peak() - before)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120, check=True)
    assert int(done.stdout) < 8_000  # kB; the file has 115 MB


def test_it_is_not_imported_before_it_is_needed() -> None:
    script = "import sys, callengine.recordings.probe; print('numpy' in sys.modules, 'soundfile' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.split() == ["False", "False"]
