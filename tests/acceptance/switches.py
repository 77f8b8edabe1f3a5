"""What is done to a switch that a daemon of the tests runs beside."""

from __future__ import annotations

from collections.abc import Iterable

from callengine.esl.client import EslClient
from callengine.standin.launch import StandInProcess


def hang_up(switch: StandInProcess, call_ids: Iterable[str]) -> None:
    """As somebody else does it."""
    client = EslClient(switch.host, switch.port, "ClueCon")
    client.connect()
    for call_id in call_ids:
        assert client.api(f"uuid_kill {call_id}").startswith("+OK")
    client.close()
