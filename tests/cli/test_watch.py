"""What the demo makes of the API's answers."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from callengine.calls.record import CallRecord
from callengine.calls.view import show
from callengine.cli.client import Answer, Client, NotAnswered, Refused
from callengine.cli.demo.traffic import CAMPAIGNS, KINDS, Traffic, always, request_for, varied
from callengine.cli.demo.watch import Watch


class Api(Client):
    """Answers from ``calls``: their ids and how each is shown at the moment."""

    def __init__(self) -> None:
        super().__init__("http://127.0.0.1:1", "k")
        self.calls: dict[str, dict[str, Any]] = {}
        self.deliveries: list[dict[str, Any]] = []
        self.away = False

    def set(self, call_id: str, status: str, **fields: Any) -> None:
        record = CallRecord(id=call_id, tenant_id="t", node="n", fs_uuid=call_id)
        self.calls[call_id] = show(record) | {"status": status} | fields

    def ask(self, method: str, target: str, body: object = None, headers: Any = None) -> Answer:
        if self.away:
            raise NotAnswered(self.url, "refused")
        parts = urlsplit(target)
        if parts.path == "/v1/webhooks/deliveries":
            return Answer(200, {"data": self.deliveries, "total": len(self.deliveries)})
        if parts.path != "/v1/calls":
            return Answer(200, self.calls[parts.path.rpartition("/")[2]])
        query = parse_qs(parts.query)
        found = [call for call in self.calls.values() if call["status"] == query["status"][0]]
        return Answer(200, {"data": found[: int(query["page_size"][0])], "total": len(found)})


def ids(calls: Any) -> list[str]:
    return [call["id"] for call in calls]


def test_live_and_ended() -> None:
    api = Api()
    watch = Watch(api)
    api.set("a", "ringing")
    api.set("b", "dialing")
    watch.look(1.0)
    api.set("a", "answered")
    watch.look(2.0)
    assert ids(watch.view.live) == ["a", "b"]  # what changed last stands first
    assert watch.view.seen == {"a": 1.0, "b": 1.0}
    assert watch.view.totals == {
        "dialing": 1,
        "ringing": 0,
        "answered": 1,
        "agent_connected": 0,
        "completed": 0,
        "failed": 0,
    }
    api.set("a", "completed", end_time="2026-11-22T10:33:36.000Z")
    api.set("b", "failed", end_time="2026-11-22T10:33:35.000Z")
    watch.look(3.0)
    assert watch.view.live == ()
    assert ids(watch.take_ended()) == ["b", "a"]
    assert watch.take_ended() == []
    assert ids(watch.view.ended) == ["a", "b"]
    watch.look(4.0)
    assert watch.take_ended() == []  # each once


def test_a_call_that_ended_far_down_the_list_is_told() -> None:
    """The list is by dial time: a long call's end is on no first page."""
    api = Api()
    watch = Watch(api)
    api.set("long", "answered")
    watch.look(1.0)
    for number in range(60):
        api.set(f"c{number}", "completed", end_time="2026-11-22T10:33:35.000Z")
    del api.calls["long"]
    api.set("long", "completed", end_time="2026-11-22T10:33:36.000Z")
    watch.look(2.0)
    assert "long" in ids(watch.take_ended())


def test_a_call_between_two_statuses_is_not_lost() -> None:
    """It may move on between the requests of one look, and be on none of the pages."""
    api = Api()
    watch = Watch(api)
    api.set("a", "ringing")
    watch.look(1.0)
    answers = {"ringing": [], "answered": []}

    class Between(Api):
        def ask(self, method: str, target: str, body: object = None, headers: Any = None) -> Answer:
            if "status=" in target:
                return Answer(200, {"data": [], "total": 0})
            return Answer(200, api.calls["a"])

    watch._client = Between()
    watch.look(2.0)
    assert ids(watch.view.live) == ["a"]
    assert answers == {"ringing": [], "answered": []}


def test_the_daemon_is_away() -> None:
    api = Api()
    api.away = True
    with pytest.raises(NotAnswered):
        Watch(api).look(1.0)


# -- what follows calls --------------------------------------------------------------------------------------------

END = "2026-11-22T10:33:36.000Z"


def test_an_analysis_is_told_once_when_it_has_ended() -> None:
    api = Api()
    watch = Watch(api)
    for status in ("pending", "running", "retrying"):
        api.set("a", "completed", end_time=END, analysis_status=status)
        watch.look(1.0)
        assert watch.view.ended[0]["analysis_status"] == status  # as it is now
        assert watch.take_analysed() == []
    assert watch.view.analyses
    assert watch.view.summarized is None
    api.set("a", "completed", end_time=END, analysis_status="completed", ai_summary="What was said.")
    api.set("b", "completed", end_time=END, analysis_status="skipped_silent")
    watch.look(2.0)
    assert sorted(ids(watch.take_analysed())) == ["a", "b"]
    assert watch.view.summarized is not None
    assert watch.view.summarized["ai_summary"] == "What was said."
    watch.look(3.0)
    assert watch.take_analysed() == []
    assert len(watch.take_ended()) == 2


def test_an_analysis_that_ends_far_down_the_list_is_told() -> None:
    """By then its call is on no first page any more, and neither are some others that wait."""
    api = Api()
    watch = Watch(api)
    slow = [f"slow{number}" for number in range(20)]
    for call_id in slow:
        api.set(call_id, "completed", end_time=END, analysis_status="pending")
    watch.look(1.0)
    waiting = {call_id: api.calls.pop(call_id) for call_id in slow}
    for number in range(60):
        api.set(f"c{number}", "completed", end_time=END)
    api.calls |= {call_id: {**call, "analysis_status": "failed"} for call_id, call in waiting.items()}
    told = []
    for number in range(6):
        watch.look(2.0 + number)
        told += ids(watch.take_analysed())
    assert sorted(told) == sorted(slow)


def test_without_analyses() -> None:
    api = Api()
    watch = Watch(api)
    api.set("a", "completed", end_time=END)
    watch.look(1.0)
    assert not watch.view.analyses
    assert watch.view.deliveries is None
    assert watch.view.recording_url is None


def test_the_url_of_a_recording_stands_for_a_while() -> None:
    """It is made anew at each read; somebody may be about to copy the one on the screen."""
    api = Api()
    watch = Watch(api)
    seen = []
    for second, url in enumerate(("a?1", "a?2", "b?3", "b?4")):
        api.set(url[0], "completed", end_time=f"2026-11-22T10:33:3{second}.000Z", recording_url=url)
        watch.look(float(second))
        seen.append(watch.view.recording_url)
    assert seen == ["a?1"] * 4
    watch.look(40.0)
    assert watch.view.recording_url == "a?1"  # nothing newer has come since it may change
    api.set("d", "completed", end_time="2026-11-22T10:33:50.000Z", recording_url="d?6")
    api.set("c", "completed", end_time="2026-11-22T10:33:40.000Z", recording_url="c?5")
    watch.look(41.0)
    assert watch.view.recording_url == "d?6"


def delivery(number: int, call_id: str, **fields: Any) -> dict[str, Any]:
    return {
        "endpoint_id": "e",
        "event_id": f"event-{number}",
        "call_id": call_id,
        "seq": number,
        "status": "delivered",
        "attempts": 1,
        "created_time": END,
        "ended_time": f"2026-11-22T10:33:36.{number:03d}Z",
    } | fields


def test_each_attempt_to_deliver_is_told_once_in_order() -> None:
    api = Api()
    watch = Watch(api, webhooks=True)
    assert watch.view.deliveries == ()
    api.set("a", "answered", callee_number="+1")
    waiting = delivery(4, "a", attempts=0, status="pending", ended_time=None)
    api.deliveries = [waiting, delivery(3, "unknown"), delivery(2, "a"), delivery(1, "a")]
    watch.look(1.0)
    watch.look(2.0)
    told = watch.take_delivered()
    assert [(one["seq"], one["number"]) for one in told] == [(1, "+1"), (2, "+1"), (3, None)]
    api.deliveries[0] = waiting | {"attempts": 1, "last_error": "refused"}
    watch.look(3.0)
    api.deliveries[0] = waiting | {"attempts": 2, "status": "delivered", "ended_time": "2026-11-22T10:33:37.000Z"}
    watch.look(4.0)
    assert [(one["seq"], one["attempts"]) for one in watch.take_delivered()] == [(4, 1), (4, 2)]
    assert watch.view.deliveries is not None
    assert [one["seq"] for one in watch.view.deliveries] == [4, 4, 3, 2, 1]


# -- traffic --------------------------------------------------------------------------------------------------------


def test_every_kind_of_call_comes() -> None:
    make = varied(seed=1)
    made = [make()[0] for _ in range(1500)]
    assert {request["destination"][-3:] for request in made} == {kind.digits for kind in KINDS}
    assert {request["on_answer"]["type"] for request in made} == {"park", "agent", "queue", "application"}
    assert {request["first"] for request in made} == {"lead", "agent"}
    assert all(request["on_answer"]["type"] == "agent" for request in made if request["first"] == "agent")


def test_requests_are_ones_that_the_api_takes() -> None:
    import random

    from callengine.api.bodies import CallRequest, NewCampaign

    for kind in KINDS:
        for seed in range(5):
            CallRequest.model_validate(request_for(kind, random.Random(seed)))
    for campaign, fields in CAMPAIGNS.items():
        NewCampaign.model_validate({"id": campaign, **fields})
    CallRequest.model_validate(always("+1", None)()[0])
    CallRequest.model_validate(always("+1", "carrier")()[0])


def test_a_refusal_is_told_and_the_next_call_placed() -> None:
    class Refusing(Client):
        def __init__(self) -> None:
            super().__init__("http://127.0.0.1:1", "k", timeout_s=5)
            self.asked = 0

        def post(self, path: str, body: object, headers: Any = None) -> Any:
            self.asked += 1
            if self.asked == 1:
                raise Refused(429, {"detail": "the originate queue is full"})
            return {"id": "x"}

    client = Refusing()
    traffic = Traffic(client, 50, always("1", None))
    problems = set()
    traffic.start()
    while traffic.placed < 3:
        problems.add(traffic.problem)
        traffic._thread.join(0.01)
    traffic.stop()
    assert "429 Too Many Requests: the originate queue is full" in problems
    assert traffic.problem is None
