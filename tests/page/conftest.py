"""A daemon with calls, recordings and analyses, and a browser that looks at its page; skipped where there is none."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from callengine.esl.client import EslClient
from callengine.standin.launch import Running, StandInProcess, started
from tests.acceptance.daemon import Daemon
from tests.page.chromium import Browser, Page, found

_WITHIN_S = 30.0
_KEY = "a-key-of-the-stand-in"
_CONFIGURATION = """
[esl]
host = "{host}"
port = {port}

[recordings]
directories = ["{recordings}"]

[ai]
enabled = true
base_url = "{gemini}"
min_audio_s = 1

[originate]
variables = ["standin_*"]

[originate.gateways.carrier]
dial_string = "sofia/gateway/{{gateway}}/{{destination}}"

[originate.agents.desk]
dial_string = "user/{{agent}}"
"""


class House:
    """The daemon, and what the tests do to it. ``key`` may do everything."""

    def __init__(self, folder: Path, switch: StandInProcess, gemini: str) -> None:
        self.switch = switch
        settings = _CONFIGURATION.format(
            host=switch.host, port=switch.port, recordings=folder / "recordings", gemini=gemini
        )
        state = folder / "state"
        state.mkdir()
        self.daemon = Daemon(state, settings, {"CALLENGINE_AI__API_KEY": _KEY})
        self.url = self.daemon.url
        self.key = self.daemon.key
        self.daemon.start()

    def call(self, digits: str, **more: Any) -> str:
        """Places a call to a number that ends so; its id."""
        body = {"destination": f"+1555010{digits}", "gateway": "carrier", "on_answer": {"type": "park"}, **more}
        return str(self.daemon.ask("POST", "/v1/calls", body)["id"])

    def call_by_another(self, digits: str) -> str:
        """Has the switch place a call by itself, to a number that ends so; the end of its number."""
        client = EslClient(self.switch.host, self.switch.port, "ClueCon")
        client.connect()
        number = f"7{digits}"
        client.api(f"originate {{standin_ring_s=0.2}}sofia/gateway/carrier/+1555010{number} &park()", timeout_s=15)
        client.close()
        return number

    def channel_of(self, call_id: str) -> str:
        """The UUID that the switch knows a call by which we placed: we chose it."""
        return call_id

    def shown(self, call_id: str) -> dict[str, Any]:
        """The call as the API has it."""
        answer: dict[str, Any] = self.daemon.ask("GET", f"/v1/calls/{call_id}")
        return answer

    def until(self, condition: Callable[[], Any], within_s: float = _WITHIN_S) -> Any:
        """Waits until that is so."""
        until = time.monotonic() + within_s
        while not (value := condition()):
            assert time.monotonic() < until, condition
            time.sleep(0.05)
        return value

    def key_with(self, *scopes: str) -> str:
        """Another key of the same tenant."""
        words = [word for scope in scopes for word in ("--scope", scope)]
        return self.daemon.command("key", "create", "--tenant", "default", *words).strip().splitlines()[-1]


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    if found() is None:
        pytest.skip("there is no Chromium on this machine (Debian: apt install chromium)")
    folder = tmp_path_factory.mktemp("page")
    with ExitStack() as stack:
        arguments = ["--recordings", str(folder / "recordings"), "--inbound-rate", "0.7"]
        process, address = started("tests.page.callers", arguments, 15.0)
        host, _, port = address.rpartition(":")
        switch = stack.enter_context(StandInProcess(process, host, int(port)))
        process, gemini = started("callengine.standin.gemini", ["--key", _KEY], 15.0)
        stack.enter_context(Running(process))
        made = House(folder, switch, gemini)
        stack.callback(made.daemon.stop)
        yield made


@pytest.fixture(scope="module")
def whole_browser(house: House, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with Browser(tmp_path_factory.mktemp("chromium")) as made:
        yield made


@pytest.fixture
def browser(whole_browser: Browser) -> Iterator[Browser]:
    """Without a tab; those of a test are closed after it, since each goes on reading and drawing."""
    yield whole_browser
    whole_browser.close_pages()


@pytest.fixture
def signed_in(house: House, browser: Browser) -> Page:
    """A page that shows the calls of now."""
    page = browser.page()
    sign_in(page, house.url, house.key)
    return page


def sign_in(page: Page, url: str, key: str, view: str = "") -> None:
    """As a person does it, by the keyboard."""
    page.open(f"{url}/{view}")
    page.until("document.querySelector('#key')")
    page.type("#key", key)
    page.press("Enter")
    page.until("document.querySelector('#link-text')?.textContent === 'Live'")
