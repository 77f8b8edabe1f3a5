"""The stand-in's own parts: which words mean what, and what it hears."""

from __future__ import annotations

import io
import wave
from array import array

import pytest

from callengine.standin.gemini.audio import measure
from callengine.standin.gemini.behaviours import Behaviour, chosen


@pytest.mark.parametrize(
    ("name", "behaviour"),
    [
        ("gemini-3.5-flash-lite", Behaviour()),
        ("gemini-e503", Behaviour(error=503)),
        ("e429day", Behaviour(error=429, per_day=True)),
        ("e418", Behaviour()),
        ("slow250-flaky3", Behaviour(slow_ms=250, flaky=3)),
        ("trickle", Behaviour(wire="trickle")),
        ("maxtok", Behaviour(answer="maxtok")),
        ("a call, undeletable", Behaviour(file="undeletable")),
        ("hanging", Behaviour()),
    ],
)
def test_words_of_a_name(name: str, behaviour: Behaviour) -> None:
    assert chosen(name) == behaviour


def wav(left: list[int], right: list[int]) -> bytes:
    """A level for each second of each channel."""
    out = io.BytesIO()
    with wave.open(out, "wb") as file:
        file.setnchannels(2)
        file.setsampwidth(2)
        file.setframerate(8000)
        for a, b in zip(left, right, strict=True):
            file.writeframes(array("h", [a, b, -a, -b] * 4000).tobytes())
    return out.getvalue()


def test_who_is_heard_when_and_how_loud() -> None:
    data = wav([8000, 8000, 0, 0], [0, 0, 0, 16000])
    found = measure(io.BytesIO(data), len(data), "audio/wav")
    assert (found.duration_ms, found.channels) == (4000, 2)
    heard = [(part.channel, part.start_ms, part.end_ms) for part in found.stretches]
    assert heard == [(0, 0, 2000), (1, 3000, 4000)]
    assert [part.level_dbfs for part in found.stretches] == [-12.2, -6.2]


@pytest.mark.parametrize("data", [b"", b"ID3 not a wav", b"RIFF\x00\x00\x00\x00WAVE", wav([1], [1])[:30]])
def test_what_it_cannot_decode_has_no_length(data: bytes) -> None:
    found = measure(io.BytesIO(data), len(data), "audio/mpeg")
    assert found.duration_ms is None
    assert found.stretches == ()
