"""Texts of strangers, made fit to be shown: a caller chooses his name, and terminals obey what is in it.

Whatever is not printable counts: controls (C0, C1, DEL), Unicode's own line ends, marks that turn the direction of
writing, characters without a width, private ones, lone surrogates.
"""

from __future__ import annotations


def plain(text: str, stand_in: str = "\N{REPLACEMENT CHARACTER}") -> str:
    """``text`` with ``stand_in`` for each character that would do more than be seen."""
    return text if text.isprintable() else "".join(c if c.isprintable() else stand_in for c in text)


def escaped(text: str) -> str:
    """``text`` with such characters as Python would write them."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def json_neutral(line: str) -> str:
    """JSON with such characters as JSON's own escapes: it means what it did. Line ends between its parts stay."""
    if line.isprintable():
        return line
    return "".join(c if c.isprintable() or c == "\n" else _json_escape(c) for c in line)


def _json_escape(character: str) -> str:
    pairs = character.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{pairs[at]:02x}{pairs[at + 1]:02x}" for at in range(0, len(pairs), 2))
