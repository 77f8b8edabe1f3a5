"""One question on its way: put together, watched over from outside, its answer read off the hub."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any, Final, TypeVar, cast

import gevent
from gevent.event import Event

from callengine.ai import answer, prompt, spend
from callengine.ai.faults import AnalysisFault, Permanent, Transient, of_silence
from callengine.ai.files import Opener
from callengine.ai.sdk import Answer, Ask, Audio
from callengine.ai.triage import Plan, mime_type
from callengine.ai.unexpected import unexpected
from callengine.config.sections import Ai
from callengine.errors import BucketError, RecordingError, StoreError

T = TypeVar("T")

OVERTIME_S: Final = 30.0
"""The SDK keeps its deadline by itself; so long after it, it is taken not to."""

CLEANUP_S: Final = 10.0
"""So long it may take to delete what it uploaded, once it is broken off."""


class Lost(Exception):
    """The job is somebody else's by now."""


class Stopping(Exception):
    """The daemon stops: the job is given back as it was."""


def ask_of(plan: Plan, openers: Sequence[Opener], settings: Ai) -> Ask:
    """What is asked of the model."""
    about = plan.about
    return Ask(
        prompt=prompt.prompt(about, transcript=plan.transcript),
        schema=prompt.schema(about.dispositions, transcript=plan.transcript),
        audios=tuple(
            Audio(
                open=opener,
                size_bytes=recording.bytes,
                mime_type=mime_type(recording),
                duration_ms=recording.duration_ms,
                label=f"recording-{number}",
            )
            for number, (recording, opener) in enumerate(zip(plan.recordings, openers, strict=True), 1)
        ),
        model=settings.model,
        max_output_tokens=spend.output_bound(about.audio_ms, transcript=plan.transcript),
        deadline_s=settings.deadline_s,
    )


def watched(
    ask: Callable[[], Answer],
    *,
    stop: Event,
    within_s: float,
    look_every_s: float,
    still_ours: Callable[[], bool],
) -> Answer:
    """What ``ask`` returns, run in a greenlet of its own: it is broken off, and may clean up after itself, where the
    daemon stops, the job is no longer ours, no answer comes, or whoever waits here is killed.

    Raises AnalysisFault, Lost, Stopping, StoreError.
    """
    asking = gevent.spawn(_outcome_of, ask)
    until = time.monotonic() + within_s
    waited_for: list[Any] = [asking, stop]
    try:
        while not asking.ready():
            gevent.wait(waited_for, timeout=look_every_s, count=1)
            if asking.ready():
                break
            if stop.is_set():
                raise Stopping
            if time.monotonic() > until:
                raise of_silence("no answer came in time")
            if not still_ours():
                raise Lost
    finally:
        asking.kill(timeout=CLEANUP_S)
    return _judged(asking.value)


def read_off_hub(text: str, plan: Plan) -> answer.Finding:
    """What of the answer stands; in a native thread, since a long transcript would hold the hub. Raises Unusable."""
    codes = prompt.usable_dispositions(plan.about.dispositions)

    def work() -> answer.Finding:
        return answer.read(text, audio_ms=plan.about.audio_ms, dispositions=codes, transcript=plan.transcript)

    found, error = gevent.get_hub().threadpool.apply(_outcome_of, (work,))
    if error is not None:
        raise error
    return cast(answer.Finding, found)


def _outcome_of(work: Callable[[], T]) -> tuple[T | None, BaseException | None]:
    """An error as a value: one that ends a greenlet or a pool's thread is printed, with whatever its text holds."""
    try:
        return work(), None
    except gevent.GreenletExit:
        raise
    except BaseException as error:  # noqa: BLE001  gevent.Timeout is no Exception
        return None, error


def _judged(outcome: Any) -> Answer:
    """The answer, or what the error means to the job."""
    if not isinstance(outcome, tuple):
        raise of_silence("asking was broken off")
    reply, error = outcome
    match error:
        case None:
            return cast(Answer, reply)
        case AnalysisFault() | Lost() | StoreError():
            raise error
        case RecordingError():
            raise Permanent(f"a recording {error.fact}")
        case BucketError() if error.transient:
            raise Transient("the bucket does not answer")
        case BucketError():
            raise Permanent(f"the bucket refuses a recording: {error.code}")
        case Exception():
            raise unexpected(error)
        case _:
            raise of_silence("no answer came in time")
