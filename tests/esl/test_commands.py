"""Commands: whatever a value holds, it arrives as it is or is refused, and the command stays what it was."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from callengine.errors import MalformedInput, NotAllowed, RequestRefused
from callengine.esl import commands as c
from callengine.esl.commands import Application, Extension
from callengine.esl.exchange import encode_command
from tests.esl.parser import Astray, originate

UUID = "01890a5d-ac96-774b-bcce-b302099a8057"
OTHER = "01890a5d-ac96-774b-bcce-b302099a8058"
PARK = Application("park")

# What FreeSWITCH 1.10 made of each of these inside braces was recorded; so was that it takes ours as they are meant.
CARRIED = [
    "a, b",
    "a,b",
    '"a,b"',
    "a b",
    "it's",
    "é中",
    "a=b",
    "a\\b",
    "a\\nb",
    "[1]",
    "a:b;c",
    "  pad  ",
    "_undef_",
    '100% <b> "q"',
    "'",
    "''",
    "\\",
    "\\'",
    "\\,",
    "^^|a|b",
    "a|b",
    "),(",
    "&park()",
    "sofia/x",
    "😀",
]
REFUSED = [
    "",
    "$1",
    "$${domain}",
    "${x}",
    "a}b",
    "{a",
    "a\nb",
    "a\rb",
    "a\tb",
    "a\0b",
    "\x7f",
    "\x85",
    "\u2028",
    "\ud800",
    ":_:",
    "ARRAY::a|:b",
    "origination_nested_vars=TRUE",
    "x" * 1025,
]

hostile = st.text(
    st.one_of(st.sampled_from("'\\,=|:;()[]{}<>\"%#@!&*+-/?^`~ $nrst_\n\r\0A"), st.characters()), max_size=24
)


def first_leg(value: str) -> str:
    return c.originate({"origination_uuid": UUID, "x": value, "last": "1"}, "sofia/gateway/a/1", PARK)


def second_leg_nested(value: str) -> str:
    then = c.bridge_to({"origination_uuid": OTHER, "x": value, "last": "1"}, "sofia/gateway/b/2")
    return c.originate({"origination_uuid": UUID}, "sofia/gateway/a/1", then)


def second_leg_exported(value: str) -> str:
    then = c.bridge_to({"origination_uuid": OTHER}, "sofia/gateway/b/2")
    variables = {"origination_uuid": UUID, **c.for_other_leg({"x": value, "last": "1"})}
    return c.originate(variables, "sofia/gateway/a/1", then)


def check_first(value: str, command: str) -> None:
    read = originate(command)
    assert read.variables == {"origination_uuid": UUID, "x": value, "last": "1"}
    assert (read.target, read.application, read.arguments) == ("sofia/gateway/a/1", "park", "")


def check_second(value: str, command: str) -> None:
    read = originate(command)
    assert (read.target, read.application) == ("sofia/gateway/a/1", "bridge")
    assert read.second is not None
    assert read.second.target == "sofia/gateway/b/2"
    assert read.of_second_leg() == {"origination_uuid": OTHER, "x": value, "last": "1"}
    assert set(read.variables) <= {"origination_uuid", "_nolocal_x", "_nolocal_last", "export_vars"}


Build = Callable[[str], str]
Check = Callable[[str, str], None]
WAYS = [(first_leg, check_first), (second_leg_nested, check_second), (second_leg_exported, check_second)]


@pytest.mark.parametrize(("build", "check"), [WAYS[0], WAYS[2]])
@pytest.mark.parametrize("value", CARRIED)
def test_every_recorded_value_is_carried(value: str, build: Build, check: Check) -> None:
    check(value, build(value))


@pytest.mark.parametrize(("build", "check"), WAYS)
@pytest.mark.parametrize("value", REFUSED)
def test_what_cannot_be_carried_is_refused_by_name(value: str, build: Build, check: Check) -> None:
    with pytest.raises((NotAllowed, MalformedInput)) as refusal:
        build(value)
    assert refusal.value.field in {"x", "_nolocal_x"}
    assert len(value) < 4 or value not in str(refusal.value)


@pytest.mark.parametrize(("build", "check"), WAYS)
@given(value=hostile)
@example(value="\\")
@example(value="a',execute_on_answer='system x")
@example(value="1}sofia/gateway/evil/2 &park() {")
@example(value="x\n\napi fsctl shutdown")
def test_any_value_arrives_as_it_is_or_is_refused(build: Build, check: Check, value: str) -> None:
    try:
        command = build(value)
    except RequestRefused:
        return
    check(value, command)
    assert encode_command(f"bgapi {command}").count(b"\n") == 2


def test_the_reading_of_the_tests_is_not_blind() -> None:
    """Each of these is what an unquoted value would do."""
    for command in (
        "originate {x=a}sofia/evil/1}sofia/a/1 &park()",
        "originate {x=a,execute_on_answer=log}sofia/a/1|sofia/evil/1 &park()",
        "originate {x=a:_:sofia/evil/1}sofia/a/1 &park()",
        "originate {x=a b}sofia/a/1 &park()",
        "originate {x=a}sofia/a/1 &park()) &log(x)",
        "originate {x=a}sofia/a/1 1 inline default",
        "originate {x=a}sofia/a/1 undef XML default",
    ):
        with pytest.raises(Astray):
            originate(command)
    assert originate("originate {x='a\\, b',y=it\\'s}sofia/a/1 &park()").variables == {"x": "a, b", "y": "it's"}


@given(name=hostile)
def test_a_variable_name_is_a_name_or_refused(name: str) -> None:
    try:
        command = c.originate({name: "v"}, "sofia/a/1", PARK)
    except RequestRefused:
        return
    assert originate(command).variables == {name: "v"}


def test_an_extension_comes_with_the_xml_dialplan_and_its_context() -> None:
    read = originate(c.originate({"x": "1"}, "sofia/a/1", Extension("+49*30#", "public")))
    assert read.application == "public/+49*30#"


@pytest.mark.parametrize(
    "number", ["undef", "UNDEF", "-both", "1 2", "", "a'b", "&park", "1\n", "$1", "1,2", "a|b", "x}"]
)
def test_what_is_no_single_extension_is_refused(number: str) -> None:
    for build in (
        lambda: c.originate({"x": "1"}, "sofia/a/1", Extension(number, "default")),
        lambda: c.uuid_transfer(UUID, Extension(number, "default")),
    ):
        with pytest.raises(RequestRefused):
            build()


@pytest.mark.parametrize(
    "name", ['a"b', "a<sip:x@y>", "a\\b", "50%22", "sip:x", "a/b", "a@b", "_undef_", " a", "", "a\r\nb"]
)
def test_a_display_name_cannot_reach_beyond_its_quotes(name: str) -> None:
    with pytest.raises(RequestRefused):
        c.check_display_name("caller_id_name", name)


@pytest.mark.parametrize("name", ["O'Brien, (Sales)", "Zoë 中", "A & B; C=D"])
def test_a_plain_display_name_passes(name: str) -> None:
    assert c.check_display_name("caller_id_name", name) == name


def test_the_operators_own_arguments_are_read_as_in_a_dialplan() -> None:
    read = originate(c.originate({"x": "1"}, "sofia/a/1", Application("playback", "say it's \\\\ a, 'b c'")))
    assert read.arguments == "say it's \\ a, 'b c'"


@pytest.mark.parametrize("arguments", ["a)b", "a\\'b", "a\nb"])
def test_arguments_that_freeswitch_would_cut_or_drop_are_refused(arguments: str) -> None:
    with pytest.raises(RequestRefused):
        c.originate({"x": "1"}, "sofia/a/1", Application("playback", arguments))


def test_a_dial_string_keeps_its_own_syntax() -> None:
    """Blanks and quotes of the operator's survive the words of the command; the parser of legs sees them as written."""
    command = c.originate({"x": "1"}, "[leg_timeout=5,y='a b']sofia/a/1|sofia/b/1", PARK)
    assert command == "originate {x=1}[leg_timeout=5,y=\\'a\\sb\\']sofia/a/1|sofia/b/1 &park()"


EXACT = {
    "uuid_exists": (c.uuid_exists(UUID), f"uuid_exists {UUID}"),
    "uuid_dump": (c.uuid_dump(UUID), f"uuid_dump {UUID} json"),
    "show_channels": (c.show_channels(), "show channels as json"),
    "uuid_kill": (c.uuid_kill(UUID, "USER_BUSY"), f"uuid_kill {UUID} USER_BUSY"),
    "uuid_bridge": (c.uuid_bridge(UUID, OTHER), f"uuid_bridge {UUID} {OTHER}"),
    "uuid_transfer": (c.uuid_transfer(UUID, Extension("9001", "default")), f"uuid_transfer {UUID} 9001 XML default"),
    "uuid_park": (c.uuid_park(UUID), f"uuid_park {UUID}"),
    "uuid_hold": (c.uuid_hold(UUID), f"uuid_hold {UUID}"),
    "uuid_unhold": (c.uuid_unhold(UUID), f"uuid_hold off {UUID}"),
    "uuid_send_dtmf": (c.uuid_send_dtmf(UUID, "12w#"), f"uuid_send_dtmf {UUID} 12w#"),
    "uuid_send_dtmf with a duration": (c.uuid_send_dtmf(UUID, "1", 100), f"uuid_send_dtmf {UUID} 1@100"),
    "uuid_record": (c.uuid_record(UUID, "start", "/r/a.wav"), f"uuid_record {UUID} start /r/a.wav"),
    "uuid_record of others": (c.uuid_record(UUID, "stop", "/r/it's b"), f"uuid_record {UUID} stop /r/it\\'s\\sb"),
    "uuid_setvar": (c.uuid_setvar(UUID, "RECORD_STEREO", "true"), f"uuid_setvar {UUID} RECORD_STEREO true"),
    "uuid_execute": (
        c.uuid_execute(UUID, Application("callcenter", "support@default")),
        f"uuid_transfer {UUID} callcenter:support@default inline",
    ),
    "uuid_execute quoted": (
        c.uuid_execute(UUID, Application("playback", "a, b")),
        f"uuid_transfer {UUID} playback:a\\\\,\\\\sb inline",
    ),
}


@pytest.mark.parametrize("name", EXACT)
def test_exact_commands(name: str) -> None:
    built, expected = EXACT[name]
    assert built == expected


EVERY_UUID: dict[str, Callable[[str], str]] = {
    "uuid_exists": c.uuid_exists,
    "uuid_dump": c.uuid_dump,
    "uuid_kill": lambda u: c.uuid_kill(u, "NORMAL_CLEARING"),
    "uuid_bridge": lambda u: c.uuid_bridge(u, UUID),
    "uuid_bridge, the other": lambda u: c.uuid_bridge(UUID, u),
    "uuid_transfer": lambda u: c.uuid_transfer(u, Extension("1", "default")),
    "uuid_execute": lambda u: c.uuid_execute(u, PARK),
    "uuid_park": c.uuid_park,
    "uuid_hold": c.uuid_hold,
    "uuid_unhold": c.uuid_unhold,
    "uuid_send_dtmf": lambda u: c.uuid_send_dtmf(u, "1"),
    "uuid_record": lambda u: c.uuid_record(u, "stop", "/a"),
    "uuid_setvar": lambda u: c.uuid_setvar(u, "a", "b"),
}


@pytest.mark.parametrize("name", EVERY_UUID)
@given(uuid=hostile)
@example(uuid="x NORMAL_CLEARING")
@example(uuid="x\n\napi fsctl shutdown")
def test_a_channels_name_is_one_word_or_refused(name: str, uuid: str) -> None:
    benign = EVERY_UUID[name](UUID)
    try:
        built = EVERY_UUID[name](uuid)
    except MalformedInput:
        return
    assert len(built.split(" ")) == len(benign.split(" "))
    assert built.isascii()
    assert built.isprintable()


@pytest.mark.parametrize("uuid", ["abc123@10.0.0.1", "a.b:c_d+e~f=", UUID])
def test_others_may_name_their_channels_freely(uuid: str) -> None:
    assert c.is_uuid(uuid)


@pytest.mark.parametrize("digits", ["", "12 3", "1@100", "e", "1\n", "1" * 65])
def test_digits_are_digits(digits: str) -> None:
    with pytest.raises(MalformedInput):
        c.uuid_send_dtmf(UUID, digits)


@pytest.mark.parametrize("duration_ms", [0, 39, 6001, -1])
def test_durations_have_bounds(duration_ms: int) -> None:
    with pytest.raises(MalformedInput):
        c.uuid_send_dtmf(UUID, "1", duration_ms)


@pytest.mark.parametrize("path", ["a.wav", "/a b.wav", "/a/../b.wav", "/a'b", "/a$b", "/a\n", "//a", "{x=1}/a", "/a,b"])
def test_a_recording_of_ours_goes_to_a_plain_path(path: str) -> None:
    for build in (lambda: c.uuid_record(UUID, "start", path), lambda: c.record_session(path)):
        with pytest.raises(NotAllowed) as refusal:
            build()
        assert refusal.value.field == "record"


@pytest.mark.parametrize("cause", ["", "normal_clearing", "USER_BUSY x", "16", "USER_BUSY\n"])
def test_a_cause_is_one_of_freeswitchs(cause: str) -> None:
    with pytest.raises(MalformedInput):
        c.uuid_kill(UUID, cause)


def test_what_is_executed_on_answer() -> None:
    assert c.sched_hangup(14_400) == "sched_hangup +14400 allotted_timeout"
    assert c.record_session("/r/2026-01-01/a.wav") == "record_session /r/2026-01-01/a.wav"
