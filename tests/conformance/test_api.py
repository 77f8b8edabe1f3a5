"""The API commands that are asked rather than told: show, uuid_dump, variables, replies in words."""

from __future__ import annotations

import json
import re
from uuid import UUID

import pytest

from tests.conformance.client import Switch
from tests.conformance.conftest import Target

QUOTING = [
    ("{x='a, b',y=2}", {"x": "a", "y": "2"}),
    (r"{x='a\, b',y=2}", {"x": "a, b", "y": "2"}),
    (r"{x=a\,b,y=2}", {"x": "a,b", "y": "2"}),
    ('{x="a,b",y=2}', {"x": '"a', "y": "2"}),
    ("{^^|x=a,b|y='q r'}", {"x": "a,b", "y": "q r"}),
    (r"{x='it\'s',y=2}", {"x": "it's", "y": "2"}),
    ("{x=é中,y=2}", {"x": "é中", "y": "2"}),
    ("{x=,y=2}", {"x": None, "y": "2"}),
    ("{x=a=b,y=2}", {"x": "a=b", "y": "2"}),
    ("{x=$${domain},y=${x}}", {"x": None, "y": None}),
    ("{x='$1 100% <b> \"q\"',y=2}", {"x": '$1 100% <b> "q"', "y": "2"}),
    (r"{x=a\nb,y=2}", {"x": "a\nb", "y": "2"}),
    (r"{x='a\\b',y=2}", {"x": r"a\b", "y": "2"}),
    ("{x=[1],y=2}", {"x": "[1]", "y": "2"}),
    ("{x=a:b;c,y=2}", {"x": "a:b;c", "y": "2"}),
    ("{x='  pad  ',y=2}", {"x": "pad", "y": "2"}),
    ("{x=_undef_,y=2}", {"x": "_undef_", "y": "2"}),
    ("{x=1}{y=2}", {"x": "1", "y": "2"}),
    ("{x=1,x=2,y=3}", {"x": "2", "y": "3"}),
    (r"{x=\'a\',y=2}", {"x": "a", "y": "2"}),
    ("{x='a''b',y=2}", {"x": "ab", "y": "2"}),
    (r"{x=a\tb\sc,y=2}", {"x": "a\tb c", "y": "2"}),
    (r"{x=\\\\,y=2}", {"x": "\\", "y": "2"}),
]


@pytest.mark.parametrize(("braces", "expected"), QUOTING, ids=[row[0] for row in QUOTING])
def test_how_originate_reads_quotes(
    target: Target, switch: Switch, uuid: str, braces: str, expected: dict[str, str | None]
) -> None:
    job = switch.bgapi(f"originate {{origination_uuid={uuid}}}{braces}null/x &park")
    assert switch.job(job) == f"+OK {uuid}"
    event = switch.first(uuid, "CHANNEL_ANSWER")
    assert {name: event.get(f"variable_{name}") for name in expected} == expected


@pytest.mark.parametrize(
    ("braces", "answer"),
    [
        ("{x=a b,y=2}", "-ERR DESTINATION_OUT_OF_ORDER"),
        ("{^^:x=a, b:y=2}", "-ERR DESTINATION_OUT_OF_ORDER"),
        ("{x=it's,y=2}", "-USAGE"),
        ("{x=a}b,y=2}", "-ERR CHAN_NOT_IMPLEMENTED"),
        ("{x='a}b',y=2}", "-ERR CHAN_NOT_IMPLEMENTED"),
        ("{x=1", "-ERR DESTINATION_OUT_OF_ORDER"),
    ],
)
def test_what_originate_cannot_read(target: Target, switch: Switch, braces: str, answer: str) -> None:
    job = switch.bgapi(f"originate {braces}null/x &park")
    assert switch.job(job).startswith(answer)


@pytest.mark.parametrize(
    ("argument", "expanded"),
    [
        ("${one}", "1st"),
        ("x${ONE}y", "x1sty"),
        (r"\\${one}", "${one}"),
        (r"a\\\\s", r"a\s"),
        ("${nosuchvariable}.", "."),
        ("${${two}}", "1st"),
        ("${one:1:1}", "s"),
        ("100 $ {x}", "100 $ {x}"),
    ],
)
def test_arguments_are_expanded(target: Target, switch: Switch, uuid: str, argument: str, expanded: str) -> None:
    switch.command("event json CHANNEL_EXECUTE")
    switch.bgapi(f"originate {{origination_uuid={uuid},one=1st,two=one}}null/x '&set(r={argument})'")
    assert switch.wait(uuid, "CHANNEL_EXECUTE")["Application-Data"] == f"r={expanded}"


def test_variables_of_one_leg_yield_to_those_of_all(target: Target, switch: Switch, uuid: str) -> None:
    job = switch.bgapi(f"originate {{origination_uuid={uuid},a=all}}[a=leg,b=leg]null/x &park")
    assert switch.job(job) == f"+OK {uuid}"
    event = switch.first(uuid, "CHANNEL_ANSWER")
    assert (event["variable_a"], event["variable_b"]) == ("all", "leg")


def test_the_caller_id_as_arguments(target: Target, switch: Switch, uuid: str) -> None:
    job = switch.bgapi(target.originate("busy", uuid, "&park XML default 'Some Body' 15550177 5"))
    assert switch.job(job) == "-ERR USER_BUSY"
    created = switch.first(uuid, "CHANNEL_CREATE")
    assert created["Caller-Caller-ID-Name"] == "Some Body"
    assert created["Caller-Caller-ID-Number"] == "15550177"


def test_no_caller_id(target: Target, switch: Switch, uuid: str) -> None:
    switch.job(switch.bgapi(target.originate("busy", uuid)))
    created = switch.first(uuid, "CHANNEL_CREATE")
    assert created["Caller-Caller-ID-Number"] == "0000000000"
    assert "Caller-Caller-ID-Name" not in created


# -- asking -------------------------------------------------------------------------------------------------------


def live(target: Target, switch: Switch, uuid: str) -> None:
    given = "origination_caller_id_number=15550100,origination_caller_id_name=Lab,odd='ä b'"
    assert switch.job(switch.bgapi(target.originate("stay", uuid, variables=given))).startswith("+OK")
    switch.settle(0.3)  # the scoreboard lags


def test_show_channels_as_json(target: Target, switch: Switch, uuid: str) -> None:
    live(target, switch, uuid)
    shown = json.loads(switch.api("show channels as json"))
    assert shown["row_count"] == len(shown["rows"])
    [row] = [each for each in shown["rows"] if each["uuid"] == uuid]
    number = target.numbers["stay"]
    assert (
        list(row)[:12]
        == (
            "uuid direction created created_epoch name state cid_name cid_num ip_addr dest application application_data"
        ).split()
    )
    assert (row["direction"], row["state"], row["callstate"]) == ("outbound", "CS_EXECUTE", "ACTIVE")
    assert (row["dest"], row["initial_dest"], row["application"]) == (number, number, "park")
    assert row["cid_num"] == number
    assert row["initial_cid_num"] == "15550100"
    assert int(row["created_epoch"]) == int(switch.first(uuid, "CHANNEL_CREATE")["Event-Date-Timestamp"]) // 1_000_000
    assert row["call_uuid"] == uuid


def test_show_channels_as_csv_and_count(target: Target, switch: Switch, uuid: str) -> None:
    live(target, switch, uuid)
    text = switch.api("show channels")
    assert text.startswith("uuid,direction,created,created_epoch,name,state,cid_name,cid_num,ip_addr,dest,application")
    assert f"\n{uuid},outbound," in text
    assert re.search(r"\n\n\d+ total\.\n$", text)
    assert re.fullmatch(r"\n\d+ total\.\n", switch.api("show channels count"))
    assert json.loads(switch.api("show channels count as json"))["row_count"] >= 1
    assert switch.api("show channels as nonsense") == "-ERR Cannot find format nonsense\n"
    assert switch.api("show nonsense").startswith("-USAGE: codec|endpoint|")


def test_show_calls_pairs_the_bridged(target: Target, switch: Switch, uuid: str) -> None:
    if not target.agent:
        pytest.skip("no agent given")
    switch.bgapi(target.originate("stay", uuid, f"&bridge({target.agent})"))
    other = switch.wait(uuid, "CHANNEL_BRIDGE")["Other-Leg-Unique-ID"]
    switch.settle(0.5)
    rows = json.loads(switch.api("show calls as json"))["rows"]
    [row] = [each for each in rows if uuid in (each["uuid"], each["b_uuid"])]
    assert (row["uuid"], row["b_uuid"]) == (uuid, other)
    assert row["b_direction"] == "outbound"
    assert not [each for each in rows if each["uuid"] == other]


def test_uuid_dump_as_json(target: Target, switch: Switch, uuid: str) -> None:
    live(target, switch, uuid)
    dump = json.loads(switch.api(f"uuid_dump {uuid} json"))
    assert dump["Event-Name"] == "CHANNEL_DATA"
    assert dump["Unique-ID"] == uuid
    assert dump["Channel-State"] == "CS_EXECUTE"
    assert dump["variable_odd"] == "ä b"
    assert dump["variable_current_application"] == "park"
    assert dump["Caller-Channel-Answered-Time"] == switch.first(uuid, "CHANNEL_ANSWER")["Caller-Channel-Answered-Time"]
    assert dump["Core-UUID"] == switch.first(uuid, "CHANNEL_CREATE")["Core-UUID"]


def test_uuid_dump_as_text(target: Target, switch: Switch, uuid: str) -> None:
    live(target, switch, uuid)
    text = switch.api(f"uuid_dump {uuid}")
    assert text.startswith("Event-Name: CHANNEL_DATA\n")
    assert "\nvariable_odd: %C3%A4%20b\n" in text
    assert switch.api(f"uuid_dump {uuid} xml").startswith("<event>\n  <headers>\n    <Event-Name>CHANNEL_DATA<")
    assert switch.api("uuid_dump nobody json") == "-ERR No such channel!\n"


def test_variables(target: Target, switch: Switch, uuid: str) -> None:
    live(target, switch, uuid)
    assert switch.api(f"uuid_setvar {uuid} foo bär") == "+OK\n"
    assert switch.api(f"uuid_getvar {uuid} foo") == "bär"
    assert switch.api(f"uuid_setvar {uuid} foo") == "+OK\n"
    assert switch.api(f"uuid_getvar {uuid} foo") == "_undef_"
    assert switch.api(f"uuid_setvar_multi {uuid} a=1;b=2 3") == "+OK\n"
    assert switch.api(f"uuid_getvar {uuid} b") == "2 3"
    assert switch.api("uuid_setvar nobody a b") == "-ERR No such channel!\n"
    assert switch.api(f"uuid_setvar {uuid}").startswith("-USAGE")


def test_names_of_variables_in_any_case(target: Target, switch: Switch, uuid: str) -> None:
    assert switch.job(switch.bgapi(target.originate("stay", uuid, variables="Foo=1,foo=2,BAR=3"))).startswith("+OK")
    assert switch.api(f"uuid_getvar {uuid} FOO") == "2"
    assert switch.api(f"uuid_setvar {uuid} bar 4") == "+OK\n"
    assert switch.api(f"uuid_getvar {uuid} Bar") == "4"
    dump = json.loads(switch.api(f"uuid_dump {uuid} json"))
    assert {name for name in dump if name.lower() in {"variable_foo", "variable_bar"}} == {
        "variable_foo",
        "variable_bar",
    }


def test_what_is_no_variable_but_asked_for(target: Target, switch: Switch, uuid: str) -> None:
    live(target, switch, uuid)
    assert switch.api(f"uuid_getvar {uuid} destination_number") == target.numbers["stay"]
    assert switch.api(f"uuid_getvar {uuid} hostname") == switch.api("hostname")
    assert switch.api(f"uuid_getvar {uuid} nosuchvariable") == "_undef_"


def test_dtmf_hold_broadcast(target: Target, switch: Switch, uuid: str) -> None:
    live(target, switch, uuid)
    assert switch.api(f"uuid_send_dtmf {uuid} 123#") == f"+OK {uuid} sent DTMF 123#.\n"
    for off, answer in (("off ", "-ERR Operation failed"), ("", "+OK Success"), ("", "-ERR Operation failed")):
        assert switch.api(f"uuid_hold {off}{uuid}") == f"{answer}\n"
    assert switch.api(f"uuid_hold off {uuid}") == "+OK Success\n"
    assert switch.api("uuid_hold") == "-USAGE: [off|toggle] <uuid> [<display>]\n-ERR Operation failed\n"
    assert switch.api(f"uuid_broadcast {uuid} tone_stream://%(200,0,440)") == "+OK Message sent\n"
    done = switch.wait(uuid, "CHANNEL_EXECUTE_COMPLETE")
    assert (done["Application"], done["Application-Response"]) == ("playback", "FILE PLAYED")
    assert int(done["Caller-Channel-Hold-Accum"]) > 0
    switch.api(f"uuid_kill {uuid}")
    assert int(switch.wait(uuid, "CHANNEL_HANGUP_COMPLETE")["variable_last_hold_uepoch"]) > 0


@pytest.mark.parametrize(
    ("command", "answer"),
    [
        ("uuid_exists nobody", "false"),
        ("uuid_kill nobody", "-ERR No such channel!\n"),
        ("uuid_kill", "-USAGE: <uuid> [cause]\n"),
        ("uuid_transfer nobody 1000", "-ERR No such channel!\n"),
        ("uuid_park nobody", "-ERR No such channel!\n"),
        ("uuid_broadcast nobody x", "-ERR invalid uuid\n"),
        ("uuid_break nobody", "-ERR No such channel!\n"),
        ("uuid_getvar nobody x", "-ERR No such channel!\n"),
        ("uuid_send_dtmf nobody 1", "-ERR Cannot locate session!\n"),
        ("sched_hangup +1 nobody", "-ERR No such channel!\n"),
        ("nosuch a b", "-ERR nosuch Command not found!\n"),
        ("global_getvar nosuchvariable", "-ERR no reply\n"),
        ("echo hello world", "hello world"),
        ("fsctl nosuch", "-ERR Invalid command\nUSAGE: fsctl "),
    ],
)
def test_answers_in_words(target: Target, switch: Switch, command: str, answer: str) -> None:
    assert switch.api(command).startswith(answer)


def test_answers_of_the_core(target: Target, switch: Switch) -> None:
    UUID(switch.api("create_uuid"))
    assert switch.api("strepoch").isdigit()
    assert switch.api("reloadxml") == "+OK [Success]\n"
    status = switch.api("status").splitlines()
    assert re.fullmatch(
        r"UP \d+ years?, \d+ days?, \d+ hours?, \d+ minutes?, \d+ seconds?, \d+ milliseconds?, \d+ microseconds?",
        status[0],
    )
    assert status[1].startswith("FreeSWITCH (Version 1.10.")
    assert re.fullmatch(r"\d+ session\(s\) - peak \d+, last 5min \d+ ", status[3])
    assert re.fullmatch(r"\d+ session\(s\) per Sec out of max \d+, peak \d+, last 5min \d+ ", status[4])
    assert switch.api("version").startswith("FreeSWITCH Version 1.10.")
    assert re.fullmatch(r"1\.10\.\d+-release\n", switch.api("version short"))


def test_the_stand_in_says_what_it_is(target: Target, switch: Switch) -> None:
    if not target.is_standin:
        pytest.skip("this is the real one")
    for command in ("status", "version"):
        assert "not FreeSWITCH, a stand-in for tests and demos" in switch.api(command)


def test_sched_api_runs_a_command_later(target: Target, switch: Switch, uuid: str) -> None:
    live(target, switch, uuid)
    assert re.fullmatch(r"\+OK Added: \d+\n", switch.api(f"sched_api +1 none uuid_kill {uuid} USER_BUSY"))
    assert switch.wait(uuid, "CHANNEL_HANGUP_COMPLETE", 5)["Hangup-Cause"] == "USER_BUSY"


def test_what_a_look_from_outside_is_told(switch: Switch) -> None:
    """What ``callengine doctor`` asks for."""
    assert switch.api("module_exists mod_commands").strip() == "true"
    assert switch.api("module_exists mod_of_nobody").strip() == "false"
    assert switch.api("file_exists /").strip() == "true"
    assert switch.api("file_exists /no/such/file").strip() == "false"
    assert switch.api("sofia status gateway invalid-gateway-of-nobody").strip() == "Invalid Gateway!"
    located = switch.api("xml_locate configuration configuration name json_cdr.conf").strip()
    assert located.startswith('<configuration name="json_cdr.conf"')
    assert located.endswith("</configuration>")
    assert switch.api("xml_locate configuration configuration name of_nobody.conf").strip() == "can't find anything"
    assert switch.api("fsctl pause_check").strip() == "false"
