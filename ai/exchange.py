"""One question, from the first byte read to the last upload deleted; the same for both of Google's packages.

A ``Backend`` is what differs between them: five calls, none of which it repeats by itself.
"""

from __future__ import annotations

import json
import logging
import secrets
import string
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final, Protocol, TypeVar

import gevent

from callengine.ai.faults import AnalysisFault, Blocked, Permanent, Transient, Unusable, of_silence
from callengine.ai.reading import Reader
from callengine.ai.sdk import INLINE_MAX_BYTES, Answer, Ask, Audio, SdkName, Uploads
from callengine.errors import CallengineError
from callengine.threads import Threads

log = logging.getLogger(__name__)

T = TypeVar("T")

_DELETE_TIMEOUT_S: Final = 5.0
_POLL_MIN_S: Final = 0.1
_POLL_MAX_S: Final = 2.0
_PROCESSING_MAX_S: Final = 120.0
_READERS: Final = 4
_NAME_CHARACTERS: Final = string.ascii_lowercase + string.digits
# FinishReason of the API reference: what ended the answer was a filter.
_FILTERED: Final = frozenset({"SAFETY", "RECITATION", "BLOCKLIST", "PROHIBITED_CONTENT", "SPII", "LANGUAGE"})


@dataclass(frozen=True, slots=True)
class Stored:
    """A file of the Files API. ``state`` is PROCESSING, ACTIVE or FAILED."""

    name: str
    uri: str
    mime_type: str
    state: str


@dataclass(frozen=True, slots=True)
class Inline:
    """A recording that goes along with the request."""

    data: bytes = field(repr=False)
    mime_type: str


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer of HTTP status 200, read but not judged. ``blocked``: why the prompt was, if it was."""

    text: str = field(repr=False)
    candidates: int
    finish_reason: str
    blocked: str | None
    input_tokens: int
    output_tokens: int
    model_version: str


@dataclass(slots=True)
class _Way:
    """How far a question has come. ``begun``: the names of uploads, and whether each is known to be complete."""

    begun: dict[str, bool] = field(default_factory=dict)
    sent: bool = False


class Backend(Protocol):
    """One of Google's packages. It raises what that raises; ``fault`` translates. ``timeout_s`` is for each read."""

    @property
    def name(self) -> SdkName: ...

    def upload(self, name: str, reader: Reader, audio: Audio, timeout_s: float) -> Stored: ...

    def look(self, name: str, timeout_s: float) -> Stored: ...

    def remove(self, name: str, timeout_s: float) -> bool:
        """False if there is no such file."""
        ...

    def generate(self, ask: Ask, parts: list[Inline | Stored], timeout_s: float) -> Reply: ...

    def look_up(self, model: str, timeout_s: float) -> None:
        """``model`` as it stands in URLs, ``models/…``."""
        ...

    def fault(self, error: Exception) -> AnalysisFault: ...

    def close(self) -> None: ...


class Exchange:
    """An ``Sdk`` (see callengine.ai.sdk) on top of a backend."""

    def __init__(self, backend: Backend, *, delete_timeout_s: float = _DELETE_TIMEOUT_S) -> None:
        self._backend = backend
        self._delete_timeout_s = delete_timeout_s
        self._pool = Threads(_READERS)

    @property
    def name(self) -> SdkName:
        return self._backend.name

    def ask(self, ask: Ask, uploads: Uploads) -> Answer:
        way = _Way()
        try:
            return _within(ask.deadline_s, lambda: self._asked(ask, uploads, way))
        except AnalysisFault as fault:
            # An upload costs nothing, whatever became of it.
            fault.unknown_cost = fault.unknown_cost and way.sent
            raise
        finally:
            self._discard(way.begun, uploads)

    def delete(self, name: str) -> None:
        _within(self._delete_timeout_s, lambda: self._spoken(self._backend.remove, name, self._delete_timeout_s))

    def look_up(self, model: str, timeout_s: float) -> None:
        path = model if "/" in model else f"models/{model}"
        _within(timeout_s, lambda: self._spoken(self._backend.look_up, path, timeout_s))

    def close(self) -> None:
        self._backend.close()
        self._pool.kill()

    def _asked(self, ask: Ask, uploads: Uploads, way: _Way) -> Answer:
        parts: list[Inline | Stored]
        if sum(audio.size_bytes for audio in ask.audios) <= INLINE_MAX_BYTES:
            parts = [self._inline(audio) for audio in ask.audios]
        else:
            stored = [self._upload(audio, uploads, way.begun, ask.deadline_s) for audio in ask.audios]
            parts = [self._active(file, ask.deadline_s) for file in stored]
        way.sent = True
        return _judged(self._spoken(self._backend.generate, ask, parts, ask.deadline_s))

    def _inline(self, audio: Audio) -> Inline:
        with Reader(self._pool, audio) as reader:
            return Inline(reader.read(), audio.mime_type)

    def _upload(self, audio: Audio, uploads: Uploads, begun: dict[str, bool], timeout_s: float) -> Stored:
        """``begun`` gets the name, and whether the upload is known to have been completed."""
        name = "files/ce-" + "".join(secrets.choice(_NAME_CHARACTERS) for _ in range(20))
        with Reader(self._pool, audio) as reader:
            uploads.began(name)
            begun[name] = False
            try:
                stored = self._spoken(self._backend.upload, name, reader, audio, timeout_s)
            except Permanent:
                # Refused, so there is nothing to delete.
                del begun[name]
                _tell_ended(uploads, name)
                raise
            begun[name] = True
            return stored

    def _active(self, stored: Stored, timeout_s: float) -> Stored:
        """Waits until Google has looked at the file."""
        until = time.monotonic() + _PROCESSING_MAX_S
        pause_s = _POLL_MIN_S
        while stored.state != "ACTIVE":
            if stored.state == "FAILED":
                raise Unusable("Google could not process a recording")
            if time.monotonic() >= until:
                raise Transient(f"Google did not process a recording within {_PROCESSING_MAX_S:g} s")
            gevent.sleep(pause_s)
            pause_s = min(pause_s * 2, _POLL_MAX_S)
            stored = self._spoken(self._backend.look, stored.name, timeout_s)
        return stored

    def _discard(self, begun: dict[str, bool], uploads: Uploads) -> None:
        """Deletes what was uploaded, within one bound for all; what could not be deleted is not told as ended."""
        if not begun:
            return
        left = dict(begun)

        def all_of_it() -> None:
            for name, completed in begun.items():
                try:
                    removed = self._spoken(self._backend.remove, name, self._delete_timeout_s)
                except AnalysisFault as fault:
                    log.warning("an upload could not be deleted (%s); it will be tried again later", fault)
                    continue
                # The last part of a broken upload may arrive after this: then it is there to be deleted later.
                if removed or completed:
                    _tell_ended(uploads, name)
                    del left[name]

        try:
            _within(self._delete_timeout_s, all_of_it)
        except Transient:
            log.warning("%d uploads could not be deleted in time; it will be tried again later", len(left))

    def _spoken(self, function: Callable[..., T], *arguments: Any) -> T:
        """``function(*arguments)`` of the backend, its errors translated, and not chained to the translation."""
        try:
            return function(*arguments)
        except CallengineError:
            raise
        except Exception as error:  # noqa: BLE001  the packages raise of everything
            fault = self._backend.fault(error)
        raise fault


def _within(seconds: float, run: Callable[[], T]) -> T:
    """Timeouts of the packages are for each read, so a server that trickles would hold them for ever."""
    timer = gevent.Timeout(seconds)
    timer.start()
    try:
        return run()
    except gevent.Timeout as expired:
        if expired is not timer:
            raise
    finally:
        timer.close()
    raise of_silence(f"no answer within {seconds:g} s")


def _tell_ended(uploads: Uploads, name: str) -> None:
    """An answer that was paid for is not lost because this could not be written down."""
    try:
        uploads.ended(name)
    except CallengineError as error:
        log.warning("the end of an upload could not be written down (%s)", type(error).__name__)


def _judged(reply: Reply) -> Answer:
    tokens = {"input_tokens": reply.input_tokens, "output_tokens": reply.output_tokens}
    if reply.blocked is not None:
        raise Blocked(f"Google's filters refused the recording ({_word(reply.blocked)})", **tokens)
    if not reply.candidates:
        raise Unusable("the answer is empty", **tokens)
    if reply.finish_reason in _FILTERED:
        raise Blocked(f"Google's filters refused the answer ({_word(reply.finish_reason)})", **tokens)
    if reply.finish_reason != "STOP":
        raise Unusable(f"the answer is not complete ({_word(reply.finish_reason)})", **tokens)
    if not _is_json(reply.text):
        raise Unusable("the answer is no JSON" if reply.text else "the answer is empty", **tokens)
    return Answer(reply.text, reply.finish_reason, reply.input_tokens, reply.output_tokens, reply.model_version)


def _word(reason: str) -> str:
    return reason if len(reason) <= 40 and reason.replace("_", "").isalnum() else "unknown reason"


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True
