"""One look at a recording's file, in a native thread, and what follows from it.

The switch closes a file before it sends RECORD_STOP (switch_ivr_async.c, ``record_callback``), so a file that holds as
much audio as the stop claims is done. Whatever else is seen is believed only when a second look, a while later, sees
the very same bytes. Our clock is not compared with the switch's, nor with the file system's.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Final, NamedTuple

from callengine.errors import (
    RecordingError,
    RecordingMissing,
    RecordingNotPermitted,
    RecordingOutside,
)
from callengine.recordings.paths import Folders
from callengine.recordings.probe import NotAudio, Probed, probe, sha256_of
from callengine.store.recordings import Recording

TOLERANCE_MS: Final = 20
"""The switch's tick: so much may a claim and the audio differ."""
SETTLE_S: Final = 1.0
"""Between two looks at a file that the switch says it stopped."""
SETTLE_OPEN_S: Final = 10.0
"""The same where it does not say so."""
_GAP_MIN_S: Final = 0.5
_GAP_MAX_S: Final = 30.0


class Sight(NamedTuple):
    """What a look saw. ``reason``: there is nothing to look at. ``changing``: it was written to meanwhile. ``error``:
    the name of what nobody expected.
    """

    reason: str | None = None
    bytes: int | None = None
    sha256: str | None = None
    probed: Probed | None = None
    changing: bool = False
    error: str | None = None


class Later(NamedTuple):
    """Look again after ``gap_s``, and compare."""

    gap_s: float
    bytes: int | None = None
    sha256: str | None = None


class Failed(NamedTuple):
    """It will never be ready. What it holds is None where there is no file, or it cannot be read."""

    reason: str
    bytes: int | None = None
    sha256: str | None = None


class Good(NamedTuple):
    """It can be played."""

    bytes: int
    sha256: str
    probed: Probed


class Same(NamedTuple):
    """It was found ready before, and is in the bucket: what was known of it still stands."""


Verdict = Later | Failed | Good | Same


def look(folders: Folders, switch_path: str, probing: Callable[[int], Probed] = probe) -> Sight:
    """Opens, hashes and decodes the file. Blocks; raises nothing that a file could cause."""
    try:
        descriptor, before = folders.open(folders.ours(switch_path))
    except RecordingError as error:
        return Sight(_reason(error))
    try:
        if not before.st_size:
            return Sight(bytes=0, sha256=sha256_of(descriptor))
        sha256 = sha256_of(descriptor)
        try:
            probed = probing(descriptor)
        except NotAudio:
            probed = None
        except Exception as error:  # noqa: BLE001  one odd file must not stop the others
            return Sight("unreadable", before.st_size, sha256, error=type(error).__name__)
        after = os.fstat(descriptor)
        changing = (after.st_size, after.st_mtime_ns) != (before.st_size, before.st_mtime_ns)
        if not changing:
            folders.learn(after, sha256)  # who opens it next need not hash it again
        return Sight(bytes=after.st_size, sha256=sha256, probed=probed, changing=changing)
    except OSError as error:
        return Sight("unreadable", error=type(error).__name__)
    finally:
        os.close(descriptor)


def _reason(error: RecordingError) -> str:
    match error:
        case RecordingOutside():
            return "outside"
        case RecordingMissing():
            return "missing"
        case RecordingNotPermitted():
            return "not_permitted"
        case _:
            return "unreadable"


def judge(row: Recording, sight: Sight, patience_s: float) -> Verdict:
    """What to do about ``row``. ``patience_s``: how long a file may stay away that the switch said it made."""
    if sight.reason == "missing" and row.object_key is not None and row.sha256 is not None:
        return Same()
    if sight.reason is not None:
        if sight.reason == "outside" or _waited_s(row.attempts) >= patience_s:
            return Failed(sight.reason, sight.bytes, sight.sha256)
        return Later(gap_s(row.attempts))
    if sight.changing:
        return Later(max(SETTLE_S, gap_s(row.attempts)))
    assert sight.bytes is not None
    assert sight.sha256 is not None
    settled = (row.bytes, row.sha256) == (sight.bytes, sight.sha256)
    if not settled and not _as_claimed(row, sight):
        return Later(SETTLE_OPEN_S if row.status == "open" else SETTLE_S, sight.bytes, sight.sha256)
    if sight.probed is None:
        return Failed("unreadable" if sight.bytes else "no_audio", sight.bytes, sight.sha256)
    if sight.probed.duration_ms <= 0:
        return Failed("no_audio", sight.bytes, sight.sha256)
    return Good(sight.bytes, sight.sha256, sight.probed)


def _as_claimed(row: Recording, sight: Sight) -> bool:
    """Whether there is as much audio as the switch says it wrote."""
    if row.status == "open" or not row.claimed_ms or sight.probed is None:
        return False
    return sight.probed.duration_ms >= row.claimed_ms - TOLERANCE_MS


def differs(row: Recording, probed: Probed) -> bool:
    """Whether the switch's claim is off by more than its tick."""
    return row.claimed_ms is not None and abs(row.claimed_ms - probed.duration_ms) > TOLERANCE_MS


def gap_s(attempts: int) -> float:
    """The pause after so many looks: growing, half a second at first."""
    return min(_GAP_MIN_S * 2.0 ** min(attempts, 30), _GAP_MAX_S)


def _waited_s(attempts: int) -> float:
    """The pauses before that many looks, added up."""
    return sum(gap_s(n) for n in range(min(attempts, 10_000)))
