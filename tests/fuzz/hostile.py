"""Where hostile input comes from: values, JSON with anything in it, bytes, frames. All of it from one die."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final
from urllib.parse import quote

from callengine.calls.facts import MAX_US

Pairs = list[tuple[str, Any]]
"""The members of a JSON object: keys can be doubled."""

NUMBERS: Final = (
    "0 -0 1 -1 +5 00 007 1.0 1.5 -1.5 1e3 1E400 1e-400 0x10 1_000 5. .5 NaN Infinity -Infinity true false null "
    "2147483648 4294967296 9007199254740993 9223372036854775807 9223372036854775808 18446744073709551615 "
    f"18446744073709551616 -9223372036854775809 {MAX_US} {MAX_US + 1} {MAX_US - 1} 16725225600000000 "
    "-62135596800000000 946684800 1795343615 1795343615301 1795343615301165 1795343615301165.5 179534361530116500"
).split()
TEXTS: Final = (
    "",
    " ",
    "5 ",
    " 5",
    "\n5",
    "٣",
    "²",
    "\0",
    "a\0b",
    "\x01\x1f\x7f\x85",
    "é中😀",
    "e\u0301\u202e\u2028\ufeff\uffff",
    "\ud800",
    "a\udc00\ud800b",
    "\ufffd",
    "A" * 129,
    "A" * 256,
    "A" * 257,
    "é" * 300,
    "A" * 5000,
    "A" * 70_000,
    "ARRAY::",
    "ARRAY::a|:b",
    "|:",
    "%0A",
    "%00",
    "%",
    "%zz",
    "%ff%fe",
    "%7B",
    "\n\nContent-Length: 5\n\n",
    "\r\nContent-Type: text/disconnect-notice\r\n\r\n",
    '"',
    "\\",
    "\\u0000",
    "{}",
    "' OR 1=1 --",
    "=cmd|' /C calc'!A0",
    "${uuid}",
    "inbound",
    "outbound",
    "A",
    "B",
    "agent",
    "member",
    "true",
    "1001",
    "recv_bye",
    "send_bye",
    "USER_BUSY",
    "+OK",
    "-ERR USER_BUSY",
    "-ERR",
    *NUMBERS,
)
_DEEP: Final = (5, 100, 900, 1100, 3000, 50_000)


class Raw(str):
    """A value that is written into JSON as it stands, whether that makes JSON or not."""

    __slots__ = ()


def _deep(depth: int, kind: str) -> Raw:
    if kind == "[":
        return Raw("[" * depth + "]" * depth)
    return Raw('{"a":' * depth + "1" + "}" * depth)


def value(dice: random.Random) -> Any:
    """A string mostly, as FreeSWITCH writes; else anything that JSON knows, or that is none."""
    draw = dice.random()
    if draw < 0.75:
        return dice.choice(TEXTS)
    if draw < 0.87:
        return Raw(dice.choice(NUMBERS))
    if draw < 0.95:
        inner = [dice.choice(TEXTS) for _ in range(dice.choice((0, 1, 2, 3, 300)))]
        return dice.choice(
            (inner, [None], [inner], {"a": inner}, [Raw("5")], {}, Raw(json.dumps(inner) + ",1"), Raw(""), Raw("{"))
        )
    if draw < 0.97:
        return _deep(dice.choice(_DEEP), dice.choice("[{"))
    return Raw(
        dice.choice(('"\xff"', '"\x01"', '"\\ud800"', '"\\ud83d\\ude00"', '"\\u00"', '"\\x"', "'a'", '"a', "//"))
    )


def dump(members: Pairs, dice: random.Random | None = None) -> bytes:
    """JSON of these members, `Raw` ones as they are; bytes below 256 of those stand for themselves."""
    ascii_only = dice is None or dice.random() < 0.5
    return b"{" + b",".join(_dumped(k, ascii_only) + b":" + _dumped(v, ascii_only) for k, v in members) + b"}"


def _dumped(found: Any, ascii_only: bool) -> bytes:
    if isinstance(found, Raw):
        return found.encode("latin-1", "replace")
    if isinstance(found, dict):
        return dump(list(found.items()), None)
    if isinstance(found, list):
        return b"[" + b",".join(_dumped(each, ascii_only) for each in found) + b"]"
    text = json.dumps(found, ensure_ascii=ascii_only)
    # What has no UTF-8 is written as the bytes it would have: no UTF-8.
    return text.encode("utf-8", "surrogatepass")


def change_members(members: Pairs, dice: random.Random, *, times: int, favour: Sequence[str] = ()) -> Pairs:
    """Some members changed, dropped, doubled, moved, added, or given the value of another one."""
    members = list(members)
    for _ in range(times):
        at = dice.randrange(len(members)) if members else 0
        if favour and dice.random() < 0.8:
            wanted = dice.choice(favour)
            at = next((i for i, (key, _) in enumerate(members) if key == wanted), at)
            if not members or members[at][0] != wanted:
                members.insert(at, (wanted, value(dice)))
                continue
        if not members:
            break
        key, known = members[at]
        match dice.randrange(10):
            case 0 | 1 | 2 | 3:
                members[at] = (key, value(dice))
            case 4:
                del members[at]
            case 5:
                members.insert(dice.randrange(len(members) + 1), (key, value(dice)))
            case 6:
                members.insert(dice.randrange(len(members) + 1), members.pop(at))
            case 7:
                members[at] = (key, dice.choice(members)[1])
            case 8:
                members[at] = (key, near(known, dice))
            case _:
                members.insert(at, (dice.choice(TEXTS), value(dice)))
    return members


def near(known: Any, dice: random.Random) -> Any:
    """A value that is a little beside the one it was."""
    if not isinstance(known, str):
        return value(dice)
    if known.isascii() and known.isdigit() and len(known) < 30:
        step = dice.choice((1, 1000, 20_000, 1_000_000, 60_000_000, 3_600_000_000, 90_000_000_000, 10**16))
        moved = int(known) + dice.choice((-1, 1)) * step
        return Raw(str(moved)) if dice.random() < 0.1 else str(moved)
    return dice.choice((known + dice.choice(TEXTS), known[: len(known) // 2], known.upper(), known * 3, [known, known]))


def change_bytes(data: bytes, dice: random.Random, *, times: int = 1) -> bytes:
    """Flipped, cut, doubled, put in: bytes."""
    raw = bytearray(data)
    for _ in range(times):
        at = dice.randrange(len(raw) + 1)
        match dice.randrange(8):
            case 0 | 1 if at < len(raw):
                raw[at] ^= 1 << dice.randrange(8)
            case 2 if at < len(raw):
                raw[at] = dice.choice(b'\0\n\r:"\\{}[],0-9%\xff\xc3\xed')
            case 3:
                del raw[at : at + dice.choice((1, 2, 10, 1000))]
            case 4:
                del raw[at:]
            case 5:
                piece = raw[at : at + dice.choice((1, 10, 300))]
                raw[at:at] = piece * dice.choice((1, 2, 50))
            case _:
                raw[at:at] = dice.choice(PIECES)
    return bytes(raw)


PIECES: Final = (
    b"\0",
    b"\n",
    b"\n\n",
    b"\r\n",
    b"\r\n\r\n",
    b"\xff\xfe",
    b"\xed\xa0\x80",
    b":",
    b": ",
    b"Content-Length: 0\n",
    b"Content-Length: 5\n",
    b"Content-Length: -1\n",
    b"Content-Length: 99999999\n\n",
    b"content-length:5\r\n",
    b"Content-Type: text/event-json\n",
    b"Content-Type: text/disconnect-notice\nContent-Length: 4\n\nbye\n",
    b"Content-Type: text/rude-rejection\n\n",
    b"Content-Type: command/reply\nReply-Text: +OK\n\n",
    b"Content-Type: api/response\nContent-Length: 3\n\n+OK",
    b"Content-Type: auth/request\n\n",
    b'{"Event-Name":"',
    b"\\u0000",
    b"\\ud800",
    b"%00",
    b"A" * 70_000,
)
_LENGTHS: Final = (
    *(b"", b" ", b"5 5", b"\t5", b"5\0", b"\xd9\xa3", b"0", b"-1", b"+5", b"5", b"05", b"1e3", b"5.0", b"0x10", b"5,5"),
    *(b"16777216", b"16777217", b"99999999", b"9999999999", b"99999999999", b"9" * 20, b"9" * 24, b"0" * 19 + b"5"),
)


def framed(body: bytes, content_type: bytes = b"text/event-json") -> bytes:
    """An event as the switch sends it."""
    return b"Content-Length: %d\nContent-Type: %s\n\n" % (len(body), content_type) + body


def change_frame(body: bytes, dice: random.Random) -> bytes:
    """A frame around a body, with something wrong about it."""
    kind = dice.choice((b"text/event-json", b"text/event-json", b"text/event-plain", b"text/event-xml", b"log/data"))
    size = b"%d" % len(body)
    lines = [b"Content-Length: " + size, b"Content-Type: " + kind]
    match dice.randrange(9):
        case 0:
            lines[0] = b"Content-Length: " + dice.choice(_LENGTHS)
        case 1:
            lines[0] = b"Content-Length: %d" % max(0, len(body) + dice.choice((-200, -1, 1, 5, 4000)))
        case 2:
            lines.append(b"Content-Length: " + dice.choice((size, b"5")))
        case 3:
            lines.pop(dice.randrange(2))
        case 4:
            lines.insert(dice.randrange(3), b"X-Junk: " + b"j" * dice.choice((10, 3000, 65_000, 70_000)))
        case 5:
            lines += [b"X-%d: %d" % (n, n) for n in range(dice.choice((5, 300, 9000)))]
        case 6:
            lines = [line.replace(b": ", dice.choice((b":", b":\t ", b" : ", b"=", b": : "))) for line in lines]
        case 7:
            lines.reverse()
        case _:
            lines = [change_bytes(line, dice) for line in lines]
    end = dice.choice((b"\n", b"\n", b"\r\n"))
    return end.join(lines) + end + end + body


def rearranged(parts: Sequence[bytes], others: Callable[[], bytes], dice: random.Random) -> list[bytes]:
    """Parts left out, doubled, moved, swapped; others put in between."""
    changed = list(parts)
    for _ in range(dice.choice((0, 1, 2, 5))):
        if not changed:
            break
        at, to = dice.randrange(len(changed)), dice.randrange(len(changed))
        match dice.randrange(5):
            case 0:
                del changed[at]
            case 1:
                changed.insert(to, changed[at])
            case 2:
                changed[at], changed[to] = changed[to], changed[at]
            case 3:
                changed.insert(to, changed.pop(at))
            case _:
                changed.insert(at, others())
    return changed


def plain_of(headers: Mapping[str, Any]) -> bytes:
    """The plain form of an event, as FreeSWITCH writes it: values URL-encoded, arrays joined, the body behind."""
    lines, body = [], b""
    for name, found in headers.items():
        if name == "_body":
            body = str(found).encode("utf-8", "surrogatepass")
            continue
        text = "ARRAY::" + "|:".join(found) if isinstance(found, list) else found
        lines.append(f"{name}: ".encode("utf-8", "replace") + quote(text.encode("utf-8", "surrogatepass")).encode())
    if body:
        lines.append(b"Content-Length: %d" % len(body))
    return b"\n".join(lines) + b"\n\n" + body
