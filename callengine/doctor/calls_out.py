"""What we call: Gemini, and tenants' endpoints. Neither is sent anything of a call."""

from __future__ import annotations

from typing import Any, Final

import gevent
from gevent.pool import Pool

from callengine.ai import sdk
from callengine.ai.faults import AnalysisFault, Transient
from callengine.doctor.finding import Findings, fail, ok, skip, warn
from callengine.doctor.patient import Patient
from callengine.errors import ConfigurationError
from callengine.store import schema
from callengine.webhooks.guard import Guard
from callengine.webhooks.sender import Sender

_GEMINI_S: Final = 12.0
_ENDPOINT_S: Final = 5.0
_AT_ONCE: Final = 16
_MOST: Final = 100


def gemini(patient: Patient) -> Findings:
    """Key and model: the model is asked for by its name, which costs nothing."""
    ai = patient.settings.ai
    if not ai.enabled:
        yield ok("gemini", "ai.enabled is off")
        return
    where = ai.base_url or sdk.GOOGLE
    try:
        google = sdk.load(ai.sdk, ai.api_key.get_secret_value(), ai.base_url)
    except ConfigurationError as error:
        yield fail("gemini", *str(error.problems[0]).removeprefix("ai.sdk: ").split(": ", 1))
        return
    try:
        google.look_up(ai.model, _GEMINI_S)
    except Transient as fault:
        yield fail("gemini", f"{where} cannot be asked: {fault.reason}", f"see that it is reached: curl -sI {where}")
    except AnalysisFault as fault:
        if " 404" in fault.reason:
            remedy = "set ai.model; those that there are: https://ai.google.dev/gemini-api/docs/models"
            yield fail("gemini", f"it has no model {ai.model}", remedy)
        else:
            remedy = "put a key of Google AI Studio's into /etc/callengine/credentials/ai.api_key, or set ai.api_key"
            yield fail("gemini", f"the key is refused: {fault.reason}", remedy)
    else:
        yield ok("gemini", f"{where} takes the key, and has {ai.model}")
    finally:
        google.close()


def webhooks(patient: Patient) -> Findings:
    """Whether connections to the endpoints can be made: name, address, TLS. Nothing is sent on them."""
    if patient.store is None:
        yield skip("webhooks", "not looked at: no database can be read")
        return
    rows = patient.store.run(_endpoints, 5.0)
    settings = patient.settings.webhooks
    sender = Sender(Guard(settings.allow_networks, allow_http=settings.allow_http), timeout_s=_ENDPOINT_S)
    pool = Pool(_AT_ONCE)
    asked = [(row, pool.spawn(sender.reach, row[1], tenant_id=str(row[2]))) for row in rows]
    gevent.joinall([each for _, each in asked], timeout=_ENDPOINT_S * (1 + len(asked) // _AT_ONCE))
    bad = 0
    for (endpoint, _, tenant, *_), each in asked:
        problem = each.value if each.ready() else f"no connection within {_ENDPOINT_S:g} s"
        if problem:
            bad += 1
            remedy = f"tell the tenant, or: callengine webhook list --tenant {tenant}"
            yield warn("webhooks", f"endpoint {endpoint} of {tenant} cannot be reached: {problem}", remedy)
    sender.close()
    if not bad:
        yield ok("webhooks", f"{len(asked)} endpoints can be reached" if asked else "no endpoint is registered")


def _endpoints(db: Any) -> list[Any]:
    endpoint, tenant = schema.Endpoint, schema.Tenant
    query = (
        endpoint.select(endpoint.id, endpoint.url, tenant.name)
        .join(tenant, on=(tenant.id == endpoint.tenant_id))
        .where(endpoint.enabled)
        .limit(_MOST)
        .tuples()
    )
    return list(query.execute(db))
