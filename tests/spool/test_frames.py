"""A segment is read for whatever is whole in it, wherever the write of it ended."""

from __future__ import annotations

import random

import pytest

from callengine.errors import MalformedEvent
from callengine.spool import frames, kept
from callengine.spool.frames import EVENTS, MAGIC, Beginning

SEED = 7
BATCHES = [[b'{"a":1}', b"-", b"\x00" * 9], [MAGIC * 3], [b"x" * 300, b"y"]]


def written() -> tuple[bytes, int]:
    """A segment, and where its batches begin."""
    head = frames.begin(Beginning(node="n1", seed=SEED))
    return head + b"".join(frames.encode(EVENTS, bodies, SEED, 5) for bodies in BATCHES), len(head)


def test_a_cut_at_any_byte_costs_only_what_was_cut() -> None:
    data, begun = written()
    flat = [body for bodies in BATCHES for body in bodies]
    seen = set()
    for cut in range(len(data) + 1):
        part = data[:cut]
        beginning = frames.beginning_of(part)
        assert (beginning is None) == (cut < begun)
        if beginning is None:
            assert frames.damage(part, 0, 0) == 0
            continue
        found = [body for frame in frames.frames(part, begun, SEED) for body in frame.bodies]
        assert found == flat[: len(found)]
        assert frames.damage(part, begun, SEED) == 0
        # Everything that is all there is found.
        ends = [frame.end for frame in frames.frames(data, begun, SEED) if frame.end <= cut]
        assert len(found) >= sum(map(len, BATCHES[: len(ends)]))
        seen.add(len(found))
    assert seen == set(range(len(flat) + 1))


def test_a_batch_that_was_cut_and_not_taken_back_hides_none_behind_it() -> None:
    head = frames.begin(Beginning(seed=SEED))
    one, two = (frames.encode(EVENTS, [b"a" * 50, b"b" * 50], SEED), frames.encode(EVENTS, [b"c", b"d"], SEED))
    for cut in range(1, len(one)):
        data = head + one[:cut] + two
        found = [body for frame in frames.frames(data, len(head), SEED) for body in frame.bodies]
        assert found[-2:] == [b"c", b"d"]
        assert set(found[:-2]) <= {b"a" * 50, b"b" * 50}
        assert frames.damage(data, len(head), SEED) > 0


def test_any_damaged_byte_of_a_head_is_noticed() -> None:
    data, begun = written()
    whole = list(frames.frames(data, begun, SEED))
    for at in range(begun, whole[0].start + 28 + 4 * 3):
        for bit in range(8):
            broken = bytearray(data)
            broken[at] ^= 1 << bit
            found = list(frames.frames(bytes(broken), begun, SEED))
            assert [frame.bodies for frame in found] == BATCHES[1:]
            assert frames.damage(bytes(broken), begun, SEED) > 0


def test_a_body_that_looks_like_a_batch_is_none() -> None:
    forged = frames.encode(EVENTS, [b"forged"], 0)
    head = frames.begin(Beginning(seed=SEED))
    data = bytearray(head + frames.encode(EVENTS, [b"a", forged], SEED) + frames.encode(EVENTS, [b"z"], SEED))
    data[len(head)] ^= 1
    found = [body for frame in frames.frames(bytes(data), len(head), SEED) for body in frame.bodies]
    assert found == [b"z"]


def test_noise_is_survived() -> None:
    dice = random.Random(4)
    data, begun = written()
    for _ in range(300):
        noise = bytearray(data)
        for _ in range(dice.randint(1, 40)):
            noise[dice.randrange(begun, len(noise))] = dice.choice((0, 0x89, 255, dice.randrange(256)))
        for frame in frames.frames(bytes(noise), begun, SEED):
            assert begun <= frame.start < frame.end <= len(noise)


@pytest.mark.parametrize("data", [b"", b"callengine", MAGIC, frames.encode(EVENTS, [b"{}"], 0), b"\x00" * 100])
def test_what_begins_with_no_beginning_has_none(data: bytes) -> None:
    assert frames.beginning_of(data) is None


@pytest.mark.parametrize(
    "body",
    [b"", b"[]", b"{}", b'{"Nobody":{}}', b'{"OriginateSent":{"uuid":1,"at_us":2}}', b"\xff", b'{"a":{},"b":{}}'],
)
def test_what_is_no_fact_of_ours_is_poison(body: bytes) -> None:
    with pytest.raises(MalformedEvent):
        kept.decode(body)
