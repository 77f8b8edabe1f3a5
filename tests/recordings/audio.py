"""Audio files, made by the tests."""

from __future__ import annotations

import struct
import wave
from pathlib import Path

import numpy
import soundfile

RATE = 8000


def tone(seconds: float, level: float = 0.5, channels: int = 1, rate: int = RATE) -> numpy.ndarray:
    """A sine of 400 Hz with the peak ``level``, in each channel, as 16 bit samples."""
    t = numpy.arange(round(seconds * rate)) / rate
    wave_form = (numpy.sin(2 * numpy.pi * 400 * t) * level * 32767).astype("<i2")
    return numpy.repeat(wave_form[:, None], channels, axis=1)


def write_wav(path: Path, samples: numpy.ndarray, rate: int = RATE) -> Path:
    """``samples``: one row a frame, 16 bit."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with wave.open(str(path), "wb") as file:
        file.setnchannels(samples.shape[1])
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(samples.tobytes())
    return path


def write_mp3(path: Path, samples: numpy.ndarray, rate: int = RATE) -> Path:
    """The same as MP3."""
    soundfile.write(path, samples, rate, format="MP3")
    return path


def with_data_size(path: Path, size: int) -> Path:
    """Makes the header of a WAV of ours (44 bytes) lie about how much audio follows, as a killed switch leaves it."""
    body = bytearray(path.read_bytes())
    body[40:44] = struct.pack("<I", size)
    body[4:8] = struct.pack("<I", size + 36 if size + 36 < 1 << 32 else 0xFFFFFFFF)
    path.write_bytes(body)
    return path
