"""``callengine call`` against a server that writes down what it is asked."""

from __future__ import annotations

import csv
import io
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple, cast
from urllib.parse import parse_qs, urlsplit

import pytest

from callengine.calls.record import CallRecord
from callengine.calls.view import show
from callengine.cli import call as command
from callengine.cli.call import target
from callengine.cli.calls_shown import COLUMNS, calls_csv
from callengine.cli.exits import Failed
from tests.cli.commands import lines, run

ID = "01928f0e-7c7a-7d31-a4f3-3a5e5f3f2b10"


def call(status: str = "dialing", **fields: Any) -> dict[str, Any]:
    record = CallRecord(id=ID, tenant_id="t", node="n", fs_uuid="f", callee_number="+1555", caller_name="\x1b[2J")
    return show(record) | {"status": status} | fields


class Asked(NamedTuple):
    method: str
    path: str
    body: Any
    headers: dict[str, str]


class Daemon:
    """Answers each request with the next of ``answers``, the last one for ever."""

    def __init__(self) -> None:
        self.asked: list[Asked] = []
        self.answers: list[tuple[int, Any]] = [(200, call())]
        daemon = self

        class Handler(BaseHTTPRequestHandler):
            def answer(self) -> None:
                raw = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                daemon.asked.append(
                    Asked(self.command, self.path, json.loads(raw) if raw else None, dict(self.headers.items()))
                )
                status, body = daemon.answers[0] if len(daemon.answers) == 1 else daemon.answers.pop(0)
                content = json.dumps(body).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            do_GET = do_POST = answer  # noqa: N815

            def log_message(self, *_: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"


@pytest.fixture
def daemon() -> Iterator[Daemon]:
    made = Daemon()
    thread = threading.Thread(target=made.server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    yield made
    made.server.shutdown()
    thread.join(5)
    made.server.server_close()


def run_call(daemon: Daemon, tmp_path: Path, *arguments: str) -> Any:
    return run("call", *arguments, state=tmp_path, CALLENGINE_URL=daemon.url, CALLENGINE_KEY="ce_a_b")


def test_originate(daemon: Daemon, tmp_path: Path) -> None:
    daemon.answers = [(202, call())]
    done = run_call(
        daemon,
        tmp_path,
        *("originate", "--to", "+3725550100", "--gateway", "carrier", "--on-answer", "agent:desk/1001"),
        *("--first", "agent", "--caller-id-number", "+1", "--caller-id-name", "Ann", "--ring-timeout", "20"),
        *("--no-record", "--campaign", "spring", "--lead", "l-1", "--var", "sip_h_X-A=b=c"),
    )
    assert (done.returncode, done.stdout.decode(), done.stderr) == (0, f"{ID}\n", b"")
    (asked,) = daemon.asked
    assert (asked.method, asked.path) == ("POST", "/v1/calls")
    assert asked.body == {
        "destination": "+3725550100",
        "gateway": "carrier",
        "caller_id_number": "+1",
        "caller_id_name": "Ann",
        "ring_timeout_s": 20,
        "first": "agent",
        "on_answer": {"type": "agent", "agents": "desk", "agent_id": "1001"},
        "record": False,
        "campaign_id": "spring",
        "lead_id": "l-1",
        "variables": {"sip_h_X-A": "b=c"},
    }
    assert asked.headers["Authorization"] == "Bearer ce_a_b"
    assert len(asked.headers["Idempotency-Key"]) == 36


def test_originate_asks_for_the_least(daemon: Daemon, tmp_path: Path) -> None:
    run_call(daemon, tmp_path, "originate", "--to", "1", "--idempotency-key", "k-1")
    (asked,) = daemon.asked
    assert asked.body == {"destination": "1", "first": "lead", "on_answer": {"type": "park"}, "variables": {}}
    assert asked.headers["Idempotency-Key"] == "k-1"


@pytest.mark.parametrize(("status", "code"), [("completed", 0), ("failed", 1)])
def test_wait_tells_how_it_ended(status: str, code: int, daemon: Daemon, tmp_path: Path) -> None:
    daemon.answers = [(202, call()), (200, call("ringing")), (200, call(status, hangup_cause="USER_BUSY"))]
    done = run_call(daemon, tmp_path, "originate", "--to", "1", "--wait", "20")
    assert done.returncode == code
    assert done.stdout.decode() == f"{ID}\n"
    assert lines(done.stderr) == ["dialing", "ringing", f"{status}, USER_BUSY"]


def test_wait_ends(daemon: Daemon, tmp_path: Path) -> None:
    done = run_call(daemon, tmp_path, "originate", "--to", "1", "--wait", "0.1", "--json")
    assert done.returncode == 4
    assert json.loads(done.stdout)["status"] == "dialing"
    assert b"goes on" in done.stderr


def test_show_list_events_hangup(daemon: Daemon, tmp_path: Path) -> None:
    shown = run_call(daemon, tmp_path, "show", ID)
    assert shown.returncode == 0
    assert b"+1555" in shown.stdout
    assert b"\x1b" not in shown.stdout
    assert json.loads(run_call(daemon, tmp_path, "show", ID, "--json").stdout) == call()

    page = {"data": [call()], "page": 2, "page_size": 1, "total": 3, "total_pages": 3}
    daemon.answers = [(200, page)]
    listed = run_call(daemon, tmp_path, "list", "--status", "dialing", "--page", "2", "--page-size", "1")
    assert ID.encode() in listed.stdout
    assert lines(listed.stderr) == ["page 2 of 3, 3 in all"]
    assert daemon.asked[-1].path == "/v1/calls?status=dialing&page=2&page_size=1"
    assert json.loads(run_call(daemon, tmp_path, "list", "--json").stdout) == page

    run_call(daemon, tmp_path, "list", "--dialed-after", "2026-11-22", "--dialed-before", "2026-11-22T12:30+02:00")
    asked = parse_qs(urlsplit(daemon.asked[-1].path).query)
    assert (asked["dialed_after"], asked["dialed_before"]) == (["2026-11-22T00:00:00Z"], ["2026-11-22T10:30:00Z"])
    assert run_call(daemon, tmp_path, "list", "--dialed-after", "yesterday").returncode == 2

    run_call(daemon, tmp_path, "list", "--number", "+49 30 1234")
    assert parse_qs(urlsplit(daemon.asked[-1].path).query)["number"] == ["+49 30 1234"]

    event = {"time": None, "name": "created", "detail": None, "source": "event", "leg": "f"}
    daemon.answers = [(200, {"data": [event]})]
    assert b"created" in run_call(daemon, tmp_path, "events", ID).stdout
    assert daemon.asked[-1].path == f"/v1/calls/{ID}/events"

    daemon.answers = [(200, call("failed"))]
    assert run_call(daemon, tmp_path, "hangup", ID, "--cause", "USER_BUSY").returncode == 0
    assert daemon.asked[-1][:3] == ("POST", f"/v1/calls/{ID}/hangup", {"cause": "USER_BUSY"})


def some(*numbers: int, **fields: Any) -> list[dict[str, Any]]:
    return [call(id=f"call-{n}", **fields) for n in numbers]


def in_pages(*data: list[dict[str, Any]], total: int) -> list[tuple[int, Any]]:
    pages = {"page_size": 200, "total": total, "total_pages": len(data)}
    return [(200, {"data": calls, "page": n, **pages}) for n, calls in enumerate(data, 1)]


def test_list_all_reads_page_after_page(daemon: Daemon, tmp_path: Path) -> None:
    """What came meanwhile pushed one call on to the next page."""
    daemon.answers = in_pages(some(1, 2), some(2, 3), some(4), total=4)
    done = run_call(daemon, tmp_path, "list", "--all", "--json", "--campaign", "spring")
    assert (done.returncode, lines(done.stderr)) == (0, ["4 in all"])
    assert [json.loads(line)["id"] for line in lines(done.stdout)] == ["call-1", "call-2", "call-3", "call-4"]
    assert [asked.path for asked in daemon.asked] == [
        f"/v1/calls?campaign=spring&page_size=200&page={page}" for page in (1, 2, 3)
    ]
    daemon.answers = in_pages(some(1, 2), some(3), total=3)
    listed = lines(run_call(daemon, tmp_path, "list", "--all", "--page-size", "2").stdout)
    assert [line.split()[-1] for line in listed] == ["ID", "call-1", "call-2", "call-3"]


def test_pages_that_are_read_are_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """The ids of some are: so that each is told once."""

    class Endless:
        def get(self, _: str, query: dict[str, Any]) -> dict[str, Any]:
            first = (query["page"] - 1) * 2
            return {"data": [{"id": str(first)}, {"id": str(first + 1)}], "page": query["page"], "total_pages": 1000}

    monkeypatch.setattr(command, "_REMEMBERED", 4)
    pages = command._pages(cast("Any", Endless()), {})
    for n in range(100):
        assert [one["id"] for one in next(pages)["data"]] == [str(2 * n), str(2 * n + 1)]
        assert pages.gi_frame is not None
        assert len(pages.gi_frame.f_locals["told"]) <= 4


def test_an_error_on_the_way_is_told(daemon: Daemon, tmp_path: Path) -> None:
    daemon.answers = [in_pages(some(1), [], total=2)[0], (503, {"detail": "the database is away"})]
    done = run_call(daemon, tmp_path, "list", "--all", "--csv")
    assert done.returncode == 4
    assert len(lines(done.stdout)) == 2
    assert lines(done.stderr) == ["callengine: 503 Service Unavailable: the database is away"]


def test_list_as_csv(daemon: Daemon, tmp_path: Path) -> None:
    notes = 'he said "no",\nthen = 3'
    hostile = some(2, caller_name="=HYPERLINK(1)", notes=notes, overlong=True, agents=[{"id": "7"}], seq=3)
    daemon.answers = in_pages(some(1), hostile, total=2)
    done = run_call(daemon, tmp_path, "list", "--all", "--csv")
    assert len(lines(done.stdout)) == 3
    head, one, other = csv.reader(io.StringIO(done.stdout.decode()))
    assert head == list(call())
    assert head[:3] == ["id", "campaign_id", "lead_id"]
    first, second = (dict(zip(head, row, strict=True)) for row in (one, other))
    assert (first["id"], first["callee_number"], first["caller_name"]) == ("call-1", "'+1555", "\ufffd[2J")
    assert (first["agent_id"], first["has_recording"], first["legs"]) == ("", "false", "[]")
    assert (second["caller_name"], second["overlong"], second["seq"]) == ("'=HYPERLINK(1)", "true", "3")
    assert second["notes"] == 'he said "no",\ufffdthen = 3'
    assert json.loads(second["agents"]) == [{"id": "7"}]

    daemon.answers = in_pages([], total=0)
    assert lines(run_call(daemon, tmp_path, "list", "--csv").stdout) == [",".join(COLUMNS)]


@pytest.mark.parametrize("begin", ["=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠"])
def test_no_cell_is_a_formula(begin: str) -> None:
    text = calls_csv([call(caller_name=f"{begin}1+1", notes=f" {begin}1")], head=False)
    (row,) = csv.reader(io.StringIO(text))
    cells = dict(zip(COLUMNS, row, strict=True))
    assert cells["caller_name"] == f"'{begin if begin.isprintable() else chr(0xFFFD)}1+1"
    assert cells["notes"].startswith(" ")


@pytest.mark.parametrize("both", [("--csv", "--json"), ("--all", "--page", "2")])
def test_what_of_a_list_excludes_another(both: tuple[str, ...], daemon: Daemon, tmp_path: Path) -> None:
    done = run_call(daemon, tmp_path, "list", *both)
    assert (done.returncode, done.stdout, daemon.asked) == (2, b"", [])
    assert b"not allowed with argument" in done.stderr


def test_an_id_stays_one_segment(daemon: Daemon, tmp_path: Path) -> None:
    run_call(daemon, tmp_path, "show", "../keys?x=1")
    assert daemon.asked[0].path == "/v1/calls/..%2Fkeys%3Fx%3D1"


@pytest.mark.parametrize(
    ("status", "code"), [(400, 1), (401, 1), (403, 1), (404, 3), (409, 1), (429, 4), (500, 1), (503, 4)]
)
def test_refusals_are_one_line(status: int, code: int, daemon: Daemon, tmp_path: Path) -> None:
    fault = {"loc": ["body", "destination"], "msg": "is not allowed"}
    daemon.answers = [(status, {"title": "T", "detail": "it is not done", "errors": [fault]})]
    done = run_call(daemon, tmp_path, "originate", "--to", "1")
    assert (done.returncode, done.stdout) == (code, b"")
    (line,) = lines(done.stderr)
    assert line.startswith(f"callengine: {status} ")
    assert line.endswith(": it is not done; body.destination: is not allowed")
    assert len(daemon.asked) == 1  # never asked twice


def test_what_the_detail_says_is_not_said_twice(daemon: Daemon, tmp_path: Path) -> None:
    said = "is not among what originate.destination_pattern allows"
    fault = {"loc": ["body", "destination"], "msg": said}
    daemon.answers = [(400, {"title": "T", "detail": f"destination {said}", "errors": [fault]})]
    (line,) = lines(run_call(daemon, tmp_path, "originate", "--to", "1").stderr)
    assert line == f"callengine: 400 Bad Request: destination {said}"


def test_somebody_else_answers(daemon: Daemon, tmp_path: Path) -> None:
    daemon.answers = [(200, ["no", "callengine"])]
    done = run_call(daemon, tmp_path, "list")
    assert done.returncode == 1
    assert b"callengine?" in done.stderr


def test_nobody_answers(tmp_path: Path) -> None:
    settings = {"CALLENGINE_URL": "http://127.0.0.1:1", "CALLENGINE_KEY": "ce_a_b"}
    done = run("call", "list", state=tmp_path, **settings)
    assert done.returncode == 4
    assert "is the daemon running there?" in lines(done.stderr)[0]
    placed = run("call", "originate", "--to", "1", "--idempotency-key", "k-7", state=tmp_path, **settings)
    assert placed.returncode == 4
    assert "--idempotency-key k-7" in lines(placed.stderr)[0]


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"CALLENGINE_KEY": "ce\nx", "CALLENGINE_URL": "http://127.0.0.1:1"},
        {"CALLENGINE_KEY": "k", "CALLENGINE_URL": "ftp://x"},
        {"CALLENGINE_KEY": "k", "CALLENGINE_URL": "http://x:99999"},
    ],
)
def test_nowhere_to_ask(settings: dict[str, str], tmp_path: Path) -> None:
    done = run("call", "list", state=tmp_path, **settings)
    assert done.returncode == 2
    assert len(lines(done.stderr)) == 1


def test_the_address_of_the_settings(daemon: Daemon, tmp_path: Path) -> None:
    port = daemon.url.rpartition(":")[2]
    daemon.answers = [(200, {"data": [], "page": 1, "page_size": 25, "total": 0, "total_pages": 0})]
    done = run("call", "list", state=tmp_path, CALLENGINE_KEY="k", CALLENGINE_HTTP__PORT=port)
    assert done.returncode == 0


@pytest.mark.parametrize(
    "text", ["", "park:1", "agent:desk", "agent:/1", "agent:desk/", "queue:", "extension", "call:x", "hangup"]
)
def test_no_target(text: str) -> None:
    with pytest.raises(Failed):
        target(text)


def test_targets() -> None:
    assert target("queue:sales@default") == {"type": "queue", "queue": "sales@default"}
    assert target("extension:100") == {"type": "extension", "extension": "100"}
    assert target("application:tone") == {"type": "application", "application": "tone"}
    assert target("agent:desk/a/b") == {"type": "agent", "agents": "desk", "agent_id": "a/b"}
