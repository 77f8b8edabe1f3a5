"""The folder of what was set aside: whole or not there, bounded, and never in anybody's way."""

from __future__ import annotations

import contextlib
import errno
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gevent.monkey
import pytest

from callengine import quarantine
from callengine.quarantine import Quarantine, segments_aside

AT_S = 1_795_343_615.301


@pytest.fixture
def kept(tmp_path: Path) -> Iterator[Quarantine]:
    made = Quarantine(tmp_path / "quarantine")
    yield made
    made.close(1)


def test_bytes_and_note_of_one(kept: Quarantine) -> None:
    assert kept.write(b"\xff{", "no JSON", "event", AT_S, node="n1", call_id="c1")
    (entry,) = kept.entries()
    assert (entry.kind, entry.reason, entry.node, entry.call_id) == ("event", "no JSON", "n1", "c1")
    assert (entry.at_s, entry.bytes, entry.again) == (AT_S, 2, False)
    assert kept.read(entry.id) == b"\xff{"
    assert kept.counts() == {"event": 1}


def test_the_same_bytes_are_kept_once(kept: Quarantine) -> None:
    for at_s in (AT_S, AT_S + 1, AT_S + 2):
        assert kept.write(b"x", "odd", "event", at_s)
    assert kept.write(b"x", "odd", "cdr", AT_S)
    assert kept.counts() == {"event": 1, "cdr": 1}


def test_bounded_and_the_oldest_stay(kept: Quarantine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quarantine, "_MAX_FILES", 3)
    written = [kept.write(bytes([n]), "odd", "event", AT_S + n) for n in range(5)]
    assert written == [True, True, True, False, False]
    assert [kept.read(entry.id) for entry in kept.entries()] == [b"\0", b"\1", b"\2"]
    assert kept.lost == 2
    monkeypatch.setattr(quarantine, "_MAX_FILES", 9)
    monkeypatch.setattr(quarantine, "_MAX_BYTES", 10)
    assert kept.write(b"1234567", "odd", "event", AT_S + 9)
    assert not kept.write(b"8", "odd", "event", AT_S + 10)


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_full_disk_leaves_no_halves_and_raises_nothing(
    kept: Quarantine, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(*((os, "fsync", full) if call == "fsync" else (Path, "replace", full)))
        assert not kept.write(b"x", "odd", "event", AT_S)
        kept.keep(b"y", "odd")
        kept.close(5)
    assert (kept.lost, kept.entries(), list(kept.directory.iterdir())) == (2, [], [])
    assert kept.write(b"x", "odd", "event", AT_S)


def test_a_kill_at_any_moment_shows_nothing_or_all(kept: Quarantine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each step of a write as the last one: what is listed has its kind, its reason and all its bytes."""

    class Killed(BaseException):
        pass

    real, done = Path.replace, []

    def replace(self: Path, target: Path) -> Path:
        if len(done) == stop_at:
            raise Killed
        done.append(target)
        return real(self, target)

    monkeypatch.setattr(Path, "replace", replace)
    for stop_at in range(3):
        done.clear()
        body = bytes([stop_at])
        with contextlib.suppress(Killed):
            kept.write(body, "odd", "cdr", AT_S)
        found = [entry for entry in kept.entries() if kept.read(entry.id) == body]
        assert len(found) == (stop_at == 2)
        assert all((entry.kind, entry.reason) == ("cdr", "odd") for entry in found)
    kept.tidy(lambda: 0.0)
    assert len(list(kept.directory.iterdir())) > 2
    kept.tidy(lambda: 4e9)
    assert sorted(path.suffix for path in kept.directory.iterdir()) == [".bin", ".json"]


def test_in_vain_it_stays_with_the_new_reason(kept: Quarantine) -> None:
    kept.write(b"x", "odd", "event", AT_S, node="n1")
    (entry,) = kept.entries()
    kept.mark(entry.id)
    (marked,) = kept.marked()
    assert marked.again
    kept.refuse(marked, "odd still")
    (after,) = kept.entries()
    assert (after.reason, after.again, after.at_s, after.node) == ("odd still", False, AT_S, "n1")
    assert kept.remove(after.id)
    assert not kept.remove(after.id)
    assert list(kept.directory.iterdir()) == []


def test_a_reason_may_hold_anything(kept: Quarantine) -> None:
    assert kept.write(b"x", "\ud800" + "a" * 1000, "event", AT_S)
    (entry,) = kept.entries()
    assert entry.reason == "?" + "a" * 299


def test_what_is_no_note_hides_nothing(kept: Quarantine) -> None:
    kept.write(b"x", "odd", "row", AT_S)
    (note,) = kept.directory.glob("*.json")
    for broken in (b"{", b"[]", json.dumps({"at": "x", "kind": 3, "reason": [], "node": None}).encode()):
        note.write_bytes(broken)
        (entry,) = kept.entries()
        assert (entry.kind, entry.at_s, entry.reason) == ("row", None, None)
    note.unlink()
    assert len(kept.entries()) == 1


def test_too_many_at_once_are_counted_alone(kept: Quarantine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", lambda fd: None)
    for number in range(150):
        kept.keep(str(number).encode(), "odd")
    kept.close(20)
    assert (len(kept.entries()), kept.lost) == (101, 49)


def test_a_disk_that_hangs_holds_nobody_up(kept: Quarantine, monkeypatch: pytest.MonkeyPatch) -> None:
    sleep = gevent.monkey.get_original("time", "sleep")
    free: list[bool] = []

    def hangs(fd: int) -> None:
        while not free:
            sleep(0.01)

    monkeypatch.setattr(os, "fsync", hangs)
    for number in range(150):
        kept.keep(str(number).encode(), "odd")
    gevent.sleep(0.05)
    assert (kept.entries(), kept.lost) == ([], 49)
    free.append(True)
    kept.close(20)
    assert len(kept.entries()) == 101


def test_segments_are_listed_by_their_number(tmp_path: Path) -> None:
    shelf = segments_aside(tmp_path)
    assert shelf.entries() == []
    shelf.annotate("000000000003", {"kind": "segment", "at": AT_S, "reason": "it is of the switch n2", "node": "n2"})
    (tmp_path / "aside" / "000000000003.spool").write_bytes(b"123")
    (entry,) = shelf.entries()
    assert (entry.id, entry.kind, entry.node, entry.bytes) == ("segment-000000000003", "segment", "n2", 3)
    assert shelf.find("000000000003") is None
