"""Tenants, their numbers, and API keys."""

from __future__ import annotations

import peewee
import pytest

from callengine.errors import AlreadyExists, MalformedInput, NoSuchTenant
from callengine.store import sql
from callengine.store.accounts import SCOPES, Accounts
from callengine.store.database import Store
from callengine.store.edits import Edits
from callengine.store.entities import RecordRules
from callengine.store.reads import Reads


class Clock:
    """A wall clock that stands still."""

    def __init__(self) -> None:
        self.now_us = 1_000_000_000

    def __call__(self) -> int:
        return self.now_us


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def accounts(store: Store, clock: Clock) -> Accounts:
    return Accounts(store, store, now_us=clock)


def test_a_tenant_is_made_once(accounts: Accounts) -> None:
    made = accounts.create_tenant("acme")
    assert accounts.tenant("acme") == made == accounts.ensure_tenant("acme")
    with pytest.raises(AlreadyExists):
        accounts.create_tenant("acme")
    assert accounts.ensure_tenant("Zoë").name == "Zoë"
    assert [t.name for t in accounts.tenants()] == ["Zoë", "acme"]
    with pytest.raises(NoSuchTenant):
        accounts.tenant("nobody")
    for name in ("", "x" * 129, "a\nb", "a\0b"):
        with pytest.raises(MalformedInput):
            accounts.create_tenant(name)


def test_numbers_are_one_tenants_each(accounts: Accounts) -> None:
    acme, other = accounts.create_tenant("acme"), accounts.create_tenant("other")
    accounts.add_number("acme", "+49301")
    accounts.add_number("acme", "+49300")
    with pytest.raises(AlreadyExists):
        accounts.add_number("other", "+49301")
    with pytest.raises(NoSuchTenant):
        accounts.add_number("nobody", "+49302")
    with pytest.raises(MalformedInput):
        accounts.add_number("acme", "")
    assert accounts.numbers("acme") == ["+49300", "+49301"]
    assert accounts.directory() == (
        {"acme": acme.id, "other": other.id},
        {"+49300": acme.id, "+49301": acme.id},
    )
    assert not accounts.remove_number("other", "+49301")
    assert accounts.remove_number("acme", "+49301")
    assert not accounts.remove_number("acme", "+49301")
    assert accounts.numbers("acme") == ["+49300"]


def test_a_key_is_found_by_its_text_alone(accounts: Accounts) -> None:
    tenant = accounts.create_tenant("acme")
    key, text = accounts.create_key("acme", ["calls:write", "calls:read", "calls:read"], "dialer")
    assert key.scopes == ("calls:read", "calls:write")
    assert key.tenant_id == tenant.id
    assert accounts.find_key(text) == key
    assert accounts.keys("acme") == [key]
    _, second = accounts.create_key("acme", ["calls:read"])
    assert second != text
    wrong = text[:-1] + ("A" if text[-1] != "A" else "B")
    swapped = "_".join((*text.split("_", 2)[:2], second.split("_", 2)[2]))
    for presented in (
        "",
        "ce_",
        "ce__",
        wrong,
        swapped,
        text + " ",
        text.upper(),
        key.prefix,
        f"ce_{key.prefix}_",
        "ü" * 60,
        "x" * 10_000,
    ):
        assert accounts.find_key(presented) is None


def test_nothing_of_a_key_is_stored_but_its_hash(accounts: Accounts, store: Store) -> None:
    accounts.create_tenant("acme")
    key, text = accounts.create_key("acme", SCOPES)
    secret = text.split("_", 2)[2]
    assert len(secret) == 43

    def dump(db: peewee.Database) -> str:
        return repr(sql.query(db, "SELECT * FROM api_key").fetchall())

    stored = store.run(dump, 5)
    assert key.prefix in stored
    assert secret not in stored
    assert secret not in repr(key)


def test_a_key_needs_scopes_that_exist_and_a_tenant(accounts: Accounts) -> None:
    accounts.create_tenant("acme")
    for scopes in ([], ["calls:delete"], ["calls:read", ""]):
        with pytest.raises(MalformedInput, match="calls:read"):
            accounts.create_key("acme", scopes)
    with pytest.raises(NoSuchTenant):
        accounts.create_key("nobody", ["calls:read"])
    assert accounts.keys("acme") == []


def test_a_revoked_key_is_none(accounts: Accounts) -> None:
    accounts.create_tenant("acme")
    key, text = accounts.create_key("acme", ["calls:read"])
    assert accounts.revoke_key(f"ce_{key.prefix}")
    assert accounts.find_key(text) is None
    assert not accounts.revoke_key(key.prefix)
    assert not accounts.revoke_key("")
    assert accounts.keys("acme")[0].revoked_us == 1_000_000_000


def test_uses_are_written_down_to_the_minute(accounts: Accounts, clock: Clock) -> None:
    accounts.create_tenant("acme")
    key, text = accounts.create_key("acme", ["calls:read"])

    def last_used() -> int | None:
        return accounts.keys("acme")[0].last_used_us

    accounts.record_uses()
    assert last_used() is None
    accounts.find_key(text)
    assert last_used() is None
    accounts.record_uses()
    assert last_used() == clock.now_us
    clock.now_us += 59_000_000
    accounts.find_key(text)
    accounts.record_uses()
    assert last_used() == clock.now_us - 59_000_000
    clock.now_us += 1_000_000
    accounts.find_key(text)
    accounts.record_uses()
    assert last_used() == clock.now_us
    assert key.last_used_us is None


def test_a_tenants_own_rules(accounts: Accounts) -> None:
    made = accounts.create_tenant("acme")
    assert (made.record, made.recordings_days, made.ai_daily_spend_micros) == (None, None, None)
    changes = {"record": "all", "recordings_days": 30, "ai_daily_spend_micros": 2_500_000}
    changed = accounts.update_tenant("acme", changes)
    assert (changed.record, changed.recordings_days, changed.ai_daily_spend_micros) == ("all", 30, 2_500_000)
    assert accounts.tenant("acme") == changed == accounts.update_tenant("acme", {})
    assert accounts.tenants() == [changed]
    assert accounts.ensure_tenant("acme") == changed
    back = accounts.update_tenant("acme", {"record": None, "ai_daily_spend_micros": None})
    assert (back.record, back.recordings_days, back.ai_daily_spend_micros) == (None, 30, None)
    with pytest.raises(NoSuchTenant):
        accounts.update_tenant("nobody", {"record": "all"})
    with pytest.raises(ValueError, match="name"):
        accounts.update_tenant("acme", {"name": "other"})


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("record", "answer"),
        ("record", 1),
        ("recordings_days", -1),
        ("recordings_days", 36_501),
        ("recordings_days", "30"),
        ("recordings_days", True),
        ("ai_daily_spend_micros", -1),
        ("ai_daily_spend_micros", 1 << 63),
    ],
)
def test_a_tenants_rules_are_bounded(accounts: Accounts, field: str, value: str | int) -> None:
    accounts.create_tenant("acme")
    with pytest.raises(MalformedInput, match=field):
        accounts.update_tenant("acme", {field: value})


def test_rules_for_recording_are_those_that_were_given(accounts: Accounts, store: Store) -> None:
    assert accounts.record_rules() == RecordRules(tenants={}, campaigns={})
    acme, other = accounts.create_tenant("acme"), accounts.create_tenant("other")
    accounts.update_tenant("other", {"record": "never"})
    edits = Edits(store, Reads(store))
    edits.create_campaign(acme.id, "spring", None, {"record": "all"})
    edits.create_campaign(other.id, "spring", None, {"record": "originated"})
    edits.create_campaign(acme.id, "silent", None)
    assert accounts.record_rules() == RecordRules(
        tenants={other.id: "never"},
        campaigns={(acme.id, "spring"): "all", (other.id, "spring"): "originated"},
    )
