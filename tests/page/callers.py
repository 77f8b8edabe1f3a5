"""``python -m tests.page.callers``: the stand-in switch, with callers whose names are chosen to do harm."""

from __future__ import annotations

import sys
from typing import Any, Final

from callengine.standin import inbound
from callengine.standin.__main__ import main

STUNG: Final = "stung"
"""What a name that was taken for markup would set on the page's window."""
NAMES: Final = (
    f"<img src=x onerror=window.{STUNG}=1>",
    f'"><script>window.{STUNG}=2</script>',
    f"<svg/onload=window.{STUNG}=3>",
    f"javascript:window.{STUNG}=4",
    "\u202eevol\u202c {{7*7}} &lt;b&gt;",
)

if __name__ == "__main__":
    module: Any = inbound
    module._FIRST_NAMES = NAMES
    sys.exit(main(sys.argv[1:]))
