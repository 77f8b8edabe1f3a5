"""The recordings themselves, behind signed URLs: no key is asked for, the link is what allows it (RFC 9110, 13 and 14).

The file is read in pieces off the hub, and its answer may take as long as its reader goes on reading.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

from flask import Response, request

from callengine.api.bodies import RecordingQuery
from callengine.api.frame import Frame
from callengine.api.long_lived import PIECE_BYTES, BodyEnded, claim_place
from callengine.api.paths import decoded_slashes
from callengine.api.problems import Refusal
from callengine.api.services import OpenRecording, RecordingFile, Recordings
from callengine.api.spec import Answers
from callengine.errors import BucketError, NoSuchRecording, RecordingChanged, RecordingError, RecordingGone

log = logging.getLogger("callengine.api")

OTHER_TYPE: Final = "application/octet-stream"
CONTENT_TYPES: Final[Mapping[str, str]] = {
    "wav": "audio/wav",
    "mp3": "audio/mpeg",
    "ogg": "audio/ogg",
    "opus": "audio/ogg",
    "flac": "audio/flac",
}
_HEADERS: Final = {
    "Cache-Control": "private, no-store",
    "Referrer-Policy": "no-referrer",
    # A browser that shows the URL itself makes a page around the audio, to which this applies.
    "Content-Security-Policy": "default-src 'none'; media-src 'self'; frame-ancestors 'none'",
}
# One range of bytes. Several at once may be ignored, another unit has to be (RFC 9110, 14.2).
_ONE_RANGE: Final = re.compile(
    r"bytes=[ \t]*(?:(?P<first>[0-9]{1,18})-(?P<last>[0-9]{0,18})|-(?P<suffix>[0-9]{1,18}))[ \t]*",
    re.ASCII | re.IGNORECASE,
)


class _FileAnswers(Answers):
    """A file, a part of it, nothing new, or where else it is."""

    def generate_spec(self, naming_strategy: Any = None) -> dict[str, Any]:
        """All of an answer's forms."""
        described = super().generate_spec(naming_strategy)
        types = sorted({*CONTENT_TYPES.values(), OTHER_TYPE})
        audio = {"content": {kind: {"schema": {"type": "string", "format": "binary"}} for kind in types}}
        text = {"schema": {"type": "string"}, "required": True}
        partial = {"Content-Range": text, "ETag": text, "Accept-Ranges": text}
        described["200"] = {"description": "The recording", "headers": {"ETag": text, "Accept-Ranges": text}} | audio
        described["206"] = {"description": "The part that Range asks for", "headers": partial} | audio
        described["304"] = {"description": "It is the one that If-None-Match names."}
        described["307"] = {"description": "It is in a bucket, there.", "headers": {"Location": text}}
        return dict(sorted(described.items()))


def add_recording_file_route(frame: Frame) -> None:
    """``GET`` and ``HEAD /v1/recordings/{recording_id}``."""
    recordings = frame.services.recordings

    @frame.open_route(
        "/v1/recordings/<recording_id>",
        answers=_FileAnswers(200, None, faults=(400, 403, 404, 410, 412, 416, 500, 503)),
        topic="recordings",
    )
    def get_recording(recording_id: str, query: RecordingQuery) -> Response:
        """Listen to a recording

        By the `recording_url` of a call, which works without a key until it expires. One range of bytes can be asked
        for."""
        if recordings is None:
            raise Refusal(503, "not-served", "recordings are not served here", headers={"Retry-After": "60"})
        wanted = decoded_slashes(recording_id)
        recordings.verify(wanted, query.expires, query.signature)
        file = recordings.find(wanted)
        if file is None or file.status not in {"ready", "deleted"}:
            raise NoSuchRecording
        if file.status == "deleted":
            raise RecordingGone
        return _elsewhere(recordings, file) if file.storage == "s3" else _here(recordings, file)


def _elsewhere(recordings: Recordings, file: RecordingFile) -> Response:
    try:
        url = recordings.presigned(file, _filename(file), _content_type(file), request.method)
    except BucketError as error:
        log.warning("recording %s: %s", file.id, error)
        raise Refusal(503, "bucket-unavailable", "the store of recordings does not answer") from None
    response = Response(status=307, headers={**_HEADERS, "Location": url})
    del response.headers["Content-Type"]
    return response


def _here(recordings: Recordings, file: RecordingFile) -> Response:
    if request.method != "HEAD":
        claim_place("recording")
    try:
        opened = recordings.open(file)
    except RecordingChanged as error:
        log.warning("recording %s is gone: %s", file.id, error)
        raise Refusal(410, "recording-changed", "its file holds something else by now") from None
    except RecordingError as error:
        log.warning("recording %s cannot be served: %s", file.id, error)
        raise NoSuchRecording from None
    try:
        return _conditional(file, opened)
    except BaseException:
        opened.close()
        raise


def _conditional(file: RecordingFile, opened: OpenRecording) -> Response:
    """The answer by the request's conditions and range, in the order of RFC 9110, 13.2.2."""
    response = Response(content_type=_content_type(file), headers=_HEADERS, direct_passthrough=True)
    response.content_length = opened.size
    response.accept_ranges = "bytes"
    response.set_etag(_etag(file, opened))
    response.last_modified = datetime.fromtimestamp(int(opened.modified_s), UTC)
    response.headers["Content-Disposition"] = f'inline; filename="{_filename(file)}"'
    response.make_conditional(request.environ)
    if response.status_code == 412:
        raise Refusal(412, "precondition-failed", "it is not the one that If-Match names")
    start, stop = 0, opened.size
    if response.status_code == 200 and (wanted := _wanted_range(response, opened.size)):
        start, stop = wanted
        response.status_code = 206
        response.content_length = stop - start
        response.headers["Content-Range"] = f"bytes {start}-{stop - 1}/{opened.size}"
    response.response = _Body(opened, start, stop)
    return response


def _wanted_range(response: Response, size: int) -> tuple[int, int] | None:
    """Where the asked part begins, and where it has ended; None for all. Raises ``Refusal`` (416).

    Our own, since werkzeug refuses a suffix longer than the file, and takes a weak ETag in If-Range for the same.
    """
    asked = _ONE_RANGE.fullmatch(request.headers.get("Range", ""))
    if request.method != "GET" or asked is None or not _is_if_range(response):
        return None
    first, last, suffix = asked.group("first", "last", "suffix")
    if suffix is not None:
        start, stop = max(0, size - int(suffix)), size
    else:
        start, stop = int(first), min(size, int(last) + 1) if last else size
        if last and int(last) < int(first):
            return None  # no valid range, so it is ignored
    if start >= stop:
        headers = {"Content-Range": f"bytes */{size}"}
        raise Refusal(416, "range-not-satisfiable", "the range begins behind the end", headers=headers)
    return start, stop


def _is_if_range(response: Response) -> bool:
    """Whether If-Range names the file as it is, which has to be exact (RFC 9110, 13.1.5)."""
    named = request.headers.get("If-Range")
    return named is None or named in {response.headers["ETag"], response.headers["Last-Modified"]}


def _etag(file: RecordingFile, opened: OpenRecording) -> str:
    """The content's hash; of a file that was never hashed: its size and age."""
    if file.sha256 is not None:
        return file.sha256
    return f"{opened.size:x}-{int(opened.modified_s * 1e6):x}"


def _content_type(file: RecordingFile) -> str:
    return CONTENT_TYPES.get(file.format, OTHER_TYPE)


def _filename(file: RecordingFile) -> str:
    """A name that tells nothing that the link does not."""
    return f"{file.call_id}.{file.format if file.format in CONTENT_TYPES else 'bin'}"


class _Body:
    """The pieces of an open file from ``start`` up to ``stop``."""

    def __init__(self, opened: OpenRecording, start: int, stop: int) -> None:
        self._opened = opened
        self._at = start
        self._stop = stop

    def __iter__(self) -> _Body:
        return self

    def __next__(self) -> bytes:
        length = min(PIECE_BYTES, self._stop - self._at)
        if length <= 0:
            raise StopIteration
        try:
            piece = self._opened.read_at(self._at, length)
        except OSError as error:
            raise BodyEnded(f"the recording cannot be read on ({error.strerror})") from None
        if len(piece) < length:
            raise BodyEnded("the recording became shorter while it was read")
        self._at += length
        return piece

    def close(self) -> None:
        """To be called by the server, whether all of it was sent or not."""
        self._opened.close()
