"""Ids of calls: version 7, in the order of their beginnings, and the same for the same channel."""

from __future__ import annotations

from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callengine.calls.facts import MAX_US
from callengine.calls.ids import call_id_of, usable_id

TEXT = st.text(max_size=50)


@given(TEXT, TEXT, st.integers(0, MAX_US))
def test_an_id_is_a_uuid_of_version_7_with_the_channels_creation_in_it(node: str, uuid: str, created_us: int) -> None:
    text = call_id_of(node, uuid, created_us)
    read = UUID(text)
    assert str(read) == text
    assert (read.version, read.variant) == (7, "specified in RFC 4122")
    assert read.int >> 80 == created_us // 1000


def test_the_same_channel_gives_the_same_id() -> None:
    assert call_id_of("n", "A", 5) == call_id_of("n", "A", 5) == "00000000-0000-773e-a4ee-8b5c77ffbb9c"


def test_another_node_channel_or_creation_gives_another_one() -> None:
    ids = {call_id_of(*key) for key in [("n", "A", 5), ("m", "A", 5), ("n", "B", 5), ("n", "A", 5000), ("nA", "", 5)]}
    assert len(ids) == 5


def test_half_a_surrogate_pair_is_no_obstacle() -> None:
    assert call_id_of("n", "\ud800", 5)


def test_they_stand_in_the_order_of_their_beginnings() -> None:
    ids = [call_id_of("n", f"c{n}", n * 1000) for n in range(1000)]
    assert ids == sorted(ids)


@pytest.mark.parametrize(
    ("text", "usable"), [("", False), ("a", True), ("a" * 128, True), ("a" * 129, False), ("\n", False)]
)
def test_usable_ids(text: str, usable: bool) -> None:
    assert usable_id(text) is usable
