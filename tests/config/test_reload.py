"""What can take effect without a restart, and that it does: nobody keeps a copy of it."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from callengine.config.describe import describe
from callengine.config.fields import Section
from callengine.config.originate import Gateway
from callengine.config.reload import reload
from callengine.config.settings import Settings
from callengine.config.sources import fields
from callengine.errors import ConfigurationError

ROOT = Path(__file__).parents[2]
HANDED_ON = {
    "log.level",
    "log.format",
    "http.signing_key",
    "http.old_signing_keys",
    "recordings.url_ttl_s",
    "recordings.start",
    "originate.max_per_second",
    "originate.max_concurrent",
    "originate.queue_max",
    "originate.gateways",
}
"""What somebody makes something of, and is told of by ``daemon._on_reload``; the rest is read where it is needed."""
# Made once, and of use only to who starts or checks a process.
_NOT_LOOKED_AT = {"config", "cli", "standin", "replay.py"}
_KNOWN = {
    "callengine/cdr/service.py: http_secret",  # whether records are taken at all: see Cdr.can_reload
    "api/cdr.py: http_secret",
    "callengine/store/pruning.py: keep_days",  # that of webhooks, which is not reloadable
}
_NAMES_OF_SECTIONS = {
    "settings",
    "_settings",
    "own",
    "ours",
    "chosen",
    "http",
    "_set",
    "originate",
    "recordings",
    "ai",
    "webhooks",
    "cdr",
    "metrics",
    "log",
}


def reloadable() -> set[str]:
    return {f"{section}.{name}" for section, name, _ in fields(Settings) if name in section_of(section).reloadable}


def section_of(name: str) -> type[Section]:
    kind = Settings.model_fields[name].annotation
    assert isinstance(kind, type)
    assert issubclass(kind, Section)
    return kind


def other(**changed: dict[str, Any]) -> Settings:
    return Settings.model_validate(changed)


def test_what_is_reloadable_takes_effect_for_who_has_the_section() -> None:
    live = Settings()
    recordings, originate = live.recordings, live.originate
    fresh = other(
        recordings={"keep_days": 7, "wait_s": 5},
        originate={"gateways": {"a": {"dial_string": "sofia/gateway/a/{destination}"}}},
        esl={"port": 9999, "password": "other"},
        log={"level": "debug"},
    )
    changes = reload(live, fresh)
    assert set(changes.applied) == {"recordings.keep_days", "recordings.wait_s", "originate.gateways", "log.level"}
    assert set(changes.needs_restart) == {"esl.port", "esl.password"}
    assert (recordings.keep_days, recordings.wait_s, live.log.level) == (7, 5, "debug")
    assert isinstance(originate.gateways["a"], Gateway)
    assert (live.esl.port, live.esl.password) == (8021, SecretStr("ClueCon"))
    assert reload(live, fresh).applied == ()


def test_the_same_settings_change_nothing() -> None:
    assert reload(Settings(), Settings()) == ((), ())


def test_a_part_that_does_not_fit_the_rest_changes_nothing() -> None:
    """Each file is right in itself; the mixture would not be."""

    class Odd(Section):
        reloadable = frozenset({"low"})
        low: int = 1
        high: int = 2

    live, fresh = Settings(), Settings()
    live_ai = live.ai.model_copy(update={"backoff_min_s": 5.0, "backoff_max_s": 10.0})
    object.__setattr__(live, "ai", live_ai)
    object.__setattr__(fresh, "ai", live_ai.model_copy(update={"backoff_min_s": 20.0}))
    object.__setattr__(fresh, "log", fresh.log.model_copy(update={"level": "debug"}))
    with pytest.raises(ConfigurationError, match="ai: without a restart: backoff_min_s must not be greater"):
        reload(live, fresh)
    assert (live.ai.backoff_min_s, live.log.level) == (5.0, "info")


@pytest.mark.parametrize(("before", "after", "applied"), [("old", "new", True), ("", "new", False), ("old", "", False)])
def test_posted_cdrs_change_their_password_only_where_they_are_taken(before: str, after: str, applied: bool) -> None:
    live = other(cdr={"http_secret": before})
    changes = reload(live, other(cdr={"http_secret": after}))
    assert changes.applied == (("cdr.http_secret",) if applied else ())
    assert changes.needs_restart == (() if applied else ("cdr.http_secret",))


@pytest.mark.parametrize("name", sorted(Settings.model_fields))
def test_each_reloadable_setting_is_one_and_the_docs_show_it(name: str) -> None:
    section = section_of(name)
    assert section.reloadable <= set(section.model_fields)
    page = describe()
    for setting in section.model_fields:
        marked = f"`{name}.{setting}` ↻" in page
        assert marked is (setting in section.reloadable), f"{name}.{setting}"


def test_what_cannot_change_while_we_run_is_not_reloadable() -> None:
    assert not {n for n in reloadable() if n.partition(".")[0] in {"esl", "switch", "state", "database", "s3"}}
    assert not {"http.host", "http.port"} & reloadable()


def test_nobody_keeps_a_copy_of_what_is_reloadable() -> None:
    """A setting read while something is made has the old value for ever: read it when it is needed, or hand it on."""
    found = {f"{path}: {name}" for path, name in _copies()}
    assert found == _KNOWN


def _copies() -> Iterator[tuple[str, str]]:
    by_name: dict[str, set[str]] = {}
    for full in reloadable() - HANDED_ON:
        section, _, name = full.partition(".")
        by_name.setdefault(name, set()).add(section)
    for top in ("callengine", "api", "ai"):
        for path in sorted((ROOT / top).rglob("*.py")):
            inner = path.relative_to(ROOT / top)
            if top == "callengine" and (inner.parts[0] in _NOT_LOOKED_AT or (ROOT / top / inner.parts[0]).is_symlink()):
                continue
            for name, value in _read_in_makers(ast.parse(path.read_text(encoding="utf-8")), inner.name):
                sections = by_name.get(name, set())
                if sections and _names_section(value, sections):
                    yield str(path.relative_to(ROOT)), name


def _read_in_makers(tree: ast.Module, file: str) -> Iterator[tuple[str, ast.expr]]:
    """Attributes that are read where things are made, and not in a function within that."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.FunctionDef) or node.name == "_on_reload":
            continue
        if node.name == "__init__" or node.name.startswith("add_") or file in {"daemon.py", "followup.py"}:
            yield from _attributes(node.body)


def _attributes(nodes: list[Any]) -> Iterator[tuple[str, ast.expr]]:
    for node in nodes:
        if isinstance(node, ast.Lambda | ast.FunctionDef):
            continue
        if isinstance(node, ast.Attribute):
            yield node.attr, node.value
        yield from _attributes(list(ast.iter_child_nodes(node)))


def _names_section(value: ast.expr, sections: set[str]) -> bool:
    last = value.attr if isinstance(value, ast.Attribute) else value.id if isinstance(value, ast.Name) else ""
    return last in sections or last in _NAMES_OF_SECTIONS - set(Settings.model_fields)
