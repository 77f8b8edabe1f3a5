"""Expansion of applications' arguments: cases that a real switch was asked."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callengine.standin.expand import expand

VALUES = {"one": "1st", "two": "second", "three": "two", "deep": "${one}!"}


@pytest.mark.parametrize(
    ("text", "expanded"),
    [
        ("plain $ text, {x} 100%", "plain $ text, {x} 100%"),
        ("${one}", "1st"),
        ("x${one}y${two}", "x1sty" + "second"),
        ("$${one}", "1st"),
        (r"\${one}", "${one}"),
        ("${nosuch}.", "."),
        ("${${three}}", "second"),
        ("${deep}", "1st!"),
        ("${two:1:2}", "ec"),
        ("${two:-2}", "nd"),
        (r"a\\s b", r"a\s b"),
        (r"\\\\s", r"\\s"),
        (r"\s", r"\s"),
        (r"it\'s", "its"),
        (r"${one}\\b", r"1st\\b"),
        ("${create_uuid()}", ""),
        ("", ""),
    ],
)
def test_expanded(text: str, expanded: str) -> None:
    assert expand(text, lambda name: VALUES.get(name, "")) == expanded


def test_a_variable_that_names_itself_ends() -> None:
    assert len(expand("${loop}", {"loop": "${loop}"}.__getitem__)) < 100


@given(st.text(alphabet="a${}\\'s :[1-", max_size=40))
def test_nothing_breaks_it(text: str) -> None:
    expand(text, lambda name: VALUES.get(name, ""))
