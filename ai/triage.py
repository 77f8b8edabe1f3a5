"""What of a call is worth sending, and what the model is told of it. Pure."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Final

import msgspec

from callengine.ai import prompt, spend
from callengine.ai.prompt import About, Side, Sound
from callengine.calls.record import CallRecord
from callengine.calls.view import durations
from callengine.config.sections import Ai
from callengine.store.analyses import Job, Playable, Status

_MIME_TYPES: Final = {
    ".wav": "audio/wav",
    ".mp3": "audio/mpeg",
    ".ogg": "audio/ogg",
    ".flac": "audio/flac",
    ".aiff": "audio/aiff",
    ".aac": "audio/aac",
}


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What of a call is going to be sent, and what that will cost at most."""

    recordings: tuple[Playable, ...]
    about: About
    transcript: bool
    most_micros: int


def plan_of(job: Job, settings: Ai) -> Plan:
    """The plan for a job that is not to be skipped."""
    recordings = audible(job, settings)
    known = about(job, recordings)
    transcript = spend.wants_transcript(settings, known.audio_ms)
    own_bytes = prompt.own_bytes(known)
    most = spend.most_micros(known.audio_ms, spend.prices(settings), transcript=transcript, own_bytes=own_bytes)
    return Plan(recordings=recordings, about=known, transcript=transcript, most_micros=most)


def audible(job: Job, settings: Ai) -> tuple[Playable, ...]:
    """The recordings that have something to hear, in order of time. One whose loudness nobody measured may have."""
    floor_cb = round(settings.silence_dbfs * 100)
    return tuple(r for r in job.recordings if r.bytes and (r.loudness_cb is None or r.loudness_cb >= floor_cb))


def reason_to_skip(job: Job, settings: Ai) -> Status | None:
    """Why nothing of the call is to be sent; None where something is."""
    call = job.call
    if not job.recordings:
        return Status.SKIPPED_NO_RECORDING
    if call.answered_by == "machine" or call.hangup_cause in settings.skip_causes:
        return Status.SKIPPED_VOICEMAIL
    if sum(r.duration_ms for r in job.recordings) < settings.min_audio_s * 1000:
        return Status.SKIPPED_TOO_SHORT
    if not audible(job, settings):
        return Status.SKIPPED_SILENT
    return None


def mime_type(recording: Playable) -> str:
    """By the name's ending, as FreeSWITCH chooses the format by it."""
    return _MIME_TYPES.get(PurePosixPath(recording.path).suffix.lower(), "audio/wav")


def about(job: Job, recordings: tuple[Playable, ...]) -> About:
    """What the model is told of the call."""
    call = job.call
    sounds = (Sound(duration_ms=r.duration_ms, channels=r.channels, left=_left(call, r)) for r in recordings)
    return About(
        direction=call.direction,
        talk_s=durations(call)["talk_duration_s"],
        with_agent=bool(call.agents),
        with_voice_agent=any(leg.get("role") == "voice_agent" for leg in call.legs),
        sounds=tuple(sounds),
        goal=job.goal,
        dispositions=job.dispositions,
    )


def _left(call: CallRecord, recording: Playable) -> Side:
    """Who speaks on the recorded channel. An outbound call of others may be a phone of ours that dials, or a trunk."""
    if recording.leg != call.fs_uuid:
        return "unknown"
    if call.direction == "inbound":
        return "caller"
    return "callee" if call.queued_us is not None else "unknown"
