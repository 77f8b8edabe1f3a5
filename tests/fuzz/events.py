"""One event: a fact, no fact, or MalformedEvent, and the same in both of its forms and by both ways of reading."""

from __future__ import annotations

import random
import re
from typing import Any

import msgspec

from callengine.calls.facts import Fact
from callengine.errors import MalformedEvent
from callengine.esl.headers import _HEADERS, SUBSCRIBED_EVENTS, Translator, Variables
from callengine.esl.jsons import load_object
from tests.fuzz import corpus, hostile
from tests.fuzz.hostile import Pairs
from tests.fuzz.running import Parts
from tests.fuzz.watching import look_at_fact, look_at_reason

READ = (
    *_HEADERS.values(),
    *("Event-Name", "Job-UUID", "_body", "Session-Count", "Caller-Orig-Caller-ID-Number"),
    *("variable_callengine_tenant_id", "variable_callengine_campaign_id", "variable_cc_agent", "variable_dialed_user"),
)
_PRESENT = ("Event-Name", "Unique-ID", "Event-Date-Timestamp", "Caller-Channel-Created-Time")
_NAMED = re.compile(rb'^\{"Event-Name":"[A-Z_]+"')
TRANSLATORS = (
    Translator(),
    Translator(Variables(agents=("cc_agent", "user_name"), tenant="cc_queue", campaign="x", lead="x")),
)


def a_body(dice: random.Random) -> bytes:
    """The body of some event of a trace."""
    return dice.choice(corpus.bodies(dice.choice(corpus.JSON)))


def changed_event(body: bytes, dice: random.Random) -> bytes:
    """The same with something wrong about it."""
    if dice.random() < 0.25:
        return hostile.change_bytes(body, dice, times=dice.choice((1, 1, 2, 5)))
    if dice.random() < 0.1:
        name = dice.choice((*SUBSCRIBED_EVENTS, "CHANNEL_DATA", "CUSTOM")).encode()
        body = _NAMED.sub(b'{"Event-Name":"' + name + b'"', body)
    favour = _PRESENT if dice.random() < 0.2 else READ
    members = hostile.change_members(corpus.members(body), dice, times=dice.choice((1, 1, 2, 6)), favour=favour)
    if dice.random() < 0.1:
        members.append(("variable_more", "x" * dice.choice((10_000, 300_000))))
    return hostile.dump(members, dice)


def read(translator: Translator, form: str, body: bytes) -> Fact | str | None:
    """The fact, or as text why there is none."""
    try:
        fact = translator.json(body) if form == "json" else translator.plain(body)
    except MalformedEvent as error:
        look_at_reason(error)
        return "malformed"
    if fact is not None:
        look_at_fact(fact)
    return _without_empty(fact)


def _without_empty(fact: Fact | None) -> Fact | None:
    """An empty header counts as one that is absent."""
    if fact is None:
        return None
    empty: dict[str, Any] = {name: None for name in fact.__struct_fields__ if getattr(fact, name) == ""}
    return msgspec.structs.replace(fact, **empty)


class JsonEvents:
    """A fact that anything can hold, or MalformedEvent; by the fast way, the slow one, or its digest, the same."""

    name = "json-events"
    share = 10

    def make(self, dice: random.Random) -> Parts:
        return (changed_event(a_body(dice), dice),)

    def check(self, parts: Parts, dice: random.Random) -> None:
        body = b"".join(parts)
        translator = dice.choice(TRANSLATORS)
        fact = read(translator, "json", body)
        digest = translator.digest(body)
        left = None if digest is None else read(translator, "json", digest)
        assert left == fact, f"{fact} of the event, {left} of its digest"
        try:
            headers = {name: found for name, found in load_object(body, "event body").items() if found != ""}
            slowly: Any = _without_empty(translator.headers(headers))
        except MalformedEvent:
            slowly = "malformed"
        # The fast way does not look at what it skips, and may find an event where the slow one finds no JSON.
        if slowly != "malformed" and not _has_doubles(body):
            assert fact == slowly, f"{fact} by the fast way, {slowly} by the slow one"
        read(translator, "plain", body)


def _has_doubles(body: bytes) -> bool:
    try:
        members = corpus.members(body)
    except (ValueError, RecursionError):
        return True
    return len({key for key, _ in members}) != len(members)


class SameInBothForms:
    """The same headers as a JSON and as a plain event are the same fact."""

    name = "both-forms"
    share = 4

    def make(self, dice: random.Random) -> Parts:
        members = [(k, v) for k, v in corpus.members(a_body(dice)) if k != "Content-Length"]
        for _ in range(dice.choice((0, 1, 3))):
            key, text = dice.choice(READ), _sayable(dice)
            if key != "_body" or isinstance(text, str):
                members = [(k, v) for k, v in members if k != key] + [(key, text)]
        return (hostile.dump(_once(members), dice),)

    def check(self, parts: Parts, dice: random.Random) -> None:
        body = b"".join(parts)
        headers = load_object(body, "event body")
        translator = dice.choice(TRANSLATORS)
        by_json = read(translator, "json", body)
        by_plain = read(translator, "plain", hostile.plain_of(headers))
        assert by_json == by_plain, f"{by_json} as JSON, {by_plain} as plain"


def _once(members: Pairs) -> Pairs:
    return list(dict(members).items())


def _sayable(dice: random.Random) -> Any:
    """A value that both forms can say: one that looks like an array, or has its own separator, is another in plain."""
    # Half a surrogate pair has no bytes: only JSON can say it.
    sayable = (text.encode("utf-8", "replace").decode() for text in hostile.TEXTS)
    texts = [text for text in sayable if not text.startswith("ARRAY::") and "|:" not in text]
    if dice.random() < 0.15:
        return [dice.choice(texts) for _ in range(dice.choice((1, 2, 5)))]
    return dice.choice(texts)
