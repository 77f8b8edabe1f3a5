"""What of an answer stands, and what is of no use."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callengine.ai.answer import Finding, _Passage, folded, read
from callengine.ai.faults import Unusable
from tests.ai.jobs import ANSWER, saying


def finding(text: str | None = None, *, quotes: bool = True, **changes: Any) -> Finding:
    codes = ("sold", "not sold")
    given = saying(**changes) if text is None else text
    return read(given, audio_ms=30_000, dispositions=codes, transcript=quotes)


def turns(*said: tuple[str, str]) -> list[dict[str, Any]]:
    return [{"speaker": who, "offset_ms": 1_000 * n, "text": text} for n, (who, text) in enumerate(said)]


def stands(quote: str, *said: tuple[str, str]) -> bool:
    found = finding(statements=[{"text": "It is so.", "quote": quote}], transcript=turns(*said) if said else ...)
    return found.summary is not None


def test_an_answer_that_is_right() -> None:
    found = finding(disposition="sold")
    assert found.summary == "The caller wants a new router. It was promised for Monday."
    assert (found.sentiment, found.next_action, found.disposition) == ("positive", "Send the router.", "sold")
    assert [s.quote for s in found.statements] == [s["quote"] for s in ANSWER["statements"]]
    assert found.transcript is not None
    assert [(t.speaker, t.offset_ms) for t in found.transcript] == [("caller", 0), ("agent", 4_000), ("agent", 6_000)]
    assert found.dropped == 0


def test_a_statement_without_a_true_quote_is_dropped() -> None:
    statements = [*ANSWER["statements"], {"text": "He was angry.", "quote": "I am furious"}]
    statements += [{"text": "Nobody said so.", "quote": ""}, {"text": "Nor this.", "quote": " …!? "}, {"text": "x"}]
    found = finding(statements=statements)
    assert found.summary == "The caller wants a new router. It was promised for Monday."
    assert (len(found.statements), found.dropped) == (2, 4)


@pytest.mark.parametrize("change", [{"transcript": []}, {"statements": []}])
def test_where_nothing_stands_nothing_is_known(change: dict[str, Any]) -> None:
    found = finding(**change, disposition="sold")
    assert (found.summary, found.sentiment, found.next_action, found.disposition) == (None, None, None, None)
    assert found.statements == ()


@pytest.mark.parametrize(
    ("quote", "said"),
    [
        ("i'd LIKE   a new router please", "I'd like a new router, please."),
        ("e mail", "Send me an e-mail!"),
        ("email", "Send me an e-mail!"),
        ("ich weiss die strasse", "Ich weiß: die Straße."),
        ("ΣΊΣΥΦΟΣ", "σίσυφος"),
        ("café", "cafe\u0301"),
        ("ﬁne ①", "Fine, 1"),
        ("жанна", "Привет, Жанна!"),
        ("電話", "今日電話しました"),
        ("İstanbul", "i\u0307stanbul"),
    ],
)
def test_case_space_and_punctuation_do_not_count(quote: str, said: str) -> None:
    assert stands(quote, ("caller", said))


@pytest.mark.parametrize(
    ("quote", "said"),
    [
        ("no", "I know it now."),
        ("cannot", "I can note it."),
        ("would like", "I'd like it"),
        ("new router today", "a new router"),
        ("not sold", "It was not. Sold out it is nott"),
    ],
)
def test_other_words_do(quote: str, said: str) -> None:
    expected = quote == "not sold"  # punctuation between two sentences does not count either
    assert stands(quote, ("caller", said)) is expected


def test_a_quote_may_go_on_in_the_next_entry_of_the_same_speaker_alone() -> None:
    said = (("agent", "You will have it"), ("agent", "on Monday."), ("caller", "Or Tuesday?"))
    assert stands("have it on Monday", *said)
    assert not stands("on Monday or Tuesday", *said)
    assert not stands("have it Tuesday", *said)


@pytest.mark.parametrize(
    ("quote", "said", "expected"),
    [
        ("a" * 1_999, "a" * 19_000 + "b", False),
        ("a" * 1_999, "a" * 19_000 + " " + "a" * 1_999, True),
        ("no", "not " * 5_000 + "no", True),
        ("電x" * 999, "電x" * 9_500 + "y", False),
        ("電" * 1_999, "電" * 19_000, True),
    ],
)
def test_a_model_that_repeats_itself_does_not_hold_us(
    quote: str, said: str, expected: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Models fall into runs of one letter, which has as many places for a quote as letters."""
    looked: list[int] = []

    class Counted(str):
        __slots__ = ()

        def find(self, *args: Any) -> int:
            looked.append(1)
            return str.find(self, *args)

        def startswith(self, *args: Any) -> bool:
            looked.append(1)
            return str.startswith(self, *args)

    passage = _Passage(said)
    passage._letters = Counted(passage._letters)
    assert passage.holds(folded(quote)) is expected
    assert len(looked) <= max(500, len(passage._starts))


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"sentiment": "furious"}, "$.sentiment"),
        ({"sentiment": ...}, "$"),
        ({"statements": ...}, "$"),
        ({"statements": "none"}, "$.statements"),
        ({"statements": [{"quote": "x"}]}, "$.statements[0]"),
        ({"statements": [{"text": "x" * 2_001, "quote": "y"}]}, "$.statements[0].text"),
        ({"statements": [{"text": "x", "quote": "y"}] * 101}, "$.statements"),
        ({"next_action": ...}, "$"),
        ({"next_action": "x" * 2_001}, "$.next_action"),
        ({"transcript": ...}, "no transcript"),
        ({"transcript": [{"speaker": "Bob", "offset_ms": 0, "text": "x"}]}, "$.transcript[0].speaker"),
        ({"transcript": [{"speaker": "caller", "offset_ms": -1, "text": "x"}]}, "$.transcript[0].offset_ms"),
        ({"transcript": [{"speaker": "caller", "offset_ms": "0:01", "text": "x"}]}, "$.transcript[0].offset_ms"),
        ({"transcript": [{"speaker": "caller", "offset_ms": 31_001, "text": "x"}]}, "beyond the end"),
        ({"transcript": list(reversed(turns(("caller", "a"), ("agent", "b"))))}, "not in order"),
        ({"disposition": "secret word"}, "not in the campaign's list"),
        ({"disposition": 7}, "$.disposition"),
    ],
)
def test_what_is_not_as_the_schema_has_it_is_of_no_use(changes: dict[str, Any], reason: str) -> None:
    with pytest.raises(Unusable) as caught:
        finding(**changes)
    assert reason in caught.value.reason
    assert "furious" not in caught.value.reason
    assert "secret" not in caught.value.reason


@pytest.mark.parametrize("text", ["", "no json", "[]", "null", '{"statements": [', "{}", "\ud800", '"x"', "NaN"])
def test_what_is_no_object_is_of_no_use(text: str) -> None:
    with pytest.raises(Unusable):
        finding(text)


def test_an_answer_without_end_is_not_looked_at() -> None:
    with pytest.raises(Unusable, match="too long"):
        finding(" " * 2_000_001)


def test_without_a_transcript_the_statements_are_taken_as_they_are() -> None:
    found = finding(statements=[{"text": "a"}, {"text": " "}, {"text": "b"}], quotes=False)
    assert (found.summary, found.transcript) == ("a b", None)
    assert [s.quote for s in found.statements] == [None, None]
    with pytest.raises(Unusable, match="no statements"):
        finding(statements=[{"text": "\u200b"}], quotes=False)


def test_text_loses_what_drives_a_terminal_or_turns_it_around() -> None:
    hostile = "a\x1b[31m\u202eb\0c"
    text = json.dumps({**ANSWER, "next_action": hostile, "statements": [{"text": hostile, "quote": "on Monday"}]})
    found = finding(text)
    assert found.next_action == found.summary == "a [31m b c"


def test_the_summary_is_bounded() -> None:
    statements = [{"text": f"{n} " + "x" * 1_900, "quote": "on Monday"} for n in range(20)]
    found = finding(statements=statements)
    assert found.summary is not None
    assert len(found.summary) <= 10_000
    assert found.summary.endswith("…")


def test_an_offset_a_little_beyond_the_end_is_the_end() -> None:
    transcript = [{"speaker": "caller", "offset_ms": 30_400, "text": "on Monday"}]
    found = finding(transcript=transcript)
    assert found.transcript is not None
    assert found.transcript[0].offset_ms == 30_000


@given(st.text(max_size=60), st.text(max_size=20), st.text(max_size=20))
def test_whatever_was_said_can_be_quoted(said: str, before: str, after: str) -> None:
    said = "".join(c for c in said if not "\ud800" <= c <= "\udfff")
    if not folded(said):
        return
    text = "".join(c for c in f"{before} {said} {after}" if not "\ud800" <= c <= "\udfff")
    assert stands(said, ("caller", text))


@given(
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.text(),
        lambda c: st.lists(c) | st.dictionaries(st.sampled_from([*ANSWER, "disposition", "text", "quote"]), c),
    )
)
def test_no_answer_is_more_than_unusable(value: Any) -> None:
    with contextlib.suppress(Unusable):
        finding(json.dumps(value))
