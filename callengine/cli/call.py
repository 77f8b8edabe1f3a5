"""``callengine call``: calls through the running daemon's API."""

from __future__ import annotations

import argparse
import os
import sys
import time
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from callengine.cli.calls_shown import calls_csv, calls_table, events_table, summary
from callengine.cli.exits import FAILED, OK, UNAVAILABLE, USAGE, Failed
from callengine.cli.output import listing, print_json, say, to_json
from callengine.cli.parser import Commands, Parser, config_option, json_option, positive, rfc3339, whole
from callengine.cli.progress import Progress

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from callengine.cli.client import Client

_OVER = ("completed", "failed")
_POLL_S = 0.5
_REMEMBERED = 10_000
_TARGETS = "park, agent:TEMPLATE/ID, queue:NAME, extension:NUMBER or application:NAME"


def register(commands: Commands) -> None:
    """Declares them."""
    group = commands.group(
        "call",
        "place, read and hang up calls through a running daemon",
        "Asks the daemon's API, so that it works from any machine that reaches it. The address is --url, else "
        "$CALLENGINE_URL, else that of the settings; the key is --key, else $CALLENGINE_KEY (other users of a "
        "machine can see what stands in a command line).",
        [
            "export CALLENGINE_KEY=$(callengine key create --tenant acme --scope calls:read --scope calls:write)",
            "callengine call originate --to +3725550100 --gateway carrier --on-answer agent:desk/1001",
            "callengine call list --status answered",
            "callengine call hangup 01928f0e-7c7a-7d31-a4f3-3a5e5f3f2b10",
        ],
    )
    _register_originate(group)
    show = group.add(
        "show",
        _show,
        "one call, with all its fields",
        examples=[
            "callengine call show 01928f0e-7c7a-7d31-a4f3-3a5e5f3f2b10",
            "callengine call show 01928f0e-7c7a-7d31-a4f3-3a5e5f3f2b10 --json | jq .legs",
        ],
    )
    events = group.add(
        "events",
        _events,
        "what happened to a call, in order",
        examples=["callengine call events 01928f0e-7c7a-7d31-a4f3-3a5e5f3f2b10"],
    )
    hangup = group.add(
        "hangup",
        _hangup,
        "hang a call up; one that waits for a slot is cancelled",
        examples=["callengine call hangup 01928f0e-7c7a-7d31-a4f3-3a5e5f3f2b10 --cause USER_BUSY"],
    )
    hangup.add_argument("--cause", help="the FreeSWITCH hangup cause (default: NORMAL_CLEARING)")
    for parser in (show, events, hangup):
        parser.add_argument("id", metavar="ID", help="the call's id")
        _connection(parser)
    _register_list(group)


def _connection(parser: Parser) -> None:
    parser.add_argument("--url", help="where the daemon serves, as in http://127.0.0.1:8088 (default: $CALLENGINE_URL)")
    parser.add_argument("--key", help="the API key (default: $CALLENGINE_KEY)")
    config_option(parser)
    json_option(parser)


def _register_originate(group: Commands) -> None:
    parser = group.add(
        "originate",
        _originate,
        "place a call; prints its id",
        "Has the daemon place a call, and prints the call's id as soon as the daemon has it in its books. What may "
        "be asked for is what the daemon's settings open ([originate]). Needs the scope calls:write, and "
        "calls:read with --wait.",
        [
            "callengine call originate --to +3725550100",
            "callengine call originate --to +3725550100 --on-answer queue:sales@default --record --wait 120",
            "callengine call originate --to +3725550100 --first agent --on-answer agent:desk/1001",
        ],
    )
    add = parser.add_argument
    add("--to", required=True, metavar="NUMBER", help="whom to call: the lead's number")
    add("--gateway", metavar="NAME", help="one of originate.gateways; may be left out where there is only one")
    add("--on-answer", default="park", metavar="TARGET", help=f"what happens once the lead has answered: {_TARGETS}")
    add("--first", choices=("lead", "agent"), default="lead", help="who is rung first (default: lead)")
    add("--caller-id-number", metavar="NUMBER", help="the number to show")
    add("--caller-id-name", metavar="NAME", help="the name to show")
    add("--ring-timeout", type=whole(1, 600), metavar="SECONDS", help="how long it may ring")
    add("--record", action=argparse.BooleanOptionalAction, help="record from the answer on (default: recordings.start)")
    add("--campaign", metavar="ID", help="the campaign that the call belongs to")
    add("--lead", metavar="ID", help="the lead that is dialled")
    add("--var", action="append", default=[], metavar="NAME=VALUE", help="a channel variable; may be repeated")
    add(
        "--idempotency-key",
        metavar="KEY",
        help="with the same key within 24 hours the daemon places no second call (default: a new one each time)",
    )
    add(
        "--wait",
        type=positive,
        metavar="SECONDS",
        help="wait so long for the call to end, then tell how; exit code 1 if it failed, 4 if it is not over by then",
    )
    _connection(parser)


def _register_list(group: Commands) -> None:
    parser = group.add(
        "list",
        _list,
        "calls, the newest first",
        "One page of them; --all reads every page, one after the other. Calls that begin meanwhile are left out, and "
        "none appears twice because of them; with a --status of calls that go on, one may be missed where another "
        "changes meanwhile.\n\n"
        "With --csv the fields of a call are the columns, as the API names them; lists are JSON, and a field that is "
        "null is empty. A cell that begins with =, +, - or @ (also as a full-width character), a tab or a line end is "
        "led by an apostrophe, so that no spreadsheet takes what a caller wrote for a formula: numbers that begin "
        "with + have it too. Characters that are not printable, line ends too, are U+FFFD.",
        [
            "callengine call list --status failed --page-size 100",
            "callengine call list --campaign spring-2026 --json | jq '.data[].hangup_cause'",
            "callengine call list --number '+49 30 1234'",
            "callengine call list --dialed-after 2026-11-22 --all --csv > calls.csv",
            "callengine call list --all --json | jq -r .id",
        ],
    )
    add = parser.add_argument
    add("--status", help="dialing, ringing, answered, agent_connected, completed or failed")
    add("--direction", choices=("outbound", "inbound"), help="only calls of this direction")
    add("--campaign", metavar="ID", help="only calls of this campaign")
    add("--lead", metavar="ID", help="only calls to this lead")
    add("--agent", metavar="ID", help="only calls that this agent was the first to handle")
    add("--disposition", metavar="CODE", help="only calls with this code")
    add("--number", metavar="NUMBER", help="only calls from or to this number, with or without +, spaces or dashes")
    add("--dialed-after", type=rfc3339, metavar="TIME", help="dialled then or later: 2026-11-22, 2026-11-22T10:30Z")
    add("--dialed-before", type=rfc3339, metavar="TIME", help="before then; without an offset it is UTC")
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--page", type=whole(1), metavar="N", help="counted from 1")
    which.add_argument("--all", action="store_true", help="all pages; with --json one call a line")
    add("--page-size", type=whole(1, 200), metavar="N", help="up to 200 (default: 25, with --all 200)")
    add("--csv", action="store_true", help="as CSV, for spreadsheets")
    _connection(parser)


# -- what they do ---------------------------------------------------------------------------------------------------


def _client(args: argparse.Namespace) -> Client:
    from callengine.cli.client import Client

    key = args.key or os.environ.get("CALLENGINE_KEY", "")
    if not key:
        raise Failed(
            "an API key is needed: set CALLENGINE_KEY (callengine key create --help tells how to get one)", USAGE
        )
    url = args.url or os.environ.get("CALLENGINE_URL") or _configured_url(args)
    return Client(url, key)


def _configured_url(args: argparse.Namespace) -> str:
    from callengine.cli.settings import load_settings
    from callengine.config.places import local_url

    return local_url(load_settings(args))


def _path(call_id: str, *more: str) -> str:
    from callengine.cli.client import segment

    return "/".join(["/v1/calls", segment(call_id), *more])


def target(text: str) -> dict[str, str]:
    """``agent:desk/1001`` and its like as the API's target. Raises ``Failed``."""
    kind, _, value = text.partition(":")
    match kind:
        case "park" if not value:
            return {"type": "park"}
        case "agent":
            template, slash, agent = value.partition("/")
            if slash and template and agent:
                return {"type": "agent", "agents": template, "agent_id": agent}
        case "queue" | "extension" | "application" if value:
            return {"type": kind, kind: value}
    raise Failed(f"--on-answer must be {_TARGETS}", USAGE)


def _request(args: argparse.Namespace) -> dict[str, Any]:
    variables = {}
    for given in args.var:
        name, equals, value = given.partition("=")
        if not equals:
            raise Failed("--var must be NAME=VALUE", USAGE)
        variables[name] = value
    request: dict[str, Any] = {
        "destination": args.to,
        "gateway": args.gateway,
        "caller_id_number": args.caller_id_number,
        "caller_id_name": args.caller_id_name,
        "ring_timeout_s": args.ring_timeout,
        "first": args.first,
        "on_answer": target(args.on_answer),
        "record": args.record,
        "campaign_id": args.campaign,
        "lead_id": args.lead,
        "variables": variables,
    }
    return {name: value for name, value in request.items() if value is not None}


def _originate(args: argparse.Namespace) -> int:
    from callengine.cli.client import NotAnswered

    request = _request(args)
    client = _client(args)
    key = args.idempotency_key or str(uuid4())
    try:
        call = client.post("/v1/calls", request, {"Idempotency-Key": key})
    except NotAnswered as error:
        raise Failed(
            f"{error.message} The call may have been placed; to ask again safely: --idempotency-key {key}", UNAVAILABLE
        ) from None
    if args.wait is None:
        _print_placed(args, call)
        return OK
    if not args.json:
        _print_placed(args, call)
        sys.stdout.flush()
    return _wait(args, client, call)


def _print_placed(args: argparse.Namespace, call: dict[str, Any]) -> None:
    if args.json:
        print_json(call)
    else:
        sys.stdout.write(f"{call['id']}\n")


def _wait(args: argparse.Namespace, client: Client, call: dict[str, Any]) -> int:
    """Until the call is over, or ``--wait`` is."""
    until = time.monotonic() + args.wait
    told = ""
    while True:
        if call["status"] != told and not args.json:
            told = call["status"]
            say(f"{summary(call)}")
        if call["status"] in _OVER or time.monotonic() >= until:
            break
        time.sleep(min(_POLL_S, max(0.0, until - time.monotonic())))
        call = client.get(_path(call["id"]))
    if args.json:
        print_json(call)
    if call["status"] not in _OVER:
        raise Failed(f"the call is not over after {args.wait:g} s; it goes on", UNAVAILABLE)
    return OK if call["status"] == "completed" else FAILED


def _show(args: argparse.Namespace) -> int:
    call = _client(args).get(_path(args.id))
    if args.json:
        print_json(call)
    else:
        sys.stdout.write(listing(call))
    return OK


def _events(args: argparse.Namespace) -> int:
    found = _client(args).get(_path(args.id, "events"))
    if args.json:
        print_json(found)
    else:
        sys.stdout.write(events_table(found["data"]))
    return OK


def _hangup(args: argparse.Namespace) -> int:
    call = _client(args).post(_path(args.id, "hangup"), {} if args.cause is None else {"cause": args.cause})
    if args.json:
        print_json(call)
    else:
        say(summary(call))
    return OK


def _list(args: argparse.Namespace) -> int:
    names = (
        *("status", "direction", "campaign", "lead", "agent", "disposition", "number"),
        *("dialed_after", "dialed_before"),
    )
    if args.csv and args.json:
        args.parser.error("argument --csv: not allowed with argument --json")
    query = {name: getattr(args, name) for name in names}
    if args.all:
        return _list_all(args, query | {"page_size": args.page_size or 200})
    found = _client(args).get("/v1/calls", query | {"page": args.page or 1, "page_size": args.page_size or 25})
    if args.json:
        print_json(found)
        return OK
    _write(args, found["data"], first=True)
    say(f"page {found['page']} of {found['total_pages']}, {found['total']} in all")
    return OK


def _list_all(args: argparse.Namespace, query: dict[str, object]) -> int:
    number, shows = 0, not sys.stdout.isatty()
    with Progress("listing", "calls") as progress:
        for found in _pages(_client(args), query):
            _write(args, found["data"], first=found["page"] == 1)
            number += len(found["data"])
            if shows:
                progress.at(number, found["total"])
    say(f"{number} in all")
    return OK


def _pages(client: Client, query: dict[str, object]) -> Iterator[dict[str, Any]]:
    """Page after page; what calls that began meanwhile pushed on to the next one is told once."""
    told: dict[str, None] = {}
    page = 1
    while True:
        found = client.get("/v1/calls", query | {"page": page})
        calls = [call for call in found["data"] if call["id"] not in told]
        yield found | {"data": calls}
        if not found["data"] or page >= found["total_pages"]:
            return
        told |= dict.fromkeys(call["id"] for call in calls)
        for call_id in list(told)[:-_REMEMBERED]:
            del told[call_id]
        page += 1


def _write(args: argparse.Namespace, calls: Sequence[dict[str, Any]], *, first: bool) -> None:
    if args.csv:
        sys.stdout.write(calls_csv(calls, head=first))
    elif args.json:
        sys.stdout.writelines(f"{to_json(call)}\n" for call in calls)
    elif calls:
        text = calls_table(calls)
        sys.stdout.write(text if first else text.partition("\n")[2])
