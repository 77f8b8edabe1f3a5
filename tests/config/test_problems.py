"""Every problem at once, one line each, with its place and a remedy."""

from __future__ import annotations

import os
import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callengine.config.settings import load
from callengine.config.sources import line_numbers
from callengine.errors import ConfigurationError


def problems(path: Path | None, environ: dict[str, str] | None = None) -> list[str]:
    with pytest.raises(ConfigurationError) as caught:
        load(path, environ or {})
    return list(caught.value.problems)


def test_all_at_once_each_with_its_place(tmp_path: Path) -> None:
    file = tmp_path / "c.toml"
    file.write_text(
        """\
prot = 3
[esl]
port = 99999
hots = "x"
[originate.gateways."a.b"]
max_per_secnd = 1
[originate]
variables = [
  "sip_h_X-*",   # fine
  "ex*",
]
[switch]
port = 3
""",
        encoding="utf-8",
    )
    credentials = tmp_path / "credentials"
    credentials.mkdir()
    (credentials / "esl.pasword").write_text("x")
    (credentials / "http.port").write_text("1")
    (credentials / "metrics.token").write_bytes(b"\xff")
    environ = {
        "CALLENGINE_ESL_HOST": "x",
        "CALLENGINE_ESL__PROT": "3",
        "CALLENGINE_LOG__LEVEL": "loud",
        "CALLENGINE_ORIGINATE__QUEUES": "[1",
        "CALLENGINE_SOMETHING_ELSE": "not ours to judge",
        "CREDENTIALS_DIRECTORY": str(credentials),
    }
    assert set(problems(file, environ)) == {
        (
            f"{file}:1: prot: there is no such section or setting; there are: esl, switch, http, state, database,"
            " recordings, s3, ai, webhooks, tracking, originate, cdr, metrics, log"
        ),
        f"{file}:3: esl.port: must be less than or equal to 65535",
        f"{file}:4: esl.hots: there is no such setting; did you mean esl.host?",
        (
            f"{file}:6: originate.gateways.a.b.max_per_secnd: there is no such setting;"
            " did you mean originate.gateways.a.b.max_per_second?"
        ),
        (
            f"{file}:8: originate.variables.1: would let a request set what runs commands on the switch"
            " or names a call's owner (execute_on_*, api_*, exec_*, *_hook, record_post_*, callengine_*)"
        ),
        f"{file}:13: switch.port: there is no such setting; did you mean esl.port or http.port?",
        "CALLENGINE_ESL_HOST: there is no such setting; did you mean CALLENGINE_ESL__HOST?",
        "CALLENGINE_ESL__PROT: there is no such setting; did you mean CALLENGINE_ESL__PORT?",
        "CALLENGINE_LOG__LEVEL: log.level: must be 'debug', 'info', 'warning' or 'error'",
        "CALLENGINE_ORIGINATE__QUEUES: must be a list in JSON",
        "credential esl.pasword: there is no such setting; did you mean esl.password?",
        "credential http.port: is no secret: set it in the file or as CALLENGINE_HTTP__PORT",
        "credential metrics.token: cannot be read (UnicodeDecodeError)",
    }


def test_the_place_is_that_of_the_source_that_won(tmp_path: Path) -> None:
    file = tmp_path / "c.toml"
    file.write_text('[originate.gateways.a]\ndial_string = "fine/{destination}"\n')
    found = problems(file, {"CALLENGINE_ORIGINATE__GATEWAYS": '{"a": {"dial_string": "not"}}'})
    assert [line.partition(": ")[0] for line in found] == ["CALLENGINE_ORIGINATE__GATEWAYS"]


@pytest.mark.parametrize(
    ("content", "fact"),
    [
        (b"[esl]\nport = \n", ":2: is no TOML: "),
        (b'[esl]\nhost = "a\n', ":2: is no TOML: "),
        (b"[esl]\n[esl]\n", ":2: is no TOML: "),
        (b'[esl]\n# \xff\nhost = "a"\n', ":2: is not UTF-8"),
        (b"#" * (1 << 21), ": is larger than"),
        (b"a = " + b"[" * 100_000, ": "),
    ],
    ids=["no value", "open string", "twice", "latin-1", "huge", "deep"],
)
def test_a_file_that_is_no_toml(tmp_path: Path, content: bytes, fact: str) -> None:
    file = tmp_path / "c.toml"
    file.write_bytes(content)
    found = problems(file)
    assert len(found) == 1
    assert found[0].startswith(f"{file}{fact}")


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    missing = tmp_path / "none.toml"
    remedy = "name another with --config, or let us read it"
    assert problems(missing) == [f"{missing}: cannot be read (No such file or directory): {remedy}"]
    assert problems(tmp_path) == [f"{tmp_path}: cannot be read (Is a directory): {remedy}"]


def test_what_the_file_would_have_set_is_not_complained_about(tmp_path: Path) -> None:
    environ = {"CALLENGINE_AI__ENABLED": "true", "CALLENGINE_ESL__PROT": "1"}
    assert [line.partition(":")[0] for line in problems(tmp_path / "none.toml", environ)] == [
        str(tmp_path / "none.toml"),
        "CALLENGINE_ESL__PROT",
    ]


def test_credentials_that_cannot_be_read(tmp_path: Path) -> None:
    found = problems(None, {"CREDENTIALS_DIRECTORY": str(tmp_path / "none"), "CALLENGINE_CONFIG": os.devnull})
    assert found == [f"{tmp_path}/none: the credentials cannot be read (No such file or directory)"]


def test_one_line_each_whatever_the_key_holds(tmp_path: Path) -> None:
    file = tmp_path / "c.toml"
    file.write_text('[esl]\n"a\\nERROR \\u001b[31m" = 1\n')
    (line,) = problems(file)
    assert line.isprintable()


LINES = """\
# a comment with [brackets] and = signs
top = 1

[a]
b = "x = 1"
"c.d" = '''
[not.a.table]
e = 2
'''
f = [ # with
  1,
  2,
]
g.h = { i = 1, j = { k = 2 } }
[a.l."m n"]
o = 1

[[p]]
q = 1
"""


def test_lines_of_keys() -> None:
    assert line_numbers(LINES) == {
        ("top",): 2,
        ("a",): 4,
        ("a", "b"): 5,
        ("a", "c.d"): 6,
        ("a", "f"): 10,
        ("a", "g"): 14,
        ("a", "g", "h"): 14,
        ("a", "g", "h", "i"): 14,
        ("a", "g", "h", "j"): 14,
        ("a", "g", "h", "j", "k"): 14,
        ("a", "l"): 15,
        ("a", "l", "m n"): 15,
        ("a", "l", "m n", "o"): 16,
        ("p",): 18,
        ("p", "q"): 19,
    }
    assert line_numbers(LINES.replace("\n", "\r\n")) == line_numbers(LINES)


keys = st.sampled_from(["a", "b", '"c d"', "'e.f'", "g.h"])
values = st.sampled_from(["1", '"x"', "[\n 1,\n]", '"""\nx = 1\n"""', "{ y = 1 }", "true # c", "'''[z]'''"])
lines = st.one_of(
    st.builds("{} = {}".format, keys, values), st.builds("[{}]".format, keys), st.just(""), st.just("# [x]")
)


@given(st.lists(lines, max_size=12).map("\n".join))
def test_every_key_of_any_document_has_a_line(text: str) -> None:
    try:
        parsed = tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return

    def paths(table: dict[str, object], above: tuple[str, ...] = ()) -> set[tuple[str, ...]]:
        inner = [paths(value, (*above, key)) for key, value in table.items() if isinstance(value, dict)]
        return {(*above, key) for key in table}.union(*inner)

    numbers = line_numbers(text)
    assert set(numbers) == paths(parsed)
    for path, number in numbers.items():
        line = text.split("\n")[number - 1]
        assert path[-1] in line
