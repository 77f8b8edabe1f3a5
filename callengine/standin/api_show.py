"""``show channels`` and ``show calls``: the scoreboard that the switch keeps in SQL (``mod_commands.c``)."""

from __future__ import annotations

from datetime import datetime
from typing import Final

import orjson

from callengine.standin.channels import Channel
from callengine.standin.dialstring import arguments
from callengine.standin.switch import Switch

_SYNTAX: Final = (
    "codec|endpoint|application|api|dialplan|file|timer|calls [count]|channels [count|like <match string>]|calls|"
    "detailed_calls|bridged_calls|detailed_bridged_calls|aliases|complete|chat|management|modules|nat_map|say|"
    "interfaces|interface_types|tasks|limits|status"
)
_CALL_COLUMNS: Final = (
    "uuid direction created created_epoch name state cid_name cid_num ip_addr dest presence_id presence_data"
    " accountcode callstate callee_name callee_num callee_direction call_uuid hostname sent_callee_name"
    " sent_callee_num"
).split()
_B_COLUMNS: Final = (
    "uuid direction created created_epoch name state cid_name cid_num ip_addr dest presence_id presence_data"
    " accountcode callstate callee_name callee_num callee_direction sent_callee_name sent_callee_num"
).split()

Row = dict[str, str]


def _channel_row(switch: Switch, channel: Channel) -> Row:
    profile = channel.profile
    first = channel.past_profiles[0] if channel.past_profiles else profile
    created = profile.times.created // 1_000_000
    local = datetime.fromtimestamp(created).astimezone().strftime("%Y-%m-%d %H:%M:%S")
    bits = {"L16": "128000", "PCMU": "64000"}.get(channel.codec, "")
    rate = "8000" if channel.codec else ""
    flipped = bool(channel.get("channel_cid_flipped"))
    direction = ("SEND" if channel.bridge_role else "RECV") if flipped or channel.bridge_role else ""
    return {
        "uuid": channel.uuid,
        "direction": channel.direction,
        "created": local,
        "created_epoch": str(created),
        "name": channel.name,
        "state": channel.running_state,
        "cid_name": profile.caller_id_name,
        "cid_num": profile.caller_id_number,
        "ip_addr": profile.network_addr,
        "dest": profile.destination_number,
        "application": channel.executing,
        "application_data": channel.get("current_application_data") if channel.executing else "",
        "dialplan": profile.dialplan,
        "context": profile.context,
        "read_codec": channel.codec,
        "read_rate": rate,
        "read_bit_rate": bits,
        "write_codec": channel.codec,
        "write_rate": rate,
        "write_bit_rate": bits,
        "secure": "",
        "hostname": switch.options.hostname,
        "presence_id": channel.get("presence_id"),
        "presence_data": "",
        "accountcode": channel.get("accountcode"),
        "callstate": channel.callstate,
        "callee_name": profile.callee_id_name,
        "callee_num": profile.callee_id_number,
        "callee_direction": direction,
        "call_uuid": channel.call_uuid if channel.direction == "outbound" or channel.bridge_role else "",
        "sent_callee_name": channel.get("last_sent_callee_id_name"),
        "sent_callee_num": channel.get("last_sent_callee_id_number"),
        "initial_cid_name": first.orig_caller_id_name,
        "initial_cid_num": first.orig_caller_id_number,
        "initial_ip_addr": "" if channel.direction == "outbound" else first.network_addr,
        "initial_dest": first.destination_number,
        "initial_dialplan": first.dialplan,
        "initial_context": first.context,
    }


def _channel_rows(switch: Switch) -> list[Row]:
    channels = sorted(switch.channels.values(), key=lambda channel: channel.profile.times.created // 1_000_000)
    return [_channel_row(switch, channel) for channel in channels]


def _call_rows(switch: Switch) -> list[Row]:
    """A row a call: a bridged pair is one, led by the leg that bridged."""
    rows: list[Row] = []
    for channel in switch.channels.values():
        partner = channel.peer
        if partner is not None and channel.bridge_role == "originatee":
            continue
        own = _channel_row(switch, channel)
        row = {name: own[name] for name in _CALL_COLUMNS}
        other = _channel_row(switch, partner) if partner is not None else {}
        row |= {f"b_{name}": other.get(name, "") for name in _B_COLUMNS}
        bridged = channel.profile.times.bridged // 1_000_000
        row["call_created_epoch"] = str(bridged) if partner is not None else ""
        rows.append(row)
    return sorted(rows, key=lambda row: row["call_created_epoch"])


def _as_csv(rows: list[Row], delimiter: str) -> str:
    lines = [delimiter.join(rows[0])] if rows else []
    lines += [delimiter.join(value.replace(delimiter, " ") for value in row.values()) for row in rows]
    return "".join(line + "\n" for line in lines) + f"\n{len(rows)} total.\n"


def _as_json(rows: list[Row]) -> str:
    if not rows:
        return '{"row_count": 0}\n'
    return orjson.dumps({"row_count": len(rows), "rows": rows}).decode()


def _as_xml(rows: list[Row]) -> str:
    if not rows:
        return '<result row_count="0"/>\n'
    lines = [f'<result row_count="{len(rows)}">']
    for number, row in enumerate(rows, 1):
        lines.append(f'  <row row_id="{number}">')
        lines += [f"    <{name}>{_escape(value)}</{name}>" for name, value in row.items()]
        lines.append("  </row>")
    return "\n".join([*lines, "</result>\n"])


def _escape(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _as_count(count: int, form: str) -> str:
    return f'{{"row_count":{count},"rows":[]}}' if form == "json" else f"\n{count} total.\n"


def show(switch: Switch, argument: str) -> str:
    """``show channels|calls|bridged_calls [count] [like TEXT] [as json|xml|delim D]``."""
    words = arguments(argument, 6)
    if not words:
        return f"-USAGE: {_SYNTAX}\n"
    what = words[0].lower()
    lower = [word.lower() for word in words]
    form = words[lower.index("as") + 1].lower() if "as" in lower and lower.index("as") + 1 < len(words) else "delim"
    if what == "channels":
        rows = _channel_rows(switch)
        if len(words) > 2 and lower[1] == "like":
            rows = [row for row in rows if words[2] in row["uuid"] + row["name"] + row["cid_name"] + row["cid_num"]]
    elif what in {"calls", "bridged_calls", "detailed_calls", "detailed_bridged_calls"}:
        rows = _call_rows(switch)
        if "bridged" in what:
            rows = [row for row in rows if row["b_uuid"]]
    elif what in {"registrations", "tasks", "limits", "aliases"}:
        rows = []
    else:
        return f"-USAGE: {_SYNTAX}\n"
    if len(words) > 1 and lower[1] == "count":
        return _as_count(len(rows), form)
    if form == "json":
        return _as_json(rows)
    if form == "xml":
        return _as_xml(rows)
    if form in {"delim", "csv"}:
        return _as_csv(rows, words[-1] if lower[-2:-1] == ["delim"] else ",")
    return f"-ERR Cannot find format {form}\n"
