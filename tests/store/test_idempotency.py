"""Idempotency-Keys of a tenant."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import gevent
import pytest

from callengine.errors import IdempotencyConflict, IdempotencyInProgress
from callengine.store import idempotency
from callengine.store.database import Store
from callengine.store.idempotency import KEPT_US, Answer
from tests.store.build import OTHER, TENANT, a_call

Run = Callable[..., Any]
_NOW_US = 1_000_000_000_000_000


@pytest.fixture
def run(store: Store) -> Run:
    """Runs a function of ``idempotency`` in a transaction of its own."""
    return lambda fn, *args: store.execute(lambda db: fn(db, *args), 5)


def test_the_first_answer_is_given_again(run: Run) -> None:
    claim = partial(run, idempotency.claim, TENANT, "k", "body", _NOW_US)
    given = Answer(202, '{"id": "ü"}', a_call().id)
    assert claim() is None
    with pytest.raises(IdempotencyInProgress):
        claim()
    run(idempotency.answer, TENANT, "k", given)
    assert claim() == given == claim()


def test_another_body_is_a_conflict_answered_or_not(run: Run) -> None:
    run(idempotency.claim, TENANT, "k", "body", _NOW_US)
    with pytest.raises(IdempotencyConflict):
        run(idempotency.claim, TENANT, "k", "other", _NOW_US)
    run(idempotency.answer, TENANT, "k", Answer(202, "{}", None))
    with pytest.raises(IdempotencyConflict):
        run(idempotency.claim, TENANT, "k", "other", _NOW_US)


def test_keys_are_the_tenants_own(run: Run) -> None:
    run(idempotency.claim, TENANT, "k", "body", _NOW_US)
    assert run(idempotency.claim, OTHER, "k", "other", _NOW_US) is None
    assert run(idempotency.claim, TENANT, "K", "other", _NOW_US) is None


def test_what_was_refused_keeps_no_key(run: Run) -> None:
    run(idempotency.claim, TENANT, "k", "body", _NOW_US)
    run(idempotency.drop, TENANT, "k")
    assert run(idempotency.claim, TENANT, "k", "other", _NOW_US) is None


def test_a_key_is_kept_for_a_day(run: Run) -> None:
    run(idempotency.claim, TENANT, "old", "body", _NOW_US)
    run(idempotency.claim, TENANT, "young", "body", _NOW_US + 1)
    with pytest.raises(IdempotencyInProgress):
        run(idempotency.claim, TENANT, "old", "body", _NOW_US + KEPT_US - 1)
    assert run(idempotency.prune, _NOW_US + KEPT_US) == 1
    assert run(idempotency.prune, _NOW_US + KEPT_US) == 0
    assert run(idempotency.claim, TENANT, "young", "body", _NOW_US + 1 + KEPT_US) is None


def test_of_many_at_once_one_is_the_first(run: Run) -> None:
    def try_it() -> str:
        try:
            return "first" if run(idempotency.claim, TENANT, "k", "body", _NOW_US) is None else "answered"
        except IdempotencyInProgress:
            return "wait"

    requests = [gevent.spawn(try_it) for _ in range(8)]
    gevent.joinall(requests, timeout=20)
    assert [g.value for g in requests].count("first") == 1
    assert [g.value for g in requests].count("wait") == 7


def test_a_claim_goes_with_the_work_it_was_for(store: Store, run: Run) -> None:
    def work(db: Any) -> None:
        idempotency.claim(db, TENANT, "k", "body", _NOW_US)
        raise LookupError

    with pytest.raises(LookupError):
        store.execute(work, 5)
    assert run(idempotency.claim, TENANT, "k", "body", _NOW_US) is None
