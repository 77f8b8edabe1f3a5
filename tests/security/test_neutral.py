"""What strangers write reaches logs, terminals, scrapers and browsers as what they wrote, and as nothing more."""

from __future__ import annotations

import json
import logging
import unicodedata
from typing import Any

import orjson
import pytest
from prometheus_client.parser import text_string_to_metric_families

from callengine.calls.record import CallRecord, record_of
from callengine.cli.calls_shown import calls_table
from callengine.cli.main import main
from callengine.cli.output import listing, say, table, to_json
from callengine.logs import JsonFormatter, PlainFormatter
from callengine.metrics import Metrics
from callengine.stream import message
from tests.originate.fakes import Rig
from tests.security.hostile import ATTACKS

NAMES = [
    *(attack for attack in ATTACKS if attack.strip()),
    '"}\n{"level":"critical","message":"forged"}',
    "\x1b]0;title\x07\x1b[31m",
    "\x9b2J\x90q\x9c",
    "\u202egpj.exe\u202c",
    "\u2066\u2067\u2069\u200e\u200f\u061c",
    "a\u200bb\ufeff\u00ad",
    "\U000e0041\U000e0042",
    "\x7f\x08\x08\x08",
    "\u2028\u2029\x0b\x0c\x85",
    "=cmd|' /C calc'!A0",
    "tab\there",
]
ILL = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}


def ill(text: str) -> set[str]:
    """What no line may hold that somebody looks at."""
    return {c for c in text if unicodedata.category(c) in ILL}


def record(text: str) -> logging.LogRecord:
    made = logging.LogRecord("callengine", logging.WARNING, __file__, 1, "caller %s of %r", (text, text), None)
    try:
        raise ValueError(text)
    except ValueError as error:
        made.exc_info = (ValueError, error, error.__traceback__)
    return made


@pytest.mark.parametrize("name", NAMES)
def test_a_log_line_is_one_line_that_only_prints(name: str) -> None:
    line = JsonFormatter().format(record(name))
    assert not ill(line)
    told = orjson.loads(line)
    assert told["level"] == "warning"
    if not any(0xD800 <= ord(c) < 0xE000 for c in name):
        assert told["message"] == f"caller {name} of {name!r}"
    first, *rest = PlainFormatter().format(record(name)).split("\n")
    assert not ill(first)
    assert not any(ill(line) for line in rest)
    assert all(line.startswith("    ") for line in rest)


@pytest.mark.parametrize("name", NAMES)
def test_tables_and_json_on_a_terminal_only_print(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    shown: dict[str, Any] = {"caller": name, "legs": [{"name": name}]}
    for text in (table(["NAME", "N"], [[name, 1], ["x", 2]]), listing(shown)):
        assert not ill(text.replace("\n", ""))
        assert text.count("\n") == (3 if text.startswith("NAME") else 2)
    for indent in (None, 2):
        text = to_json(shown, indent=indent)
        assert not ill(text.replace("\n", ""))
        assert json.loads(text) == shown
    say(f"callengine: {name}")
    assert not ill(capsys.readouterr().err.replace("\n", ""))


def test_a_table_of_calls_only_prints() -> None:
    from callengine.calls.view import show

    calls = [
        show(
            CallRecord(
                id="i", tenant_id="t", node="n", fs_uuid="f", caller_name=name, caller_number=name, agent_id=name
            )
        )
        for name in NAMES
    ]
    text = calls_table(calls)
    assert text.count("\n") == len(NAMES) + 1
    assert not ill(text.replace("\n", ""))


def test_what_a_command_complains_of_only_prints(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["replay", "no\x1b[2Jfile"]) != 0
    assert not ill(capsys.readouterr().err.replace("\n", ""))
    with pytest.raises(SystemExit):
        main(["quarantine", "list", "--kind", "\u202e", "\x1b[2J"])
    assert not ill(capsys.readouterr().err.replace("\n", ""))


@pytest.mark.parametrize("name", [name for name in NAMES if "\ud800" not in name])
def test_an_event_of_the_stream_is_one_message(name: str) -> None:
    raw = message("call.ended", {"data": {"call": {"caller_name": name}}}, "0199a2b4-0000-7000-8000-000000000000")
    assert raw.count(b"\n") == 4
    assert raw.endswith(b"\n\n")
    assert b"\r" not in raw
    *_, data = raw.decode().rstrip("\n").split("\n")
    assert json.loads(data.removeprefix("data: "))["data"]["call"]["caller_name"] == name


def test_no_series_is_named_by_a_stranger() -> None:
    """Labels are of closed sets; what the switch says beyond them is ``other``, or what it must mean."""
    rig, metrics = Rig(), Metrics()
    before = len(list(_samples(metrics)))
    for number, name in enumerate(name for name in NAMES if "\ud800" not in name):
        rig.create(f"leg-{number}", direction=name, caller_name=name, caller_number=name)
        rig.end(f"leg-{number}", cause=name)
        call = rig.book.call_of(f"leg-{number}")
        assert call is not None
        told = record_of(call)
        assert told.direction in {"inbound", "outbound"}
        metrics._ended(told)
    after = list(_samples(metrics))
    assert len(after) - before < 80
    assert not any(ill(value) for sample in after for value in sample.labels.values())


def _samples(metrics: Metrics) -> Any:
    for family in text_string_to_metric_families(metrics.render().decode()):
        yield from family.samples
