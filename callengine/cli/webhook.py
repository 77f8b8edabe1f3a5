"""``callengine webhook``: where tenants are told of their calls, and what could not be told.

It writes to the database in short transactions of its own, beside a running daemon or without one; the daemon, which
delivers, sees what changed within a second.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

from callengine.cli.exits import FAILED, NOT_FOUND, OK, Failed
from callengine.cli.opened import MADE_BY, existing
from callengine.cli.output import listing, print_json, say, table
from callengine.cli.parser import Commands, Parser, config_option, instant, json_option, whole
from callengine.cli.settings import load_settings

if TYPE_CHECKING:
    from callengine.webhooks.service import Webhooks

_ENDPOINT = "its id, as `webhook list` shows it"
_STATUSES = ("pending", "delivered", "dead")


def register(commands: Commands) -> None:
    """Declares them."""
    group = commands.group(
        "webhook",
        "endpoints that are told of calls, and dead letters",
        "An endpoint gets the events of its tenant's calls, signed as Standard Webhooks has it, in order for each "
        "call, again until it answers 2xx. What it did not take within a day is a dead letter, which can be replayed.",
        [
            "callengine webhook create --tenant acme --url https://crm.example.com/hook",
            "callengine webhook deliveries --tenant acme --status dead",
            "callengine webhook replay --tenant acme ENDPOINT --since 2026-11-22T00:00:00Z",
        ],
    )
    _register_changes(group)
    _common(group.add("list", _list, "a tenant's endpoints", examples=["callengine webhook list --tenant acme"]))
    deliveries = group.add(
        "deliveries",
        _deliveries,
        "what was told, and what could not be told; the newest first",
        examples=["callengine webhook deliveries --tenant acme --status dead"],
    )
    deliveries.add_argument("endpoint", metavar="ENDPOINT", nargs="?", help="only those of this endpoint")
    deliveries.add_argument("--status", choices=_STATUSES, help="only those with this status")
    deliveries.add_argument("--event", metavar="NAME", help="only those of this event, as in call.ended")
    deliveries.add_argument("--call", metavar="ID", help="only those about this call")
    deliveries.add_argument("--page", type=whole(1), default=1, metavar="N", help="counted from 1")
    deliveries.add_argument("--page-size", type=whole(1, 1000), default=50, metavar="N", help="default: 50")
    _common(deliveries)
    replay = group.add(
        "replay",
        _replay,
        "deliver dead letters again, or one event",
        "Without --event-id: all dead letters of the endpoint, in their order. With it: that event, also where it was "
        "delivered. Under the same ids as before.",
        ["callengine webhook replay 8f0c5a3e-6b7e-4d0f-9a53-1f6f2b0c9a11 --tenant acme --since 2026-11-22"],
    )
    replay.add_argument("endpoint", metavar="ENDPOINT", help=_ENDPOINT)
    replay.add_argument("--event-id", metavar="ID", help="the event, by its webhook-id")
    replay.add_argument(
        "--since", type=instant, metavar="TIME", help="only of events from then on, as in 2026-11-22T00:00:00Z"
    )
    _common(replay)
    test = group.add(
        "test",
        _test,
        "send an event of type webhook.test from this machine, and show what came back",
        examples=["callengine webhook test 8f0c5a3e-6b7e-4d0f-9a53-1f6f2b0c9a11 --tenant acme"],
    )
    test.add_argument("endpoint", metavar="ENDPOINT", help=_ENDPOINT)
    _common(test)


def _register_changes(group: Commands) -> None:
    create = group.add(
        "create",
        _create,
        "register an endpoint and print its secret, alone, on standard output",
        "The secret is printed this once. The endpoint's id is in `webhook list`, and with --json here.",
        ["callengine webhook create --tenant acme --url https://crm.example.com/hook --event call.ended"],
    )
    create.add_argument(
        "--url", required=True, help="https:// and a public host, unless webhooks.allow_networks opens more"
    )
    create.add_argument("--event", action="append", default=[], metavar="NAME", help="may be repeated (default: all)")
    create.add_argument("--description", metavar="TEXT", help="for people")
    _common(create)
    update = group.add(
        "update",
        _update,
        "change an endpoint, or enable it again",
        examples=["callengine webhook update 8f0c5a3e-6b7e-4d0f-9a53-1f6f2b0c9a11 --tenant acme --enabled"],
    )
    update.add_argument("endpoint", metavar="ENDPOINT", help=_ENDPOINT)
    update.add_argument("--url", help="where to POST")
    update.add_argument("--event", action="append", metavar="NAME", help="these events, in place of those it gets")
    update.add_argument("--description", metavar="TEXT", help="for people")
    update.add_argument("--enabled", action=argparse.BooleanOptionalAction, help="whether it is told of events")
    _common(update)
    delete = group.add(
        "delete",
        _delete,
        "delete an endpoint, with its log and what waits for it",
        examples=["callengine webhook delete 8f0c5a3e-6b7e-4d0f-9a53-1f6f2b0c9a11 --tenant acme"],
    )
    delete.add_argument("endpoint", metavar="ENDPOINT", help=_ENDPOINT)
    _common(delete)
    rotate = group.add(
        "rotate",
        _rotate,
        "a new secret, printed alone on standard output; the old one signs for a while",
        examples=["callengine webhook rotate 8f0c5a3e-6b7e-4d0f-9a53-1f6f2b0c9a11 --tenant acme --overlap 3600"],
    )
    rotate.add_argument("endpoint", metavar="ENDPOINT", help=_ENDPOINT)
    rotate.add_argument(
        "--overlap", type=whole(0, 604_800), default=86_400, metavar="SECONDS", help="how long (default: a day)"
    )
    _common(rotate)


def _common(parser: Parser) -> None:
    parser.add_argument("--tenant", required=True, metavar="T", help="whose it is")
    config_option(parser)
    json_option(parser)


# -- the store ------------------------------------------------------------------------------------------------------


class _Opened(NamedTuple):
    webhooks: Webhooks
    tenant_id: str


@contextmanager
def _opened(args: argparse.Namespace) -> Iterator[_Opened]:
    # What looks names up and sends has timeouts of gevent's; patched before ssl and socket are used.
    import callengine.patched  # noqa: F401
    from callengine.errors import NoSuchTenant
    from callengine.store.accounts import Accounts
    from callengine.webhooks.guard import Guard
    from callengine.webhooks.sender import Sender
    from callengine.webhooks.service import Webhooks

    settings = load_settings(args)
    guard = Guard(settings.webhooks.allow_networks, allow_http=settings.webhooks.allow_http)
    sending = closing(Sender(guard, timeout_s=settings.webhooks.timeout_s))
    with existing(settings, remedy=MADE_BY) as store, sending as sender:
        try:
            tenant = Accounts(store, store).tenant(args.tenant)
            yield _Opened(Webhooks(store, store, settings.webhooks, guard, sender), tenant.id)
        except NoSuchTenant:
            where = settings.database.url_without_password
            raise Failed(
                f"there is no such tenant in {where}; make it with: callengine tenant create", NOT_FOUND
            ) from None


def _shown(endpoint: Any) -> dict[str, Any]:
    from callengine.api.webhooks import endpoint_shown

    return endpoint_shown(endpoint)


# -- endpoints ------------------------------------------------------------------------------------------------------


def _create(args: argparse.Namespace) -> int:
    with _opened(args) as o:
        endpoint, secret = o.webhooks.create(o.tenant_id, args.url, args.event, args.description, True)
    return _print_secret(args, endpoint, secret)


def _rotate(args: argparse.Namespace) -> int:
    with _opened(args) as o:
        endpoint, secret = o.webhooks.rotate_secret(o.tenant_id, args.endpoint.lower(), args.overlap)
    return _print_secret(args, endpoint, secret)


def _print_secret(args: argparse.Namespace, endpoint: Any, secret: str) -> int:
    if args.json:
        print_json({**_shown(endpoint), "secret": secret})
    else:
        sys.stdout.write(f"{secret}\n")
    if sys.stdout.isatty():
        say(f"callengine: endpoint {endpoint.id}; this is the only time that its secret is shown")
    return OK


def _list(args: argparse.Namespace) -> int:
    with _opened(args) as o:
        found, _ = o.webhooks.endpoints(o.tenant_id, 1, 1000)
    if args.json:
        print_json([_shown(endpoint) for endpoint in found])
        return OK
    rows = ((e.id, _state(_shown(e)), len(e.events), e.url, e.description) for e in found)
    sys.stdout.write(table(("ENDPOINT", "STATE", "EVENTS", "URL", "DESCRIPTION"), rows))
    return OK


def _state(shown: Mapping[str, Any]) -> str:
    if not shown["enabled"]:
        return f"disabled ({shown['disabled_reason']})" if shown["disabled_reason"] else "disabled"
    return f"failing since {shown['failing_since']}" if shown["failing_since"] else "ok"


def _update(args: argparse.Namespace) -> int:
    given = {"url": args.url, "events": args.event, "description": args.description, "enabled": args.enabled}
    changes = {name: value for name, value in given.items() if value is not None}
    if not changes:
        args.parser.error("nothing to change: give --url, --event, --description or --enabled")
    return _one(args, lambda o: _shown(o.webhooks.update(o.tenant_id, args.endpoint.lower(), changes)))


def _delete(args: argparse.Namespace) -> int:
    return _one(
        args, lambda o: _shown(o.webhooks.delete(o.tenant_id, args.endpoint.lower())), "the endpoint is deleted"
    )


def _one(args: argparse.Namespace, do: Callable[[_Opened], dict[str, Any]], said: str | None = None) -> int:
    with _opened(args) as o:
        shown = do(o)
    if args.json:
        print_json(shown)
    elif said is not None:
        say(f"callengine: {said}")
    else:
        sys.stdout.write(listing(shown))
    return OK


# -- deliveries -----------------------------------------------------------------------------------------------------


def _deliveries(args: argparse.Namespace) -> int:
    from callengine.calls.call import EventName
    from callengine.store.reads import is_uuid

    if args.call is not None and not is_uuid(args.call):
        raise Failed("there is no such call", NOT_FOUND)
    if args.event is not None and args.event.lower() not in list(EventName):
        args.parser.error(f"--event must be one of {', '.join(EventName)}")
    given = {"endpoint_id": args.endpoint, "status": args.status, "event": args.event, "call_id": args.call}
    filters = {name: value.lower() for name, value in given.items() if value is not None}
    with _opened(args) as o:
        found, total = o.webhooks.deliveries(o.tenant_id, filters, args.page, args.page_size)
    _print_deliveries(args, found)
    if total > args.page * args.page_size:
        say(f"callengine: {total} deliveries; the next ones: --page {args.page + 1}")
    return OK


def _print_deliveries(args: argparse.Namespace, found: list[Any]) -> None:
    from callengine.api.webhooks import delivery_shown

    shown = [delivery_shown(delivery) for delivery in found]
    if args.json:
        print_json(shown)
        return
    head = ("CREATED", "EVENT", "SEQ", "STATUS", "ATTEMPTS", "LAST", "EVENT ID", "CALL")
    rows = (
        (d["created_time"], d["event"], d["seq"], d["status"], d["attempts"], _last(d), d["event_id"], d["call_id"])
        for d in shown
    )
    sys.stdout.write(table(head, rows))


def _last(shown: Mapping[str, Any]) -> str | None:
    return shown["last_error"] or (str(shown["last_status"]) if shown["last_status"] else None)


def _replay(args: argparse.Namespace) -> int:
    endpoint = args.endpoint.lower()
    if args.event_id is not None:
        with _opened(args) as o:
            delivery = o.webhooks.replay(o.tenant_id, endpoint, args.event_id.lower())
        _print_deliveries(args, [delivery])
        return OK
    since_us = args.since or 0
    with _opened(args) as o:
        replayed, complete = o.webhooks.replay_dead(o.tenant_id, endpoint, since_us)
    if args.json:
        print_json({"replayed": replayed, "complete": complete})
    else:
        say(f"callengine: {replayed} dead letters are delivered again{'' if complete else '; there are more: again'}")
    return OK


def _test(args: argparse.Namespace) -> int:
    from callengine.api.webhooks import reply_shown

    with _opened(args) as o:
        shown = reply_shown(o.webhooks.test(o.tenant_id, args.endpoint.lower()))
    if args.json:
        print_json(shown)
    else:
        sys.stdout.write(listing(shown))
    return OK if shown["delivered"] else FAILED
