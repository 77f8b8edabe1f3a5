"""``callengine quarantine``."""

from __future__ import annotations

import json
from pathlib import Path

from tests.cli.commands import lines, run

NAME = "1795343615301-5f2c9b1a77de"
BYTES = b'{"Event-Name":"CHANNEL_CREATE","x":"\x1b]0;\xff"}'


def keep(state: Path) -> None:
    """As ``callengine.quarantine`` does."""
    folder = state / "quarantine"
    folder.mkdir()
    (folder / f"{NAME}.bin").write_bytes(BYTES)
    note = {"at": 1795343615.301, "reason": "no\x1b[31m Unique-ID", "bytes": len(BYTES)}
    (folder / f"{NAME}.json").write_text(json.dumps(note))
    (folder / "1795343615302-00.bin").write_bytes(b"")  # its note was not written


def test_nothing(tmp_path: Path) -> None:
    done = run("quarantine", "list", state=tmp_path)
    assert (done.returncode, done.stdout) == (0, b"")
    assert json.loads(run("quarantine", "list", "--json", state=tmp_path).stdout) == []


def test_list(tmp_path: Path) -> None:
    keep(tmp_path)
    first, second = json.loads(run("quarantine", "list", "--json", state=tmp_path).stdout)
    assert first["id"] == NAME
    assert first["time"].startswith("2026-11-22T")
    assert first["bytes"] == len(BYTES)
    assert second["reason"] is None
    shown = run("quarantine", "list", state=tmp_path)
    assert b"\x1b" not in shown.stdout
    assert len(lines(shown.stdout)) == 3


def test_a_cdr_can_be_tried_again_and_an_event_cannot(tmp_path: Path) -> None:
    keep(tmp_path)
    assert b"cannot be tried again" in run("quarantine", "retry", NAME, state=tmp_path).stderr
    (tmp_path / "quarantine" / f"{NAME}.json").write_text(json.dumps({"kind": "cdr", "at": 1.0}))
    shown = json.loads(run("quarantine", "list", "--json", state=tmp_path).stdout)
    assert [entry["kind"] for entry in shown] == ["cdr", "event"]
    assert run("quarantine", "retry", NAME, state=tmp_path).returncode == 0
    assert (tmp_path / "cdr-inbox" / f"{NAME}.json").read_bytes() == BYTES
    assert not list((tmp_path / "quarantine").glob(f"{NAME}*"))
    assert run("quarantine", "retry", NAME, state=tmp_path).returncode == 3
    assert run("quarantine", "retry", "../x", state=tmp_path).returncode == 3


def test_show(tmp_path: Path) -> None:
    keep(tmp_path)
    assert run("quarantine", "show", NAME, state=tmp_path).stdout == BYTES
    for other in ("1-00", "../empty", "/etc/passwd", "x/../" + NAME):
        done = run("quarantine", "show", other, state=tmp_path)
        assert (done.returncode, done.stdout) == (3, b""), other
