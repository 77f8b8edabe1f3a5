"""How events are rendered in their three forms."""

from __future__ import annotations

import json

import pytest

from callengine.standin.events import Event, Source, Stamps, to_json, to_plain, to_xml, url_encode


def test_a_name_can_stand_twice() -> None:
    blocks = ({"Hangup-Cause": "A", "X": "1"}, {"Hangup-Cause": "B"})
    assert to_json(blocks) == b'{"Hangup-Cause":"A","X":"1","Hangup-Cause":"B"}'
    assert to_plain(blocks) == b"Hangup-Cause: A\nX: 1\nHangup-Cause: B\n\n"


def test_a_body_comes_behind_its_length_in_bytes() -> None:
    blocks = ({"Job-UUID": "j"},)
    assert to_json(blocks, "ä\n") == '{"Job-UUID":"j","Content-Length":"3","_body":"ä\\n"}'.encode()
    assert to_plain(blocks, "ä\n") == "Job-UUID: j\nContent-Length: 3\n\nä\n".encode()
    assert b"<Content-Length>3</Content-Length>" in to_xml(blocks, "ä\n")


def test_lists() -> None:
    blocks = ({"variable_l": ["a", "b c"]},)
    assert json.loads(to_json(blocks)) == {"variable_l": ["a", "b c"]}
    assert to_plain(blocks) == b"variable_l: ARRAY%3A%3Aa%7C%3Ab%20c\n\n"
    assert to_xml(blocks).count(b"<variable_l>") == 2


def test_bytes_that_are_no_utf8_pass_through() -> None:
    text = b"\xff ok".decode("utf-8", "surrogateescape")
    assert to_json(({"X": text},)) == b'{"X":"\xff ok"}'
    assert to_plain(({"X": text},)) == b"X: %FF%20ok\n\n"


@pytest.mark.parametrize(
    ("text", "encoded"),
    [
        ("a b", "a%20b"),
        ("100%", "100%25"),
        ("%41", "%41"),
        ("ä", "%C3%A4"),
        ("a\nb:", "a%0Ab%3A"),
        ("(x)!*'", "(x)!*'"),
    ],
)
def test_url_encoding(text: str, encoded: str) -> None:
    assert url_encode(text) == encoded


def test_xml_is_escaped() -> None:
    rendered = to_xml(({"A": "x"},), '<&"')
    assert b"<A>x</A>" in rendered
    assert b"<body>&lt;&amp;&quot;" in rendered


def test_a_frame_is_rendered_once_a_form() -> None:
    event = Event("HEARTBEAT", ({"Event-Name": "HEARTBEAT"},))
    frame = event.frame("json")
    assert frame == b'Content-Length: 26\nContent-Type: text/event-json\n\n{"Event-Name":"HEARTBEAT"}'
    assert event.frame("json") is frame
    assert event.frame("plain") != frame


def test_filters_ask_in_any_case_of_letters() -> None:
    event = Event("X", ({"Unique-ID": "u"}, {"Unique-ID": "v", "L": ["a"]}))
    assert event.header("unique-id") == "u"
    assert event.header("l") == "ARRAY::a"
    assert event.header("none") is None


def test_what_every_event_begins_with() -> None:
    stamps = Stamps("core", "host")
    block = stamps.block("HEARTBEAT", 1_700_000_000_123_456, 77, Source("a.c", "f", "9"))
    assert list(block)[:2] == ["Event-Name", "Core-UUID"]
    assert block["Event-Date-Timestamp"] == "1700000000123456"
    assert block["Event-Date-GMT"] == "Tue, 14 Nov 2023 22:13:20 GMT"
    assert (block["Event-Sequence"], block["Event-Calling-Line-Number"]) == ("77", "9")
