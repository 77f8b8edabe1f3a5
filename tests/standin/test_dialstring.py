"""How dial strings and arguments are read: cases that a real switch was asked (the whole table is in conformance)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callengine.standin.dialstring import DialStringMalformed, LegTarget, arguments, assignable, parse, separate


@pytest.mark.parametrize(
    ("text", "variables"),
    [
        ("{a=b}x/1", {"a": "b"}),
        ("{a=b,c='d e'}x/1", {"a": "b", "c": "d e"}),
        ("{a='b,c'}x/1", {"a": "b,c"}),
        (r"{a=b\,c}x/1", {"a": "b,c"}),
        ("{^^:a=b,c:d=e}x/1", {"a": "b,c", "d": "e"}),
        ("{a=b}{c=d}x/1", {"a": "b", "c": "d"}),
        ("{a=b=c}x/1", {"a": "b=c"}),
        ("<g=h>{a=b}x/1", {"g": "h", "a": "b"}),
        ("{a=}x/1", {}),
        ("x/1", {}),
    ],
)
def test_variables_for_all_legs(text: str, variables: dict[str, str]) -> None:
    read = parse(text)
    assert read.variables == variables
    assert read.groups == [[LegTarget("x", "1")]]


def test_failover_and_forks() -> None:
    read = parse("{a=b}[c=d]sofia/gateway/g/1,user/2|[e='f g',h=i]loopback/3/ctx")
    assert read.groups == [
        [LegTarget("sofia", "gateway/g/1", {"c": "d"}), LegTarget("user", "2")],
        [LegTarget("loopback", "3/ctx", {"e": "f g", "h": "i"})],
    ]


def test_quotes_in_square_brackets_do_not_protect_a_comma() -> None:
    assert parse("[e='f,g',h=i]x/1").groups == [[LegTarget("x", "1", {"e": "f", "h": "i"})]]


@pytest.mark.parametrize("text", ["", "   ", "{a=b", "{a=b}", "[a=b"])
def test_not_to_be_read(text: str) -> None:
    with pytest.raises(DialStringMalformed):
        parse(text)


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("one two  three", ["one", "two", "three"]),
        ("'one two' three", ["one two", "three"]),
        (r"one\ two three", [r"one\ two", "three"]),
        ("{a='b c'}x/1 &park", ["{a=b c}x/1", "&park"]),
        (r"a\nb c", ["a\nb", "c"]),
        ("it's here", ["it's here"]),
        ("", []),
    ],
)
def test_arguments(text: str, parts: list[str]) -> None:
    assert arguments(text) == parts


def test_at_most_so_many_parts() -> None:
    assert separate("a,b,c,d", ",", 2) == ["a", "b,c,d"]
    assert arguments("a b c d", 2) == ["a", "b c d"]


def test_what_holds_a_variable_is_dropped() -> None:
    assert assignable({"a": "b", "c": "${d}", "e": "", "f": "$${g}", "h": "$i"}) == {"a": "b", "h": "$i"}


@given(st.text(alphabet="ab {}[]<>'\\,=|^:/$", max_size=60))
def test_nothing_breaks_it(text: str) -> None:
    arguments(text)
    try:
        read = parse(text)
    except DialStringMalformed:
        return
    assert read.groups
    assignable(read.variables)
