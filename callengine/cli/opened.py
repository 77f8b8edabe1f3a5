"""The store, opened for one command, and how its instants are written."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final, NamedTuple

from callengine.cli.exits import NOT_FOUND, UNAVAILABLE, Failed
from callengine.cli.output import say
from callengine.cli.settings import is_missing, load_settings

if TYPE_CHECKING:
    from callengine.config.settings import Settings
    from callengine.store.accounts import Accounts
    from callengine.store.database import Store
    from callengine.store.edits import Edits
    from callengine.store.reads import Reads


MADE_BY: Final = ": callengine run makes it, or tenant create"


class Opened(NamedTuple):
    """The rooms of the store that commands work with."""

    accounts: Accounts
    edits: Edits
    reads: Reads


def quiet_hub() -> None:
    """Ctrl-C ends a command; gevent's hub would print a traceback of it first."""
    from gevent.hub import Hub

    if KeyboardInterrupt not in Hub.NOT_ERROR:
        Hub.NOT_ERROR = (*Hub.NOT_ERROR, KeyboardInterrupt)


@contextmanager
def existing(settings: Settings, *, remedy: str = "") -> Iterator[Store]:
    """The database of the settings, which has to be there; ``remedy`` follows where it is not.

    An older schema is not touched: a daemon that still knows only that one may be at work on it.
    """
    from callengine.store.database import open_database

    quiet_hub()
    if is_missing(settings):
        raise Failed(f"there is no database yet at {settings.database.url_without_password}{remedy}", UNAVAILABLE)
    store = open_database(settings.database, settings.state.directory, migrate_schema=False)
    try:
        yield store
    finally:
        store.close()


@contextmanager
def opened(args: argparse.Namespace, *, make: bool = False) -> Iterator[Opened]:
    """The database of the settings; with ``make`` it is made where there is none.

    An older schema is not touched: a daemon that still knows only that one may be at work on it.
    """
    from callengine.errors import NoSuchCampaign, NoSuchTenant
    from callengine.store.accounts import Accounts
    from callengine.store.database import open_database
    from callengine.store.edits import Edits
    from callengine.store.reads import Reads

    quiet_hub()
    settings = load_settings(args)
    where = settings.database.url_without_password
    is_new = is_missing(settings)
    if is_new and not make:
        raise Failed(f"there is no database yet at {where}{MADE_BY}", UNAVAILABLE)
    store = open_database(settings.database, settings.state.directory, migrate_schema=is_new)
    if is_new:
        say(f"callengine: a new database was made: {where}")
    try:
        reads = Reads(store)
        yield Opened(Accounts(store, store), Edits(store, reads), reads)
    except NoSuchTenant:
        raise Failed(f"there is no such tenant in {where}; make it with: callengine tenant create", NOT_FOUND) from None
    except NoSuchCampaign:
        raise Failed("this tenant has no such campaign", NOT_FOUND) from None
    finally:
        store.close()


def iso_time(us: int | None) -> str | None:
    """As the API writes it."""
    from callengine.calls.view import iso

    return iso(us)
