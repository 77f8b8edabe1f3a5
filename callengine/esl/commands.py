"""The text of every command that we send. Pure; what goes in is taken for hostile.

A value on its way into a channel variable is unquoted by several parsers, one after the other:

1. the words of a command: ``switch_separate_string`` at blanks (switch_utils.c)
2. an application's arguments, where a dial string stands in them: two backslashes become one
   (switch_channel.c, ``switch_channel_expand_variables``)
3. the variables between braces, at commas (switch_event.c, ``switch_event_create_brackets``)
4. a variable's name and its value, at the equals sign (the same)

Quotes protect from some of them and not from others, so none are written: each step is undone by its own inverse, which
turns a character into itself or into an escape of that parser; the inverses are applied from the last to the first.
What no escape carries through unchanged is refused: ``$`` (expanded, wherever it ends up), braces (found before any
unquoting), ``:_:`` (another originate begins), control characters, and what is read as something else further on.

An application's arguments carry neither ``)`` nor an escaped apostrophe (switch_caller.c drops such an application), so
what a request says of the second leg does not travel in them: it is set on the first leg for export, which copies it
as it is (``_nolocal_``; switch_channel.c, ``switch_channel_process_export``).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final, Literal, NamedTuple

from callengine.calls.causes import CAUSES
from callengine.errors import MalformedInput, NotAllowed

MAX_VALUE_CHARS: Final = 1024

_UUID: Final = re.compile(r"[A-Za-z0-9_.@:+~=-]{1,128}")
_OUR_UUID: Final = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_VARIABLE: Final = re.compile(r"[A-Za-z0-9_.-]{1,128}")
_DIALLED: Final = re.compile(r"[A-Za-z0-9+*#_.@][A-Za-z0-9+*#_.@-]{0,127}")
_NUMBER: Final = re.compile(r"[A-Za-z0-9+*#_.-]{1,64}")
_DIGITS: Final = re.compile(r"[0-9A-D*#wW]{1,64}")
_WORD: Final = re.compile(r"[A-Za-z0-9_.-]{1,128}")
_PATH: Final = re.compile(r"/[A-Za-z0-9_./@+=~-]{1,1000}")
_DISPLAY_NAME_REFUSED: Final = re.compile(r'["<>\\%/:@]')
# Unicode's categories Cc, Zl, Zp and Cs: controls, separators of lines and paragraphs, lone surrogates.
_CONTROL: Final = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_NESTED_VARIABLES: Final = "origination_nested_vars=true"
_ENTERPRISE: Final = ":_:"
_WORDS: Final = str.maketrans({"\\": "\\\\", "'": "\\'", " ": "\\s"})
_LISTS: Final = _WORDS | {ord(","): "\\,"}


class Extension(NamedTuple):
    """Where the dialplan takes over; always the XML dialplan, so an extension can never be a list of applications."""

    number: str
    context: str


class Application(NamedTuple):
    """A dialplan application, with its arguments as they would stand in a dialplan: variables in them are expanded."""

    name: str
    arguments: str = ""


# -- what may be in a value --------------------------------------------------------------------------------------


def is_uuid(text: object) -> bool:
    """Whether a channel can be called that, and be named in a command. Others may name theirs by any word."""
    return isinstance(text, str) and _UUID.fullmatch(text) is not None


def is_variable(text: str) -> bool:
    """Whether a channel variable can be called that."""
    return _VARIABLE.fullmatch(text) is not None


def check_text(field: str, text: str) -> str:
    """Refuse what no command may carry, wherever it stands in it."""
    if "$" in text:
        raise NotAllowed(field, "must not contain '$'")
    if _CONTROL.search(text):
        raise MalformedInput(field, "must not contain control characters or line breaks")
    if len(text) > MAX_VALUE_CHARS:
        raise MalformedInput(field, f"must not be longer than {MAX_VALUE_CHARS} characters")
    return text


def check_value(field: str, value: str) -> str:
    """Refuse what a channel variable cannot take unchanged from a dial string; return ``value``."""
    check_text(field, value)
    if not value:
        raise MalformedInput(field, "must not be empty: FreeSWITCH drops a variable without a value")
    if "{" in value or "}" in value:
        raise NotAllowed(field, "must not contain '{' or '}'")
    if _ENTERPRISE in value:
        raise NotAllowed(field, f"must not contain '{_ENTERPRISE}'")
    if value.startswith("ARRAY::") or _NESTED_VARIABLES in value.lower():
        raise NotAllowed(field, "is a text that FreeSWITCH takes for more than text")
    return value


def check_display_name(field: str, value: str) -> str:
    """Refuse what the name in a SIP From header could not hold unchanged: mod_sofia puts it between quotes as it is.

    It also undoes ``%41`` (sofia_glue.c), and drops what stands around ``/``, ``:`` and ``@``.
    """
    check_value(field, value)
    if _DISPLAY_NAME_REFUSED.search(value):
        raise NotAllowed(field, 'must not contain any of " < > \\ % / : @')
    if value != value.strip() or value.lower() in {"_undef_", "undef"}:
        raise NotAllowed(field, "must be a name")
    return value


def check_number(field: str, value: str) -> str:
    """Refuse what a caller id number could do more with than be a number, whatever pattern allows it."""
    return _matching(field, _NUMBER, value)


def is_number(text: str) -> bool:
    """Whether ``text`` can be shown as a caller's number."""
    return _NUMBER.fullmatch(text) is not None


def check_dialled(field: str, value: str) -> str:
    """Refuse what would be more than one destination, extension or agent, whatever pattern allows it."""
    if value.lower() == "undef":
        # As a word of a command it means "nothing", and an extension of nothing aborts the switch (mod_commands.c).
        raise NotAllowed(field, "must not be the word 'undef'")
    return _matching(field, _DIALLED, value)


def _matching(field: str, pattern: re.Pattern[str], value: str) -> str:
    check_text(field, value)
    if not pattern.fullmatch(value):
        raise MalformedInput(field, "contains characters that cannot be dialled")
    return value


# -- quoting -----------------------------------------------------------------------------------------------------


def _undo(text: str, escapes: dict[int, str] = _WORDS) -> str:
    """The inverse of ``cleanup_separated_string`` (switch_utils.c): no quote, blank or delimiter is left unescaped."""
    return text.translate(escapes)


def _literal(text: str) -> str:
    """The inverse of what an application's arguments go through: there two backslashes become one."""
    return text.replace("\\", "\\\\")


def braces(variables: Mapping[str, str]) -> str:
    """``{name=value,…}``, as it has to stand in a dial string; raises NotAllowed, MalformedInput with its name."""
    pairs = []
    for name, value in variables.items():
        if not _VARIABLE.fullmatch(name):
            raise MalformedInput("variables", "a name may only have letters, digits, '_', '.' and '-'")
        pairs.append(f"{name}={_undo(_undo(check_value(name, value)), _LISTS)}")
    return "{" + ",".join(pairs) + "}"


def bridge_to(variables: Mapping[str, str], target: str) -> Application:
    """``bridge``, with a dial string of its own. ``target`` is a configured dial string, filled in."""
    return Application("bridge", _literal(braces(variables) + target))


def for_other_leg(variables: Mapping[str, str]) -> dict[str, str]:
    """The variables that have to be set on a leg so that the leg which it bridges to has ``variables``."""
    if not variables:
        return {}
    kept = {f"_nolocal_{name}": value for name, value in variables.items()}
    return {**kept, "export_vars": ",".join(kept)}


def _arguments(field: str, application: Application) -> str:
    text = _no_line_breaks(application.arguments)
    if "\\'" in text:
        raise NotAllowed(field, "must not contain an escaped apostrophe: FreeSWITCH drops an application with one")
    return text


def _application_word(field: str, application: Application) -> str:
    """``&name(arguments)``. The first closing parenthesis ends the arguments, so there must be no other."""
    text = _arguments(field, application)
    if ")" in text:
        raise NotAllowed(field, "must not contain ')': FreeSWITCH takes the first one for the end of the arguments")
    return f"&{_word(application.name)}({text})"


# -- commands ----------------------------------------------------------------------------------------------------


def originate(
    variables: Mapping[str, str], target: str, then: Extension | Application, *, field: str = "on_answer"
) -> str:
    """Call ``target`` (a configured dial string, filled in); once it has answered, ``then``.

    ``field`` is named where the arguments of ``then`` cannot be carried.
    """
    dial = _undo(braces(variables) + _no_line_breaks(target))
    if isinstance(then, Extension):
        number = check_dialled(field, then.number)
        return f"originate {dial} {number} XML {_word(then.context)}"
    return f"originate {dial} {_undo(_application_word(field, then))}"


def uuid_exists(uuid: str) -> str:
    """Whether the switch knows the channel: ``true`` or ``false``."""
    return f"uuid_exists {_channel(uuid)}"


def uuid_dump(uuid: str) -> str:
    """All that the switch says of a channel, as one JSON event."""
    return f"uuid_dump {_channel(uuid)} json"


def show_channels() -> str:
    """All channels, as JSON; a scoreboard that lags."""
    return "show channels as json"


def uuid_kill(uuid: str, cause: str) -> str:
    """Hang up with that cause."""
    if cause not in CAUSES:
        raise MalformedInput("cause", "is no hangup cause of FreeSWITCH")
    return f"uuid_kill {_channel(uuid)} {cause}"


def uuid_bridge(uuid: str, other: str) -> str:
    """Connect two channels; whatever they were connected to before is let go."""
    return f"uuid_bridge {_channel(uuid)} {_channel(other)}"


def uuid_transfer(uuid: str, extension: Extension) -> str:
    """Send a channel to an extension of the dialplan."""
    number = check_dialled("extension", extension.number)
    return f"uuid_transfer {_channel(uuid)} {number} XML {_word(extension.context)}"


def uuid_execute(uuid: str, application: Application) -> str:
    """Have a channel leave what it does for an application, and hang up after it.

    The one use of the inline dialplan. Only for an application that the configuration names, with the configuration's
    arguments: of a request nothing is in it.
    """
    step = f"{_word(application.name)}:{_arguments('application', application)}"
    return f"uuid_transfer {_channel(uuid)} {_undo(_undo(step, _LISTS))} inline"


def uuid_park(uuid: str) -> str:
    """Have a channel leave what it does, and wait."""
    return f"uuid_park {_channel(uuid)}"


def uuid_hold(uuid: str) -> str:
    """Put a channel on hold."""
    return f"uuid_hold {_channel(uuid)}"


def uuid_unhold(uuid: str) -> str:
    """Take a channel off hold."""
    return f"uuid_hold off {_channel(uuid)}"


def uuid_send_dtmf(uuid: str, digits: str, duration_ms: int | None = None) -> str:
    """Send digits to the far end of a channel; ``w`` pauses for half a second, ``W`` for a whole one."""
    if not _DIGITS.fullmatch(digits):
        raise MalformedInput("digits", "must be 1 to 64 of 0-9, A-D, *, #, w and W")
    if duration_ms is None:
        return f"uuid_send_dtmf {_channel(uuid)} {digits}"
    if not 40 <= duration_ms <= 6000:
        raise MalformedInput("duration_ms", "must be between 40 and 6000")
    return f"uuid_send_dtmf {_channel(uuid)} {digits}@{int(duration_ms)}"


def uuid_record(uuid: str, action: Literal["start", "stop", "mask", "unmask"], path: str) -> str:
    """Start or stop recording a channel to ``path`` on the switch, or write silence instead of sound for a while."""
    if action not in {"start", "stop", "mask", "unmask"}:
        raise MalformedInput("action", "must be start, stop, mask or unmask")
    # What others record may lie under any name.
    name = recording_path(path) if action == "start" else _undo(check_text("record", path))
    return f"uuid_record {_channel(uuid)} {action} {name}"


def uuid_setvar(uuid: str, name: str, value: str) -> str:
    """Set a channel variable; the value is taken to the end of the line, so nothing in it needs quoting."""
    if not _VARIABLE.fullmatch(name):
        raise MalformedInput("variables", "a name may only have letters, digits, '_', '.' and '-'")
    return f"uuid_setvar {_channel(uuid)} {name} {_undo(check_value(name, value))}"


def recording_path(path: str) -> str:
    """A file on the switch that every command can name unquoted; refused where it is none."""
    if not _PATH.fullmatch(path) or "/../" in path or "//" in path:
        raise NotAllowed(
            "record", "cannot be done: a path in recordings.directories may only have letters, digits and _ . @ + = ~ -"
        )
    return path


def sched_hangup(after_s: int) -> str:
    """What ``execute_on_answer`` takes to end a call that lasts too long; the switch does it, also when we are gone."""
    return f"sched_hangup +{int(after_s)} allotted_timeout"


def record_session(path: str) -> str:
    """What ``execute_on_answer`` takes to record a call from its answer on."""
    return f"record_session {recording_path(path)}"


def is_held(dump: str) -> bool:
    """Whether the answer to `uuid_dump` shows a channel on hold (switch_channel.h, ``CCS_HELD``)."""
    return '"Channel-Call-State":"HELD"' in dump


def _channel(uuid: str) -> str:
    if not is_uuid(uuid):
        raise MalformedInput("uuid", "is no channel's UUID")
    return uuid


def own_uuid(uuid: str) -> str:
    """A UUID that we chose."""
    if not _OUR_UUID.fullmatch(uuid):
        raise MalformedInput("uuid", "is no UUID")
    return uuid


def _word(text: str) -> str:
    if not _WORD.fullmatch(text):
        raise MalformedInput("configuration", "a name holds characters that no name has")
    return text


def _no_line_breaks(text: str) -> str:
    """Of what the operator wrote everything is meant, but nothing may end the command."""
    if _CONTROL.search(text):
        raise MalformedInput("configuration", "holds control characters")
    return text
