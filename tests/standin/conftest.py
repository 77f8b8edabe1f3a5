"""Stand-ins in this very process, and connections to them that are closed at the end."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any, TypeAlias
from uuid import uuid4

import pytest

from callengine.standin import Options, StandIn
from tests.conformance.client import CHANNEL_EVENTS, Switch, Wire

StartStandIn: TypeAlias = Callable[..., StandIn]
LogIn: TypeAlias = Callable[..., Switch]
Connect: TypeAlias = Callable[[StandIn], Wire]

#: Calls live twenty times faster, and no event overtakes another.
QUICK: dict[str, Any] = {"seed": 7, "time_scale": 20.0, "reorder": 0.0}


@pytest.fixture
def start() -> Iterator[StartStandIn]:
    """Starts a stand-in with options that differ from ``QUICK``."""
    with ExitStack() as stack:
        yield lambda **options: stack.enter_context(StandIn(Options(**{**QUICK, **options})))


@pytest.fixture
def standin(start: StartStandIn) -> StandIn:
    return start()


@pytest.fixture
def connect() -> Iterator[Connect]:
    with ExitStack() as stack:

        def open_wire(standin: StandIn) -> Wire:
            wire = Wire.connect(standin.host, standin.port)
            stack.callback(wire.close)
            return wire

        yield open_wire


@pytest.fixture
def login() -> Iterator[LogIn]:
    with ExitStack() as stack:

        def log_in(standin: StandIn, events: str = CHANNEL_EVENTS) -> Switch:
            switch = Switch.login(standin.host, standin.port, "ClueCon", events)
            stack.callback(switch.close)
            return switch

        yield log_in


@pytest.fixture
def switch(standin: StandIn, login: LogIn) -> Switch:
    return login(standin)


def place(switch: Switch, digits: str, variables: str = "", then: str = "&park") -> str:
    """Originate to a number with these last digits; the channel's UUID."""
    uuid = str(uuid4())
    given = ",".join(part for part in (f"origination_uuid={uuid}", variables) if part)
    switch.bgapi(f"originate {{{given}}}sofia/gateway/carrier/15550100{digits} {then}")
    return uuid


def answered(switch: Switch, variables: str = "", digits: str = "201") -> str:
    """An answered call that stays until it is hung up; its job has answered, too."""
    uuid = place(switch, digits, f"standin_ring_s=0.04{',' if variables else ''}{variables}")
    switch.pump(lambda: any(each.get("_body") == f"+OK {uuid}\n" for each in switch.events), 5)
    return uuid
