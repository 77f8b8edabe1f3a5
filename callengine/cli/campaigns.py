"""``callengine campaign``: what a tenant's calls are for, what is recorded of them, and what the analysis may say."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING, Any, Final

from callengine.cli.exits import OK
from callengine.cli.opened import iso_time, opened
from callengine.cli.output import listing, print_json, say, table
from callengine.cli.parser import Commands, Parser, config_option, json_option, whole

if TYPE_CHECKING:
    from callengine.store.entities import Campaign

RULES: Final = ("never", "originated", "all")
"""As ``store.entities.RECORD_RULES``, whose module is not imported before a command runs."""
RULES_HELP: Final = "which calls are recorded: none, those that callengine places, or all"
DEFAULT: Final = "default"


def register(commands: Commands) -> None:
    """Declares the command."""
    group = commands.group(
        "campaign",
        "campaigns",
        "A campaign that is first seen on a call is made by itself; `create` is for one that is to be there before.",
        [
            "callengine campaign create spring-2026 --tenant acme --name 'Spring 2026'",
            "callengine campaign update spring-2026 --tenant acme --goal 'Renew the contract' --disposition RENEWED",
            "callengine campaign list --tenant acme",
        ],
    )
    create = group.add(
        "create",
        _create,
        "make a campaign",
        examples=["callengine campaign create spring-2026 --tenant acme --record originated"],
    )
    create.add_argument("id", metavar="ID", help="the tenant's own: 1 to 128 printable characters")
    create.add_argument("--tenant", required=True, metavar="T", help="whose it is")
    _options(create)
    update = group.add(
        "update",
        _update,
        "change a campaign",
        "What is not named stays as it is. An empty --name or --goal clears it; the codes that are given replace those "
        "there were. It counts for calls from the next few seconds on.",
        ["callengine campaign update spring-2026 --tenant acme --record never"],
    )
    update.add_argument("id", metavar="ID", help="the campaign's id")
    update.add_argument("--tenant", required=True, metavar="T", help="whose it is")
    _options(update)
    update.add_argument("--any-disposition", action="store_true", help="clears the list of codes")
    listed = group.add(
        "list", _list, "a tenant's campaigns, the newest first", examples=["callengine campaign list --tenant acme"]
    )
    listed.add_argument("--tenant", required=True, metavar="T", help="whose it is")
    listed.add_argument("--page", type=whole(1), default=1, metavar="N", help="counted from 1")
    listed.add_argument("--page-size", type=whole(1, 1000), default=100, metavar="N", help="default: 100")
    for command in (create, update, listed):
        config_option(command)
        json_option(command)


def _options(parser: Parser) -> None:
    parser.add_argument("--name", help="a name for people")
    parser.add_argument("--goal", metavar="TEXT", help="what its calls are for; the analysis is told")
    parser.add_argument(
        "--disposition",
        action="append",
        metavar="CODE",
        help="a code that the analysis may choose; may be repeated (without any it chooses freely)",
    )
    parser.add_argument("--record", choices=(*RULES, DEFAULT), help=f"{RULES_HELP}; default: as the tenant has it")


def _changes(args: argparse.Namespace) -> dict[str, Any]:
    """What the options name; an empty text clears."""
    given = {"name": args.name, "goal": args.goal, "dispositions": args.disposition, "record": args.record}
    changes = {name: value or None for name, value in given.items() if value is not None}
    if args.record == DEFAULT:
        changes["record"] = None
    return changes


def _create(args: argparse.Namespace) -> int:
    from callengine.calls.ids import usable_id

    if not usable_id(args.id):
        args.parser.error("the campaign's id must have 1 to 128 printable characters")
    settings = _changes(args)
    name = settings.pop("name", None)
    with opened(args) as store:
        campaign = store.edits.create_campaign(store.accounts.tenant(args.tenant).id, args.id, name, settings)
    if args.json:
        print_json(_shown(campaign))
    else:
        say(f"callengine: the campaign {campaign.id} is made")
    return OK


def _update(args: argparse.Namespace) -> int:
    changes = _changes(args)
    if args.any_disposition:
        if args.disposition:
            args.parser.error("--disposition and --any-disposition exclude each other")
        changes["dispositions"] = None
    if not changes:
        args.parser.error("say what to change: --name, --goal, --disposition, --any-disposition, --record")
    with opened(args) as store:
        campaign = store.edits.update_campaign(store.accounts.tenant(args.tenant).id, args.id, changes)
    if args.json:
        print_json(_shown(campaign))
    else:
        sys.stdout.write(listing(_shown(campaign)))
    return OK


def _list(args: argparse.Namespace) -> int:
    with opened(args) as store:
        tenant = store.accounts.tenant(args.tenant)
        campaigns, total = store.reads.campaigns(tenant.id, args.page, args.page_size)
    if args.json:
        print_json([_shown(campaign) for campaign in campaigns])
    else:
        head = ("CAMPAIGN", "NAME", "RECORD", "DISPOSITIONS", "CREATED")
        rows = ((c.id, c.name, c.record, len(c.dispositions or ()), iso_time(c.created_us)) for c in campaigns)
        sys.stdout.write(table(head, rows))
    if total > args.page * args.page_size:
        say(f"callengine: {total} campaigns; the next ones: --page {args.page + 1}")
    return OK


def _shown(campaign: Campaign) -> dict[str, Any]:
    return {
        "id": campaign.id,
        "name": campaign.name,
        "goal": campaign.goal,
        "dispositions": None if campaign.dispositions is None else list(campaign.dispositions),
        "record": campaign.record,
        "created_time": iso_time(campaign.created_us),
    }
