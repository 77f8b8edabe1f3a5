"""The model's answer, held against what it had to be, and its statements against the words that they rest on. Pure.

What is not as the schema has it is ``Unusable`` as a whole. A statement whose quote is not in the transcript is
dropped: the model made up the one or the other.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Collection, Iterator, Sequence
from itertools import groupby
from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta

from callengine.ai.faults import Unusable

MAX_ANSWER: Final = 2_000_000
"""Characters of an answer that are looked at; the most tokens that can come are far fewer."""

MAX_SUMMARY: Final = 10_000
_OFFSET_TOLERANCE_MS: Final = 1_000
_MAX_PLACES: Final = 500

_UNPARTED: Final = ("CJK", "HIRAGANA", "KATAKANA", "THAI", "LAO", "KHMER", "MYANMAR", "TIBETAN")

_Text = Annotated[str, Meta(max_length=2_000)]


class Statement(msgspec.Struct, frozen=True):
    """One statement of the summary; ``quote`` is None where no transcript was asked for."""

    text: _Text
    quote: _Text | None = None


class Turn(msgspec.Struct, frozen=True):
    """What one speaker said; ``offset_ms`` counts through all recordings that were sent, one after the other."""

    speaker: Literal["caller", "callee", "agent", "unknown"]
    offset_ms: Annotated[int, Meta(ge=0)]
    text: Annotated[str, Meta(max_length=20_000)]


class _Raw(msgspec.Struct, frozen=True):
    statements: Annotated[tuple[Statement, ...], Meta(max_length=100)]
    sentiment: Literal["positive", "neutral", "negative"]
    next_action: _Text
    transcript: Annotated[tuple[Turn, ...], Meta(max_length=10_000)] | None = None
    disposition: str | None = None


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """What stands. ``summary`` is None where nothing does; then nothing else is known either, but the transcript."""

    summary: str | None
    sentiment: str | None
    next_action: str | None
    disposition: str | None
    statements: tuple[Statement, ...]
    transcript: tuple[Turn, ...] | None
    dropped: int
    """How many statements were dropped since nothing bears them."""


_decode: Final = msgspec.json.Decoder(_Raw).decode


def read(text: str, *, audio_ms: int, dispositions: Collection[str], transcript: bool) -> Finding:
    """What an answer says that stands. Raises Unusable; its reason holds nothing of what was said."""
    raw = _parsed(text)
    if raw.disposition is not None and raw.disposition not in dispositions:
        raise Unusable("the answer has a disposition that is not in the campaign's list")
    if not transcript:
        return _finding(raw, tuple(s for s in map(_plain, raw.statements) if s.text), None, need_statements=True)
    if raw.transcript is None:
        raise Unusable("the answer has no transcript")
    turns = _checked(raw.transcript, audio_ms)
    spoken = _passages(turns)
    standing = tuple(s for s in map(_quoted, raw.statements) if s.text and _stands(s, spoken))
    return _finding(raw, standing, turns)


def _finding(
    raw: _Raw, standing: tuple[Statement, ...], turns: tuple[Turn, ...] | None, *, need_statements: bool = False
) -> Finding:
    summary = _cut(" ".join(statement.text for statement in standing), MAX_SUMMARY)
    if not summary and need_statements:
        raise Unusable("the answer has no statements")
    return Finding(
        summary=summary or None,
        sentiment=raw.sentiment if summary else None,
        next_action=(_cleaned(raw.next_action) or None) if summary else None,
        disposition=raw.disposition if summary else None,
        statements=standing,
        transcript=turns,
        dropped=len(raw.statements) - len(standing),
    )


def _parsed(text: str) -> _Raw:
    if len(text) > MAX_ANSWER:
        raise Unusable("the answer is far too long")
    try:
        return _decode(text)
    except msgspec.ValidationError as error:
        # msgspec names the place and what was expected; of a wrong value itself only an enum's, which is left out.
        place = str(error).rpartition(" - at `")[2].rstrip("`") if " - at `" in str(error) else "$"
        raise Unusable(f"the answer is not as its schema has it, at {place}") from None
    except (msgspec.DecodeError, UnicodeError):
        raise Unusable("the answer is no JSON") from None


def _checked(turns: Sequence[Turn], audio_ms: int) -> tuple[Turn, ...]:
    """The turns, cleaned; each within the audio and none before the one above it."""
    before = 0
    checked = []
    for turn in turns:
        if turn.offset_ms > audio_ms + _OFFSET_TOLERANCE_MS:
            raise Unusable("the answer's transcript goes on beyond the end of the audio")
        if turn.offset_ms < before:
            raise Unusable("the answer's transcript is not in order of time")
        before = turn.offset_ms
        text = _cleaned(turn.text)
        if text:
            checked.append(Turn(turn.speaker, min(turn.offset_ms, audio_ms), text))
    return tuple(checked)


# -- quotes ----------------------------------------------------------------------------------------------------------


class _Passage:
    """What one speaker said without a break, as letters and digits alone, and where its words begin and end."""

    def __init__(self, text: str) -> None:
        words = _words(text)
        self._letters = "".join(words)
        self._starts: list[int] = []
        self._ends: set[int] = set()
        at = 0
        for word in words:
            self._starts.append(at)
            at += len(word)
            self._ends.add(at)

    def holds(self, quote: str) -> bool:
        """Whether ``quote`` (folded) is in it: whole words, in scripts that part words."""
        if quote not in self._letters:
            return False
        ends_anywhere = _unparted(quote[-1])
        return any(ends_anywhere or at + len(quote) in self._ends for at in self._places(quote))

    def _places(self, quote: str) -> Iterator[int]:
        """Where it is found, and may begin. Only where a word begins: a run of one letter, which models fall into, has
        as many places as letters. In scripts that do not part words it is not looked for without end."""
        if not _unparted(quote[0]):
            yield from (at for at in self._starts if self._letters.startswith(quote, at))
            return
        at = -1
        for _ in range(_MAX_PLACES):
            at = self._letters.find(quote, at + 1)
            if at < 0:
                return
            yield at


def _passages(turns: Sequence[Turn]) -> list[_Passage]:
    """By speaker; a model cuts a long turn into several entries as it likes."""
    grouped = groupby(turns, key=lambda turn: turn.speaker)
    return [_Passage(" ".join(turn.text for turn in said)) for _, said in grouped]


def _stands(statement: Statement, spoken: Sequence[_Passage]) -> bool:
    quote = folded(statement.quote or "")
    return bool(quote) and any(passage.holds(quote) for passage in spoken)


def folded(text: str) -> str:
    """Letters and digits alone: compatibility forms, case, space and punctuation do not count."""
    return "".join(_words(text))


def _words(text: str) -> list[str]:
    plain = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
    return "".join(c if unicodedata.category(c)[0] in "LMN" else " " for c in plain).split()


def _unparted(character: str) -> bool:
    """Whether it is of a script that puts no space between words."""
    return not character.isascii() and unicodedata.name(character, "").startswith(_UNPARTED)


# -- text ------------------------------------------------------------------------------------------------------------


def _plain(statement: Statement) -> Statement:
    return Statement(_cleaned(statement.text))


def _quoted(statement: Statement) -> Statement:
    return Statement(_cleaned(statement.text), _cleaned(statement.quote or ""))


def _cleaned(text: str) -> str:
    """One line without control characters, lone surrogates and what turns text around or hides it."""
    kept = (c if not _is_hidden(c) else " " for c in text)
    return " ".join("".join(kept).split())


def _is_hidden(character: str) -> bool:
    # Cf holds bidirectional controls, but also the joiners that some scripts cannot be written without.
    category = unicodedata.category(character)
    return category in {"Cc", "Cs", "Co", "Cn"} or (category == "Cf" and character not in "\u200c\u200d")


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 1].rstrip() + "…"
