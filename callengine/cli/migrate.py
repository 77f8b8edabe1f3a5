"""``callengine migrate``: the schema of the database."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from callengine.cli.exits import FAILED, OK
from callengine.cli.output import print_json, say
from callengine.cli.parser import Commands, Parser, config_option, json_option
from callengine.cli.settings import is_missing, load_settings
from callengine.config.places import database_file

if TYPE_CHECKING:
    from callengine.config.settings import Settings


def register(commands: Commands) -> None:
    """Declares both."""
    group = commands.group(
        "migrate",
        "bring the database's schema up to date",
        "`callengine run` does so by itself; these are for who wants to see first, or to do it at a time of their own.",
        [
            "callengine migrate status",
            "callengine migrate run",
        ],
    )
    status = group.add(
        "status",
        _status,
        "what is applied and what is still to be; exit code 1 if anything is",
    )
    run = group.add("run", _run, "apply what is still to be")
    for parser in (status, run):
        _options(parser)


def _options(parser: Parser) -> None:
    config_option(parser)
    json_option(parser)


def _status(args: argparse.Namespace) -> int:
    settings = load_settings(args)
    known, pending = _look(settings)
    if args.json:
        print_json({"database": settings.database.url_without_password, "known": known, "pending": pending})
    else:
        for name in known:
            sys.stdout.write(f"{'pending' if name in pending else 'applied'}  {name}\n")
        say(f"callengine: {settings.database.url_without_password}: {len(pending)} of {len(known)} are pending")
    return FAILED if pending else OK


def _run(args: argparse.Namespace) -> int:
    from callengine.store.database import open_database

    settings = load_settings(args)
    pending = _look(settings)[1]
    open_database(settings.database, settings.state.directory).close()
    if args.json:
        print_json({"database": settings.database.url_without_password, "applied": pending})
    else:
        sys.stdout.writelines(f"applied  {name}\n" for name in pending)
        say(f"callengine: {settings.database.url_without_password}: up to date")
    return OK


def _look(settings: Settings) -> tuple[list[str], list[str]]:
    """The migrations that there are, and those of them that are not applied. Changes nothing."""
    from callengine.errors import StoreUnavailable
    from callengine.store import faults, migrate
    from callengine.store.database import Store, discard

    known = migrate.known()
    if is_missing(settings):
        return known, known
    store = Store(settings.database)
    store.path = database_file(settings)
    db = store.connection(readonly=True)
    try:
        db.connect()
        return known, migrate.pending(db)
    except Exception as error:
        if (reason := faults.away(error)) is not None:
            raise StoreUnavailable(reason) from None
        raise
    finally:
        discard(db)
