"""What a row is judged by: it is all there, it is of one moment, and without it no row is clean."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.chaos import world as worlds
from tests.chaos.delivered import Delivered
from tests.chaos.faults import FAULTS
from tests.chaos.judge import Verdict
from tests.chaos.load import Placed
from tests.chaos.row import _is_clean
from tests.chaos.world import World


class Book:
    """A daemon whose book grows for some looks. ``calls`` is all that is asked of it."""

    def __init__(self, *seqs: int) -> None:
        self.seqs = list(seqs)

    def calls(self) -> list[dict[str, Any]]:
        seq = self.seqs.pop(0) if len(self.seqs) > 1 else self.seqs[0]
        return [{"id": "c1", "seq": seq}]


def told(seq: int, event: str, status: str = "answered") -> dict[str, Any]:
    call = {"id": "c1", "status": status, "hangup_cause": None, "end_time": None, "answer_time": None}
    return {"type": "call.answered", "id": event, "seq": seq, "data": {"call": call}}


def delivered(folder: Path, *bodies: dict[str, Any]) -> Delivered:
    file = folder / "bodies"
    file.write_text("".join(json.dumps(body) + "\n" for body in bodies))
    return Delivered(file)


def a_world(folder: Path, *bodies: dict[str, Any], book: Book | None = None) -> Any:
    world: Any = object.__new__(World)
    world.delivered = delivered(folder, *bodies)
    world.daemon = book or Book(0)
    return world


def test_an_event_that_comes_again_is_one_and_another_under_its_number_is_two(tmp_path: Path) -> None:
    test = {"type": "webhook.test", "id": "t", "seq": 0, "data": {}}
    found = delivered(tmp_path, test, told(2, "b", "completed"), told(1, "a"), told(1, "a"))
    found.look()
    assert found.calls["c1"][0] == {1, 2}
    assert found.calls["c1"][1]["status"] == "completed"
    assert (found.events, found.retold) == (2, set())
    found = delivered(tmp_path, told(1, "a"), told(1, "b"))
    found.look()
    assert found.retold == {"c1"}


def test_the_file_is_read_on_where_it_ended(tmp_path: Path) -> None:
    found = delivered(tmp_path, told(1, "a"))
    line = json.dumps(told(2, "b")) + "\n"
    for part in (line[:20], line[20:]):
        with (tmp_path / "bodies").open("a") as file:
            file.write(part)
        found.look()
    assert (found.events, found.calls["c1"][0]) == (2, {1, 2})


def test_what_is_missing_of_one_call_is_not_made_up_for_by_another(tmp_path: Path) -> None:
    world = a_world(tmp_path, told(1, "a"), told(2, "b"), book=Book(1))
    assert not world._undelivered()
    assert a_world(tmp_path, told(1, "a"), book=Book(2))._undelivered()


def test_it_is_not_settled_before_the_book_has_what_only_a_cdr_tells(tmp_path: Path) -> None:
    folder = tmp_path / "cdr"
    folder.mkdir()
    world = a_world(tmp_path)
    world.switch = SimpleNamespace(cdr=folder, deaths=[])
    world.daemon = SimpleNamespace(calls=lambda: [{"fs_uuid": "known"}])
    assert not world._unread()
    path = folder / "unheard-of.cdr.json"
    path.write_text('{"variables": {')
    assert world._unread()
    for uuid in ("known", "unheard-of"):
        body = {"variables": {"uuid": uuid, "direction": "inbound", "start_uepoch": "1", "end_uepoch": "2"}}
        path.write_text(json.dumps(body))
        assert world._unread() is (uuid != "known")


def test_the_book_and_what_was_delivered_are_of_one_moment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worlds, "_LOOK_S", 0)
    calls = a_world(tmp_path, book=Book(1, 2, 3))._at_rest()
    assert calls[0]["seq"] == 3


@pytest.mark.parametrize(
    ("found", "refused", "heard", "clean"),
    [
        ({}, {}, True, True),
        ({}, {"503 no switch": 3}, True, True),
        ({}, {"500 its own fault": 1}, True, False),
        ({}, {}, False, False),
        ({"at_far_end": 0}, {}, True, False),
        ({"with_cdr": 0}, {}, True, False),
        ({"lost": 1}, {}, True, False),
    ],
)
def test_a_row_is_clean_only_where_somebody_would_have_known(
    found: dict[str, int], refused: dict[str, int], heard: bool, clean: bool
) -> None:
    verdict = Verdict(**{"calls": 5, "with_cdr": 4, "at_far_end": 4, **found})
    placed = Placed()
    placed.refused.update(refused)
    world: Any = SimpleNamespace(
        load=SimpleNamespace(placed=placed), witness=SimpleNamespace(heard={"u": 1} if heard else {})
    )
    assert _is_clean(FAULTS["switch-killed"], verdict, world, 0, []) is clean
    assert not _is_clean(FAULTS["switch-killed"], verdict, world, 70, [])
    assert not _is_clean(FAULTS["switch-killed"], verdict, world, 0, ["damaged"])
