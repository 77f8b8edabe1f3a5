"""What people change."""

from __future__ import annotations

import pytest

from callengine.errors import AlreadyExists, MalformedInput, NoSuchCall, NoSuchCampaign
from callengine.store.edits import Edits
from callengine.store.reads import Reads
from callengine.store.writer import Writer
from tests.store.build import OTHER, TENANT, a_call


@pytest.fixture
def edits(writer: Writer, reads: Reads) -> Edits:
    return Edits(writer, reads, now_us=lambda: 42)


def test_an_edit_returns_the_call_as_committed(edits: Edits, writer: Writer, reads: Reads) -> None:
    call = a_call()
    writer.put(call)
    record = edits.edit_call(TENANT, call.id, {"notes": "Größe ☎\nline two"})
    assert (record.notes, record.disposition, record.disposition_by) == ("Größe ☎\nline two", None, None)
    record = edits.edit_call(TENANT, call.id, {"disposition": "sale"})
    assert (record.notes, record.disposition, record.disposition_by) == ("Größe ☎\nline two", "sale", "agent")
    record = edits.edit_call(TENANT, call.id, {"disposition": None, "notes": None})
    assert (record.notes, record.disposition, record.disposition_by) == (None, None, None)
    assert edits.edit_call(TENANT, call.id, {}) == record == reads.call(TENANT, call.id)


def test_a_foreign_or_missing_call_is_not_edited(edits: Edits, writer: Writer, reads: Reads) -> None:
    call = a_call()
    writer.put(call)
    for tenant_id, call_id in ((OTHER, call.id), (TENANT, a_call().id), (TENANT, "no id"), (TENANT, "")):
        with pytest.raises(NoSuchCall):
            edits.edit_call(tenant_id, call_id, {"notes": "mine"})
    found = reads.call(TENANT, call.id)
    assert found is not None
    assert found.notes is None


def test_only_two_fields_can_be_edited(edits: Edits, writer: Writer) -> None:
    call = a_call()
    writer.put(call)
    with pytest.raises(ValueError, match="tenant_id"):
        edits.edit_call(TENANT, call.id, {"tenant_id": OTHER})


def test_text_that_cannot_be_kept_is_refused(edits: Edits, writer: Writer) -> None:
    call = a_call()
    writer.put(call)
    for text in ("a\0b", "a\ud83d"):
        with pytest.raises(MalformedInput, match="notes"):
            edits.edit_call(TENANT, call.id, {"notes": text})
        with pytest.raises(MalformedInput):
            edits.create_campaign(TENANT, text, None)
        with pytest.raises(MalformedInput):
            edits.create_lead(TENANT, "l", None, None, text)


def test_campaigns_and_leads_are_made_once_in_each_tenant(edits: Edits, reads: Reads) -> None:
    made = edits.create_campaign(TENANT, "spring", "Spring")
    assert made == reads.campaign(TENANT, "spring")
    assert made.created_us == 42
    with pytest.raises(AlreadyExists):
        edits.create_campaign(TENANT, "spring", None)
    edits.create_campaign(OTHER, "spring", None)
    lead = edits.create_lead(TENANT, "L", "spring", "Ada", "+49")
    assert lead == reads.lead(TENANT, "L")
    with pytest.raises(AlreadyExists):
        edits.create_lead(TENANT, "L", None, None, None)
    with pytest.raises(NoSuchCampaign):
        edits.create_lead(TENANT, "M", "autumn", None, None)
    with pytest.raises(NoSuchCampaign):
        edits.create_lead(OTHER, "M", "summer", None, None)
    assert reads.lead(TENANT, "M") is None


def test_a_campaigns_settings(edits: Edits, reads: Reads) -> None:
    settings = {"goal": "Sell\nmore ☎", "dispositions": ["SALE", "ünï"], "record": "all"}
    made = edits.create_campaign(TENANT, "c", "Name", settings)
    assert (made.goal, made.dispositions, made.record) == ("Sell\nmore ☎", ("SALE", "ünï"), "all")
    changed = edits.update_campaign(TENANT, "c", {"record": "never", "goal": None})
    assert (changed.name, changed.goal, changed.record) == ("Name", None, "never")
    assert changed.dispositions == made.dispositions
    assert edits.update_campaign(TENANT, "c", {}) == changed == reads.campaign(TENANT, "c")
    assert reads.campaigns(TENANT, 1, 10) == ([changed], 1)
    cleared = edits.update_campaign(TENANT, "c", {"dispositions": None, "name": None})
    assert (cleared.name, cleared.dispositions, cleared.record) == (None, None, "never")
    assert cleared.created_us == made.created_us
    for tenant, campaign in ((OTHER, "c"), (TENANT, "d")):
        with pytest.raises(NoSuchCampaign):
            edits.update_campaign(tenant, campaign, {"record": "all"})
    with pytest.raises(ValueError, match="created_us"):
        edits.update_campaign(TENANT, "c", {"created_us": 1})


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("goal", "x" * 2001),
        ("goal", "a\0b"),
        ("record", "answer"),
        ("dispositions", []),
        ("dispositions", ["A"] * 2),
        ("dispositions", [f"{n}" for n in range(65)]),
        ("dispositions", ["a\nb"]),
        ("dispositions", ["a\ud83d"]),
        ("dispositions", ["x" * 65]),
    ],
)
def test_a_campaigns_settings_are_bounded(edits: Edits, field: str, value: object) -> None:
    edits.create_campaign(TENANT, "c", None)
    with pytest.raises(MalformedInput, match=field):
        edits.update_campaign(TENANT, "c", {field: value})
    with pytest.raises(MalformedInput, match=field):
        edits.create_campaign(TENANT, "d", None, {field: value})
