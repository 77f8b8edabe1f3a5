"""What the API and the command do with endpoints and deliveries. Each method returns once it is committed."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping
from typing import Any, Final

import gevent
import orjson
import uuid_utils

from callengine.calls.call import EventName
from callengine.calls.view import iso
from callengine.config.sections import Webhooks as Settings
from callengine.errors import MalformedInput, NotAllowed, TooManyTests, UrlRefused
from callengine.store.clock import clock_us
from callengine.store.database import Store
from callengine.store.entities import Executes
from callengine.store.webhooks import Attempt, Delivery, Endpoint, EndpointStore
from callengine.webhooks import signature
from callengine.webhooks.guard import Guard, parse
from callengine.webhooks.sender import Reply, Sender

TEST_EVENT: Final = "webhook.test"
OVERLAP_MAX_S: Final = 7 * 24 * 3600
_CHECK_S: Final = 5.0
_REPLAY_S: Final = 10.0
_TESTS: Final = 16


class Webhooks:
    """``guard`` and ``sender`` are those that deliver. ``on_change``: something may be due now, or no longer.

    All methods raise StoreUnavailable; those that name an endpoint, NoSuchEndpoint.
    """

    def __init__(
        self,
        store: Store,
        executor: Executes,
        settings: Settings,
        guard: Guard,
        sender: Sender,
        *,
        on_change: Callable[[], None] = lambda: None,
        now_us: Callable[[], int] = clock_us,
    ) -> None:
        self._endpoints = EndpointStore(store, executor)
        self._settings = settings
        self._guard = guard
        self._sender = sender
        self._on_change = on_change
        self._now_us = now_us
        self._testing: set[str] = set()

    # -- endpoints ---------------------------------------------------------------------------------------------------

    def create(
        self, tenant_id: str, url: str, events: Collection[str], description: str | None, enabled: bool
    ) -> tuple[Endpoint, str]:
        """The endpoint and its secret, which nobody can read again. ``events`` empty: all.

        Raises MalformedInput, NotAllowed (the URL), TooManyEndpoints.
        """
        self._check(tenant_id, url)
        secret = signature.new_secret()
        wanted = _events(events) if events else tuple(name.value for name in EventName)
        endpoint = Endpoint(
            id=str(uuid_utils.uuid7()),
            url=url,
            description=_storable(description),
            events=wanted,
            enabled=enabled,
            disabled_reason=None,
            failures=0,
            failing_since_us=None,
            retry_us=0,
            old_secret_until_us=None,
            created_us=self._now_us(),
        )
        return self._endpoints.add(tenant_id, endpoint, secret, self._settings.max_endpoints), secret

    def endpoints(self, tenant_id: str, page: int, page_size: int) -> tuple[list[Endpoint], int]:
        """The tenant's, the oldest first."""
        return self._endpoints.page(tenant_id, page, page_size)

    def endpoint(self, tenant_id: str, endpoint_id: str) -> Endpoint:
        """One of them."""
        return self._endpoints.get(tenant_id, endpoint_id)

    def update(self, tenant_id: str, endpoint_id: str, changes: Mapping[str, Any]) -> Endpoint:
        """Sets ``url``, ``events``, ``description``, ``enabled``. Raises MalformedInput, NotAllowed."""
        values = dict(changes)
        if unknown := set(values) - {"url", "events", "description", "enabled"}:
            raise ValueError(f"not to be edited: {', '.join(sorted(unknown))}")
        if "url" in values:
            self._endpoints.get(tenant_id, endpoint_id)  # what is not there is told before what is wrong
            self._check(tenant_id, values["url"])
        if "events" in values:
            values["events"] = _events(values["events"])
        if "description" in values:
            values["description"] = _storable(values["description"])
        changed = self._endpoints.change(tenant_id, endpoint_id, values)
        self._on_change()
        return changed

    def delete(self, tenant_id: str, endpoint_id: str) -> Endpoint:
        """The endpoint as it was; nothing more is sent to it."""
        return self._endpoints.remove(tenant_id, endpoint_id)

    def rotate_secret(self, tenant_id: str, endpoint_id: str, overlap_s: int) -> tuple[Endpoint, str]:
        """A new secret, which nobody can read again; that of before signs as well for ``overlap_s`` seconds."""
        if not 0 <= overlap_s <= OVERLAP_MAX_S:
            raise MalformedInput("overlap_s", f"must be from 0 to {OVERLAP_MAX_S}")
        secret = signature.new_secret()
        until_us = self._now_us() + overlap_s * 1_000_000 if overlap_s else None
        return self._endpoints.replace_secret(tenant_id, endpoint_id, secret, until_us), secret

    def test(self, tenant_id: str, endpoint_id: str) -> Reply:
        """Sends an event of type ``webhook.test`` now, once, also where it is disabled; one at a time for a tenant.

        Raises TooManyTests.
        """
        now_us = self._now_us()
        url, secrets = self._endpoints.secrets(tenant_id, endpoint_id, now_us)
        if tenant_id in self._testing or len(self._testing) >= _TESTS:
            raise TooManyTests
        self._testing.add(tenant_id)
        try:
            event_id = str(uuid_utils.uuid7())
            body = orjson.dumps({"type": TEST_EVENT, "timestamp": iso(now_us), "id": event_id, "seq": 0, "data": {}})
            keys = [signature.key_of(secret) for secret in secrets]
            headers = signature.headers(keys, event_id, now_us // 1_000_000, body)
            return self._sender.send(url, headers, body, tenant_id=tenant_id)
        finally:
            self._testing.discard(tenant_id)

    # -- deliveries --------------------------------------------------------------------------------------------------

    def deliveries(
        self, tenant_id: str, filters: Mapping[str, str], page: int, page_size: int
    ) -> tuple[list[Delivery], int]:
        """The newest events first. ``filters``: ``endpoint_id``, ``status``, ``event``, ``call_id``."""
        return self._endpoints.deliveries(tenant_id, filters, page, page_size)

    def delivery(self, tenant_id: str, endpoint_id: str, event_id: str) -> tuple[Delivery, list[Attempt]]:
        """One delivery, with its attempts in order. Raises NoSuchDelivery."""
        return self._endpoints.delivery(tenant_id, endpoint_id, event_id)

    def replay(self, tenant_id: str, endpoint_id: str, event_id: str) -> Delivery:
        """Delivers an event again, under the same id. Raises NoSuchDelivery."""
        delivery = self._endpoints.replay(tenant_id, endpoint_id, event_id, self._now_us())
        self._on_change()
        return delivery

    def replay_dead(self, tenant_id: str, endpoint_id: str, since_us: int) -> tuple[int, bool]:
        """Delivers dead letters again whose events are not older. How many; and whether that was all of them."""
        total, deadline = 0, time.monotonic() + _REPLAY_S
        while True:
            n = self._endpoints.replay_dead(tenant_id, endpoint_id, since_us, self._now_us())
            total += n
            self._on_change()
            if n < 1000:
                return total, True
            if time.monotonic() >= deadline:
                return total, False

    def _check(self, tenant_id: str, url: str) -> None:
        try:
            target = parse(url)
        except UrlRefused as error:
            raise MalformedInput("url", error.reason) from None
        timeout = gevent.Timeout(_CHECK_S)
        timeout.start()
        try:
            self._guard.addresses_of_new(target, tenant_id)
        except UrlRefused as error:
            raise NotAllowed("url", error.reason) from None
        except gevent.Timeout as raised:
            if raised is not timeout:  # else its name cannot be looked up at the moment; each attempt looks again
                raise
        finally:
            timeout.close()


def _events(names: Collection[str]) -> tuple[str, ...]:
    known = [name.value for name in EventName]
    if not names or not set(names) <= set(known):
        raise MalformedInput("events", f"must be some of: {', '.join(known)}")
    return tuple(name for name in known if name in names)


def _storable(text: str | None) -> str | None:
    """NUL and lone surrogates are what JSON can say and a database cannot keep."""
    if text is not None and ("\0" in text or any("\ud800" <= character <= "\udfff" for character in text)):
        raise MalformedInput("description", "must not contain NUL or lone surrogates")
    return text
