"""What an analysis costs: at most before it is sent, by the real tokens after. In millionths of a USD."""

from __future__ import annotations

from typing import Final, NamedTuple

from callengine.config.sections import Ai

AUDIO_TOKENS_PER_S: Final = 32
"""As the Gemini API counts audio, whatever its rate and channels."""

PROMPT_TOKENS: Final = 1_500
"""Prompt and schema, generously."""

MAX_OUTPUT_TOKENS: Final = 65_536
"""What the default model's output can hold at most."""

_DAY_US: Final = 24 * 3600 * 1_000_000
# What a fluent speaker needs, with names of fields and offsets around it; a bound has to hold where that is exceeded.
_SPOKEN_TOKENS_PER_S: Final = 8
_SUMMARY_TOKENS: Final = 1_000
_BOUND_FACTOR: Final = 4
# What a model thinks before it answers counts as well.
_LEAST_BOUND: Final = 16_384


class Prices(NamedTuple):
    """USD for a million tokens, which is the same as millionths of a USD for one."""

    input: float
    output: float


def prices(settings: Ai) -> Prices:
    """As the settings have them."""
    return Prices(settings.input_usd_per_million, settings.output_usd_per_million)


def cost_micros(input_tokens: int, output_tokens: int, price: Prices) -> int:
    """Rounded up: a bound that is kept by rounding down is not kept."""
    return -int(-(input_tokens * price.input + output_tokens * price.output) // 1)


def estimate_micros(audio_ms: int, price: Prices, *, transcript: bool) -> int:
    """What sending so much audio will cost, about."""
    seconds = -(-audio_ms // 1000)
    return cost_micros(PROMPT_TOKENS + AUDIO_TOKENS_PER_S * seconds, _expected_output(seconds, transcript), price)


def most_micros(audio_ms: int, price: Prices, *, transcript: bool, own_bytes: int = 0) -> int:
    """The most that asking once can cost. ``own_bytes``: of what the tenant wrote; a token has at least one of them."""
    seconds = -(-audio_ms // 1000)
    tokens = PROMPT_TOKENS + own_bytes + AUDIO_TOKENS_PER_S * seconds
    return cost_micros(tokens, output_bound(audio_ms, transcript=transcript), price)


def output_bound(audio_ms: int, *, transcript: bool) -> int:
    """How many tokens the answer may have: more than enough, and not so many that a model that rambles is dear."""
    wanted = _BOUND_FACTOR * _expected_output(-(-audio_ms // 1000), transcript)
    return min(MAX_OUTPUT_TOKENS, max(_LEAST_BOUND, wanted))


def _expected_output(seconds: int, transcript: bool) -> int:
    return _SUMMARY_TOKENS + (_SPOKEN_TOKENS_PER_S * seconds if transcript else 0)


def bound_micros(settings: Ai, of_tenant: int | None) -> int | None:
    """What a tenant may spend a day; None: as much as it takes. A tenant's own 0 means nothing at all."""
    if of_tenant is not None:
        return of_tenant
    return round(settings.daily_spend_usd * 1_000_000) or None


def day_start_us(now_us: int) -> int:
    """When the day (UTC) began."""
    return now_us - now_us % _DAY_US


def wants_transcript(settings: Ai, audio_ms: int) -> bool:
    """Whether a call with so much audio is to be transcribed."""
    return settings.transcript and audio_ms <= settings.transcript_max_s * 1000
