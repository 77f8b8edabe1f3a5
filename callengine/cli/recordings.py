"""``callengine tenant recordings``: how long a tenant's recordings are kept, and deleting what was kept long enough.

It works beside a running daemon, which does the same by itself from time to time.
"""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING, Any

from callengine.cli.exits import FAILED, NOT_FOUND, OK, Failed
from callengine.cli.opened import existing
from callengine.cli.output import listing, print_json, say, table
from callengine.cli.parser import Commands, config_option, json_option, whole
from callengine.cli.settings import load_settings

if TYPE_CHECKING:
    from callengine.config.settings import Settings
    from callengine.recordings.retention import Doomed, Retention
    from callengine.store.database import Store
    from callengine.store.entities import Tenant

_MAX_DAYS = 36_500
_TIMEOUT_S = 10.0


def register_below(tenant: Commands) -> None:
    """Declares it below ``callengine tenant``."""
    parser = tenant.add(
        "recordings",
        _run,
        "how long a tenant's recordings are kept; delete what was kept long enough",
        "Without options: shows the tenant's rule. Recordings are counted from when they were found ready; one "
        "whose call is still to be analysed is kept up to seven days longer.\n\n"
        "A running daemon deletes by itself, once an hour. --delete does it now, and says what it deleted; files that "
        "lie on another machine are left to the daemon there.",
        [
            "callengine tenant recordings acme --keep-days 90",
            "callengine tenant recordings acme --delete --dry-run",
        ],
    )
    parser.add_argument("tenant", metavar="NAME", help="the tenant's name")
    rule = parser.add_mutually_exclusive_group()
    rule.add_argument("--keep-days", type=whole(1, _MAX_DAYS), metavar="N", help="keep them for so many days")
    rule.add_argument("--keep-for-ever", action="store_true", help="never delete them")
    rule.add_argument("--default", action="store_true", help="no rule of its own: recordings.keep_days counts")
    parser.add_argument("--delete", action="store_true", help="delete what was kept long enough")
    parser.add_argument("--dry-run", action="store_true", help="with --delete: only say what would be deleted")
    config_option(parser)
    json_option(parser)


def _run(args: argparse.Namespace) -> int:
    if args.dry_run and not args.delete:
        args.parser.error("--dry-run goes with --delete")
    from callengine.errors import NoSuchTenant

    settings = load_settings(args)
    with existing(settings) as store:
        try:
            tenant = _ruled(args, store)
        except NoSuchTenant:
            raise Failed("there is no such tenant; make it with: callengine tenant create", NOT_FOUND) from None
        if args.delete:
            return _delete(args, settings, store, tenant)
        return _show(args, settings, tenant)


def _ruled(args: argparse.Namespace, store: Store) -> Tenant:
    """The tenant, its rule changed if that is asked. A dry run changes nothing, and shows what the rule would do."""
    from msgspec.structs import replace

    from callengine.store import recordings

    tenant = store.run(lambda db: recordings.rule(db, args.tenant), _TIMEOUT_S)
    if args.keep_days is None and not args.keep_for_ever and not args.default:
        return tenant
    days: int | None = None if args.default else args.keep_days or 0
    if not args.dry_run:
        store.execute(lambda db: recordings.keep(db, args.tenant, days), _TIMEOUT_S)
    return replace(tenant, recordings_days=days)


def _show(args: argparse.Namespace, settings: Settings, tenant: Tenant) -> int:
    own = tenant.recordings_days is not None
    days = tenant.recordings_days if own else settings.recordings.keep_days
    if args.json:
        print_json({"tenant": tenant.name, "keep_days": days or None, "own_rule": own})
    else:
        kept = f"{days} days" if days else "for ever"
        whose = "the tenant's own rule" if own else "recordings.keep_days"
        sys.stdout.write(listing({"tenant": tenant.name, "kept": kept, "by": whose}))
    return OK


def _delete(args: argparse.Namespace, settings: Settings, store: Store, tenant: Tenant) -> int:
    retention = _retention(settings, store, asks_bucket=not args.dry_run)
    done = [doomed if args.dry_run else retention.delete(doomed) for doomed in retention.due(tenant)]
    left = sum(1 for doomed in done if doomed.problem is not None)
    if args.json:
        print_json([_shown(doomed, dry_run=args.dry_run) for doomed in done])
    elif done:
        head = ("CALL", "RECORDING", "STORAGE", "BYTES", "DAYS", "WHY NOT")
        cells = ((d.row.call_id, d.row.id, d.row.storage, d.row.bytes or 0, d.age_s // 86_400, d.problem) for d in done)
        sys.stdout.write(table(head, cells))
    total = sum(doomed.row.bytes or 0 for doomed in done if doomed.problem is None)
    verb = "would be deleted" if args.dry_run else "deleted"
    say(f"callengine: {len(done) - left} recordings {verb}, {total} bytes" + (f"; {left} left" if left else ""))
    return FAILED if left else OK


def _shown(doomed: Doomed, *, dry_run: bool) -> dict[str, Any]:
    return doomed.shown() | {"deleted": not dry_run and doomed.problem is None}


def _retention(settings: Settings, store: Store, *, asks_bucket: bool) -> Retention:
    from callengine.recordings.paths import Folders
    from callengine.recordings.retention import Retention

    bucket = None
    if asks_bucket and settings.recordings.storage == "s3":
        from callengine.recordings.s3 import Bucket

        bucket = Bucket(settings.s3)
    folders = Folders(settings.recordings.directories, settings.recordings.path_map)
    return Retention(store, store, folders, settings, bucket=bucket)
