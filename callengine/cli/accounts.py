"""``callengine tenant`` and ``key``: whose calls they are, and who may read them.

They write to the database in short transactions of their own, beside a running daemon or without one. The daemon sees a
new key at once, and new tenants and numbers within seconds.
"""

from __future__ import annotations

import argparse
import re
import shlex
import sys
from collections.abc import Callable
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from callengine.cli import campaigns, recordings
from callengine.cli.exits import NOT_FOUND, OK, Failed
from callengine.cli.opened import iso_time, opened
from callengine.cli.output import listing, print_json, say, table
from callengine.cli.parser import Commands, Parser, config_option, json_option

if TYPE_CHECKING:
    from callengine.store.entities import Tenant

_SCOPES = """\
calls:read (also timelines), calls:write (originate, call control, disposition and notes), campaigns:read, \
campaigns:write (campaigns and leads), webhooks:read, webhooks:write"""


def register(commands: Commands) -> None:
    """Declares both, and ``campaign`` behind them."""
    _register_tenant(commands)
    _register_key(commands)
    campaigns.register(commands)


def _register_tenant(commands: Commands) -> None:
    group = commands.group(
        "tenant",
        "whose calls they are",
        "A call belongs to the tenant that its dialled number is mapped to, or that a channel variable names "
        "(tracking.tenant_variable); all others to the operator's own (tracking.default_tenant).",
        [
            "callengine tenant create acme",
            "callengine tenant numbers acme --add +3725550100 --add +3725550101",
            "callengine tenant set acme --record originated --recordings-days 90",
            "callengine tenant list",
        ],
    )
    create = group.add("create", _create_tenant, "make a tenant", examples=["callengine tenant create acme"])
    create.add_argument("name", metavar="NAME", help="1 to 128 printable characters")
    _common(create)
    _common(
        group.add(
            "list",
            _list_tenants,
            "all tenants",
            examples=["callengine tenant list", "callengine tenant list --json | jq -r '.[].name'"],
        )
    )
    show = group.add(
        "show", _show_tenant, "a tenant, its numbers and its own rules", examples=["callengine tenant show acme"]
    )
    show.add_argument("name", metavar="NAME", help="the tenant's name")
    _common(show)
    _register_tenant_set(group)
    recordings.register_below(group)
    numbers = group.add(
        "numbers",
        _numbers,
        "the dialled numbers that make an inbound call a tenant's",
        "Without --add and --remove: lists them. Numbers are compared as the switch has them, character by character.",
        ["callengine tenant numbers acme --add +3725550100", "callengine tenant numbers acme"],
    )
    numbers.add_argument("tenant", metavar="TENANT", help="the tenant's name")
    numbers.add_argument("--add", action="append", default=[], metavar="NUMBER", help="may be repeated")
    numbers.add_argument("--remove", action="append", default=[], metavar="NUMBER", help="may be repeated")
    _common(numbers)


def _register_tenant_set(group: Commands) -> None:
    command = group.add(
        "set",
        _set_tenant,
        "a tenant's own rules, in place of the settings'",
        "What is not named stays as it is; `default` goes back to the settings. It counts for calls from the next few "
        "seconds on.",
        [
            "callengine tenant set acme --record all --ai-daily-spend 12.50",
            "callengine tenant set acme --record default",
        ],
    )
    command.add_argument("name", metavar="NAME", help="the tenant's name")
    command.add_argument(
        "--record",
        choices=(*campaigns.RULES, campaigns.DEFAULT),
        help=f"{campaigns.RULES_HELP}; a campaign's own rule goes first",
    )
    command.add_argument(
        "--ai-daily-spend",
        type=_usd,
        metavar="USD",
        help="what its analyses may cost a day (UTC), or default; 0: nothing is sent",
    )
    command.add_argument(
        "--recordings-days", type=_days, metavar="N", help="how long recordings are kept, or default; 0: for ever"
    )
    _common(command)


def _register_key(commands: Commands) -> None:
    group = commands.group(
        "key",
        "API keys",
        f"A key belongs to one tenant and has scopes: {_SCOPES}. It is stored hashed, and shown once.",
        [
            "callengine key create --tenant acme --scope calls:read",
            "KEY=$(callengine key create --tenant acme --scope calls:read --scope calls:write --name crm)",
            "callengine key list --tenant acme",
            "callengine key revoke 5f2c9b1a77de",
        ],
    )
    create = group.add(
        "create",
        _create_key,
        "make a key and print it, alone, on standard output",
        f"The key is printed this once, alone, on standard output. Scopes: {_SCOPES}.",
        ["callengine key create --tenant acme --scope calls:read"],
    )
    create.add_argument("--tenant", required=True, metavar="T", help="whose key it is")
    create.add_argument("--scope", required=True, action="append", metavar="S", help="may be repeated")
    create.add_argument("--name", help="what it is for; only for you")
    _common(create)
    listing = group.add(
        "list", _list_keys, "a tenant's keys, without their secrets", examples=["callengine key list --tenant acme"]
    )
    listing.add_argument("--tenant", required=True, metavar="T", help="whose keys")
    _common(listing)
    revoke = group.add(
        "revoke",
        _revoke_key,
        "end a key for good; it may work for some seconds more",
        examples=["callengine key revoke 5f2c9b1a77de"],
    )
    revoke.add_argument("prefix", metavar="PREFIX", help="as `key list` shows it: the part between the underscores")
    _common(revoke)


def _common(parser: Parser) -> None:
    config_option(parser)
    json_option(parser)


def _usd(text: str) -> int | str:
    """Millionths of a USD, or ``default``."""
    if text == campaigns.DEFAULT:
        return text
    if not re.fullmatch(r"[0-9]{1,9}([.][0-9]{1,6})?", text, re.ASCII):
        raise argparse.ArgumentTypeError("must be an amount in USD such as 12.50, or default")
    return int(Decimal(text) * 1_000_000)


def _days(text: str) -> int | str:
    """A number of days, or ``default``."""
    if text == campaigns.DEFAULT:
        return text
    if not re.fullmatch(r"[0-9]{1,5}", text, re.ASCII):
        raise argparse.ArgumentTypeError("must be a number of days, or default")
    return int(text)


# -- tenants --------------------------------------------------------------------------------------------------------


def _create_tenant(args: argparse.Namespace) -> int:
    with opened(args, make=True) as store:
        tenant = store.accounts.create_tenant(args.name)
    if args.json:
        print_json({"id": tenant.id, "name": tenant.name, "created_time": iso_time(tenant.created_us)})
    else:
        next_one = f"callengine key create --tenant {shlex.quote(tenant.name)} --scope calls:read"
        say(f"callengine: the tenant {tenant.name} is made; next: {next_one}")
    return OK


def _list_tenants(args: argparse.Namespace) -> int:
    with opened(args) as store:
        tenants = [(tenant, store.accounts.numbers(tenant.name)) for tenant in store.accounts.tenants()]
    if args.json:
        print_json([_tenant_shown(tenant, numbers) for tenant, numbers in tenants])
    else:
        head = ("TENANT", "CREATED", "NUMBERS", "RECORD", "KEPT DAYS", "AI USD A DAY")
        rows = (
            (t.name, iso_time(t.created_us), len(numbers), t.record, t.recordings_days, _usd_of(t))
            for t, numbers in tenants
        )
        sys.stdout.write(table(head, rows))
    return OK


def _show_tenant(args: argparse.Namespace) -> int:
    with opened(args) as store:
        tenant, numbers = store.accounts.tenant(args.name), store.accounts.numbers(args.name)
    _print_tenant(args, tenant, numbers)
    return OK


def _set_tenant(args: argparse.Namespace) -> int:
    given = {
        "record": args.record,
        "ai_daily_spend_micros": args.ai_daily_spend,
        "recordings_days": args.recordings_days,
    }
    changes = {
        name: None if value == campaigns.DEFAULT else value for name, value in given.items() if value is not None
    }
    if not changes:
        args.parser.error("say what to set: --record, --ai-daily-spend, --recordings-days")
    with opened(args) as store:
        tenant, numbers = store.accounts.update_tenant(args.name, changes), store.accounts.numbers(args.name)
    _print_tenant(args, tenant, numbers)
    return OK


def _print_tenant(args: argparse.Namespace, tenant: Tenant, numbers: list[str]) -> None:
    shown = _tenant_shown(tenant, numbers)
    if args.json:
        print_json(shown)
    else:
        sys.stdout.write(
            listing({name: campaigns.DEFAULT if value is None else value for name, value in shown.items()})
        )


def _tenant_shown(tenant: Tenant, numbers: list[str]) -> dict[str, Any]:
    return {
        "id": tenant.id,
        "name": tenant.name,
        "created_time": iso_time(tenant.created_us),
        "numbers": numbers,
        "record": tenant.record,
        "recordings_days": tenant.recordings_days,
        "ai_daily_spend_usd": _usd_of(tenant),
    }


def _usd_of(tenant: Tenant) -> float | None:
    micros = tenant.ai_daily_spend_micros
    return None if micros is None else micros / 1_000_000


def _numbers(args: argparse.Namespace) -> int:
    with opened(args) as store:
        accounts = store.accounts
        _each(args.add, lambda number: accounts.add_number(args.tenant, number))
        gone = [number for number in args.remove if not accounts.remove_number(args.tenant, number)]
        numbers = accounts.numbers(args.tenant)
    if args.json:
        print_json({"tenant": args.tenant, "numbers": numbers})
    else:
        sys.stdout.writelines(f"{number}\n" for number in numbers)
    if gone:
        raise Failed(f"not this tenant's: {', '.join(gone)}", NOT_FOUND)
    return OK


def _each(values: list[str], do: Callable[[str], None]) -> None:
    """``do`` for each; a failure names the value, and those before it stay done."""
    from callengine.errors import AlreadyExists

    for value in values:
        try:
            do(value)
        except AlreadyExists:
            raise Failed(f"{value} is mapped to a tenant already (callengine tenant list --json shows whose)") from None


# -- keys -----------------------------------------------------------------------------------------------------------


def _create_key(args: argparse.Namespace) -> int:
    with opened(args) as store:
        key, text = store.accounts.create_key(args.tenant, args.scope, args.name)
    if args.json:
        print_json({"key": text, "prefix": key.prefix, "tenant": args.tenant, "scopes": key.scopes, "name": key.name})
    else:
        sys.stdout.write(f"{text}\n")
    if sys.stdout.isatty():
        say("callengine: this is the only time that the key is shown; use it as: Authorization: Bearer KEY")
    return OK


def _list_keys(args: argparse.Namespace) -> int:
    with opened(args) as store:
        keys = store.accounts.keys(args.tenant)
    if args.json:
        print_json(
            [
                {
                    "prefix": key.prefix,
                    "name": key.name,
                    "scopes": key.scopes,
                    "created_time": iso_time(key.created_us),
                    "last_used_time": iso_time(key.last_used_us),
                    "revoked_time": iso_time(key.revoked_us),
                }
                for key in keys
            ]
        )
    else:
        head = ("PREFIX", "NAME", "SCOPES", "CREATED", "LAST USED", "REVOKED")
        rows = (
            (
                key.prefix,
                key.name,
                " ".join(key.scopes),
                iso_time(key.created_us),
                iso_time(key.last_used_us),
                iso_time(key.revoked_us),
            )
            for key in keys
        )
        sys.stdout.write(table(head, rows))
    return OK


def _revoke_key(args: argparse.Namespace) -> int:
    prefix = args.prefix
    if prefix.startswith("ce_") and prefix.count("_") >= 2:  # the whole key was given
        prefix = prefix.split("_")[1]
    with opened(args) as store:
        if not store.accounts.revoke_key(prefix):
            raise Failed("there is no such key, or it is revoked already", NOT_FOUND)
    if args.json:
        print_json({"prefix": prefix, "revoked": True})
    else:
        say("callengine: the key is revoked")
    return OK
