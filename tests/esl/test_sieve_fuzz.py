"""The sieve in C and the one in Python, over events of any kind and streams cut anywhere: the same facts of both."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from callengine.errors import MalformedStream
from callengine.esl import sieve as module
from callengine.esl.sieve import Sieve
from callengine.esl.wire import EVENT_JSON, MAX_BODY_BYTES, Framer
from tests.calls import streams
from tests.esl.stated import TRANSLATOR, stated
from tests.esl.switches import event as framed

pytestmark = pytest.mark.skipif(not module.COMPILED, reason="it was not built")

LAYOUT = TRANSLATOR.layout()
RECORDED = [f.body for n in streams.names("json") for f in Framer().feed(streams.stream(n)) if f.is_event]
EVENTS = sorted({body[: body.index(b",")]: body for body in RECORDED}.values())


def sieved(stream: bytes, cuts: list[int], *, compiled: bool) -> tuple[list[Any], int, int, list[Any]]:
    """What the bodies that are left state, how many came, how many ends were repeated; what came besides, and the ends
    that are remembered.
    """
    repeats: list[int] = []
    sieve = Sieve(TRANSLATOR, repeats.append, compiled=compiled)
    framer = Framer(events=sieve)
    facts, others = [], []
    seen = 0
    for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        try:
            others += [frame.content_type for frame in framer.feed(stream[start:end])]
        except MalformedStream as error:
            others.append(str(error))
        count, bodies = sieve.handed()
        seen += count
        facts += [stated(body) for body in bodies]
    return facts, seen, sum(repeats), [*others, *sieve._ended.items()]


def same(bodies: list[bytes]) -> None:
    stream = b"".join(map(framed, bodies))
    assert sieved(stream, [], compiled=True) == sieved(stream, [], compiled=False)


TEXT = st.one_of(
    st.sampled_from(["", "0", "1", "00", "-1", "1795343615301165", "999999999999999999", "9" * 19, " 1", "1.5", "u1"]),
    st.sampled_from(["\0", "\ud800", "é", "\U0001f600", '"', "\\", "\n", "x" * 300, "true", '","Unique-ID":"u2']),
    st.text(max_size=12),
)
VALUE = st.one_of(TEXT, st.lists(TEXT, max_size=3), st.none(), st.booleans(), st.integers(), st.just({"a": ["b"]}))
NAMED = sorted({name.decode() for headers in LAYOUT.values() for name in headers})
HEADER = st.one_of(
    st.sampled_from(NAMED), st.sampled_from(["variable_x", "", "é", 'a"b', "Content-Length"]), st.text(max_size=5)
)


@st.composite
def _made(draw: st.DrawFn) -> bytes:
    """An event of any headers, some of them twice, written in more than one way."""
    name = draw(st.sampled_from([*map(bytes.decode, sorted(LAYOUT)), "CHANNEL_STATE", "no name", ""]))
    pairs = [("Event-Name", name)]
    if draw(st.booleans()):
        stamps = ("Event-Date-Timestamp", "Caller-Channel-Created-Time", "Caller-Channel-Hangup-Time")
        pairs += [
            ("Unique-ID", draw(st.sampled_from(["u1", "u2"]))),
            *((stamp, "1795343615301165") for stamp in stamps),
        ]
    pairs += draw(st.lists(st.tuples(HEADER, VALUE), max_size=8))
    tidy = draw(st.sampled_from([True, True, False]))
    ascii_only = draw(st.booleans())
    write = lambda value: json.dumps(value, ensure_ascii=ascii_only, separators=(",", ":") if tidy else None)  # noqa: E731
    text = "{" + ",".join(f"{write(key)}:{write(value)}" for key, value in pairs) + "}"
    return text.encode("utf-8", "surrogatepass")


@st.composite
def _damaged(draw: st.DrawFn) -> bytes:
    """A recorded event in which something was changed, cut out or put in."""
    body = bytearray(draw(st.sampled_from(EVENTS)))
    for _ in range(draw(st.integers(0, 3))):
        at = draw(st.integers(0, len(body)))
        piece = draw(
            st.one_of(st.binary(max_size=3), st.sampled_from([b'"', b"\\", b'\\u00e9"', b"[", b'"]', b",", b"}"]))
        )
        body[at : at + draw(st.sampled_from([0, 0, 1, 2, 40]))] = piece
    return bytes(body)


def _told(name: str, *pairs: tuple[str, str]) -> bytes:
    stamps = ("Event-Date-Timestamp", "Caller-Channel-Created-Time", "Caller-Channel-Hangup-Time")
    own = [("Event-Name", name), ("Unique-ID", "u1"), *((stamp, "1795343615301165") for stamp in stamps)]
    return b"{" + b",".join(f'"{key}":"{value}"'.encode() for key, value in [*own, *pairs]) + b"}"


TWICE = _told("CHANNEL_ANSWER", ("Caller-Channel-Answered-Time", "5"), ("Caller-Channel-Answered-Time", "0"))
HALF = _told("CHANNEL_HANGUP_COMPLETE", ("x", "\\ud800"))


@given(st.lists(_made(), max_size=6))
@example([TWICE])
@example([HALF, _told("CHANNEL_DESTROY")])
def test_made_events(bodies: list[bytes]) -> None:
    same(bodies)


@given(st.lists(_damaged(), max_size=4))
@example([b"", b"{", b"{}", b'{"Event-Name":"', b'{"Event-Name":"SHUTDOWN"', b'{"Event-Name":"SHUTDOWN"}'])
@example([b'{"Event-Name":"SHUTDOWN",}', b'{"Event-Name":"SHUTDOWN"}}', b'{"Event-Name":"SHUTDOWN","a":"b"}\n'])
@example([b'{"Event-Name":"SHUTDOWN","a":"b\\', b'{"Event-Name":"SHUTDOWN","a":["b"', b'{"Event-Name":"SHUTDOWN","a":'])
def test_damaged_events(bodies: list[bytes]) -> None:
    same(bodies)


@pytest.mark.parametrize("body", EVENTS, ids=lambda body: json.loads(body)["Event-Name"])
def test_an_event_cut_off_anywhere(body: bytes) -> None:
    same([body[:end] for end in (*range(300), *range(300, len(body), 7), *range(len(body) - 40, len(body)))])


@given(st.data())
def test_streams_cut_anywhere(data: st.DataObject) -> None:
    pieces = st.one_of(
        st.sampled_from(EVENTS).map(framed),
        st.sampled_from(EVENTS).map(lambda body: framed(body).replace(b"\n", b"\r\n", 3)),
        st.sampled_from(
            [b"Content-Type: command/reply\nReply-Text: +OK\n\n", b"Content-Length: 0\n", b"\n", b"junk\n"]
        ),
        st.just(b"Content-Length: 4\nContent-Type: text/event-plain\n\na: b"),
        st.just(b"Content-Length: 99999999999\nContent-Type: text/event-json\n\n"),
        st.just(b"Content-Length: %d\nContent-Type: text/event-json\n\n{}" % (MAX_BODY_BYTES + 1)),
    )
    stream = b"".join(data.draw(st.lists(pieces, max_size=5)))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=6)))
    assert sieved(stream, cuts, compiled=True) == sieved(stream, cuts, compiled=False)


@pytest.mark.parametrize("name", streams.names("json"))
def test_recorded_streams(name: str) -> None:
    stream = streams.stream(name)
    facts, *counts = sieved(stream, [], compiled=True)
    assert (facts, *counts) == sieved(stream, [], compiled=False)
    assert sum(frame.content_type == EVENT_JSON for frame in Framer().feed(stream)) == counts[0]


def test_what_is_recorded_needs_no_python() -> None:
    asked: list[bytes] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Sieve, "_left", lambda self, body: asked.append(body))
        sieve = Sieve(TRANSLATOR, compiled=True)
    # Of a CUSTOM event the subclass comes first; none is subscribed to.
    bodies = [body for body in RECORDED if body.startswith(b'{"Event-Name"')]
    assert len(bodies) > 3000
    left = sieve(bodies)
    assert left
    assert not asked
