"""Bytes of any kind, cut anywhere: the same frames or a clear error, in linear time and bounded memory."""

from __future__ import annotations

import itertools
import time

from hypothesis import example, given, settings
from hypothesis import strategies as st

from callengine.errors import MalformedStream
from callengine.esl.wire import Frame, Framer
from tests.esl import transcripts

LINE = st.binary(max_size=40).map(lambda raw: raw.translate(None, b"\n\r"))
NAME = st.text(
    st.characters(min_codepoint=33, max_codepoint=126, exclude_characters=":"), min_size=1, max_size=12
).filter(lambda name: name.lower() not in ("content-type", "content-length"))
KINDS = st.sampled_from(["text/event-json", "text/event-plain", "text/event-xml", "api/response", "log/data", "x/y"])


@st.composite
def _frames(draw: st.DrawFn) -> bytes:
    """One well-formed frame: any headers, in any order, any body."""
    body = draw(st.binary(max_size=200))
    lines = [
        b"Content-Length: %d" % len(body),
        b"Content-Type: " + draw(KINDS).encode(),
        *(f"{name}: ".encode() + value for name, value in draw(st.lists(st.tuples(NAME, LINE), max_size=3))),
    ]
    end = draw(st.sampled_from([b"\n", b"\r\n"]))
    blank = draw(st.sampled_from([b"", b"", b"\n", b"\r\n\n"]))
    return blank + end.join(draw(st.permutations(lines))) + end + end + body


PIECES = st.sampled_from(
    [
        b"Content-Length: ",
        b"Content-Type: ",
        b"text/event-json",
        b"auth/request",
        b"Content-Length: 5\nContent-Type: text/event-json\n\n",
        b"Content-Length: 5\nContent-Type: text/event-json\n\nabcde",
        b"\n",
        b"\n\n",
        b"\r\n",
        b":",
        b"5",
        b"-1",
        b"99999999999999999999999999",
        b"\x00\xff\xd0",
    ]
)
NOISE = st.lists(st.one_of(PIECES, st.binary(max_size=30)), max_size=40).map(b"".join)


def _outcome(data: bytes, cuts: list[int]) -> tuple[list[Frame], str | None, bool]:
    """Frames, the error if any, and whether the stream was cut inside a frame."""
    framer = Framer()
    frames: list[Frame] = []
    edges = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})
    try:
        for start, stop in itertools.pairwise(edges):
            frames += framer.feed(data[start:stop])
        return frames, None, framer.eof()
    except MalformedStream as error:
        return frames, str(error), False


@given(st.lists(_frames(), max_size=6), st.lists(st.integers(min_value=0), max_size=20))
def test_well_formed_frames_survive_any_cut(parts: list[bytes], cuts: list[int]) -> None:
    stream = b"".join(parts)
    frames, error, cut = _outcome(stream, cuts)
    assert (len(frames), error, cut) == (len(parts), None, False)
    assert (frames, error, cut) == _outcome(stream, [])
    for frame, part in zip(frames, parts, strict=True):
        assert part.endswith(frame.body)


@given(NOISE, st.lists(st.integers(min_value=0), max_size=20))
@example(b"Content-Length: 5\nContent-Type: text/event-json\n", [1])
def test_noise_ends_the_same_however_it_is_cut(noise: bytes, cuts: list[int]) -> None:
    whole = _outcome(noise, [])
    assert _outcome(noise, cuts) == whole
    assert _outcome(noise, list(range(len(noise)))) == whole


@given(st.binary(min_size=1, max_size=400), st.data())
def test_bytes_changed_in_a_recorded_stream_end_in_frames_or_an_error(patch: bytes, data: st.DataObject) -> None:
    stream = transcripts.server_side(data.draw(st.sampled_from(transcripts.names())))
    at = data.draw(st.integers(0, max(len(stream) - 1, 0)))
    frames, error, cut = _outcome(stream[:at] + patch + stream[at + len(patch) :], [])
    assert error is not None or cut or frames


@given(st.binary(max_size=60), st.text("0123456789", min_size=1, max_size=3))
def test_a_wrong_length_takes_no_byte_that_it_does_not_claim(body: bytes, digits: str) -> None:
    claimed = int(digits)
    framer = Framer()
    try:
        frames = framer.feed(b"Content-Length: %s\nContent-Type: api/response\n\n" % digits.encode() + body)
    except MalformedStream:
        return
    if len(body) < claimed:
        assert not frames
        assert framer.eof()
    else:
        assert frames[0].body == body[:claimed]


@settings(max_examples=20)
@given(st.binary(min_size=1, max_size=64))
def test_repeated_noise_is_taken_in_bounded_memory(unit: bytes) -> None:
    framer = Framer()
    block = unit * (65536 // len(unit))
    try:
        for _ in range(40):
            framer.feed(block)
            assert framer.pending_bytes <= 16 * 1024 * 1024 + 64 * 1024
    except MalformedStream:
        assert framer.pending_bytes <= 64 * 1024 + len(block)


def _bytewise_s(stream: bytes) -> float:
    framer = Framer()
    pieces = [stream[at : at + 1] for at in range(len(stream))]
    started = time.process_time()
    for piece in pieces:
        framer.feed(piece)
    return time.process_time() - started


def test_byte_by_byte_is_linear() -> None:
    def stream(size: int) -> bytes:
        return b"Content-Length: %d\nContent-Type: text/event-json\n\n" % size + b"x" * size

    small = min(_bytewise_s(stream(50_000)) for _ in range(3))
    large = min(_bytewise_s(stream(800_000)) for _ in range(3))
    # Sixteen times the bytes; a quadratic cut would take 256 times as long.
    assert large < 64 * small
    header = min(_bytewise_s(b"X: " + b"y" * 60_000) for _ in range(3))
    assert header < 64 * small
