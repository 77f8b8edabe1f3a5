"""What mkdocs is told besides mkdocs.yml: pages that its navigation forgot, and links that lead out of docs/."""

from __future__ import annotations

import re
from typing import Any

_OUTSIDE = re.compile(r"\[([^\]]*)\]\((?:\.\./)+([^)#\s]+)(?:#[^)]*)?\)")
_OTHERS = "Operating"


def _pages(nav: list[Any]) -> set[str]:
    found: set[str] = set()
    for entry in nav:
        for value in entry.values() if isinstance(entry, dict) else [entry]:
            found |= _pages(value) if isinstance(value, list) else {value}
    return found


def on_files(files: Any, config: Any) -> Any:
    """A page that the navigation does not name stands among those for operators."""
    missing = sorted({file.src_uri for file in files.documentation_pages()} - _pages(config.nav))
    for entry in config.nav:
        if isinstance(entry, dict) and _OTHERS in entry:
            entry[_OTHERS].extend(missing)
    return files


def on_page_markdown(markdown: str, **_: Any) -> str:
    """What a link into the source leads to is named: the site has only the pages."""
    return _OUTSIDE.sub(r"\1 (`\2` in the source)", markdown)
