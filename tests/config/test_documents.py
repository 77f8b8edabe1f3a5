"""The documentation and the snippets say what the code does."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import pytest

from callengine.config.describe import describe
from callengine.config.settings import Settings
from callengine.config.sources import fields

ROOT = Path(__file__).parents[2]


def test_docs_are_up_to_date() -> None:
    page = (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8")
    assert page == describe(), "run: python -m callengine.config.describe > docs/configuration.md"


def test_every_setting_is_described() -> None:
    page = describe()
    for section, name, info in fields(Settings):
        assert f"`{section}.{name}`" in page
        assert info.description, f"{section}.{name} has no description"


@pytest.mark.parametrize("name", ["event_socket.conf.xml", "json_cdr.conf.xml", "callcenter.conf.xml"])
def test_freeswitch_snippets_are_well_formed(name: str) -> None:
    root = ElementTree.parse(ROOT / "config" / "freeswitch" / name).getroot()
    assert root.attrib["name"] == name.removesuffix(".xml")
    assert all(set(param.attrib) == {"name", "value"} for param in root.iter("param"))


def test_the_event_socket_snippet_fits_the_defaults() -> None:
    root = ElementTree.parse(ROOT / "config" / "freeswitch" / "event_socket.conf.xml").getroot()
    given = {param.attrib["name"]: param.attrib["value"] for param in root.iter("param")}
    esl = Settings().esl
    assert (given["listen-ip"], int(given["listen-port"])) == (esl.host, esl.port)
    assert given["password"] == esl.password.get_secret_value()


def test_the_dialplan_names_the_variables_of_the_settings() -> None:
    tracking = Settings().tracking
    root = ElementTree.parse(ROOT / "config" / "freeswitch" / "dialplan.xml").getroot()
    actions = [(action.attrib["application"], action.attrib.get("data", "")) for action in root.iter("action")]
    named = [data.partition("=")[0] for application, data in actions if application in {"set", "export"}]
    assert named.count(tracking.campaign_variable) == 2
    # On each leg that is rung it would make all of them that agent; and exported, a recording is made twice.
    assert not [data for application, data in actions if application == "export"]
    queues = ElementTree.parse(ROOT / "config" / "freeswitch" / "callcenter.conf.xml").getroot().iter("queue")
    assert ("callcenter", next(queues).attrib["name"]) in actions
