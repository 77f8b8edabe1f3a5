"""The stand-in switch: it speaks FreeSWITCH's event socket, for tests and for the demo. It is not FreeSWITCH.

``StandIn`` runs it in this process, ``launch`` (or ``python -m callengine.standin``) in one of its own. It shares no
code with the event socket client, so that it can be a witness against it.
"""

from __future__ import annotations

from callengine.standin.launch import StandInNotStarted, StandInProcess, launch
from callengine.standin.options import Options, SocketUser
from callengine.standin.server import StandIn

__all__ = ["Options", "SocketUser", "StandIn", "StandInNotStarted", "StandInProcess", "launch"]
