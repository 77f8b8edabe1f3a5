"""``python -m tests.chaos``: the table of what goes wrong, and what is left of the calls. See ``--help``.

On the stand-in, all rows, smaller:

    python -m tests.chaos --times 1 --seconds 10 --rate 20

On a FreeSWITCH, one row:

    python -m tests.chaos kill --esl 127.0.0.1:8021:ClueCon --cdr /var/log/freeswitch/json_cdr \\
        --far-end /tmp/far-end.jsonl --gateway carrier --results chaos.jsonl
"""

from __future__ import annotations

from gevent import monkey

monkey.patch_all()

import sys

from tests.chaos.faults import FAULTS
from tests.chaos.options import parse
from tests.chaos.results import read, shown
from tests.chaos.row import available, run


def main(argv: list[str]) -> int:
    """Exit code 0 if every row is all zero."""
    options = parse(argv, tuple(FAULTS))
    names = options.faults or tuple(FAULTS)
    rows = []
    for name in names:
        why_not = available(options, FAULTS[name])
        if why_not:
            print(f"{name}: left out: {why_not}", flush=True)
            if options.faults:
                return 2
            continue
        rows.append(run(options, FAULTS[name]))
    done = read(options.results) if options.results is not None else rows
    if done:
        print(shown(done), end="")
    return 0 if all(row["clean"] for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
