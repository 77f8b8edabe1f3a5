"""``callengine analyze``: has calls analysed again. It only marks them; the running daemon does it."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from callengine.cli.exits import FAILED, NOT_FOUND, OK, USAGE, Failed
from callengine.cli.opened import existing
from callengine.cli.output import listing, print_json, say
from callengine.cli.parser import Commands, config_option, instant, json_option, whole
from callengine.cli.progress import Progress
from callengine.cli.settings import load_settings

if TYPE_CHECKING:
    from callengine.config.sections import Ai
    from callengine.store.analysed import Selected, Wanted
    from callengine.store.database import Store

_UUID: Final = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_STATUSES: Final = (
    "none pending retrying parked completed completed_without_quotes unsupported skipped_too_short skipped_silent"
    " skipped_voicemail skipped_over_budget skipped_no_recording failed"
).split()
_FILTERS: Final = ("tenant", "campaign", "status", "since", "until")
_TIMEOUT_S: Final = 60.0
_AT_ONCE: Final = 200
_DEFAULT_LIMIT: Final = 1_000


def register(commands: Commands) -> None:
    """Declares it."""
    parser = commands.add(
        "analyze",
        _run,
        "have calls analysed again: summary, sentiment, next action",
        "Marks calls that have ended and have a recording; the running daemon sends them to Gemini, which costs money: "
        "--dry-run says how much, about. Calls that wait (also for a daily quota) are tried at once, those at work are "
        "left alone. What an agent set is never changed, and what was found before stays until a later run finds "
        "something.\n\nGive the ids of calls, or at least one filter. --since and --until are about when a call was "
        "dialed.",
        [
            "callengine analyze 01928f0e-7c7a-7d31-a4f3-3a5e5f3f2b10",
            "callengine analyze --tenant acme --status failed --since 2026-11-01 --dry-run",
            "callengine analyze --tenant acme --campaign spring-2026 --status none --yes",
        ],
    )
    parser.add_argument("ids", nargs="*", type=_id, metavar="CALL_ID", help="the id of a call; may be repeated")
    parser.add_argument("--tenant", metavar="T", help="calls of this tenant")
    parser.add_argument("--campaign", metavar="ID", help="calls of this campaign; with --tenant")
    parser.add_argument(
        "--status", choices=_STATUSES, metavar="S", help="calls whose analysis_status this is; none: they have none"
    )
    parser.add_argument("--since", type=instant, metavar="TIME", help="from then on: 2026-11-22, 2026-11-22T10:30Z")
    parser.add_argument("--until", type=instant, metavar="TIME", help="before then; without an offset it is UTC")
    parser.add_argument(
        "--limit",
        type=whole(1, 1_000_000),
        default=_DEFAULT_LIMIT,
        metavar="N",
        help=f"so many at most, the newest (default: {_DEFAULT_LIMIT})",
    )
    parser.add_argument("--dry-run", action="store_true", help="change nothing; say calls, minutes of audio and cost")
    parser.add_argument("--yes", action="store_true", help="do not ask before calls that a filter found are queued")
    config_option(parser)
    json_option(parser)


def _id(text: str) -> str:
    if not _UUID.fullmatch(text.lower()):
        raise argparse.ArgumentTypeError("is no id of a call")
    return text.lower()


def _run(args: argparse.Namespace) -> int:
    filtered = any(getattr(args, name) is not None for name in _FILTERS)
    if bool(args.ids) == filtered:
        args.parser.error("give the ids of calls, or at least one of --tenant, --status, --since, --until")
    if args.campaign is not None and args.tenant is None:
        args.parser.error("--campaign goes with --tenant: its id is the tenant's own")
    settings = load_settings(args)
    with existing(settings) as store:
        return _analyze(args, store, settings.ai)


def _analyze(args: argparse.Namespace, store: Store, ai: Ai) -> int:
    from callengine.store.analysed import select

    wanted = _wanted(args, store)
    found = store.run(lambda db: select(db, wanted, args.limit), _TIMEOUT_S)
    left_out = _left_out(store, args.ids, found)
    told = _told(found, ai)
    if not args.dry_run:
        if found and not args.ids and not args.yes:
            _confirm(told)
        told["queued"] = _queue(store, [one.call_id for one in found])
    if args.json:
        print_json({**told, "left_out": left_out})
    else:
        sys.stdout.write(listing(told))
        for call_id in left_out:
            say(f"callengine: {call_id} is not over, or has no recording that can be played")
        if not ai.enabled:
            say("callengine: ai.enabled is off: nothing is analysed until the daemon runs with it on")
    return FAILED if left_out else OK


def _wanted(args: argparse.Namespace, store: Store) -> Wanted:
    from callengine.errors import NoSuchTenant
    from callengine.store.accounts import Accounts
    from callengine.store.analysed import Wanted

    tenant_id = None
    if args.tenant is not None:
        try:
            tenant_id = Accounts(store, store).tenant(args.tenant).id
        except NoSuchTenant:
            raise Failed("there is no such tenant", NOT_FOUND) from None
    return Wanted(
        call_ids=tuple(dict.fromkeys(args.ids)),
        tenant_id=tenant_id,
        campaign_id=args.campaign,
        status=args.status,
        since_us=args.since,
        until_us=args.until,
    )


def _left_out(store: Store, ids: Sequence[str], found: Sequence[Selected]) -> list[str]:
    """Which of the calls that were named cannot be analysed. Raises NoSuchCall."""
    from callengine.store.tell import record_by_id

    selected = {one.call_id for one in found}
    left_out = [call_id for call_id in dict.fromkeys(ids) if call_id not in selected]
    for call_id in left_out:
        store.run(lambda db, call_id=call_id: record_by_id(db, call_id), _TIMEOUT_S)  # type: ignore[misc]
    return left_out


def _told(found: Sequence[Selected], ai: Ai) -> dict[str, int | float]:
    from callengine.ai import spend

    price = spend.prices(ai)
    micros = sum(
        spend.estimate_micros(one.audio_ms, price, transcript=spend.wants_transcript(ai, one.audio_ms)) for one in found
    )
    return {
        "calls": len(found),
        "minutes": round(sum(one.audio_ms for one in found) / 60_000, 1),
        "estimated_cost_usd": round(micros / 1_000_000, 4),
    }


def _confirm(told: dict[str, int | float]) -> None:
    what = f"{told['calls']} calls with {told['minutes']} minutes of audio, about ${told['estimated_cost_usd']}"
    if not sys.stdin.isatty():
        raise Failed(f"{what}: say --yes to have them analysed, or --dry-run", USAGE)
    sys.stderr.write(f"{what}. Have them analysed? [y/N] ")
    sys.stderr.flush()
    if sys.stdin.readline().strip().lower() not in {"y", "yes"}:
        raise Failed("nothing was changed")


def _queue(store: Store, ids: Sequence[str]) -> int:
    """In small transactions, beside a daemon that writes too. Returns how many were queued."""
    from callengine.store.analysed import again
    from callengine.store.clock import clock_us

    queued = 0
    with Progress("queueing", "calls") as progress:
        for start in range(0, len(ids), _AT_ONCE):
            some = ids[start : start + _AT_ONCE]
            queued += store.execute(lambda db, some=some: again(db, some, clock_us()), _TIMEOUT_S)  # type: ignore[misc]
            progress.at(start + len(some), len(ids))
    return queued
