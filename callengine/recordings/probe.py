"""What is in a recording's file: its audio, decoded to the end by libsndfile, whatever its header says.

A switch that was killed leaves a header without a length, or with one that is no longer true: what is there is taken
then, and only the frames that were really decoded count. It reads WAV, MP3, FLAC and Ogg.

Everything here blocks: it is to be called in a native thread. Hashing, decoding and adding up all let the interpreter
go, and take it again once a megabyte of samples, which is as much as is in memory at a time.
"""

from __future__ import annotations

import hashlib
import math
import os
from importlib import import_module
from typing import Any, Final, NamedTuple

SILENCE_CB: Final = -12_000
"""The loudness of digital silence, and the least there is: -120 dBFS."""

_HASH_BLOCK: Final = 256 << 10
_MAX_BLOCK_SAMPLES: Final = 1 << 18
# A header may claim anything; what lies beyond is no recording of a call.
_MAX_RATE: Final = 384_000
_MAX_CHANNELS: Final = 32
_MAX_CHUNKS: Final = 64
_UNKNOWN_LENGTH: Final = (8).to_bytes(4, "little")


class NotAudio(Exception):
    """libsndfile does not know what it is, or gave up before the first frame."""


class Probed(NamedTuple):
    """``loudness_cb``: RMS of the loudest second of the loudest channel, in hundredths of a dBFS (a full-scale square
    wave has 0). ``format``: ``wav``, ``mp3``, …
    """

    duration_ms: int
    channels: int
    rate: int
    format: str
    loudness_cb: int


def prepare() -> None:
    """Imports the library: 0.1 to 0.2 s and 20 MB, better spent before anybody waits."""
    _library()


def _library() -> tuple[Any, Any]:
    """(soundfile, numpy). Not imported with this module: a daemon without recordings does not need them."""
    return import_module("soundfile"), import_module("numpy")


def sha256_of(descriptor: int) -> str:
    """The SHA-256 of the whole file, in hex. Raises OSError."""
    digest = hashlib.sha256()
    offset = 0
    while block := os.pread(descriptor, _HASH_BLOCK, offset):
        digest.update(block)
        offset += len(block)
    return digest.hexdigest()


def probe(descriptor: int) -> Probed:
    """Decodes the file from its beginning. The descriptor stays open. Raises NotAudio."""
    soundfile, numpy = _library()
    os.lseek(descriptor, 0, os.SEEK_SET)  # libsndfile begins where the descriptor stands
    try:
        if _never_closed(descriptor):
            file = soundfile.SoundFile(_Mended(descriptor))
        else:
            file = soundfile.SoundFile(descriptor, closefd=False)
    except (soundfile.SoundFileError, OSError, TypeError, ValueError) as error:
        raise NotAudio(type(error).__name__) from None
    with file:
        rate, channels = int(file.samplerate), int(file.channels)
        if not (0 < rate <= _MAX_RATE and 0 < channels <= _MAX_CHANNELS):
            raise NotAudio("its rate or its channels cannot be")
        window = min(rate, _MAX_BLOCK_SAMPLES // channels)
        block = numpy.empty((_MAX_BLOCK_SAMPLES // (window * channels) * window, channels), dtype="float32")
        frames, loudest = 0, 0.0
        while got := _read(soundfile, file, block):
            loudest = max(loudest, _loudest(numpy, block[:got], window))
            frames += got
        # What is shorter than a second counts as a second that was silent otherwise, unless there is no more than that.
        loudness_cb = _centibels(loudest / max(1, min(window, frames)))
        return Probed(frames * 1000 // rate, channels, rate, str(file.format).lower(), loudness_cb)


def _read(soundfile: Any, file: Any, block: Any) -> int:
    """How many frames came; 0 at the end. What is left of a damaged file is not lost with its damage."""
    try:
        return int(file.buffer_read_into(block, dtype="float32"))
    except (soundfile.SoundFileError, RuntimeError):
        return 0


def _loudest(numpy: Any, samples: Any, window: int) -> float:
    """The greatest sum of squares of any window of any channel. Changes ``samples``."""
    whole = len(samples) // window * window
    with numpy.errstate(all="ignore"):  # floating point files can hold anything, NaN included
        squares = numpy.square(samples, out=samples)
        sums = squares[:whole].reshape(-1, window, samples.shape[1]).sum(axis=1, dtype="float64").ravel().tolist()
        sums += squares[whole:].sum(axis=0, dtype="float64").tolist()
    return max((value for value in sums if math.isfinite(value)), default=0.0)


def _centibels(mean_square: float) -> int:
    return SILENCE_CB if mean_square <= 0 else max(SILENCE_CB, round(1000 * math.log10(mean_square)))


# -- a WAV that was never closed ------------------------------------------------------------------------------------


def _never_closed(descriptor: int) -> bool:
    """Whether it is a WAV whose header says that no audio follows, though something does that is no chunk either."""
    end = os.fstat(descriptor).st_size
    head = os.pread(descriptor, 12, 0)
    if head[:4] != b"RIFF" or head[8:] != b"WAVE":
        return False
    at = 12
    for _ in range(_MAX_CHUNKS):
        name, size = _chunk(descriptor, at)
        if name == b"data":
            if size or end <= at + 8:
                return False
            name, size = _chunk(descriptor, at + 8)
            return not (name.isalnum() and name.isascii() and size <= end - at - 16)
        if not name:
            return False
        at += 8 + size + size % 2
    return False


def _chunk(descriptor: int, at: int) -> tuple[bytes, int]:
    head = os.pread(descriptor, 8, at)
    return head[:4], int.from_bytes(head[4:], "little")


class _Mended:
    """The file, with the length in the RIFF header that libsndfile itself writes first.

    That is the one by which it knows a file that was not closed, and takes all that follows for audio (wav.c).
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._size = os.fstat(descriptor).st_size
        self._at = 0

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """As of any file."""
        self._at = offset + (0, self._at, self._size)[whence]
        return self._at

    def tell(self) -> int:
        """As of any file."""
        return self._at

    def read(self, length: int) -> bytes:
        """As of any file."""
        found = os.pread(self._descriptor, length, self._at)
        for at, value in zip(range(4, 8), _UNKNOWN_LENGTH, strict=True):
            if 0 <= at - self._at < len(found):
                found = found[: at - self._at] + bytes((value,)) + found[at - self._at + 1 :]
        self._at += len(found)
        return found
