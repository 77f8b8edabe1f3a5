"""Every command with the mistakes that its users make: one line that names it, an exit code, no traceback, no secret.

The commands are read off the parser, so that one that is added later is walked too. They run in this process, which
makes hundreds of mistakes cheap; where the mistake is in the process itself, it is one of its own.
"""

from __future__ import annotations

import argparse
import io
import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from callengine.cli.exits import BROKEN_PIPE, CONFIGURATION, FAILED, INTERRUPTED, NOT_FOUND, OK, UNAVAILABLE, USAGE
from callengine.cli.main import build_parser, main
from callengine.cli.parser import Parser
from tests.cli.commands import command, environment, lines, run
from tests.cli.test_main import parsers

SECRET = "s3cr3t-of-nobody"
ID = "01928f0e-7c7a-7d31-a4f3-3a5e5f3f2b10"
SERVES = {"run", "api", "demo"}
"""Commands that would go on for ever where nothing is wrong."""
LOOKS_ROUND = {"doctor", "quarantine list"}
"""Commands that tell of what is wrong in lines of their own, each thing in one."""
VALUES = {"--tenant": "acme", "--scope": "calls:read", "--to": "+15550201", "--url": "https://crm.example.com/hook"}
COMMANDS = parsers(build_parser())


class Ended(NamedTuple):
    """How a command ended."""

    code: int
    out: str
    err: str


def least(name: str) -> list[str]:
    """The command with just the arguments that it must have."""
    words = name.split()
    for action in COMMANDS[name]._actions:
        if action.option_strings:
            if action.required:
                words += [action.option_strings[0], VALUES.get(action.option_strings[0], "x")]
        elif action.nargs not in ("?", "*") or name == "analyze":
            words.append(next(iter(map(str, action.choices))) if action.choices else ID)
    return words


def is_about(name: str, option: str) -> bool:
    return any(option in action.option_strings for action in COMMANDS[name]._actions)


def uses_database(name: str) -> bool:
    """Whether the command cannot work without one."""
    elsewhere = ("check-config", "completion", "replay", "audit", "quarantine", "doctor", "call ")
    needs_more = ("tenant set", "campaign update", "webhook update")
    return name not in SERVES and not name.startswith(elsewhere) and name not in needs_more


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A state folder with a database in it, and files that are no settings."""
    folder = tmp_path_factory.mktemp("mistakes")
    state = folder / "state"
    assert run("tenant", "create", "acme", state=state).returncode == 0
    (folder / "bytes.toml").write_bytes(b'[esl]\nhost = "\xff\xfe"\n')
    (folder / "broken.toml").write_text(f'[esl\npassword = "{SECRET}"\n')
    (folder / "wrong.toml").write_text(f'[esl]\nprot = 1\nport = 99999\npassword = "{SECRET}"\n[http]\nport = "x"\n')
    (folder / "garbage").write_bytes(b"this is no database " * 200)
    return folder


Go = Callable[..., Ended]


@pytest.fixture
def go(place: Path, monkeypatch: pytest.MonkeyPatch) -> Go:
    """``go(words, NAME=value)`` runs a command in this process."""
    for name in [name for name in os.environ if name.startswith("CALLENGINE_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("CALLENGINE_CONFIG", str(place / "state" / "empty.toml"))
    monkeypatch.setenv("CALLENGINE_STATE__DIRECTORY", str(place / "state"))
    monkeypatch.setenv("CALLENGINE_URL", "http://127.0.0.1:1")
    monkeypatch.setenv("CALLENGINE_KEY", f"ce_aa_{SECRET}")

    def _go(words: list[str], **environ: str) -> Ended:
        streams = [io.TextIOWrapper(io.BytesIO(), "utf-8", write_through=True) for _ in range(2)]
        with monkeypatch.context() as patch, open(os.devnull) as nothing:
            for name, value in environ.items():
                patch.setenv(name, value)
            for name, stream in zip(("stdout", "stderr", "stdin"), (*streams, nothing), strict=True):
                patch.setattr(sys, name, stream)
            umask = os.umask(0o077)
            try:
                code = main(words)
            except SystemExit as end:
                code = int(end.code or 0)
            finally:
                os.umask(umask)
        out, err = (stream.buffer.getvalue().decode() for stream in streams)  # type: ignore[attr-defined]
        return Ended(code, out, err)

    return _go


def check(ended: Ended, codes: set[int], *, several: bool = False) -> None:
    """It ended with one of ``codes``, and said why in a line (or several), without what nobody may see."""
    assert ended.code in codes, ended
    assert SECRET not in ended.out + ended.err
    assert "Traceback" not in ended.err
    told = ended.err.splitlines()
    assert all(line.startswith("callengine") for line in told), ended
    if ended.code != OK and not several:
        assert len(told) == 1, ended


# -- words ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_an_unknown_option(go: Go, name: str) -> None:
    ended = go([*least(name), "--no-such"])
    check(ended, {USAGE})
    assert "--no-such" in ended.err
    assert f"see callengine {name} --help" in ended.err


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_what_has_to_be_given_is_missing(go: Go, name: str) -> None:
    if least(name) == name.split() or name == "analyze":
        pytest.skip("it needs nothing")
    check(go(name.split()), {USAGE})


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_values_that_are_no_utf_8(go: Go, name: str) -> None:
    words = least(name)[len(name.split()) :]
    taken = [i for i, word in enumerate(words) if not word.startswith("--") and word != "bash"]
    if not taken or name == "replay":
        pytest.skip("it takes none that are not paths")
    ended = go([*name.split(), *("\udcff" if i in taken else word for i, word in enumerate(words))])
    check(ended, {USAGE})


@pytest.mark.parametrize("text", ["", "x" * 70_000, "\n", "\x1b[31m", "'; DROP TABLE call; --"])
@pytest.mark.parametrize("name", sorted(set(COMMANDS) - SERVES))
def test_values_that_are_no_ids(go: Go, name: str, text: str) -> None:
    if ID not in least(name) or name == "tenant create":
        pytest.skip("it takes none")
    ended = go([text if word in {ID, "acme"} else word for word in least(name)])
    check(ended, {USAGE, NOT_FOUND, FAILED, UNAVAILABLE})
    assert "\x1b" not in ended.err


@pytest.mark.parametrize(
    "words",
    [
        ["tenant", "set", "acme"],
        ["campaign", "update", "c", "--tenant", "acme"],
        ["campaign", "update", "c", "--tenant", "acme", "--any-disposition", "--disposition", "X"],
        ["campaign", "create", "\n", "--tenant", "acme"],
        ["webhook", "update", ID, "--tenant", "acme"],
        ["analyze"],
        ["analyze", ID, "--tenant", "acme"],
        ["audit"],
        ["completion", "tcsh"],
        ["demo", "--port", "0"],
        ["demo", "--port", "seven"],
        ["call", "list", "--url", "127.0.0.1:8088"],
        ["call", "list", "--url", "http://127.0.0.1:99999"],
        ["call", "list", "--key", "kéy"],
        ["call", "originate", "--to", "1", "--on-answer", "nowhere"],
        ["call", "originate", "--to", "1", "--var", "x"],
        ["quarantine", "retry"],
        ["tenant", "recordings", "acme", "--dry-run"],
    ],
    ids=" ".join,
)
def test_words_that_do_not_go_together(go: Go, words: list[str]) -> None:
    check(go(words), {USAGE})


# -- settings ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("file", ["nothing.toml", ".", "bytes.toml", "broken.toml", "wrong.toml", "state/empty.toml/x"])
@pytest.mark.parametrize("name", sorted(name for name in COMMANDS if is_about(name, "--config")))
def test_settings_that_cannot_be_read(go: Go, place: Path, name: str, file: str) -> None:
    if name in {"tenant set", "campaign update", "webhook update"}:
        pytest.skip("wants another option first")
    words = least(name)
    if name == "quarantine retry":
        words.append(ID)
    if name == "audit":
        words += ["--cdr", str(place)]
    environ = {"CALLENGINE_URL": ""} if name.startswith("call ") else {}
    ended = go([*words, "--config", str(place / file)], **environ)
    check(ended, {CONFIGURATION}, several=True)
    # What doctor finds is what it prints; of the others it is the fault.
    told = ended.out if name == "doctor" else ended.err
    assert str(place / file) in told or "esl.port" in told
    assert len(told.splitlines()) == (3 if file == "wrong.toml" else 1)


@pytest.mark.parametrize(
    "url", [f"mysql://u:{SECRET}@host/x", f"sqlite://{SECRET}", f"postgresql://u:{SECRET}@:x/y", SECRET]
)
@pytest.mark.parametrize("name", sorted(filter(uses_database, COMMANDS)))
def test_a_database_url_that_is_none(go: Go, name: str, url: str) -> None:
    ended = go(least(name), CALLENGINE_DATABASE__URL=url)
    check(ended, {CONFIGURATION}, several=True)
    assert "database.url" in ended.err.lower() or "database__url" in ended.err.lower()


# -- the database -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(filter(uses_database, COMMANDS)))
def test_a_database_that_is_none_or_away(go: Go, place: Path, name: str) -> None:
    for url, codes in (
        (f"sqlite:///{place / 'garbage'}", {UNAVAILABLE}),
        (f"sqlite:///{place}", {CONFIGURATION}),
        (f"postgresql://u:{SECRET}@127.0.0.1:1/x", {UNAVAILABLE}),
        (f"postgresql://u:{SECRET}@no-such-host.invalid/x", {UNAVAILABLE}),
    ):
        check(go(least(name), CALLENGINE_DATABASE__URL=url), codes)


@pytest.mark.parametrize("name", sorted(filter(uses_database, COMMANDS)))
def test_no_database_yet(go: Go, place: Path, name: str) -> None:
    if name in {"tenant create", "migrate run", "migrate status"}:
        pytest.skip("makes one, or says what would be made")
    ended = go(least(name), CALLENGINE_STATE__DIRECTORY=str(place / "nowhere"))
    check(ended, {UNAVAILABLE})
    assert "no database yet" in ended.err
    assert not (place / "nowhere").exists()


@pytest.fixture
def locked(place: Path) -> Iterator[Path]:
    folder = place / "locked"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(place / "state", folder)
    holder = sqlite3.connect(folder / "callengine.db", isolation_level=None)
    holder.execute("PRAGMA locking_mode = EXCLUSIVE")
    holder.execute("BEGIN EXCLUSIVE")
    holder.execute("CREATE TABLE held (x)")
    yield folder
    holder.close()


def test_a_database_that_another_process_has_locked(go: Go, locked: Path) -> None:
    environ = {"CALLENGINE_STATE__DIRECTORY": str(locked), "CALLENGINE_DATABASE__BUSY_TIMEOUT_MS": "50"}
    for name in sorted(filter(uses_database, COMMANDS)):
        ended = go(least(name), **environ)
        check(ended, {UNAVAILABLE})
        assert "locked" in ended.err, name


def test_a_database_of_a_newer_version(go: Go, place: Path) -> None:
    folder = place / "newer"
    shutil.copytree(place / "state", folder)
    with sqlite3.connect(folder / "callengine.db") as database:
        database.execute("INSERT INTO schema_migration (name, applied) VALUES ('9999_newer', '2030-01-01')")
    database.close()
    for name in sorted(filter(uses_database, COMMANDS)):
        ended = go(least(name), CALLENGINE_STATE__DIRECTORY=str(folder))
        check(ended, {FAILED})
        assert "9999_newer" in ended.err, name


@pytest.mark.parametrize("name", sorted(LOOKS_ROUND & set(COMMANDS)))
def test_who_looks_round_tells_it_too(go: Go, place: Path, name: str) -> None:
    url = f"postgresql://u:{SECRET}@127.0.0.1:1/x"
    ended = go(least(name), CALLENGINE_DATABASE__URL=url)
    assert ended.code != OK
    assert SECRET not in ended.out + ended.err


# -- files, and the daemon --------------------------------------------------------------------------------------------


def test_files_to_replay(go: Go, place: Path) -> None:
    empty, fine = place / "empty.esl", place / "state" / "empty.toml"
    empty.touch()
    for file in (place / "nothing", place, place / "garbage", empty, fine):
        ended = go(["replay", str(file)])
        check(ended, {FAILED})
        assert str(file) in ended.err


def test_folders_of_cdrs(go: Go, place: Path) -> None:
    for folder in (place / "nothing", place / "garbage"):
        ended = go(["audit", "--cdr", str(folder)])
        check(ended, {UNAVAILABLE})
        assert str(folder) in ended.err


@pytest.mark.parametrize("name", sorted(name for name in COMMANDS if name.startswith("call ")))
def test_no_daemon_there(go: Go, name: str) -> None:
    ended = go(least(name))
    check(ended, {UNAVAILABLE})
    assert "127.0.0.1:1" in ended.err
    check(go(least(name), CALLENGINE_KEY=""), {USAGE})


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody who may not read")
def test_what_may_not_be_read(place: Path) -> None:
    state = place / "private"
    shutil.copytree(place / "state", state)
    for path in (place, place.parent, place.parent.parent, place / "state"):
        path.chmod(0o755)
    (place / "state" / "empty.toml").chmod(0o644)
    state.chmod(0o700)
    for words in (["tenant", "list"], ["replay", str(state / "callengine.db")], ["audit", "--cdr", str(state)]):
        try:
            done = subprocess.run(
                command(*words),
                env=environment(place / "state", CALLENGINE_STATE__DIRECTORY=str(state)) | {"HOME": "/"},
                cwd="/",
                user=65534,
                group=65534,
                extra_groups=[],
                capture_output=True,
                timeout=60,
                check=False,
            )
        except PermissionError:
            pytest.skip("nobody else may run this Python")
        if b"No module named" in done.stderr or b"can't open file" in done.stderr:
            pytest.skip("nobody else may read this checkout")
        assert done.returncode in {FAILED, UNAVAILABLE, CONFIGURATION}, done
        (line,) = lines(done.stderr)
        assert line.startswith("callengine: ")


# -- the process itself -----------------------------------------------------------------------------------------------


def shell(line: str, state: Path) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        ["sh", "-c", line.replace("callengine", f"'{sys.executable}' -m callengine", 1)],
        env=environment(state),
        capture_output=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize(
    ("line", "code"),
    [
        ("callengine check-config >/dev/full", FAILED),
        ("callengine check-config >&-", OK),
        ("callengine check-config 2>&-", OK),
        ("callengine replay - <&-", FAILED),
        ("callengine completion bash | head -c 10", OK),
    ],
)
def test_streams_that_are_closed_or_full(line: str, code: int, place: Path) -> None:
    if "/dev/full" in line and not Path("/dev/full").exists():
        pytest.skip("there is no /dev/full")
    done = shell(line, place / "state")
    assert done.returncode == code, done
    assert b"Traceback" not in done.stderr
    assert b"Exception" not in done.stderr


def test_a_pipe_that_breaks(place: Path) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(
        command("completion", "bash"),
        env=environment(place / "state"),
        stdout=writing,
        stderr=subprocess.PIPE,
        timeout=60,
    )
    os.close(writing)
    assert (done.returncode, done.stderr) == (BROKEN_PIPE, b"")


@pytest.fixture
def heeding() -> Iterator[None]:
    """Children heed SIGINT, also where whoever started the tests ignores it, as a shell does in the background."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("heeding")
@pytest.mark.parametrize(
    "words", [["call", "list"], ["call", "originate", "--to", "1"], ["replay", "/dev/null/x", "-"]], ids=" ".join
)
def test_ctrl_c(place: Path, words: list[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        environ = environment(place / "state", CALLENGINE_URL=url, CALLENGINE_KEY="ce_aa_bb")
        with subprocess.Popen(
            command(*words), env=environ, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        ) as process:
            assert process.stderr is not None
            if words[0] == "call":
                silent.settimeout(30)
                asked, _ = silent.accept()
                with asked:
                    asked.recv(1)
                    process.send_signal(signal.SIGINT)
                    process.wait(20)
            else:
                assert b"cannot be read" in process.stderr.readline()  # then it reads what we never write
                time.sleep(0.5)
                process.send_signal(signal.SIGINT)
            assert process.communicate(timeout=20)[1] == b""
            assert process.returncode == INTERRUPTED


@pytest.mark.usefixtures("heeding")
@pytest.mark.parametrize("name", ["tenant list", "migrate status", "migrate run", "webhook list", "analyze"])
def test_ctrl_c_while_the_database_says_nothing(place: Path, name: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"postgresql://u:{SECRET}@127.0.0.1:{silent.getsockname()[1]}/x"
        environ = environment(place / "state", CALLENGINE_DATABASE__URL=url)
        with subprocess.Popen(
            command(*least(name)), env=environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        ) as process:
            silent.settimeout(30)
            asked, _ = silent.accept()
            with asked:
                asked.recv(1)
                process.send_signal(signal.SIGINT)
                out, err = process.communicate(timeout=30)
            assert (process.returncode, out, err) == (INTERRUPTED, b"", b"")


def test_every_command_has_words_for_each_argument() -> None:
    """Help is complete: no argument without a line, no command without a description."""
    for name, parser in COMMANDS.items():
        assert isinstance(parser, Parser)
        assert parser.description, name
        for action in parser._actions:
            if not isinstance(action, argparse._HelpAction):
                assert action.help, f"callengine {name}: {action.option_strings or action.dest} has no help"
