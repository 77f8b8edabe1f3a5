"""How a call is shown: of a record, and of a row's values, which have to be the same."""

from __future__ import annotations

from inspect import signature

from callengine.calls.record import CallRecord
from callengine.calls.view import show, show_fields


def test_values_are_taken_in_the_order_of_the_record() -> None:
    """One that changed its place would be shown as another one."""
    url_of, probed, call_id, *others = signature(show_fields).parameters
    assert (url_of, probed, call_id) == ("url_of", "probed", "call_id")
    assert ("id", *others) == CallRecord.__struct_fields__


def test_each_field_is_shown_as_itself() -> None:
    values = {name: f"the {name}" for name, kind in CallRecord.__annotations__.items() if kind in ("str", "str | None")}
    record = CallRecord(**values)  # type: ignore[arg-type]  # all of them are texts
    shown = show(record)
    assert {name: shown[name] for name in values if name in shown} == {n: v for n, v in values.items() if n in shown}
    assert set(values) - set(shown) == {"tenant_id", "disposition_by"}
