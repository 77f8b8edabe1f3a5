"""How near tenants are to what their analyses may cost a day."""

from __future__ import annotations

import peewee

from callengine.store import sql


def nearest_bound(db: peewee.Database, day_us: int, default_micros: int | None) -> float:
    """The greatest share of its daily bound that a tenant has spent since the day (UTC) began; 0 where none is bounded.

    ``default_micros``: the bound of tenants without one of their own, None where they have none. What is reserved for
    analyses at work counts as spent, so the share is what decides whether the next one is sent. Of a bound of 0, which
    means that nothing is sent, there is no share.
    """
    text = (
        "SELECT t.ai_daily_spend_micros, coalesce(sum(a.cost_micros), 0) FROM tenant t"
        " JOIN analysis a ON a.tenant_id = t.id AND a.done_us >= ? GROUP BY t.id, t.ai_daily_spend_micros"
    )
    shares = []
    for bound, spent in sql.run(db, text, (day_us,)).fetchall():
        most = default_micros if bound is None else bound
        if most:
            shares.append(float(spent) / most)
    return max(shares, default=0.0)
