"""A headless Chromium, driven over a pipe by the Chrome DevTools Protocol: no driver, no port, no package for it.

Messages are JSON with a NUL behind each (``--remote-debugging-pipe``); the browser reads from descriptor 3, and writes
to 4. https://chromedevtools.github.io/devtools-protocol/ has the methods.
"""

from __future__ import annotations

import base64
import json
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

NAMES = ("chromium", "chromium-browser", "google-chrome-stable", "google-chrome")
FLAGS = (
    "--headless=new",
    "--no-sandbox",  # which root cannot have; what is shown is our own page
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--no-default-browser-check",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-extensions",
    "--disable-dev-shm-usage",
    "--mute-audio",
    "--autoplay-policy=no-user-gesture-required",
    "--remote-debugging-pipe",
)
WITHIN_S = 20.0
_PIECE = 262_144


def found() -> str | None:
    """The path of a Chromium, if there is one."""
    return next((path for path in map(shutil.which, NAMES) if path is not None), None)


class BrowserError(RuntimeError):
    """What the browser refused, or an exception in the page."""


class Browser:
    """One browser process with a profile of its own in ``folder``; a context manager."""

    def __init__(self, folder: Path, *flags: str) -> None:
        path = found()
        assert path is not None
        ours, theirs = socket.socketpair()
        self._socket = ours
        self._rest = b""
        self._number = 0
        self._contexts: list[str] = []
        self._answers: dict[int, dict[str, Any]] = {}
        self.events: list[dict[str, Any]] = []
        """What the browser told unasked, the oldest first."""
        descriptor = theirs.fileno()
        os.set_blocking(descriptor, True)  # gevent's are not, and the browser gives up then

        def in_place() -> None:
            copy = os.dup2(descriptor, 64)  # 3 or 4 may be what it is
            os.dup2(copy, 3)
            os.dup2(copy, 4)

        self._log = (folder / "chromium.log").open("ab")
        self.process = subprocess.Popen(
            [path, *FLAGS, *flags, f"--user-data-dir={folder / 'profile'}", "about:blank"],
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=self._log,
            close_fds=False,
            preexec_fn=in_place,
            start_new_session=True,
        )
        theirs.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self.call("Browser.close")
            self.process.wait(5)
        except (BrowserError, OSError, subprocess.TimeoutExpired):
            self.process.kill()
            self.process.wait(5)
        finally:
            self._socket.close()
            self._log.close()

    def page(self, width: int = 1280, height: int = 800, *, dark: bool = False, phone: bool = False) -> Page:
        """A new tab in a context of its own: it shares no storage with others."""
        context = str(self.call("Target.createBrowserContext")["browserContextId"])
        self._contexts.append(context)
        target = self.call("Target.createTarget", url="about:blank", browserContextId=context)["targetId"]
        session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        return Page(self, session, width, height, dark=dark, phone=phone)

    def close_pages(self) -> None:
        """Closes all tabs, and forgets what the browser told of them."""
        for context in self._contexts:
            self.call("Target.disposeBrowserContext", browserContextId=context)
        self._contexts.clear()
        self.events.clear()

    def call(self, method: str, session: str | None = None, /, **params: Any) -> dict[str, Any]:
        """One command, and what it answers. Raises ``BrowserError``."""
        self._number += 1
        number = self._number
        message: dict[str, Any] = {"id": number, "method": method, "params": params}
        if session is not None:
            message["sessionId"] = session
        self._socket.settimeout(WITHIN_S)
        self._socket.sendall(json.dumps(message).encode() + b"\0")
        until = time.monotonic() + WITHIN_S
        while number not in self._answers:
            self._take(until - time.monotonic())
        answer = self._answers.pop(number)
        if "error" in answer:
            raise BrowserError(f"{method}: {answer['error'].get('message')}")
        result: dict[str, Any] = answer["result"]
        return result

    def _take(self, within_s: float) -> None:
        """Reads what comes, once."""
        self._socket.settimeout(max(within_s, 0.001))
        try:
            data = self._socket.recv(_PIECE)
        except TimeoutError:
            raise BrowserError("Chromium did not answer in time") from None
        if not data:
            raise BrowserError("Chromium is gone")
        *whole, self._rest = (self._rest + data).split(b"\0")
        for text in whole:
            message = json.loads(text)
            if "id" in message:
                self._answers[message["id"]] = message
            else:
                self.events.append(message)


class Page:
    """One tab. ``session`` is that of the protocol."""

    def __init__(
        self, browser: Browser, session: str, width: int, height: int, *, dark: bool = False, phone: bool = False
    ) -> None:
        self.browser = browser
        self.session = session
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")
        self.size(width, height, phone=phone)
        scheme = "dark" if dark else "light"
        self.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        """A command to this tab."""
        return self.browser.call(method, self.session, **params)

    def size(self, width: int, height: int, *, phone: bool = False) -> None:
        """The viewport, in CSS pixels."""
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=2 if phone else 1,
            mobile=phone,
        )

    def open(self, url: str) -> None:
        """Goes there. Waits for nothing."""
        self.call("Page.navigate", url=url)

    def js(self, expression: str) -> Any:
        """The value of an expression, awaited if it is a promise. Raises ``BrowserError`` with what was thrown."""
        result = self.call("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True)
        if "exceptionDetails" in result:
            thrown = result["exceptionDetails"].get("exception", {})
            raise BrowserError(str(thrown.get("description") or result["exceptionDetails"]["text"]))
        return result["result"].get("value")

    def until(self, expression: str, within_s: float = WITHIN_S) -> Any:
        """Waits until an expression is true, and gives its value; what it throws meanwhile counts as not yet."""
        until = time.monotonic() + within_s
        while True:
            try:
                # An element has no value that could be handed over.
                value = self.js(f"Promise.resolve({expression}).then((v) => (v instanceof Node ? true : v))")
            except BrowserError as error:
                value, said = None, str(error)
            else:
                said = repr(value)
            if value:
                return value
            if time.monotonic() > until:
                raise AssertionError(f"not within {within_s:g} s: {expression} ({said})\n{self.text()[:2000]}")
            time.sleep(0.05)

    def text(self) -> str:
        """What is to be read on it."""
        return str(self.js("document.body ? document.body.innerText : ''"))

    def type(self, selector: str, text: str) -> None:
        """Replaces what is in a field, as a person does."""
        self.js(f"(() => {{ const f = document.querySelector({json.dumps(selector)}); f.focus(); f.select(); }})()")
        if text:
            self.call("Input.insertText", text=text)
        else:
            self.press("Delete")

    def press(self, key: str) -> None:
        """A key: ``Enter``, ``Tab``, ``Space``, ``Delete``."""
        codes: Mapping[str, tuple[int, str]] = {
            "Enter": (13, "\r"),
            "Tab": (9, ""),
            "Space": (32, " "),
            "Delete": (46, ""),
        }
        code, text = codes[key]
        more = {"text": text} if text else {}
        name = " " if key == "Space" else key
        self.call("Input.dispatchKeyEvent", type="keyDown", key=name, code=key, windowsVirtualKeyCode=code, **more)
        self.call("Input.dispatchKeyEvent", type="keyUp", key=name, code=key, windowsVirtualKeyCode=code)

    def click(self, selector: str) -> None:
        """With the mouse, in the middle of it."""
        place = self.js(
            f"(() => {{ const e = document.querySelector({json.dumps(selector)});"
            " e.scrollIntoView({block: 'center'}); const b = e.getBoundingClientRect();"
            " return [b.left + b.width / 2, b.top + b.height / 2]; })()"
        )
        for kind in ("mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=kind, x=place[0], y=place[1], button="left", clickCount=1)

    def screenshot(self, path: Path, *, whole: bool = False) -> None:
        """What is in the viewport, or the whole page, as a PNG."""
        data = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=whole)["data"]
        path.write_bytes(base64.b64decode(data))

    def faults(self) -> list[str]:
        """What went wrong in the page so far, among it whatever its policy forbade."""
        self.js("1")  # whatever was told is read before its answer
        told = []
        for event in self.browser.events:
            if event.get("sessionId") != self.session:
                continue
            params = event["params"]
            if event["method"] == "Runtime.exceptionThrown":
                details = params["exceptionDetails"]
                told.append(str(details.get("exception", {}).get("description") or details["text"]))
            elif event["method"] == "Log.entryAdded" and params["entry"]["level"] == "error":
                told.append(f"{params['entry']['source']}: {params['entry']['text']} {params['entry'].get('url', '')}")
        return told

    def requests(self) -> list[str]:
        """The URLs of all that it asked for so far."""
        return [
            event["params"]["request"]["url"]
            for event in self.browser.events
            if event.get("sessionId") == self.session and event["method"] == "Network.requestWillBeSent"
        ]
