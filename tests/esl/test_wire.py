"""What a frame is: every recorded form of it, and everything that is none."""

from __future__ import annotations

import gzip
import tracemalloc
from pathlib import Path

import pytest

from callengine.errors import MalformedStream
from callengine.esl.wire import EVENT_JSON, EVENT_PLAIN, Frame, Framer
from tests.esl import transcripts

TRACES = Path(__file__).parent.parent / "traces"
NOTICE = b"Disconnected, goodbye.\nSee you at ClueCon! http://www.cluecon.com/\n"


def event(body: bytes, kind: bytes = b"json") -> bytes:
    return b"Content-Length: %d\nContent-Type: text/event-%s\n\n%s" % (len(body), kind, body)


def frames_of(data: bytes, size: int | None = None) -> list[Frame]:
    """The frames of a whole stream, fed in pieces of ``size``."""
    framer = Framer()
    step = size or max(len(data), 1)
    frames = [frame for at in range(0, len(data), step) for frame in framer.feed(data[at : at + step])]
    assert not framer.eof()
    return frames


def told(data: bytes) -> str:
    """What the framer says of a stream that is none."""
    framer = Framer()
    with pytest.raises(MalformedStream) as caught:
        framer.feed(data)
        framer.check()
    return str(caught.value)


def test_reply_api_and_event() -> None:
    frames = frames_of(
        b"Content-Type: auth/request\n\n"
        b"Content-Type: command/reply\nReply-Text: +OK Job-UUID: p1\nJob-UUID: p1\n\n"
        b"Content-Type: api/response\nContent-Length: 5\n\nfalse" + event(b'{"a":"b"}') + event(b"A: b\n\n", b"plain")
    )
    assert [(f.content_type, f.body) for f in frames] == [
        ("auth/request", b""),
        ("command/reply", b""),
        ("api/response", b"false"),
        (EVENT_JSON, b'{"a":"b"}'),
        (EVENT_PLAIN, b"A: b\n\n"),
    ]
    assert dict(frames[1].headers) == {
        "Content-Type": "command/reply",
        "Reply-Text": "+OK Job-UUID: p1",
        "Job-UUID": "p1",
    }
    assert [f.is_event for f in frames] == [False, False, False, True, True]
    assert not frames[3].headers


def test_a_length_counts_bytes_and_the_body_is_left_as_it_is() -> None:
    body = '{"Caller-Caller-ID-Name":"Пётр 中"}'.encode() + b"\xff\xfe\n\nContent-Type: auth/request\n\n"
    frames = frames_of(event(body) + event(b"{}"))
    assert [f.body for f in frames] == [body, b"{}"]


def test_a_body_forges_no_frame() -> None:
    inner = b"Event-Name: BACKGROUND_JOB\nContent-Length: 30\n\nContent-Length: 3\nReply-Text: x"
    frames = frames_of(event(inner, b"plain") + b"Content-Type: command/reply\nReply-Text: +OK\n\n")
    assert [f.content_type for f in frames] == [EVENT_PLAIN, "command/reply"]
    assert frames[0].body == inner


@pytest.mark.parametrize("value", [b"%0AContent-Length: 9", b"a%0A%0Ab", b"x\rContent-Length: 9", b"\x0bReply: 9"])
def test_a_value_forges_no_header(value: bytes) -> None:
    (frame,) = frames_of(b"Content-Type: command/reply\nReply-Text: " + value + b"\n\n")
    assert set(frame.headers) == {"Content-Type", "Reply-Text"}
    assert frame.headers["Reply-Text"] == value.decode()
    assert frame.body == b""


def test_a_header_that_is_no_utf8_is_read() -> None:
    (frame,) = frames_of(b"Content-Type: command/reply\nReply-Text: +OK \xff\xd0\n\n")
    assert frame.headers["Reply-Text"] == "+OK \ufffd\ufffd"


def test_the_first_of_a_doubled_header_stands() -> None:
    (frame,) = frames_of(b"Content-Type: command/reply\nReply-Text: -ERR no\nReply-Text: +OK\n\n")
    assert frame.headers["Reply-Text"] == "-ERR no"


def test_order_case_crlf_and_blank_lines() -> None:
    frames = frames_of(
        b"\n\r\n\nContent-Type: text/event-json\r\nContent-Length: 2\r\n\r\n{}"
        b"\ncontent-length: 3\ncontent-type: api/response\n\nabc"
        b"Content-Length: 2\nContent-Length: 2\nContent-Type:api/response\n\nok"
    )
    assert [(f.content_type, f.body) for f in frames] == [
        (EVENT_JSON, b"{}"),
        ("api/response", b"abc"),
        ("api/response", b"ok"),
    ]


def test_an_event_in_an_unusual_form_is_the_same_event() -> None:
    usual = frames_of(event(b"{}"))
    unusual = frames_of(b"Content-Type: text/event-json\nX-More: 1\nContent-Length: 02\n\n{}")
    assert usual == unusual


def test_blank_lines_are_nothing_however_many() -> None:
    framer = Framer()
    for _ in range(100):
        assert framer.feed(b"\n\r\n" * 1000) == []
    assert not framer.eof()
    assert [f.body for f in framer.feed(event(b"{}"))] == [b"{}"]


def test_empty_bodies() -> None:
    frames = frames_of(event(b"") + b"Content-Type: api/response\nContent-Length: 0\n\n" + event(b"{}"))
    assert [f.body for f in frames] == [b"", b"", b"{}"]


@pytest.mark.parametrize(
    ("stream", "reason"),
    [
        (b"SSH-2.0-OpenSSH_9.6\r\n", "at byte 0: not a header line: b'SSH-2.0-OpenSSH_9.6'"),
        (b"HTTP/1.1 400 Bad Request\r\n", "not a header line"),
        (b"A B: c\n", "not a header line"),
        (b": c\n", "not a header line"),
        (b"\xd0\x90: c\n", "not a header line"),
        (b"\x00\x01\x02\n", "not a header line"),
        (b"Reply-Text: +OK\n\n", "a header block without Content-Type"),
        (b"Content-Type: text/event-json\n\n", "an event without Content-Length"),
        (b"Content-Length: -1\nContent-Type: text/event-json\n\n", "a Content-Length that is no length: b'-1'"),
        (b"Content-Length: +1\nContent-Type: text/event-json\n\n{", "no length"),
        (b"Content-Length: 1_0\nContent-Type: text/event-json\n\n{", "no length"),
        (b"Content-Length: 0x10\nContent-Type: text/event-json\n\n", "no length"),
        (b"Content-Length: \nContent-Type: text/event-json\n\n", "no length"),
        ("Content-Length: ٣\nContent-Type: text/event-json\n\n".encode(), "no length"),
        (b"Content-Length: " + b"9" * 5000 + b"\nContent-Type: text/event-json\n\n", "no length"),
        (
            b"Content-Length: 16777217\nContent-Type: text/event-json\n\n",
            "a body of 16777217 bytes, more than 16777216",
        ),
        (b"Content-Length: 99999999999\nContent-Type: text/event-json\n\n", "a body of 99999999999 bytes"),
        (b"Content-Length: 1\nContent-Length: 2\nContent-Type: a/b\n\n", "two Content-Lengths that differ"),
        (b"Content-Length: 1\nCONTENT-length: 2\nContent-Type: a/b\n\n", "two Content-Lengths that differ"),
        (b"Content-Type: auth/request\nContent-Type: text/event-json\n\n", "two Content-Types that differ"),
        (event(b"{}") + b"garbage\n", "at byte 51: not a header line: b'garbage'"),
    ],
)
def test_what_is_no_stream(stream: bytes, reason: str) -> None:
    assert reason in told(stream)
    framer = Framer()
    with pytest.raises(MalformedStream, match="not an event socket stream"):
        for at in range(len(stream)):
            framer.feed(stream[at : at + 1])
        framer.check()


def test_what_was_whole_before_the_fault_is_handed_out() -> None:
    framer = Framer()
    assert [f.body for f in framer.feed(event(b"{}") + event(b"[]") + b"garbage\n" + event(b"never"))] == [b"{}", b"[]"]
    for call in (framer.check, framer.eof, lambda: framer.feed(event(b"{}")), lambda: framer.feed(b"")):
        with pytest.raises(MalformedStream):
            call()


def test_eof_tells_a_cut_frame() -> None:
    stream = b"Content-Type: api/response\nContent-Length: 5\n\nfalse"
    for cut in range(len(stream) + 1):
        framer = Framer()
        framer.feed(stream[:cut])
        assert framer.eof() is (0 < cut < len(stream)), cut
        assert framer.pending_bytes == (cut if cut < len(stream) else 0)


def test_limits_can_be_set() -> None:
    framer = Framer(max_header_bytes=64, max_body_bytes=4)
    assert framer.feed(event(b"four"))[0].body == b"four"
    with pytest.raises(MalformedStream, match="a body of 5 bytes, more than 4"):
        framer.feed(event(b"fiver"))
    framer = Framer(max_header_bytes=64)
    with pytest.raises(MalformedStream, match="a header block of more than 64 bytes"):
        framer.feed(b"Content-Type: a/b\nX: " + b"y" * 64)


@pytest.mark.parametrize("unit", [b"x", b"Reply-Text: ", b"A: b\n"])
@pytest.mark.parametrize("size", [1 << 16, 1 << 18, None])
def test_a_line_of_50_mb_ends_in_bounded_memory(unit: bytes, size: int | None) -> None:
    line = unit * ((50 << 20) // len(unit))
    framer = Framer()
    tracemalloc.start()
    try:
        with pytest.raises(MalformedStream, match="a header block of more than 65536 bytes"):
            for at in range(0, len(line), size or len(line)):
                framer.feed(memoryview(line)[at : at + size] if size else line)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 4 << 20


def test_a_large_body_takes_no_more_than_it_is() -> None:
    body = b"x" * (8 << 20)
    stream = event(body)
    framer = Framer()
    tracemalloc.start()
    try:
        frames = [frame for at in range(0, len(stream), 1 << 16) for frame in framer.feed(stream[at : at + (1 << 16)])]
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert [f.body for f in frames] == [body]
    assert peak < 3 * len(body)


@pytest.mark.parametrize("name", transcripts.names())
def test_transcripts_in_pieces_of_any_size(name: str) -> None:
    stream = transcripts.server_side(name)
    whole = frames_of(stream)
    assert whole
    for size in (1, 2, 3, 7, 16, 61, 1000):
        assert frames_of(stream, size) == whole


def test_what_the_transcripts_say() -> None:
    kinds = [f.content_type for f in frames_of(transcripts.server_side("20_acl_rejected"))]
    assert kinds == ["text/rude-rejection", "text/disconnect-notice"]
    wrong = frames_of(transcripts.server_side("01_wrong_password"))
    assert [(f.content_type, f.headers.get("Reply-Text"), f.body) for f in wrong] == [
        ("auth/request", None, b""),
        ("command/reply", "-ERR invalid", b""),
        ("text/disconnect-notice", None, NOTICE),
    ]
    jobs = [f for f in frames_of(transcripts.server_side("09_bgapi")) if f.is_event]
    assert [f.content_type.removeprefix("text/event-") for f in jobs] == ["plain"] * 5 + ["json"] * 2 + ["xml"]


def test_a_recorded_load_is_cut_alike_in_pieces_of_any_size() -> None:
    stream = gzip.decompress((TRACES / "load_slice.json.esl.gz").read_bytes())
    whole = frames_of(stream)
    assert len(whole) == stream.count(b"Content-Type: text/event-json\n\n") == 2781
    assert b"".join(event(f.body) for f in whole) == stream
    for size in (997, 65536, 262144):
        assert frames_of(stream, size) == whole
