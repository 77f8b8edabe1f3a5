"""The words that users meet, as they stand in the code: read off the syntax trees, so that none can be forgotten."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]
_TIMELINE: Final = {"Note": 0, "_stamp": 3, "ask": 1, "begin": 1, "note": 1, "_note": 1}
"""Function -> which of its arguments is the name of an entry."""
_TIMELINE_ROOMS: Final = ("callengine/calls", "callengine/originate", "callengine/store")
_FORMATTED: Final = {"recording_{status}": ("ready", "failed")}
"""What stands between the braces."""


def _functions(folder: Path) -> Iterator[tuple[ast.FunctionDef, ast.Module]]:
    for path in sorted(folder.rglob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef):
                yield node, tree


def _texts(node: ast.expr, function: ast.FunctionDef) -> Iterator[str]:
    """What a name of an entry may be: a literal, one of two, or whatever is assigned to it in the function."""
    match node:
        case ast.Constant(value=str(text)):
            yield text
        case ast.IfExp(body=body, orelse=other):
            yield from _texts(body, function)
            yield from _texts(other, function)
        case ast.Name(id=name):
            for inner in ast.walk(function):
                if isinstance(inner, ast.Assign):
                    yield from _assigned(inner.targets[0], inner.value, name, function)
        case ast.JoinedStr():
            template = "".join(
                part.value if isinstance(part, ast.Constant) else f"{{{ast.unparse(part.value)}}}"
                for part in node.values
                if isinstance(part, ast.Constant | ast.FormattedValue)
            )
            yield from (template.partition("{")[0] + word for word in _FORMATTED[template])


def _assigned(target: ast.expr, value: ast.expr, name: str, function: ast.FunctionDef) -> Iterator[str]:
    if isinstance(target, ast.Name) and target.id == name:
        yield from _texts(value, function)
    elif isinstance(target, ast.Tuple):
        branches = [value.body, value.orelse] if isinstance(value, ast.IfExp) else [value]
        for branch in branches:
            if isinstance(branch, ast.Tuple):
                for one, text in zip(target.elts, branch.elts, strict=True):
                    yield from _assigned(one, text, name, function)


def timeline_names() -> set[str]:
    """The names of entries in ``GET /v1/calls/{id}/events``."""
    found = set()
    for room in _TIMELINE_ROOMS:
        for function, _ in _functions(ROOT / room):
            for node in ast.walk(function):
                if not isinstance(node, ast.Call):
                    continue
                called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
                at = _TIMELINE.get(called)
                if at is not None and len(node.args) > at:
                    found |= set(_texts(node.args[at], function))
    return found


def abandoned_reasons() -> set[str]:
    """The words of ``failure_reason`` that are ours."""
    found = {"no_channel", "lead_not_dialled"}  # calls.record
    originator = (ROOT / "callengine" / "originate" / "originator.py").read_text(encoding="utf-8")
    found |= {text for line in re.findall(r"reason = .*", originator) for text in re.findall(r'"(\w+)"', line)}
    for function, _ in _functions(ROOT / "callengine" / "originate"):
        for node in ast.walk(function):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "_abandon":
                found |= set(_texts(node.args[1], function))
    return found


def problem_types() -> set[str]:
    """What the ``type`` of a problem may end with."""
    from callengine.errors import RequestRefused

    found = set()
    for path in sorted((ROOT / "api").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "Refusal" and len(node.args) > 1:
                code = node.args[1]
                if isinstance(code, ast.Constant):
                    found.add(str(code.value))
    kinds = [RequestRefused]
    while kinds:
        kind = kinds.pop()
        kinds += kind.__subclasses__()
        if "code" in vars(kind) and kind is not RequestRefused:
            found.add(kind.code)
    return found
