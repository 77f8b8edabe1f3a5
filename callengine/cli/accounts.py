"""``callengine tenant``, ``key`` and ``campaign``: whose calls they are, and who may read them.

They write to the database in short transactions of their own, beside a running daemon or without one. The daemon sees a
new key at once, and new tenants and numbers within seconds.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

from callengine.cli.exits import NOT_FOUND, OK, UNAVAILABLE, Failed
from callengine.cli.output import print_json, say, table
from callengine.cli.parser import Commands, Parser, config_option, json_option, whole
from callengine.cli.settings import is_missing, load_settings

if TYPE_CHECKING:
    from callengine.store.accounts import Accounts
    from callengine.store.edits import Edits
    from callengine.store.reads import Reads

_SCOPES = """\
calls:read (also timelines), calls:write (originate, call control, disposition and notes), campaigns:read, \
campaigns:write (campaigns and leads), webhooks:read, webhooks:write"""


def register(commands: Commands) -> None:
    """Declares all three."""
    _register_tenant(commands)
    _register_key(commands)
    _register_campaign(commands)


def _register_tenant(commands: Commands) -> None:
    group = commands.group(
        "tenant",
        "whose calls they are",
        "A call belongs to the tenant that its dialled number is mapped to, or that a channel variable names "
        "(tracking.tenant_variable); all others to the operator's own (tracking.default_tenant).",
        [
            "callengine tenant create acme",
            "callengine tenant numbers acme --add +3725550100 --add +3725550101",
            "callengine tenant list",
        ],
    )
    create = group.add("create", _create_tenant, "make a tenant")
    create.add_argument("name", metavar="NAME", help="1 to 128 printable characters")
    _common(create)
    _common(group.add("list", _list_tenants, "all tenants"))
    numbers = group.add(
        "numbers",
        _numbers,
        "the dialled numbers that make an inbound call a tenant's",
        "Without --add and --remove: lists them. Numbers are compared as the switch has them, character by character.",
    )
    numbers.add_argument("tenant", metavar="TENANT")
    numbers.add_argument("--add", action="append", default=[], metavar="NUMBER", help="may be repeated")
    numbers.add_argument("--remove", action="append", default=[], metavar="NUMBER", help="may be repeated")
    _common(numbers)


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
    listing = group.add("list", _list_keys, "a tenant's keys, without their secrets")
    listing.add_argument("--tenant", required=True, metavar="T")
    _common(listing)
    revoke = group.add("revoke", _revoke_key, "end a key for good; it may work for some seconds more")
    revoke.add_argument("prefix", metavar="PREFIX", help="as `key list` shows it: the part between the underscores")
    config_option(revoke)


def _register_campaign(commands: Commands) -> None:
    group = commands.group(
        "campaign",
        "campaigns",
        "A campaign that is first seen on a call is made by itself; `create` is for one that is to be there before.",
        [
            "callengine campaign create spring-2026 --tenant acme --name 'Spring 2026'",
            "callengine campaign list --tenant acme",
        ],
    )
    create = group.add("create", _create_campaign, "make a campaign")
    create.add_argument("id", metavar="ID", help="the tenant's own: 1 to 128 printable characters")
    create.add_argument("--tenant", required=True, metavar="T")
    create.add_argument("--name", help="a name for people")
    _common(create)
    listing = group.add("list", _list_campaigns, "a tenant's campaigns, the newest first")
    listing.add_argument("--tenant", required=True, metavar="T")
    listing.add_argument("--page", type=whole(1), default=1, metavar="N", help="counted from 1")
    listing.add_argument("--page-size", type=whole(1, 1000), default=100, metavar="N", help="default: 100")
    _common(listing)


def _common(parser: Parser) -> None:
    config_option(parser)
    json_option(parser)


# -- the store ------------------------------------------------------------------------------------------------------


class _Store(NamedTuple):
    accounts: Accounts
    edits: Edits
    reads: Reads


@contextmanager
def _opened(args: argparse.Namespace, *, make: bool = False) -> Iterator[_Store]:
    """The database of the settings; with ``make`` it is made where there is none.

    An older schema is not touched: a daemon that still knows only that one may be at work on it.
    """
    from callengine.errors import NoSuchTenant
    from callengine.store.accounts import Accounts
    from callengine.store.database import open_database
    from callengine.store.edits import Edits
    from callengine.store.reads import Reads

    settings = load_settings(args)
    where = settings.database.url_without_password
    is_new = is_missing(settings)
    if is_new and not make:
        raise Failed(f"there is no database yet at {where}: callengine run makes it, or tenant create", UNAVAILABLE)
    store = open_database(settings.database, settings.state.directory, migrate_schema=is_new)
    if is_new:
        say(f"callengine: a new database was made: {where}")
    try:
        reads = Reads(store)
        yield _Store(Accounts(store, store), Edits(store, reads), reads)
    except NoSuchTenant:
        raise Failed(f"there is no such tenant in {where}; make it with: callengine tenant create", NOT_FOUND) from None
    finally:
        store.close()


def _iso(us: int | None) -> str | None:
    from callengine.calls.view import iso

    return iso(us)


# -- tenants --------------------------------------------------------------------------------------------------------


def _create_tenant(args: argparse.Namespace) -> int:
    with _opened(args, make=True) as store:
        tenant = store.accounts.create_tenant(args.name)
    if args.json:
        print_json({"id": tenant.id, "name": tenant.name, "created_time": _iso(tenant.created_us)})
    else:
        say(f"callengine: the tenant {tenant.name} is made; next: callengine key create --tenant … --scope calls:read")
    return OK


def _list_tenants(args: argparse.Namespace) -> int:
    with _opened(args) as store:
        tenants = [(tenant, store.accounts.numbers(tenant.name)) for tenant in store.accounts.tenants()]
    if args.json:
        print_json(
            [
                {"id": tenant.id, "name": tenant.name, "created_time": _iso(tenant.created_us), "numbers": numbers}
                for tenant, numbers in tenants
            ]
        )
    else:
        rows = ((tenant.name, _iso(tenant.created_us), len(numbers)) for tenant, numbers in tenants)
        sys.stdout.write(table(("TENANT", "CREATED", "NUMBERS"), rows))
    return OK


def _numbers(args: argparse.Namespace) -> int:
    with _opened(args) as store:
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
    with _opened(args) as store:
        key, text = store.accounts.create_key(args.tenant, args.scope, args.name)
    if args.json:
        print_json({"key": text, "prefix": key.prefix, "tenant": args.tenant, "scopes": key.scopes, "name": key.name})
    else:
        sys.stdout.write(f"{text}\n")
    if sys.stdout.isatty():
        say("callengine: this is the only time that the key is shown; use it as: Authorization: Bearer KEY")
    return OK


def _list_keys(args: argparse.Namespace) -> int:
    with _opened(args) as store:
        keys = store.accounts.keys(args.tenant)
    if args.json:
        print_json(
            [
                {
                    "prefix": key.prefix,
                    "name": key.name,
                    "scopes": key.scopes,
                    "created_time": _iso(key.created_us),
                    "last_used_time": _iso(key.last_used_us),
                    "revoked_time": _iso(key.revoked_us),
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
                _iso(key.created_us),
                _iso(key.last_used_us),
                _iso(key.revoked_us),
            )
            for key in keys
        )
        sys.stdout.write(table(head, rows))
    return OK


def _revoke_key(args: argparse.Namespace) -> int:
    prefix = args.prefix
    if prefix.startswith("ce_") and prefix.count("_") >= 2:  # the whole key was given
        prefix = prefix.split("_")[1]
    with _opened(args) as store:
        if not store.accounts.revoke_key(prefix):
            raise Failed("there is no such key, or it is revoked already", NOT_FOUND)
    say("callengine: the key is revoked")
    return OK


# -- campaigns ------------------------------------------------------------------------------------------------------


def _create_campaign(args: argparse.Namespace) -> int:
    from callengine.calls.ids import usable_id

    if not usable_id(args.id):
        raise Failed("the campaign's id must have 1 to 128 printable characters")
    with _opened(args) as store:
        campaign = store.edits.create_campaign(store.accounts.tenant(args.tenant).id, args.id, args.name)
    if args.json:
        print_json({"id": campaign.id, "name": campaign.name, "created_time": _iso(campaign.created_us)})
    else:
        say(f"callengine: the campaign {campaign.id} is made")
    return OK


def _list_campaigns(args: argparse.Namespace) -> int:
    with _opened(args) as store:
        tenant = store.accounts.tenant(args.tenant)
        campaigns, total = store.reads.campaigns(tenant.id, args.page, args.page_size)
    if args.json:
        print_json([{"id": c.id, "name": c.name, "created_time": _iso(c.created_us)} for c in campaigns])
    else:
        sys.stdout.write(
            table(("CAMPAIGN", "NAME", "CREATED"), ((c.id, c.name, _iso(c.created_us)) for c in campaigns))
        )
    if total > args.page * args.page_size:
        say(f"callengine: {total} campaigns; the next ones: --page {args.page + 1}")
    return OK
