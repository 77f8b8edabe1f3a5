"""What became of a call, in the few words that quality is reckoned by. Pure.

The network effectiveness ratio (NER) of ITU-T E.425 counts as delivered what was answered, what met a busy user, what
rang unanswered, and what the terminal rejected or was not there for; the answer seizure ratio (ASR) only the first.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from callengine.calls.causes import CAUSES
from callengine.calls.record import CallRecord

OUTCOMES: Final = ("answered", "busy", "no_answer", "rejected", "cancelled", "failed", "not_sent")
"""``cancelled``: taken back before it rang; ``failed``: the network did not deliver it; ``not_sent``: no seizure."""

DELIVERED: Final = frozenset({"answered", "busy", "no_answer", "rejected"})
"""The numerator of the NER."""

REASONS: Final = frozenset(
    "queue_timeout cancelled engine_stopped not_committed switch_unreachable switch_refused outcome_unknown"
    " engine_restarted no_channel lead_not_dialled".split()
)
"""Why a call that we placed came to no channel."""

ANSWERED, OTHER, NONE = "answered", "other", "none"

_OF_CAUSE: Final = {
    "USER_BUSY": "busy",
    "BUSY_EVERYWHERE": "busy",
    "NO_ANSWER": "no_answer",
    "NO_USER_RESPONSE": "no_answer",
    "NO_PICKUP": "no_answer",
    "CALL_REJECTED": "rejected",
    "DECLINE": "rejected",
    "UNWANTED": "rejected",
    "SUBSCRIBER_ABSENT": "rejected",
    "USER_NOT_REGISTERED": "rejected",
    "ORIGINATOR_CANCEL": "cancelled",
    "NORMAL_CLEARING": "cancelled",
    "ALLOTTED_TIMEOUT": "cancelled",
    "MANAGER_REQUEST": "cancelled",
    "LOSE_RACE": "cancelled",
    "PICKED_OFF": "cancelled",
}
# mod_sofia (sofia_glue.c) makes CALL_REJECTED of these as well; whoever sent them is a carrier, not the user called.
_CARRIER_REFUSES: Final = frozenset({401, 402, 403, 407})


def outcome_of(record: CallRecord) -> str:
    """One of ``OUTCOMES``, of a call that is over."""
    if record.answer_us:
        return ANSWERED
    if record.queued_us is not None and record.dial_us is None:
        return "not_sent"
    found = _OF_CAUSE.get(record.hangup_cause or "", "failed")
    if found == "rejected" and record.sip_status in _CARRIER_REFUSES:
        return "failed"
    return "no_answer" if found == "cancelled" and record.ring_us else found


def result_of(record: CallRecord) -> str:
    """Of a call that we placed: ``answered``, else FreeSWITCH's cause, else our reason; of a closed set."""
    if record.answer_us:
        return ANSWERED
    cause, reason = record.hangup_cause, record.failure_reason
    if cause is not None:
        return cause if cause in CAUSES else OTHER
    return NONE if reason is None else reason if reason in REASONS else OTHER


def gateway_label(gateway: str | None, known: Mapping[str, str]) -> str:
    """``known``: the switch's gateways by name, to the configured names. What is not among them is ``other``."""
    return NONE if gateway is None else known.get(gateway, OTHER)
