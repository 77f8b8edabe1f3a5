"""The far end's own list of the calls that reached it: what was dialled is known there, whoever dies here.

A line of JSON for each INVITE: ``{"number": "1000123", "at": seconds since the epoch, "uuid": of our channel}``.
"""

from __future__ import annotations

import logging
import os
import time

import orjson

from callengine.standin.channels import Channel
from callengine.standin.options import Options

log = logging.getLogger(__name__)


def note(options: Options, channel: Channel, number: str) -> None:
    """Append a call to ``options.far_end``, if that is kept: one write a line, in nobody's buffer."""
    if options.far_end is None:
        return
    line = orjson.dumps({"number": number, "at": time.time(), "uuid": channel.uuid}) + b"\n"
    try:
        file = os.open(options.far_end, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        try:
            os.write(file, line)
        finally:
            os.close(file)
    except OSError as error:
        log.warning("the stand-in could not list a call: %s", error)
