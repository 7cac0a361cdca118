"""Create quotes, and bookings with a quoted price, in the engine's tests."""

from __future__ import annotations

from typing import Any

import msgspec

from engine.blueprint.price import PeakWindow, Price
from engine.domain import booking, quotes
from engine.domain.booking import Booking
from engine.idempotency.in_redis import Outcome
from engine.runtime import Engine
from engine.types import Principal, ServiceId
from tests.support import people

ALWAYS = PeakWindow("mon-sun", "00:00", "24:00", by=1200)
LATER_MS = 4_102_444_800_000


def set_price(engine: Engine, **changes: Any) -> None:
    """Change the prices of the blueprint `managed`. Without changes, a quote has the service's amount."""
    managed = engine.blueprints.by_name["managed"]
    price = msgspec.structs.replace(Price(source="quote"), **changes)
    changed = msgspec.structs.replace(managed, price=price)
    engine.blueprints.by_name["managed"] = engine.blueprints.by_key[changed.key] = changed


async def quote(engine: Engine, who: Principal, service: ServiceId, **changes: Any) -> dict[str, Any]:
    """Return a new quote for a job at `people.HERE`."""
    fields = {"blueprint": "managed", "service": service, "lat": people.HERE.lat, "lon": people.HERE.lon, "address": ""}
    done = await quotes.create_quote(engine, who, Booking(**{**fields, **changes}))
    found: dict[str, Any] = msgspec.json.decode(done.quote)
    return found


async def book(engine: Engine, who: Principal, service: ServiceId, key: str | None = None, **changes: Any) -> Outcome:
    """Book a job of `managed` at `people.HERE`."""
    fields = {"blueprint": "managed", "service": service, "lat": people.HERE.lat, "lon": people.HERE.lon}
    return await booking.book_job(engine, who, Booking(**{**fields, "address": "1 Main St", **changes}), key=key)


def job_of(outcome: Outcome) -> dict[str, Any]:
    """Return the job of an outcome."""
    assert outcome.job is not None
    found: dict[str, Any] = msgspec.json.decode(outcome.job)
    return found
