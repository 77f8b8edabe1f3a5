"""What is left of a connection's events: the same facts of a tenth of the bytes, and nothing that would be missed."""

from __future__ import annotations

import logging
from typing import Any, ClassVar

import orjson
import pytest

from callengine.esl import sieve as module
from callengine.esl.headers import Translator
from callengine.esl.sieve import Sieve
from callengine.esl.wire import EVENT_JSON, Framer
from callengine.spool.replay import _UUID as NAMED
from tests.calls import streams
from tests.esl.stated import TRANSLATOR, stated

COMPILED = pytest.param(True, id="C", marks=pytest.mark.skipif(not module.COMPILED, reason="it was not built"))
TRACES = streams.names("json")
T = 1_795_343_615_301_165


def bodies_of(name: str) -> list[bytes]:
    return [f.body for f in Framer().feed(streams.stream(name)) if f.content_type == EVENT_JSON]


def event(name: str, uuid: str = "u1", created: int = T, hangup: int = 0, **headers: Any) -> bytes:
    stamps = {"Caller-Channel-Created-Time": str(created), "Caller-Channel-Hangup-Time": str(hangup)}
    own = {"Event-Name": name, "Core-UUID": "c", "Event-Date-Timestamp": str(T + 9), "Unique-ID": uuid}
    return orjson.dumps(own | stamps | headers)


@pytest.fixture(autouse=True, params=[pytest.param(False, id="Python"), COMPILED])
def compiled(request: pytest.FixtureRequest) -> bool:
    """Everything here holds for both."""
    Sieved.compiled = request.param
    return Sieved.compiled


class Sieved:
    compiled: ClassVar = False

    def __init__(self) -> None:
        self.repeats = 0
        self.sieve = Sieve(TRANSLATOR, self._repeated, compiled=self.compiled)

    def _repeated(self, count: int) -> None:
        self.repeats += count

    def __call__(self, *bodies: bytes) -> list[Any]:
        return [stated(body) for body in self.sieve(bodies)]


def kinds(facts: list[Any]) -> list[str]:
    return [type(fact).__name__ for fact in facts]


def others(facts: list[Any]) -> list[Any]:
    return [fact for fact in facts if fact is not None and type(fact).__name__ != "LegDestroyed"]


@pytest.mark.parametrize("name", TRACES)
def test_what_was_recorded_states_the_same(name: str) -> None:
    whole, sieved = [stated(body) for body in bodies_of(name)], Sieved()
    left = sieved(*bodies_of(name))
    assert others(left) == others(whole)
    assert kinds(whole).count("LegDestroyed") == kinds(left).count("LegDestroyed") + sieved.repeats


@pytest.mark.parametrize("name", TRACES)
def test_what_is_left_names_the_same_channels(name: str) -> None:
    # A replay puts back the calls of all channels that an event names, in whichever header.
    known = {uuid for body in bodies_of(name) if (uuid := getattr(stated(body), "uuid", ""))}
    for body in bodies_of(name):
        for digest in Sieved().sieve([body]):
            assert _channels(body) & known == _channels(digest) & known


def _channels(body: bytes) -> set[str]:
    return {uuid.decode() for uuid in NAMED.findall(body)}


def test_what_is_left_is_small() -> None:
    bodies = [body for name in TRACES for body in bodies_of(name)]
    assert sum(map(len, Sieved().sieve(bodies))) * 8 < sum(map(len, bodies))


def test_an_event_that_states_nothing_is_taken_out() -> None:
    assert Sieved().sieve([event("CHANNEL_EXECUTE_COMPLETE"), event("RE_SCHEDULE")]) == []


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"no json",
        b'{"Event-Name":"CHANNEL_CREATE"}',
        b'{"Event-Name":"CHANNEL_CREATE","Unique-ID":"u1"',
        b'{"Event-Name":"CHANNEL_CREATE","Unique-ID":"","Event-Date-Timestamp":"1"}',
        b'{"Event-Name":"CHANNEL_CREATE","Unique-ID":"u1","Event-Date-Timestamp":"-1"}',
        b'{"Event-Name":"CHANNEL_CREATE","Unique-ID":"u1","Event-Date-Timestamp":"1","Caller-Caller-ID-Name":"\xff"}',
        b'{"Event-Name":"CHANNEL_CREATE","Unique-ID":"u1","Event-Date-Timestamp":"1","Caller-Caller-ID-Name":["a","b"]}',
        b'{"Event-Name":"CHANNEL_CREATE","Unique-ID":"u1","Event-Date-Timestamp":"1","Caller-Caller-ID-Name":"\\ud800"}',
        b'{"Event-Name":"NO NAME","Unique-ID":"u1"}',
        b'{"Event-Name":' + b"[" * 5000,
    ],
)
def test_what_is_not_plain_is_left_as_it_is(body: bytes) -> None:
    assert Sieved().sieve([body]) == [body]


@pytest.mark.parametrize("text", ["\0", "a\0b", '"}', '\\"Unique-ID":"u2"', "\n", "\U0001f600", "x" * 100_000])
def test_what_a_caller_sends_is_not_changed(text: str) -> None:
    body = event("CHANNEL_CREATE", **{"Caller-Caller-ID-Name": text, "variable_callengine_agent_id": text})
    (digest,) = Sieved().sieve([body])
    assert digest != body
    assert stated(digest) == stated(body)
    assert stated(digest).uuid == "u1"


# -- ends that are told twice ------------------------------------------------------------------------------------------

COMPLETE = event("CHANNEL_HANGUP_COMPLETE", hangup=T + 5)
DESTROY = event("CHANNEL_DESTROY", hangup=T + 5)


def test_a_destroy_that_repeats_its_completion_is_counted_and_no_more() -> None:
    sieved = Sieved()
    assert kinds(sieved(COMPLETE)) == ["LegEnded"]
    assert sieved(DESTROY) == []
    assert sieved.repeats == 1


@pytest.mark.parametrize(
    ("before", "destroy"),
    [
        ([], DESTROY),
        ([event("CHANNEL_HANGUP", hangup=T + 5)], DESTROY),
        ([event("CHANNEL_HANGUP_COMPLETE")], DESTROY),
        ([event("CHANNEL_HANGUP_COMPLETE", "u2", hangup=T + 5)], DESTROY),
        ([COMPLETE], event("CHANNEL_DESTROY", created=T + 1, hangup=T + 5)),
        ([COMPLETE, DESTROY], DESTROY),
        ([COMPLETE.replace(b'"c"', b'"\xff"')], DESTROY),
    ],
    ids=["alone", "a hangup", "no stamp", "another channel", "another life", "a second one", "not plain"],
)
def test_a_destroy_that_tells_more_is_left(before: list[bytes], destroy: bytes) -> None:
    sieved = Sieved()
    sieved(*before)
    assert kinds(sieved(destroy)) == ["LegDestroyed"]


def test_a_destroy_on_another_connection_is_left() -> None:
    Sieved()(COMPLETE)
    assert kinds(Sieved()(DESTROY)) == ["LegDestroyed"]


def test_ends_whose_destroy_never_comes_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_MAX_ENDED", 3)
    sieved = Sieved()
    sieved(*(event("CHANNEL_HANGUP_COMPLETE", f"u{n}", hangup=T + 5) for n in range(5)))
    left = sieved(*(event("CHANNEL_DESTROY", f"u{n}", hangup=T + 5) for n in range(5)))
    assert [fact.uuid for fact in left] == ["u0", "u1"]


def test_what_fails_on_one_event_leaves_it_and_the_others(caplog: pytest.LogCaptureFixture, compiled: bool) -> None:
    class Broken(Translator):
        def digest(self, body: bytes) -> bytes | None:
            if b"u2" in body:
                raise RuntimeError("broken")
            return super().digest(body)

    # Half a pair is what the compiled one leaves to the other.
    bodies = [event("CHANNEL_CREATE", uuid).replace(b'"c"', b'"\\ud800"') for uuid in ("u1", "u2", "u3")]
    with caplog.at_level(logging.ERROR):
        left = Sieve(Broken(), compiled=compiled)(bodies)
    assert "an event could not be looked at" in caplog.text
    assert [stated(body).uuid for body in left] == ["u1", "u2", "u3"]
    assert left[1] == bodies[1]
