"""A record never spans lines, and no text keeps one from being written."""

from __future__ import annotations

import logging

import orjson
import pytest

from callengine.logs import JsonFormatter, PlainFormatter

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
