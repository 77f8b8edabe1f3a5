"""A record never spans lines, and no text keeps one from being written."""

from __future__ import annotations

import io
import logging
import sys
from collections.abc import Iterator

import gevent
import orjson
import pytest

from callengine.about import about, call_at_work
from callengine.config.settings import Settings, secrets
from callengine.logs import JsonFormatter, PlainFormatter, Redaction, set_up_logging, withhold

HOSTILE = ["name\nERROR forged", "\x1b[31mred", "lone \ud800 surrogate", "nul \x00", "line\u2028separator"]


def record(text: str) -> logging.LogRecord:
    return logging.LogRecord("callengine", logging.INFO, __file__, 1, "caller %s", (text,), None)


@pytest.mark.parametrize("text", HOSTILE)
def test_json_is_one_line(text: str) -> None:
    line = JsonFormatter().format(record(text))
    assert "\n" not in line
    assert orjson.loads(line)["message"].startswith("caller ")


@pytest.mark.parametrize("text", HOSTILE)
def test_plain_is_one_line_without_control_characters(text: str) -> None:
    line = PlainFormatter().format(record(text))
    assert line.isprintable()


def test_a_traceback_follows_its_record_indented() -> None:
    try:
        raise ValueError("broken\nhere")
    except ValueError as error:
        item = record("x")
        item.exc_info = (ValueError, error, error.__traceback__)
    first, *rest = PlainFormatter().format(item).split("\n")
    assert first.endswith("caller x")
    assert rest
    assert all(line.startswith("    ") for line in rest)


CALL = "01890a5d-ac96-774b-bcce-b302099a8057"


def test_json_has_the_time_the_switch_and_the_call() -> None:
    item = record("x")
    item.created, item.msecs = 1_700_000_000.25, 250.0
    item.call_id = CALL
    assert orjson.loads(JsonFormatter(node=lambda: "fs1").format(item)) == {
        "ts": "2023-11-14T22:13:20.250Z",
        "level": "info",
        "logger": "callengine",
        "message": "caller x",
        "node": "fs1",
        "call_id": CALL,
    }


def test_where_neither_is_known_neither_is_said() -> None:
    assert set(orjson.loads(JsonFormatter().format(record("x")))) == {"ts", "level", "logger", "message"}


def test_the_work_at_hand_names_its_call_in_its_own_greenlet_alone() -> None:
    said: list[dict[str, str]] = []

    def other() -> None:
        said.append(orjson.loads(JsonFormatter().format(record("elsewhere"))))

    with about(CALL):
        elsewhere = gevent.spawn(other)
        gevent.sleep(0)
        said.append(orjson.loads(JsonFormatter().format(record("here"))))
        elsewhere.join(5)
    assert [line.get("call_id") for line in said] == [None, CALL]
    assert call_at_work() == ""


def test_people_are_told_the_call_once() -> None:
    with about(CALL):
        assert PlainFormatter().format(record("x")).endswith(f"caller x [call {CALL}]")
        assert PlainFormatter().format(record(CALL)).count(CALL) == 1


def test_a_call_id_of_a_stranger_drives_no_terminal() -> None:
    item = record("x")
    item.call_id = "\x1b[2J\nforged"
    assert PlainFormatter().format(item).isprintable()
    line = JsonFormatter().format(item)
    assert line.isprintable()
    assert orjson.loads(line)["call_id"] == item.call_id


SECRETS = {
    "esl": {"password": "esl-secret+(1)"},
    "database": {"url": "postgresql://us:pa%2Fss-word@db/calls"},
    "http": {"signing_key": "0123456789abcdef", "old_signing_keys": "older-key-1 older-key-2"},
}


def test_secrets_never_get_into_a_line_whoever_wrote_it() -> None:
    settings = Settings.model_validate(SECRETS)
    redact = Redaction(secrets(settings))
    leak = "esl-secret+(1) older-key-2 pa%2Fss-word pa/ss-word 0123456789abcdef"
    item = record(leak)
    try:
        raise ValueError(leak)
    except ValueError as error:
        item.exc_info = (ValueError, error, error.__traceback__)
    for formatter in (JsonFormatter(redact), PlainFormatter(redact)):
        line = formatter.format(item)
        assert not [word for word in leak.split() if word in line]
        assert "[secret]" in line
    assert "postgresql://us@db" not in secrets(settings)
    assert redact("the database postgresql://us@db/calls") == "the database postgresql://us@db/calls"


def test_what_everybody_knows_is_no_secret() -> None:
    assert secrets(Settings()) == set()
    assert Redaction()("ClueCon") == "ClueCon"


@pytest.fixture
def root_as_it_was() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


@pytest.mark.parametrize(
    ("wanted", "terminal", "is_json"),
    [("json", True, True), ("text", False, False), ("auto", True, False), ("auto", False, True)],
)
def test_the_form_is_by_setting_or_by_who_reads(
    wanted: str, terminal: bool, is_json: bool, monkeypatch: pytest.MonkeyPatch, root_as_it_was: None
) -> None:
    class Stream(io.StringIO):
        def isatty(self) -> bool:
            return terminal

    stream = Stream()
    monkeypatch.setattr(sys, "stderr", stream)
    set_up_logging(Settings.model_validate({"log": {"format": wanted}}), lambda: "fs1")
    logging.getLogger("callengine.test").warning("told")
    line = stream.getvalue().strip()
    assert line.startswith("{") is is_json
    withhold(Settings.model_validate({"metrics": {"token": "told-later"}}))
    logging.getLogger("callengine.test").warning("told-later")
    withhold(Settings())
    assert "told-later" not in stream.getvalue()
    if is_json:
        assert orjson.loads(line)["node"] == "fs1"
    else:
        assert line.endswith("WARNING callengine.test: told")
