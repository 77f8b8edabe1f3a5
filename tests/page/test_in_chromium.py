"""The page in a real browser, on a real daemon beside the stand-in switch. Each test has a tab of its own."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from tests.acceptance.switches import hang_up
from tests.chaos.databases import locked
from tests.page.callers import NAMES, STUNG
from tests.page.chromium import Browser, Page
from tests.page.conftest import House, sign_in
from tests.page.test_files import FOLDER

ROW = "document.querySelector('.live tbody tr:has(a[href$=\"{}\"])')"
STATE = ROW + "?.querySelector('.status').textContent"
VIEWS = ("#/", "#/calls", "#/health")
BESIDES_OURSELVES = "favicon", "data:", "blob:"


def policy_faults(page: Page) -> list[str]:
    """What went wrong that is more than an answer of 4xx or 5xx, which the browser tells too."""
    return [fault for fault in page.faults() if not fault.startswith("network:")]


def go(page: Page, hash_: str) -> None:
    page.js(f"location.hash = {json.dumps(hash_)}")


def loaded_again(page: Page) -> None:
    page.js("window.before = true")
    page.call("Page.reload")
    page.until("window.before === undefined")


def open_call(page: Page, call_id: str) -> None:
    go(page, f"#/calls/{call_id}")
    page.until("document.querySelector('.timeline li')")


@pytest.fixture(scope="module")
def recorded(house: House) -> str:
    """A call that was recorded and analysed."""
    talk = {"variables": {"standin_talk_s": "7", "standin_ring_s": "0.5"}, "campaign_id": "spring"}
    house.daemon.ask("POST", "/v1/campaigns", {"id": "spring", "dispositions": ["SOLD", "LATER"]})
    call = house.call("203", **talk)
    house.until(lambda: house.shown(call)["analysis_status"] == "completed", 60)
    return call


def test_signing_in_says_what_is_wrong_with_a_key(house: House, browser: Browser) -> None:
    page = browser.page()
    page.open(house.url + "/")
    page.until("document.activeElement.id === 'key'")
    for key, words in (
        ("", "Paste a key"),
        ("ce_ü", "no key"),
        ("ce_nobody_knows", "is not known"),
        (house.key_with("webhooks:read"), "lacks the scope calls:read"),
    ):
        page.type("#key", key)
        page.press("Enter")
        page.until(f"document.querySelector('#key-fault').textContent.includes({json.dumps(words)})")
        assert page.js("document.querySelector('#nav').hidden")
    page.type("#key", house.key)
    page.press("Enter")
    page.until("document.querySelector('h1')?.textContent === 'Calls now'")
    assert page.js("document.activeElement.tagName") == "H1"
    assert page.js("[location.href, document.cookie, localStorage.length]") == [f"{house.url}/", "", 0]
    assert not any(house.key in url for url in page.requests())
    page.click("#sign-out")
    page.until("document.querySelector('#key-fault')?.textContent.includes('signed out')")
    assert page.js("sessionStorage.length") == 0
    assert policy_faults(page) == []


def test_whoever_signs_in_again_sees_the_live_calls(house: House, signed_in: Page) -> None:
    call = house.call("201", variables={"standin_ring_s": "0.2"})
    signed_in.until(f"{STATE.format(call)} === 'Answered'")
    signed_in.click("#sign-out")
    signed_in.until("document.querySelector('#key-fault')?.textContent.includes('signed out')")
    signed_in.type("#key", house.key)
    signed_in.press("Enter")
    signed_in.until(f"{STATE.format(call)} === 'Answered'")
    hang_up(house.switch, [house.shown(call)["fs_uuid"]])


def test_a_tab_that_is_loaded_again_is_still_signed_in(signed_in: Page) -> None:
    go(signed_in, "#/health")
    signed_in.until("document.querySelector('h1').textContent === 'Health'")
    loaded_again(signed_in)
    signed_in.until("document.querySelector('.verdict')?.textContent.includes('All is well')")


def test_a_call_appears_while_it_rings_and_changes_until_it_ends(house: House, signed_in: Page) -> None:
    call = house.call("201", variables={"standin_ring_s": "2"}, lead_id="lead-7")
    signed_in.until(f"{STATE.format(call)} === 'Ringing'")
    signed_in.until(f"{STATE.format(call)} === 'Answered'")
    row = ROW.format(call)
    assert signed_in.js(f"{row}.querySelector('.number').textContent") == "+1555010201"
    before = signed_in.js(f"{row}.querySelector('.since').textContent")
    signed_in.until(f"{row}.querySelector('.since').textContent !== {json.dumps(before)}", 5)
    hang_up(house.switch, [house.shown(call)["fs_uuid"]])
    signed_in.until(f"{STATE.format(call)}?.startsWith('Completed')")
    signed_in.until(f"!{row}", 10)


def test_a_call_with_an_agent_is_counted_as_such(house: House, signed_in: Page) -> None:
    target = {"type": "agent", "agents": "desk", "agent_id": "alma"}
    call = house.call("201", on_answer=target, variables={"standin_ring_s": "0.2"})
    signed_in.until(f"{STATE.format(call)} === 'With an agent'")
    assert signed_in.js(f"{ROW.format(call)}.querySelector('td.agent').textContent") == "alma"
    signed_in.click(".tile[data-status=agent_connected]")
    signed_in.until(
        "[...document.querySelectorAll('.live tbody .status')].every((s) => s.textContent === 'With an agent')"
    )
    signed_in.type("#find", "no such call")
    signed_in.until("document.querySelector('.empty').textContent.includes('None of the live calls')")
    signed_in.type("#find", "ALMA")
    signed_in.until(ROW.format(call))
    hang_up(house.switch, [house.shown(call)["fs_uuid"]])


def test_what_callers_choose_is_text(house: House, browser: Browser, signed_in: Page) -> None:
    assert signed_in.js("document.querySelectorAll('script').length") == 1
    evil = {"campaign_id": NAMES[0], "lead_id": NAMES[2]}
    call = house.call("201", **evil, variables={"standin_ring_s": "0.2"})
    house.daemon.ask("PATCH", f"/v1/calls/{call}", {"notes": NAMES[1], "disposition": NAMES[2]})
    signed_in.until(f"{ROW.format(call)}?.querySelector('td.campaign').textContent === {json.dumps(NAMES[0])}")
    # Names of those who call in come from the switch.
    signed_in.until("[...document.querySelectorAll('.live .name')].some((n) => n.textContent.includes('<'))", 60)
    open_call(signed_in, call)
    for text in (NAMES[0], NAMES[2]):
        assert text in signed_in.text()
    assert signed_in.js("document.querySelector('#notes').value") == NAMES[1]
    inbound = house.until(
        lambda: [c for c in house.daemon.ask("GET", "/v1/calls?direction=inbound")["data"] if "<" in c["caller_name"]]
    )[0]
    open_call(signed_in, inbound["id"])
    signed_in.until(f"document.querySelector('h1').textContent.includes({json.dumps(inbound['caller_name'])})")
    go(signed_in, "#/calls")
    signed_in.until("[...document.querySelectorAll('.calls .name')].some((n) => n.textContent.includes('<'))")
    assert signed_in.js("document.querySelectorAll('main img, main script, main svg').length") == 0
    assert signed_in.js(f"window.{STUNG} ?? null") is None
    assert policy_faults(signed_in) == []
    hang_up(house.switch, [house.shown(call)["fs_uuid"]])


def test_the_policy_lets_nobody_make_markup_of_text(signed_in: Page) -> None:
    """What would happen were there a mistake: the browser refuses."""
    refused = "(() => {{ try {{ {}; return null; }} catch (error) {{ return error.name; }} }})()"
    assert signed_in.js(refused.format("document.body.innerHTML = '<b>x</b>'")) == "TypeError"
    assert signed_in.js(refused.format("document.body.insertAdjacentHTML('beforeend', 'x')")) == "TypeError"
    fetched = "fetch('http://127.0.0.2:9/').then(() => 'let through', (error) => error.name)"
    assert signed_in.js(fetched) == "TypeError"
    assert any("Content Security Policy" in fault for fault in signed_in.faults())


def test_notes_and_disposition_are_edited(house: House, recorded: str, signed_in: Page) -> None:
    open_call(signed_in, recorded)
    signed_in.until("document.querySelectorAll('#codes option').length === 2")
    signed_in.type("#notes", "Wants an offer.\nCalls back on Monday.")
    signed_in.until("!document.querySelector('.edit .primary').disabled")
    # What is typed stays, also where something else of the call changes meanwhile, or one looks elsewhere.
    house.daemon.ask("PATCH", f"/v1/calls/{recorded}", {"disposition": "LATER"})
    go(signed_in, "#/health")
    signed_in.until("document.querySelector('.verdict')")
    open_call(signed_in, recorded)
    signed_in.until("document.querySelector('#notes').value.startsWith('Wants an offer')")
    signed_in.type("#disposition", "SOLD")
    signed_in.click(".edit .primary")
    signed_in.until("document.querySelector('.edit .saved').textContent === 'Saved.'")
    shown = house.shown(recorded)
    assert (shown["notes"], shown["disposition"]) == ("Wants an offer.\nCalls back on Monday.", "SOLD")
    signed_in.type("#notes", "")
    signed_in.click(".edit .primary")
    house.until(lambda: house.shown(recorded)["notes"] is None)


def test_who_may_only_read_is_offered_nothing_else(house: House, browser: Browser, recorded: str) -> None:
    page = browser.page()
    sign_in(page, house.url, house.key_with("calls:read"), f"#/calls/{recorded}")
    page.until("document.querySelector('.edit .saved').textContent.includes('calls:write')")
    assert page.js("document.querySelector('#notes').readOnly")
    assert not page.js("document.querySelector('.edit .primary')")
    call = house.call("201", variables={"standin_ring_s": "0.2"})
    open_call(page, call)
    assert page.js("document.querySelector('.callhead .danger').hidden")
    hang_up(house.switch, [house.shown(call)["fs_uuid"]])


def test_a_live_call_is_hung_up_after_a_question(house: House, signed_in: Page) -> None:
    call = house.call("201", variables={"standin_ring_s": "0.2"})
    house.until(lambda: house.shown(call)["status"] == "answered")
    open_call(signed_in, call)
    for button in ("first", "last"):
        signed_in.until("!document.querySelector('.callhead .danger').hidden")
        signed_in.click(".callhead .danger")
        signed_in.until("document.querySelector('dialog[open]')")
        signed_in.click(f"dialog .buttons button:{button}-child")
        signed_in.until("!document.querySelector('dialog[open]')")
        if button == "first":
            assert house.shown(call)["status"] == "answered"
    signed_in.until("document.querySelector('.callhead .status').textContent === 'Completed'")
    assert signed_in.js("document.querySelector('.callhead .danger').hidden")


def test_the_calls_of_today_are_filtered_and_the_filter_is_an_address(
    house: House, recorded: str, signed_in: Page
) -> None:
    go(signed_in, "#/calls")
    signed_in.until("document.querySelectorAll('.calls tbody tr').length > 1")
    signed_in.type("#filter-campaign", "spring")
    signed_in.until("location.hash === '#/calls?campaign=spring'")
    only = "[...document.querySelectorAll('.calls tbody a')].map((a) => a.hash.slice(8)).join()"
    signed_in.until(f"{only} === '{recorded}'")
    assert signed_in.js("document.querySelector('.summary').textContent") == "1 call"
    assert signed_in.js("document.activeElement.id") == "filter-campaign"
    signed_in.js(
        "(() => { const s = document.querySelector('#filter-status'); s.value = 'failed';"
        " s.dispatchEvent(new Event('change', {bubbles: true})); })()"
    )
    signed_in.until("document.querySelector('.empty')?.textContent.includes('No call of that day')")
    signed_in.js("history.back()")
    signed_in.until(f"{only} === '{recorded}'")
    go(signed_in, "#/calls?day=2020-01-01")
    signed_in.until("document.querySelector('.empty')?.textContent.includes('No call was dialled')")
    assert signed_in.js("document.querySelector('#filter-campaign').value") == ""


def test_a_number_is_searched_for_on_any_day(house: House, signed_in: Page) -> None:
    ids = [house.call("9404", variables={"standin_ring_s": "0.1"}) for _ in range(2)]
    go(signed_in, "#/calls?day=2020-01-01")
    signed_in.until("document.querySelector('.empty')?.textContent.includes('No call was dialled')")
    assert signed_in.js("document.querySelector('label[for=filter-number]').textContent") == "Number"
    signed_in.type("#filter-number", "1 (555) 010-9404")
    signed_in.until("document.querySelector('.empty')?.textContent.includes('No call of that day')")
    signed_in.click(".empty a")
    listed = "[...document.querySelectorAll('.calls tbody a')].map((a) => a.hash.slice(8)).sort().join()"
    signed_in.until(f"{listed} === '{','.join(sorted(ids))}'")
    assert signed_in.js("new URLSearchParams(location.hash.split('?')[1]).get('number')") == "1 (555) 010-9404"
    go(signed_in, "#/calls?number=15550109404")
    signed_in.until("document.querySelector('.summary').textContent === '2 calls'")
    house.call("9405", variables={"standin_ring_s": "0.1"})
    house.call("9404", variables={"standin_ring_s": "0.1"})
    signed_in.until("document.querySelector('.news').textContent === '1 newer call: show'")
    go(signed_in, "#/calls?day=&number=404")
    signed_in.until("document.querySelector('.empty')?.textContent === 'No call is like that.'")


def test_the_list_goes_page_by_page(house: House, signed_in: Page) -> None:
    for _ in range(55):
        house.call("486", variables={"standin_ring_s": "0.1"}, lead_id="paged")
    house.until(lambda: house.daemon.ask("GET", "/v1/calls?lead=paged&status=failed")["total"] == 55, 60)
    go(signed_in, "#/calls?lead=paged")
    signed_in.until("document.querySelector('.where')?.textContent === 'Page 1 of 2'")
    assert signed_in.js("document.querySelectorAll('.calls tbody tr').length") == 50
    signed_in.click(".pager a[rel=next]")
    signed_in.until("document.querySelectorAll('.calls tbody tr').length === 5")
    assert signed_in.js("location.hash") == "#/calls?lead=paged&page=2"


def test_the_player_seeks(house: House, recorded: str, signed_in: Page) -> None:
    open_call(signed_in, recorded)
    signed_in.until("document.querySelector('audio').readyState > 0")
    assert signed_in.js("document.querySelector('audio').duration") == pytest.approx(7, abs=1.5)
    assert signed_in.js("document.querySelector('audio').seekable.end(0)") > 5
    signed_in.js("document.querySelector('audio').currentTime = 5")
    signed_in.until("(() => { const a = document.querySelector('audio'); return !a.seeking && a.currentTime >= 5; })()")
    signed_in.js("document.querySelector('audio').play()")
    signed_in.until("document.querySelector('audio').currentTime > 5.2")
    url = signed_in.js("document.querySelector('audio').src")
    assert url.startswith(f"{house.url}/v1/recordings/")
    assert (
        signed_in.js(f"fetch({json.dumps(url)}, {{headers: {{Range: 'bytes=50000-'}}}}).then((r) => r.status)") == 206
    )
    # Told anew, it plays on.
    house.daemon.ask("PATCH", f"/v1/calls/{recorded}", {"notes": "while it plays"})
    assert signed_in.js("document.querySelector('audio').src") == url


def test_the_summary_shows_the_words_that_bear_it(recorded: str, signed_in: Page) -> None:
    open_call(signed_in, recorded)
    signed_in.until("document.querySelector('.statements blockquote')")
    quote = signed_in.js("document.querySelector('.statements blockquote').textContent").strip("“”")
    assert signed_in.js("document.querySelector('.transcript mark').textContent") == quote
    signed_in.until("document.querySelector('audio').readyState > 0")
    signed_in.js("document.querySelector('audio').currentTime = 4")
    signed_in.click(".statements button")
    signed_in.until("document.activeElement.matches('.transcript li')")
    signed_in.until("document.querySelector('audio').currentTime < 3")
    names = signed_in.js("[...document.querySelectorAll('.timeline strong')].map((s) => s.textContent)")
    assert {"Channel created", "Rang", "Answered", "Ended", "Recording ready to be played", "Analysed"} <= set(names)
    assert {"switch", "our clock"} <= set(
        signed_in.js("[...document.querySelectorAll('.timeline .source')].map((s) => s.textContent)")
    )


def test_health_has_words_for_all_that_the_engine_tells(house: House, signed_in: Page) -> None:
    parts = house.daemon.ask("GET", "/readyz")["parts"]
    source = (FOLDER / "health.js").read_text()
    assert set(re.findall(r'part: "([a-z_]+)"', source)) - {"stream", "received", "lag", "live"} <= set(parts)
    go(signed_in, "#/health")
    signed_in.until("document.querySelector('.verdict').dataset.light === 'good'")
    titles = signed_in.js("[...document.querySelectorAll('.health tbody th')].map((th) => th.textContent)")
    assert {"Event socket", "Database", "Events waiting", "Webhooks waiting", "Analyses waiting", "Lag"} <= set(titles)
    assert not any(part.replace("_", " ") in titles for part in parts)  # those would be shown without words


def test_health_shows_webhooks_that_are_overdue_and_endpoints_that_fail(signed_in: Page) -> None:
    told = {"webhooks_waiting": "268", "webhooks_oldest_s": "600", "endpoints_paused": "1", "endpoints_disabled": "2"}
    signed_in.js(f"window.told = {json.dumps(told)}")
    signed_in.js(
        """{ const asked = window.fetch;
        window.fetch = async (url, more) => {
          const answer = await asked(url, more);
          if (!String(url).includes("readyz")) return answer;
          const read = await answer.json();
          Object.assign(read.parts, told);
          return new Response(JSON.stringify(read), { status: answer.status, headers: answer.headers });
        }; }"""
    )
    go(signed_in, "#/health")
    row = "[...document.querySelectorAll('.health tbody tr')].find((r) => r.textContent.startsWith('{}'))"
    for title, words in (
        ("Webhooks waiting", "268 deliveries, the oldest for 10 min"),
        ("Webhook endpoints", "1 failing, 2 disabled by us"),
    ):
        found = row.format(title)
        signed_in.until(f"{found}?.textContent.includes({json.dumps(words)})")
        assert signed_in.js(f"{found}.querySelector('[data-light=bad]') !== null"), title
    verdict = signed_in.js("document.querySelector('.verdict').textContent")
    assert verdict.startswith("Ready, but not all is well: ")
    assert "Webhooks waiting, Webhook endpoints" in verdict
    assert signed_in.js("document.querySelector('.verdict').dataset.light") == "bad"


def test_unknown_calls_and_views_are_said(signed_in: Page) -> None:
    go(signed_in, "#/calls/0199a2b4-0000-7000-8000-000000000000")
    signed_in.until("document.querySelector('.fault')?.textContent.includes('no such call')")
    go(signed_in, "#/nothing")
    signed_in.until("location.hash === '#/' && document.querySelector('h1').textContent === 'Calls now'")


def test_by_the_keyboard_alone(house: House, signed_in: Page) -> None:
    call = house.call("201", variables={"standin_ring_s": "0.2"})
    signed_in.until(ROW.format(call))
    loaded_again(signed_in)
    signed_in.until("document.querySelector('.live tbody tr')")
    signed_in.press("Tab")
    assert signed_in.js("document.activeElement.id") == "skip"
    signed_in.press("Enter")
    assert signed_in.js("document.activeElement.id") == "main"
    reached = []
    for _ in range(60):
        signed_in.press("Tab")
        at: dict[str, Any] = signed_in.js(
            "(() => { const e = document.activeElement; const b = e.getBoundingClientRect();"
            " return {tag: e.tagName, hash: e.hash ?? '', seen: b.width > 0 && b.height > 0}; })()"
        )
        reached.append(at)
        if at["hash"].startswith("#/calls/"):
            break
    assert reached[-1]["hash"].startswith("#/calls/")
    assert all(one["seen"] for one in reached)
    signed_in.press("Enter")
    signed_in.until("document.querySelector('.timeline li')")
    assert signed_in.js("document.activeElement.tagName") == "H1"
    hang_up(house.switch, [house.shown(call)["fs_uuid"]])


@pytest.mark.parametrize("width", [320, 360, 768])
def test_nothing_is_wider_than_a_small_screen(house: House, browser: Browser, recorded: str, width: int) -> None:
    page = browser.page(width, 700, phone=width < 700)
    call = house.call("201", campaign_id="a-campaign-with-a-rather-long-name-" * 3, variables={"standin_ring_s": "0.2"})
    too_wide = (
        f"[...document.querySelectorAll('body *')].filter((e) => e.getBoundingClientRect().right > {width}"
        " && !e.closest('pre, .unseen, thead, .lanename, td *, tbody th *'))"
        f".map((e) => e.outerHTML.slice(0, 80)).concat(document.documentElement.scrollWidth > {width} ? ['all'] : [])"
    )
    page.open(house.url + "/")
    page.until("document.querySelector('#key')")
    assert page.js(too_wide) == []
    sign_in(page, house.url, house.key)
    page.until(ROW.format(call))
    for view in (*VIEWS, f"#/calls/{recorded}", f"#/calls/{call}"):
        go(page, view)
        page.until("document.querySelector('tbody tr, .timeline li')")
        assert page.js(too_wide) == [], view
    hang_up(house.switch, [house.shown(call)["fs_uuid"]])


def test_it_asks_nobody_but_callengine(house: House, recorded: str, signed_in: Page) -> None:
    open_call(signed_in, recorded)
    signed_in.until("document.querySelector('audio').readyState > 0")
    assert [url for url in signed_in.requests() if not url.startswith((house.url, *BESIDES_OURSELVES))] == []


def test_the_database_away_is_said(house: House, signed_in: Page) -> None:
    with locked(house.daemon.state / "callengine.db", 60):
        call = house.call_by_another("201")
        banner = "document.querySelector('#banner')"
        signed_in.until(f"!{banner}.hidden && {banner}.textContent.includes('database is away')", 40)
        assert "as of" in signed_in.js(f"{banner}.textContent")
        go(signed_in, "#/health")
        signed_in.until("document.querySelector('.verdict').dataset.light === 'bad'")
    signed_in.until("document.querySelector('#banner').hidden", 30)
    go(signed_in, "#/")
    signed_in.until(
        f"[...document.querySelectorAll('.live .number')].some((n) => n.textContent.endsWith('{call}'))", 30
    )


def test_it_goes_on_where_it_was_after_the_daemon_was_restarted(house: House, signed_in: Page) -> None:
    before = house.call("201", variables={"standin_ring_s": "0.2"})
    ends = house.call("201", variables={"standin_ring_s": "0.2"})
    for call in (before, ends):
        signed_in.until(f"{STATE.format(call)} === 'Answered'")
    house.daemon.stop()
    signed_in.until("document.querySelector('#link-text').textContent.startsWith('Not live')")
    assert "as of" in signed_in.js("document.querySelector('#banner').textContent")
    hang_up(house.switch, [house.channel_of(ends)])
    house.daemon.start()
    signed_in.until("document.querySelector('#link-text').textContent === 'Live'", 40)
    signed_in.until(f"!{ROW.format(ends)}", 30)
    assert signed_in.js(f"{STATE.format(before)}") == "Answered"
    after = house.call("201", variables={"standin_ring_s": "0.2"})
    signed_in.until(ROW.format(after))
    resumed = [
        event["params"]["request"]["headers"].get("Last-Event-ID")
        for event in signed_in.browser.events
        if event.get("sessionId") == signed_in.session
        and event["method"] == "Network.requestWillBeSent"
        and event["params"]["request"]["url"].endswith("/v1/stream")
    ]
    assert resumed[0] is None
    assert resumed[-1] is not None
    signed_in.until("document.querySelector('#banner').hidden")
    hang_up(house.switch, [house.channel_of(call) for call in (before, after)])


def test_a_key_that_is_revoked_meanwhile_ends_it_in_words(house: House, browser: Browser) -> None:
    key = house.key_with("calls:read")
    page = browser.page()
    sign_in(page, house.url, key)
    house.daemon.command("key", "revoke", key.rsplit("_", 1)[0])
    page.until("document.querySelector('#key-fault')?.textContent.includes('not known')", 60)
    assert page.js("sessionStorage.length") == 0


def test_the_switch_away_is_said(house: House, signed_in: Page) -> None:
    """The last one: the calls end with it."""
    house.switch.stop()
    banner = "document.querySelector('#banner')"
    signed_in.until(f"!{banner}.hidden && {banner}.textContent.includes('waits for the connection to the switch')", 40)
    go(signed_in, "#/health")
    row = "[...document.querySelectorAll('.health tbody tr')].find((r) => r.textContent.startsWith('Event socket'))"
    signed_in.until(f"{row}?.textContent.includes('not connected') && {row}.querySelector('[data-light=bad]')")
