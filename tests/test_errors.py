"""Errors state the fact, are drawn in their module, and hold no secret."""

from __future__ import annotations

import inspect
import re

import pytest

from callengine import errors


def classes() -> dict[str, type[errors.CallengineError]]:
    found = inspect.getmembers(errors, inspect.isclass)
    return {name: one for name, one in found if issubclass(one, errors.CallengineError)}


def drawn() -> dict[str, str]:
    """Each class of the tree in the docstring, and the one above it."""
    parents: dict[str, str] = {}
    above: list[tuple[int, str]] = []
    for line in (errors.__doc__ or "").splitlines():
        match = re.match(r"^(?P<indent>[ │├└─]+)(?P<name>[A-Z]\w+)", line)
        if match is None or not line.startswith("    "):
            continue
        depth = len(match["indent"])
        above = [one for one in above if one[0] < depth]
        parents[match["name"]] = above[-1][1] if above else "Exception"
        above.append((depth, match["name"]))
    return parents


def test_the_tree_is_as_drawn() -> None:
    assert drawn() == {name: one.__bases__[0].__name__ for name, one in classes().items()}


def test_a_command_is_named_by_its_verb_alone() -> None:
    timed_out = errors.CommandTimedOut("auth ClueCon", 10)
    assert str(timed_out) == "auth: no reply from FreeSWITCH within 10 s"
    assert "ClueCon" not in repr(errors.CommandRefused("auth ClueCon", "-ERR invalid"))
    assert errors.CommandRefused("bgapi originate x", "-ERR USER_BUSY\n").reply == "USER_BUSY"
    assert str(errors.CommandRefused("", "")) == "(empty command): FreeSWITCH refused it: no reason given"


def test_missing_and_foreign_read_alike() -> None:
    assert str(errors.NoSuchCall()) == "there is no such call"
    assert errors.NoSuchCall.status == errors.NoSuchCampaign.status == 404


@pytest.mark.parametrize("name", [name for name, one in classes().items() if issubclass(one, errors.RequestRefused)])
def test_each_refusal_has_a_status_and_a_code(name: str) -> None:
    one = classes()[name]
    assert issubclass(one, errors.RequestRefused)
    assert 400 <= one.status < 600
    assert re.fullmatch(r"[a-z-]+", one.code)


def test_problems_are_kept_apart() -> None:
    error = errors.ConfigurationError(["one", "two"])
    assert error.problems == ("one", "two")
    assert str(error) == "one\ntwo"
