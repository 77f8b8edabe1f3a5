"""What is allowed but probably not meant: for ``check-config`` and the first lines of the log."""

from __future__ import annotations

from urllib.parse import urlsplit

from callengine.config.sections import is_loopback
from callengine.config.settings import Settings


def advise(settings: Settings) -> list[str]:
    """One line for each thing an operator would want to know; empty where there is none."""
    return [*_exposure(settings), *_recordings(settings), *_originate(settings)]


def _exposure(settings: Settings) -> list[str]:
    lines = []
    if not is_loopback(settings.http.host):
        if not settings.metrics.token.get_secret_value():
            lines.append("metrics.token is not set: beyond loopback /metrics is closed to everyone")
        if settings.http.public_url.startswith("http://"):
            lines.append(
                "http.public_url is not https: keys and recordings would cross the network in the clear;"
                " put a TLS proxy in front and name its URL"
            )
    if 0 < len(settings.http.signing_key.get_secret_value()) < 32:
        lines.append("http.signing_key is short: whoever guesses it can hear every recording; use 32 characters")
    if not is_loopback(settings.esl.host):
        if settings.esl.password.get_secret_value() == "ClueCon":
            lines.append("esl.password is FreeSWITCH's published default, and esl.host is another machine")
        lines.append(
            "esl.host is another machine: the event socket is not encrypted, use a private network or a tunnel"
        )
    return lines


def _recordings(settings: Settings) -> list[str]:
    lines = []
    if not settings.recordings.directories:
        if settings.recordings.start != "never":
            lines.append("recordings.directories is empty: calls are recorded, but no recording can be read")
        if settings.ai.enabled:
            lines.append("recordings.directories is empty: there is nothing that ai.enabled could send")
    lines += _storage(settings)
    if settings.ai.enabled and settings.ai.sdk == "google-generativeai":
        lines.append("ai.sdk google-generativeai is without support since November 2025; google-genai is its successor")
    return lines


def _storage(settings: Settings) -> list[str]:
    s3 = settings.s3
    if settings.recordings.storage == "disk":
        return ["s3.bucket is set, but recordings.storage is disk: nothing is put there"] if s3.bucket else []
    host = urlsplit(s3.endpoint_url).hostname or ""
    if s3.endpoint_url.startswith("http://") and not is_loopback(host):
        return ["s3.endpoint_url is not https: recordings would cross the network in the clear"]
    return []


def _originate(settings: Settings) -> list[str]:
    if settings.originate.enabled and not settings.originate.gateways:
        return ["originate.gateways is empty: no call can be placed, calls of others are tracked all the same"]
    return []
