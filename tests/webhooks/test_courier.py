"""A courier tells the deliverer of its end whatever happens: an endpoint whose courier vanished is served by nobody."""

from __future__ import annotations

from typing import Any

import gevent
import pytest

from callengine.webhooks.courier import Courier


def test_its_end_is_told_also_where_what_it_has_under_way_does_not_end_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    parts: Any = None
    ended: list[BaseException | None] = []
    courier = Courier(parts, "e", lambda _, error: ended.append(error))
    failure = RuntimeError("the database was away")

    def stubborn() -> None:
        try:
            gevent.sleep(30)
        except gevent.GreenletExit:
            gevent.sleep(1.3)

    def fails() -> None:
        lane = gevent.spawn(stubborn)
        gevent.sleep(0)
        courier._lanes.add(lane)
        raise failure

    monkeypatch.setattr(courier, "_work", fails)
    courier.start()
    courier.join(5)
    assert ended == [failure]
