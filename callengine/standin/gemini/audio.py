"""Reading a recording: how long it is, and how loud each channel is over time."""

from __future__ import annotations

import array
import math
import sys
import wave
from dataclasses import dataclass, field
from typing import BinaryIO, Final

_WINDOW_MS: Final = 200
_MAX_WINDOWS: Final = 3000
_SAMPLES_A_WINDOW: Final = 200
_SILENCE: Final = 200.0  # of 32768: -44 dBFS
_FULL_SCALE: Final = 32768.0


@dataclass(frozen=True, slots=True)
class Stretch:
    """A stretch of time in which one channel is heard; offsets in ms from the recording's start."""

    channel: int
    start_ms: int
    end_ms: int
    level_dbfs: float


@dataclass(frozen=True, slots=True)
class Measured:
    """What a recording was found to hold. ``duration_ms`` is None for what is no PCM WAV."""

    size_bytes: int
    mime_type: str
    duration_ms: int | None = None
    channels: int = 0
    levels_dbfs: tuple[float, ...] = ()
    stretches: tuple[Stretch, ...] = field(default=())


def measure(file: BinaryIO, size_bytes: int, mime_type: str) -> Measured:
    """Measure a recording; 16-bit PCM is listened to, of anything else only what its header says is known."""
    try:
        with wave.open(file) as reader:
            frames, rate, channels = reader.getnframes(), reader.getframerate(), reader.getnchannels()
            if not rate or not channels:
                return Measured(size_bytes, mime_type)
            duration_ms = frames * 1000 // rate
            if reader.getsampwidth() != 2:
                return Measured(size_bytes, mime_type, duration_ms, channels)
            window_ms = max(_WINDOW_MS, math.ceil(duration_ms / _MAX_WINDOWS))
            levels = _levels(reader, max(1, rate * window_ms // 1000), channels)
    except (wave.Error, EOFError, ValueError):
        return Measured(size_bytes, mime_type)
    means = tuple(_dbfs(sum(channel) / len(channel)) if channel else _dbfs(0.0) for channel in levels)
    found = [part for number, channel in enumerate(levels) for part in _stretches(number, channel, window_ms)]
    clipped = [
        Stretch(part.channel, part.start_ms, min(part.end_ms, duration_ms), part.level_dbfs)
        for part in sorted(found, key=lambda part: (part.start_ms, part.channel))
        if part.start_ms < duration_ms
    ]
    return Measured(size_bytes, mime_type, duration_ms, channels, means, tuple(clipped))


def _levels(reader: wave.Wave_read, window: int, channels: int) -> list[list[float]]:
    """The mean amplitude of each channel in each window of that many frames, of a sample of its samples."""
    levels: list[list[float]] = [[] for _ in range(channels)]
    step = max(1, window // _SAMPLES_A_WINDOW) * channels
    while chunk := reader.readframes(window):
        samples = array.array("h", chunk[: len(chunk) - len(chunk) % (2 * channels)])
        if sys.byteorder == "big":
            samples.byteswap()
        for number in range(channels):
            some = samples[number::step]
            levels[number].append(sum(map(abs, some)) / len(some) if some else 0.0)
    return levels


def _stretches(channel: int, levels: list[float], window_ms: int) -> list[Stretch]:
    found: list[Stretch] = []
    start: int | None = None
    for at, level in enumerate([*levels, 0.0]):
        if level > _SILENCE and start is None:
            start = at
        elif level <= _SILENCE and start is not None:
            mean = sum(levels[start:at]) / (at - start)
            found.append(Stretch(channel, start * window_ms, at * window_ms, _dbfs(mean)))
            start = None
    return found


def _dbfs(amplitude: float) -> float:
    return round(20 * math.log10(max(amplitude, 1.0) / _FULL_SCALE), 1)
