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


# What people write, the line that tells it, and what is to be done.
_TYPICAL = {
    "a typo": ('[esl]\npasword = "x"', 2, "esl.pasword", "did you mean esl.password?"),
    "a section's typo": ('[http]\nport = 1\n[recording]\nstart = "all"', 3, "recording", "did you mean recordings?"),
    "a setting in the wrong section": ("[esl]\npublic_url = 'http://x'", 2, "esl.public_url", "mean http.public_url?"),
    "no quotes": ("[esl]\nhost = 127.0.0.1", 2, "TOML", 'text stands in quotes, as in "127.0.0.1"'),
    "yes": ("[ai]\nenabled = yes", 2, "TOML", "yes and no are true and false"),
    "curly quotes": ("[esl]\nhost = \u201c127.0.0.1\u201d", 2, "TOML", "straight quotes"),
    "a section twice": ("[esl]\nport = 1\n[http]\n[esl]\n", 4, "TOML", "put both parts there"),
    "a setting twice": ("[esl]\nport = 1\nport = 2", 3, "TOML", "delete one"),
    "an open list": ('[http]\nport = 1\n[recordings]\ndirectories = ["/a"\n\n', 4, "TOML", "ends with ]"),
    "an open list, with a comma": ('[cdr]\ndirectories = [\n"/a",\n', 2, "TOML", "ends with ]"),
    "a backslash": ('[originate]\ndestination_pattern = "\\+372"', 2, "TOML", "in single quotes"),
    "no list": ('[recordings]\ndirectories = "/a"', 2, "recordings.directories", "must be a list, in brackets"),
    "a relative path": ('[recordings]\ndirectories = ["a"]', 2, "recordings.directories.0", "beginning with /"),
    "a host with its port": ('[esl]\nhost = "10.0.0.1:8021"', 2, "esl.host", "the port is a setting of its own"),
    "a host as a URL": ('[http]\nhost = "http://x"', 2, "http.host", "without http://"),
    "a URL without scheme": ('[http]\npublic_url = "x.example"', 2, "http.public_url", "must begin with http://"),
    "a port out of range": ("[http]\nport = 80888", 2, "http.port", "less than or equal to 65535"),
    "another database": ('[database]\nurl = "mysql://x/y"', 2, "database.url", "sqlite:/// or postgresql://"),
    "two slashes": ('[database]\nurl = "sqlite://a.db"', 2, "database.url", "sqlite:////var/lib/callengine"),
    "no key": ("[ai]\nsdk = 'google-genai'\nenabled = true", 3, "ai.enabled", "as the credential ai.api_key"),
    "no bucket": ('[s3]\n[recordings]\nstorage = "s3"', 3, "recordings.storage", "needs s3.bucket, s3.access_key_id"),
    "no destination": ('[originate.gateways.a]\n\ndial_string = "x"', 3, "dial_string", "must contain {destination}"),
    "a word that is none": ('[log]\nlevel = "verbose"', 2, "log.level", "'debug', 'info', 'warning' or 'error'"),
    "bounds crossed": ("[esl]\nport = 1\nbackoff_min_s = 9", 3, "backoff_min_s", "not be greater than backoff_max_s"),
}


@pytest.mark.parametrize("mistake", _TYPICAL)
def test_typical_mistakes(tmp_path: Path, mistake: str) -> None:
    text, line, what, remedy = _TYPICAL[mistake]
    file = tmp_path / "callengine.toml"
    file.write_text(text, encoding="utf-8")
    (told,) = problems(file)
    assert told.startswith(f"{file}:{line}: ")
    assert what in told
    assert remedy in told
    assert told.isprintable()


def test_a_file_of_an_editor_on_windows(tmp_path: Path) -> None:
    file = tmp_path / "callengine.toml"
    file.write_bytes(b"\xef\xbb\xbf[esl]\r\nport = 8022\r\n")
    assert load(file, {}).esl.port == 8022


def test_a_long_file_that_is_left_open_is_told_at_once(tmp_path: Path) -> None:
    file = tmp_path / "callengine.toml"
    file.write_text("a = [\n" + "1,\n" * 200_000)
    (told,) = problems(file)
    assert told.startswith(f"{file}:200002: is no TOML: Unclosed array")


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "fe80::1%eth0", "fs1.example.com", "localhost", "freeswitch"])
def test_hosts(tmp_path: Path, host: str) -> None:
    assert load(None, {"CALLENGINE_CONFIG": os.devnull, "CALLENGINE_ESL__HOST": host}).esl.host == host


def test_a_folder_of_credentials(tmp_path: Path) -> None:
    (tmp_path / "callengine_esl.password").write_text("sesame\n")
    (tmp_path / "metrics.token").write_text("open")
    environ = {"CALLENGINE_CONFIG": os.devnull, "CREDENTIALS_DIRECTORY": str(tmp_path)}
    settings = load(None, environ)
    assert settings.esl.password.get_secret_value() == "sesame"
    assert settings.metrics.token.get_secret_value() == "open"
    (tmp_path / "callengine_esl.pasword").write_text("x")
    assert problems(None, environ) == ["credential esl.pasword: there is no such setting; did you mean esl.password?"]


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
