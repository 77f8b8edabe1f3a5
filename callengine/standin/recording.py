"""Recordings: real WAV files (8 kHz, 16 bit, mono or stereo) with something to hear in them.

A file is opened with its header when the recording starts, and its audio is written when it stops, for as long as it
ran by the clock (the far end is taken to send RTP all the time). A switch that is killed therefore leaves a file of 44
bytes, as FreeSWITCH does. A recording shorter than the channel's ``RECORD_MIN_SEC`` is deleted, and RECORD_STOP comes
all the same (``switch_ivr_async.c``, ``record_callback``).
"""

from __future__ import annotations

import logging
import math
import random
import struct
from array import array
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from callengine.standin import sources
from callengine.standin.channels import Channel, is_true
from callengine.standin.clock import TICK_S, Timer
from callengine.standin.switch import Switch

log = logging.getLogger(__name__)

RATE = 8000
HEADER_BYTES = 44
_LOOP_S = 5


@dataclass(slots=True)
class Recording:
    """One file being written. Stamps are microseconds since the epoch; ``masked`` are the spans to be silent."""

    path: str
    stereo: bool
    started_us: int
    masked: list[tuple[int, int]] = field(default_factory=list)
    masked_since_us: int = 0
    announced: bool = False
    announcer: Timer | None = None
    limiter: Timer | None = None


def wav_header(audio_bytes: int, channels: int) -> bytes:
    block = 2 * channels
    return struct.pack(
        "<4sI4s4sIHHIIHH4sI",
        b"RIFF",
        36 + audio_bytes,
        b"WAVE",
        b"fmt ",
        16,
        1,
        channels,
        RATE,
        RATE * block,
        block,
        16,
        b"data",
        audio_bytes,
    )


@cache
def _voice(pitch_hz: float, seed: int) -> bytes:
    """Some seconds of a murmur: a buzzing pitch under syllables and pauses, with a little noise."""
    rng = random.Random(seed)
    samples = array("h")
    phase = level = step = 0.0
    target = 1.0
    for index in range(RATE * _LOOP_S):
        if index % (RATE // 5) == 0:  # a syllable of 200 ms, or a breath
            target = rng.choice((0.0, 0.5, 0.8, 1.0))
            pitch = pitch_hz * rng.uniform(0.9, 1.15)
            step = 2 * math.pi * pitch / RATE
        level += (target - level) * 0.004
        phase += step
        buzz = math.sin(phase) + 0.5 * math.sin(2 * phase) + 0.35 * math.sin(5 * phase)
        samples.append(int(5000 * level * buzz + rng.uniform(-250, 250)))
    return samples.tobytes()


def prepare() -> None:
    """Compute the voices now: it takes a moment, which belongs before the first call."""
    _interleaved()


@cache
def _interleaved() -> tuple[bytes, bytes]:
    """A loop of the two parties mixed to mono, and one with a channel for each."""
    caller = array("h", _voice(140.0, 1))
    callee = array("h", _voice(210.0, 2))
    mono = array("h", ((a + b) // 2 for a, b in zip(caller, callee, strict=True)))
    both = array("h", bytes(4 * len(caller)))
    both[0::2] = caller
    both[1::2] = callee
    return mono.tobytes(), both.tobytes()


def _audio(samples: int, stereo: bool, offset_s: int) -> bytearray:
    frame = 4 if stereo else 2
    loop = _interleaved()[1 if stereo else 0]
    begin = (offset_s % _LOOP_S) * RATE * frame
    rounds = (begin + samples * frame) // len(loop) + 1
    return bytearray((loop * rounds)[begin : begin + samples * frame])


def resolve(switch: Switch, path: str) -> Path | None:
    """Where a path leads: a relative one into the recordings folder, if there is one."""
    if path.startswith("/"):
        return Path(path)
    base = switch.options.recordings
    return base / path if base is not None else None


def start(switch: Switch, channel: Channel, path: str, *, limit_s: int = 0, at_once: bool = False) -> bool:
    """Begin to record; false if it cannot: no media, no such format, or the file cannot be opened."""
    if not (channel.answered or channel.early) or channel.hung_up:
        return False
    if path in channel.recordings:
        return True
    file = resolve(switch, path)
    stereo = is_true(channel.get("RECORD_STEREO"))
    if file is None or file.suffix not in {".wav", ".WAV"}:
        return False
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(wav_header(0, 2 if stereo else 1))
    except OSError:
        return False
    recording = Recording(str(file), stereo, switch.clock.now_us())
    channel.recordings[path] = recording
    if at_once:
        _announce(switch, channel, recording)
    else:
        recording.announcer = switch.clock.after(TICK_S, _announce, switch, channel, recording)
    if limit_s > 0:
        recording.limiter = switch.clock.after(limit_s, stop, switch, channel, recording)
    return True


def _announce(switch: Switch, channel: Channel, recording: Recording) -> None:
    if not recording.announced:
        recording.announced = True
        trail = {"Record-File-Path": recording.path}
        switch.channel_event(channel, "RECORD_START", sources.RECORD_START, trail=trail)
        switch.channel_event(channel, "MEDIA_BUG_START", sources.BUG_START, variables=False)


def mask(switch: Switch, recording: Recording, on: bool) -> None:
    """While masked, silence is written in place of what is heard."""
    now = switch.clock.now_us()
    if on and not recording.masked_since_us:
        recording.masked_since_us = now
    elif not on and recording.masked_since_us:
        recording.masked.append((recording.masked_since_us, now))
        recording.masked_since_us = 0


def stop(switch: Switch, channel: Channel, recording: Recording) -> None:
    """Write the audio, close the file, say so with RECORD_STOP."""
    names = [name for name, each in channel.recordings.items() if each is recording]
    if not names:
        return
    del channel.recordings[names[0]]
    for timer in (recording.limiter, recording.announcer):
        if timer is not None:
            timer.cancel()
    _announce(switch, channel, recording)
    mask(switch, recording, on=False)
    samples = max(0, switch.clock.now_us() - recording.started_us) // 20_000 * 160
    least = channel.get("RECORD_MIN_SEC")
    discarded = samples == 0 or (least.isdigit() and samples < int(least) * RATE)
    if switch.faults.header_only_recordings:
        discarded = False
    else:
        _write(recording, samples, keep=not discarded)
    cause = _completion_cause(channel, samples, discarded)
    size = HEADER_BYTES + samples * (4 if recording.stereo else 2)
    if discarded:
        channel.set("RECORD_DISCARDED", "true")
    channel.set_all(
        {
            "record_file_size": str(size),
            "record_samples": str(samples),
            "record_seconds": str(samples // RATE),
            "record_ms": str(samples // (RATE // 1000)),
            "record_completion_cause": cause,
        }
    )
    trail = {"Record-File-Path": recording.path, "Record-Completion-Cause": cause}
    switch.channel_event(channel, "RECORD_STOP", sources.RECORD_STOP, trail=trail)
    switch.channel_event(channel, "MEDIA_BUG_STOP", sources.BUG_STOP, variables=False)


def _completion_cause(channel: Channel, samples: int, discarded: bool) -> str:
    if discarded:
        return "input-too-short" if samples else "empty-file"
    return "success-silence" if channel.hung_up else "success-maxtime"


def _write(recording: Recording, samples: int, *, keep: bool) -> None:
    file = Path(recording.path)
    frame = 4 if recording.stereo else 2
    try:
        if not keep:
            file.unlink(missing_ok=True)
            return
        audio = _audio(samples, recording.stereo, recording.started_us // 1_000_000)
        for begin_us, end_us in recording.masked:
            begin = max(0, begin_us - recording.started_us) * RATE // 1_000_000 * frame
            end = min(len(audio), max(0, end_us - recording.started_us) * RATE // 1_000_000 * frame)
            audio[begin:end] = bytes(max(0, end - begin))
        file.write_bytes(wav_header(len(audio), frame // 2) + audio)
    except OSError as error:
        log.warning("the stand-in could not write %s: %s", file, error)
