"""The round: every look, one after the other, each within a bound. A look that breaks is a line of its own."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from typing import Final

import gevent

from callengine.doctor import calls_out, database, files, http, machine, switch, switch_files
from callengine.doctor.finding import Finding, Findings, fail, ok, warn
from callengine.doctor.patient import Patient
from callengine.errors import EslError, StoreError

log = logging.getLogger(__name__)

LOOK_S: Final = 20.0
"""Bound for one look; what waits within it has shorter ones of its own."""

LOOKS: Final[dict[str, Callable[[Patient], Findings]]] = {
    "settings": lambda patient: _settings(patient),
    "event socket": switch.connection,
    "events": switch.events,
    "freeswitch": switch.version,
    "clock": switch.clock,
    "gateways": switch.gateways,
    "state": files.state,
    "database": database.database,
    "lease": database.lease,
    "daemon": http.daemon,
    "http": http.port,
    "public url": http.public_url,
    "metrics": http.metrics,
    "cdr": switch_files.cdr,
    "recordings": switch_files.recordings,
    "disk": machine.disk,
    "gemini": calls_out.gemini,
    "webhooks": calls_out.webhooks,
}


def visit(patient: Patient, look_s: float = LOOK_S) -> Iterator[Finding]:
    """The findings, as they are made. Closes the patient's connections in the end."""
    try:
        for name, look in LOOKS.items():
            yield from _looked(name, look, patient, look_s)
    finally:
        patient.close()


def _looked(name: str, look: Callable[[Patient], Findings], patient: Patient, look_s: float) -> list[Finding]:
    """One look, whole: a generator that is left half way would keep its timer."""
    found: list[Finding] = []
    limit = gevent.Timeout(look_s)
    limit.start()
    try:
        found.extend(look(patient))
    except gevent.Timeout as fired:
        if fired is not limit:
            raise
        found.append(fail(name, f"no answer within {look_s:g} s", "see what holds it up, and run this again"))
    except EslError as error:
        found.append(fail(name, f"the switch stopped answering: {error}", "fs_cli -x status, and run this again"))
    except StoreError as error:
        found.append(fail(name, str(error), "see the look at the database, and run this again"))
    except Exception as error:
        log.debug("the look at %s failed", name, exc_info=error)
        found.append(warn(name, f"could not be looked at ({type(error).__name__})", "tell its makers, with this line"))
    finally:
        limit.close()
    return found


def _settings(patient: Patient) -> Findings:
    from callengine.config.advice import advise

    # Whoever only tracks calls has no gateway; the look at the gateways says so.
    notes = [line for line in advise(patient.settings) if not line.startswith("originate.gateways is empty")]
    for line in notes:
        setting = line.partition(" ")[0]
        yield warn("settings", line, f"set it in {patient.place}, or leave it if it is meant: {setting}")
    if not notes:
        yield ok("settings", f"they can be used ({patient.place})")
