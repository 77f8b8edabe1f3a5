"""What an attacker would write into a field, shared by the tests that try it on the wire and off it."""

from __future__ import annotations

ATTACKS = [
    # Another command, or another header of the same one
    "x\n\napi fsctl shutdown\n\n",
    "x\r\n\r\napi system id",
    "x\r\rapi system id",
    "x\nJob-UUID: forged",
    "x\nContent-Length: 400",
    "x%0A%0Aapi system id%0A%0A",
    "x%0d%0a%0d%0aapi system id",
    "x\\n\\napi system id\\n\\n",
    "x\0y",
    "x\x1b[2J",
    "x\x85\x85api system id",
    "x\u2028\u2029api system id",
    "x\u560a\u560aapi system id",  # whose low bytes are line ends
    # Out of the braces, out of a value
    "x}sofia/gateway/evil/1 &park() {",
    "x}{execute_on_answer=system id",
    "{execute_on_answer=system}x",
    "[api_on_answer=system]x",
    "<api_on_answer=system>x",
    "x]<",
    "x,execute_on_answer=system id",
    "x\\,execute_on_answer=system id",
    "x',execute_on_answer='system id",
    "x\\',execute_on_answer=\\'system id",
    "^^;api_on_answer=system",
    "^^:x:api_on_answer=system",
    "x'",
    "'",
    '"',
    'x" <sip:0@evil.example>',
    "x\\",
    "x \\",
    "\\s",
    # Another leg, another originate, another application
    "x:_:sofia/gateway/evil/1",
    "x|sofia/gateway/evil/1",
    "x,sofia/gateway/evil/1",
    "x @evil.example",
    "1@evil.example",
    "x;fs_path=sip:evil.example",
    "x) &system(id",
    "x)",
    "x &system(id)",
    "&system(id)",
    "system:id inline",
    "x inline",
    "x XML other",
    "x undef",
    "undef",
    "UNDEF",
    "-both",
    "/etc/passwd",
    "../../etc/passwd",
    # What is expanded
    "${system(id)}",
    "$${password}",
    "\\${system(id)}",
    "$",
    "@@system(id)@@",
    "ARRAY::a|:b",
    "origination_nested_vars=true",
    "%22%0d%0aX-Evil:%201",
    # What is not what it looks like
    "\ud800",
    "\uff11\uff12\uff13\uff14",  # fullwidth digits
    "\u0661\u0662\u0663",
    "\uff04\uff5bsystem\uff5d",
    "\u202e\u2066x",
    "O'Brien, (Sales) = 50%",
    "x" * 5000,
    "",
    " ",
]

RAW = [
    b"x\n\napi system id\n\n",
    b"x\r\n\r\napi system id\r\n\r\n",
    b"x\0y",
    b"\xff\xfe",
    b"\xc0\x8a\xc0\x8aapi system id",  # overlong line ends
    b"\xed\xa0\x80",  # a surrogate
    b"x\x0b\x0cy",
    b"x\x85y",
]
"""Bytes that no JSON or URL should carry, as they would be written by hand."""

WIDE = {
    "originate": {
        "max_per_second": 10_000,
        "max_concurrent": 10_000,
        "queue_max": 10_000,
        "destination_pattern": "(?s).*",
        "extension_pattern": "(?s).*",
        "gateways": {"carrier": {"caller_id_pattern": "(?s).*"}, "other": {}},
        "agents": {"desk": {"dial_string": "user/{agent}", "agent_pattern": "(?s).*"}},
        "applications": {"ivr": {"application": "playback", "arguments": "/sounds/hello.wav"}},
        "variables": ["sip_h_X-*", "crm_*", "z*"],
    }
}
"""A configuration whose patterns are as wide as they can be, so that nothing but the code stands in the way."""
