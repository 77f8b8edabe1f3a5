"""docs/commands.md is the command line's own words, and the README's commands are ones that there are."""

from __future__ import annotations

import re
import shlex

import pytest

from callengine.cli.describe import describe
from callengine.cli.main import build_parser
from tests.cli.commands import ROOT


def test_commands_page_is_up_to_date() -> None:
    page = (ROOT / "docs" / "commands.md").read_text()
    assert page == describe(), "python -m callengine.cli.describe > docs/commands.md"


def shown_commands() -> list[str]:
    """Every `callengine …` line of the code blocks in the README, in the pages and in the help's own examples."""
    found = []
    pages = [page.read_text() for page in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))]
    for text in (*pages, describe()):
        for block in re.findall(r"^```\w*\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
            found += re.findall(r"^(?:\$ |sudo |[A-Z_]+=\S+ )*(?:\S*/)?(callengine [a-z].*)$", block, re.MULTILINE)
    return sorted({line for line in found if "·" not in line})  # that is the demo's screen


@pytest.mark.parametrize("line", shown_commands())
def test_shown_commands_parse(line: str) -> None:
    words = shlex.split(line, comments=True)[1:]
    for end in ("|", ">", "&&", "&"):
        words = words[: words.index(end)] if end in words else words
    assert build_parser().parse_args(words).handler is not None
