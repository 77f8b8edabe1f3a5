"""``callengine quarantine``: what could not be handled and was set aside, wherever it lies, and trying it again."""

from __future__ import annotations

import argparse
import re
import sys
from typing import TYPE_CHECKING, Any, Final

from callengine.cli import set_aside
from callengine.cli.exits import FAILED, NOT_FOUND, OK, UNAVAILABLE, USAGE, Failed
from callengine.cli.opened import existing
from callengine.cli.output import clean, listing, print_json, say, table
from callengine.cli.parser import Commands, Parser, config_option, instant, json_option
from callengine.cli.set_aside import KINDS, STORED, TIMEOUT_S, Found, collect, shelves, shown_entry, shown_row
from callengine.cli.settings import load_settings
from callengine.neutral import escaped

if TYPE_CHECKING:
    from callengine.config.settings import Settings
    from callengine.store.database import Store
    from callengine.store.quarantined import Failed as FailedRow

_STORED_ID: Final = re.compile(r"(recording|job)-([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})")
_NOTHING: Final = "there is nothing set aside by that id"
_HEAD: Final = ("ID", "KIND", "TIME", "BYTES", "CALL", "AGAIN", "REASON")


def register(commands: Commands) -> None:
    """Declares them."""
    group = commands.group(
        "quarantine",
        "what could not be handled and was set aside, and trying it again",
        "What cannot be handled stops nothing: it is set aside with its bytes and the reason. Events, CDRs and rows "
        "that the database refuses lie in the folder `quarantine` of the state directory, segments in `spool/aside`; "
        "recordings and analyses (jobs) that failed are rows of the database. The running daemon tries again what is "
        "marked for that; what fails once more stays, with the new reason.",
        [
            "callengine quarantine list",
            "callengine quarantine show event-1795343615301-5f2c9b1a77de | jq .",
            "callengine quarantine retry --kind cdr",
            "callengine quarantine drop event-1795343615301-5f2c9b1a77de",
        ],
    )
    listed = group.add(
        "list",
        _list,
        "what is set aside, when and why, and whether it can be tried again",
        "The oldest first. Without its database it lists what lies in files, and says what it could not look at. Dead "
        "letters of webhooks are counted here; `callengine webhook` lists and replays them.",
        ["callengine quarantine list --kind cdr --since 2026-11-22"],
    )
    listed.add_argument("--kind", choices=KINDS, help="only those of this kind")
    listed.add_argument("--since", type=instant, metavar="TIME", help="from then on: 2026-11-22, 2026-11-22T10:30Z")
    _common(listed)
    show = group.add(
        "show",
        _show,
        "one of them: its bytes as they came; of a recording or a job, what is known of it",
        examples=["callengine quarantine show event-1795343615301-5f2c9b1a77de | jq ."],
    )
    show.add_argument("id", metavar="ID", help="as `list` shows it")
    _common(show, "print what `list --json` says of it, not its bytes")
    retry = group.add(
        "retry",
        _retry,
        "have the running daemon try some of them again",
        "An event or a segment goes to the calls that it is about, also to those that are over; one that is late moves "
        "none backwards. A CDR is read anew, a row is written anew, the file of a recording is looked at anew, and a "
        "job is queued as by `callengine analyze`, which costs money: --kind job wants --yes.",
        ["callengine quarantine retry event-1795343615301-5f2c9b1a77de", "callengine quarantine retry --kind cdr"],
    )
    retry.add_argument("ids", nargs="*", metavar="ID", help="as `list` shows it; may be repeated")
    retry.add_argument("--kind", choices=KINDS, help="all of this kind")
    retry.add_argument("--all", action="store_true", help="all of them; with --kind, all of that kind")
    retry.add_argument("--yes", action="store_true", help="jobs as well, though they cost money")
    _common(retry)
    drop = group.add(
        "drop",
        _drop,
        "delete some of them for good",
        "Their bytes are nowhere else. What is in the database is the calls' own, and is not deleted by this.",
        ["callengine quarantine drop event-1795343615301-5f2c9b1a77de"],
    )
    drop.add_argument("ids", nargs="+", metavar="ID", help="as `list` shows it; may be repeated")
    _common(drop)


def _common(parser: Parser, what: str = "print JSON, for programs") -> None:
    config_option(parser)
    json_option(parser, what)


# -- looking ----------------------------------------------------------------------------------------------------------


def _list(args: argparse.Namespace) -> int:
    settings = load_settings(args)
    kinds = frozenset({args.kind} if args.kind else KINDS)
    found = collect(settings, kinds, args.since or 0)
    if args.json:
        print_json({"entries": found.entries, "dead_letters": found.dead, "unseen": found.unseen, "more": found.more})
    else:
        _print(found)
    return UNAVAILABLE if found.unseen else OK


def _print(found: Found) -> None:
    if found.entries:
        cells = (
            (e["id"], e["kind"], e["time"], e["bytes"], e["call_id"], _again(e), e["reason"]) for e in found.entries
        )
        sys.stdout.write(table(_HEAD, cells))
    say(
        f"callengine: {len(found.entries)} set aside"
        + ("; again: callengine quarantine retry ID" * bool(found.entries))
    )
    _say_more(found)
    for one in found.dead:
        say(f"callengine: {one['dead_letters']} dead letters of tenant {clean(one['tenant'])}: {clean(one['list'])}")
    _say_unseen(found)


def _say_more(found: Found) -> None:
    for kind in found.more:
        say(f"callengine: there are more of kind {kind} than these, the newest {set_aside.LIMIT}")


def _say_unseen(found: Found) -> None:
    for one in found.unseen:
        say(f"callengine: not looked at: {one['what']}: {clean(one['reason'])}")


def _again(entry: dict[str, Any]) -> str:
    if entry["waiting"]:
        return "waits"
    return "no" if entry["hopeless"] else "can be"


def _show(args: argparse.Namespace) -> int:
    settings = load_settings(args)
    if (named := _STORED_ID.fullmatch(args.id)) is not None:
        with existing(settings) as store:
            shown = shown_row(named[1], _row(store, named[1], named[2]))
        if args.json:
            print_json(shown)
        else:
            sys.stdout.write(listing(shown))
        return OK
    shelf = shelves(settings).of(args.id)
    try:
        entry = shelf.find(args.id)
        if entry is None:
            raise Failed(_NOTHING, NOT_FOUND)
        if args.json:
            print_json({k: v for k, v in shown_entry(settings, shelf, entry).items() if k != "channel"})
            return OK
        content = shelf.read(args.id)
    except FileNotFoundError:
        raise Failed(_NOTHING, NOT_FOUND) from None
    except OSError as error:
        raise Failed(f"{shelf.directory}: cannot be read ({error.strerror})") from None
    if sys.stdout.isatty():  # what nobody could read may hold anything, also what a terminal would obey
        text = content.decode("utf-8", "backslashreplace")
        sys.stdout.writelines(f"{escaped(line)}\n" for line in text.split("\n"))
    else:
        sys.stdout.buffer.write(content)
    return OK


def _row(store: Store, kind: str, row_id: str) -> FailedRow:
    from callengine.store import quarantined

    read = quarantined.recording if kind == "recording" else quarantined.job
    row = store.run(lambda db: read(db, row_id), TIMEOUT_S)
    if row is None:
        raise Failed(_NOTHING, NOT_FOUND)
    return row


# -- trying again -----------------------------------------------------------------------------------------------------


def _retry(args: argparse.Namespace) -> int:
    everything = args.all or args.kind is not None
    if bool(args.ids) == everything:
        args.parser.error("give the ids, or --kind, or --all")
    settings = load_settings(args)
    kinds = frozenset({args.kind} if args.kind else KINDS)
    found: list[dict[str, Any]] = []
    code = OK
    if everything:
        if "job" in kinds and not args.yes:
            if args.kind:
                hint = "jobs cost money: say --yes, or see callengine analyze --status failed --dry-run"
                raise Failed(hint, USAGE)
            kinds -= {"job"}
            say("callengine: jobs are left out, since they cost money: --yes has them tried again too")
        seen = collect(settings, kinds, 0)
        found, code = seen.entries, UNAVAILABLE if seen.unseen else OK
        _say_more(seen)
        _say_unseen(seen)
    ids = [entry["id"] for entry in found] if everything else list(dict.fromkeys(args.ids))
    whys = {entry_id: _retry_one(settings, entry_id, alone=len(args.ids) == 1) for entry_id in ids}
    refused = {entry_id: why for entry_id, why in whys.items() if why is not None}
    if args.json:
        print_json({"retried": [one for one in ids if one not in refused], "refused": refused})
    say(f"callengine: {len(ids) - len(refused)} of {len(ids)} are tried again, by the daemon once it runs")
    return FAILED if refused else code


def _retry_one(settings: Settings, entry_id: str, *, alone: bool) -> str | None:
    """Why it is not tried again; that is said. Raises Failed where nothing else was asked for."""
    try:
        if (named := _STORED_ID.fullmatch(entry_id)) is not None:
            with existing(settings) as store:
                (_look_again if named[1] == "recording" else _analyze_again)(store, named[2])
            _warn(settings, named[1])
        else:
            _mark(settings, entry_id)
    except Failed as error:
        if alone:
            raise
        say(f"callengine: {clean(entry_id)}: {error.message}")
        return error.message
    return None


def _mark(settings: Settings, entry_id: str) -> None:
    shelf = shelves(settings).of(entry_id)
    try:
        entry = shelf.find(entry_id)
        if entry is None:
            raise Failed(_NOTHING, NOT_FOUND)
        hopeless = shown_entry(settings, shelf, entry)["hopeless"]
        if hopeless is not None:
            raise Failed(clean(hopeless))
        shelf.mark(entry_id)
    except OSError as error:
        raise Failed(f"{shelf.directory}: cannot be written ({error.strerror})") from None


def _look_again(store: Store, recording_id: str) -> None:
    from callengine.store import recordings
    from callengine.store.clock import clock_us

    _row(store, "recording", recording_id)

    def write(db: Any) -> bool:
        row = recordings.find(db, recording_id)
        return row is not None and row.status == "failed" and recordings.revive(db, row, clock_us())

    if not store.execute(write, TIMEOUT_S):
        raise Failed("it is being looked at just now")


def _analyze_again(store: Store, call_id: str) -> None:
    from callengine.store import analysed
    from callengine.store.clock import clock_us

    _row(store, "job", call_id)
    if not store.run(lambda db: analysed.select(db, analysed.Wanted(call_ids=(call_id,)), 1), TIMEOUT_S):
        raise Failed("its call has no recording any more that can be played")
    if not store.execute(lambda db: analysed.again(db, [call_id], clock_us()), TIMEOUT_S):
        raise Failed("it is being worked on just now")


def _warn(settings: Settings, kind: str) -> None:
    if kind == "recording" and not settings.recordings.directories:
        say("callengine: recordings.directories is empty: nobody looks at recordings until the daemon runs with it set")
    if kind == "job" and not settings.ai.enabled:
        say("callengine: ai.enabled is off: nothing is analysed until the daemon runs with it on")


# -- deleting ---------------------------------------------------------------------------------------------------------


def _drop(args: argparse.Namespace) -> int:
    settings = load_settings(args)
    dropped, refused = [], {}
    for entry_id in dict.fromkeys(args.ids):
        try:
            say(f"callengine: deleted {_drop_one(settings, entry_id)}")
            dropped.append(entry_id)
        except Failed as error:
            if len(args.ids) == 1:
                raise
            say(f"callengine: {clean(entry_id)}: {error.message}")
            refused[entry_id] = error.message
    if args.json:
        print_json({"deleted": dropped, "refused": refused})
    return FAILED if refused else OK


def _drop_one(settings: Settings, entry_id: str) -> str:
    """What was deleted, in words."""
    named = _STORED_ID.fullmatch(entry_id)
    if named is not None and named[1] in STORED:
        raise Failed(f"a {named[1]} that failed is in the books of its call: nothing lies aside that could be deleted")
    shelf = shelves(settings).of(entry_id)
    try:
        entry = shelf.find(entry_id)
        if entry is None or not shelf.remove(entry_id):
            raise Failed(_NOTHING, NOT_FOUND)
    except OSError as error:
        raise Failed(f"{shelf.directory}: cannot be written ({error.strerror})") from None
    return f"{entry.id}: {entry.kind} of {entry.bytes} bytes ({clean(entry.reason)})"
