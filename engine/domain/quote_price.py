"""Compute the price of a quote from the service's amount, the demand of the area, the hour, and the limits."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any, NamedTuple
from zoneinfo import ZoneInfo

from engine.blueprint.schema import Blueprint
from engine.domain import demand_pulse
from engine.domain.services import Service
from engine.events import rfc3339_of
from engine.rules.pricing import ONE, PriceFactor, multiplier_text, price_of
from engine.rules.pulse import LEAST_SAMPLE
from engine.rules.zone_areas import timezone_of
from engine.store import keys
from engine.types import UserId, Zone, new_quote_id

if TYPE_CHECKING:
    from engine.runtime import Engine

DEMAND_HORIZON_MS = 7_200_000
"""Work that is wanted later than this (ms from now) has no demand multiplier: today's demand says nothing about it."""


class QuoteTerms(NamedTuple):
    """The work for which a price is requested: a service at a place. ``scheduled_for`` is in ms since the Unix epoch;
    None is now. ``cap`` is that of the zone, in per mille.
    """

    customer: UserId
    service: Service
    lat: float
    lon: float
    postal_code: str | None
    scheduled_for: int | None
    cap: int | None


async def price_terms(engine: Engine, zone: Zone, blueprint: Blueprint, terms: QuoteTerms) -> dict[str, Any]:
    """Return the members of a new quote, except for its times. Raises Unavailable."""
    price, service = blueprint.price, terms.service
    now = await _zone_time(engine, zone)
    moment = now if terms.scheduled_for is None else terms.scheduled_for
    timezone = timezone_of(engine.settings.zone_areas, zone)
    demand, demand_inputs = await _demand_factor(engine, zone, blueprint, terms, moment - now)
    peak = price.peak_at(datetime.fromtimestamp(moment / 1000, ZoneInfo(timezone)))
    cap, limits = terms.cap, price.limits
    lowest, highest = limits.min, limits.max
    if cap is not None:
        lowest, highest = min(lowest, cap), min(highest, cap)
    factors = [
        PriceFactor(
            "demand", demand, f"{'High' if demand > ONE else 'Low'} demand in the area: {multiplier_text(demand)}"
        ),
        *([PriceFactor("peak", peak.by, f"Hours {peak.text}: {multiplier_text(peak.by)}")] if peak else []),
    ]
    found = price_of(service.base_amount, factors, lowest=lowest, highest=highest, round_to=price.round_to)
    inputs = {
        "at": rfc3339_of(moment),
        "timezone": timezone,
        "base_amount": service.base_amount,
        **demand_inputs,
        "demand": demand,
        "peak": peak.by if peak else ONE,
        "min": lowest,
        "max": highest,
        "cap": cap,
        "round_to": price.round_to,
    }
    return {
        "id": new_quote_id(zone),
        "zone": zone,
        "customer": {"id": terms.customer},
        "blueprint": blueprint.name,
        "service": service.id,
        "lat": terms.lat,
        "lon": terms.lon,
        "postal_code": terms.postal_code,
        "scheduled_for": None if terms.scheduled_for is None else rfc3339_of(terms.scheduled_for),
        "amount": found.amount,
        "currency": service.currency,
        "pricing": service.pricing,
        "multiplier": found.multiplier,
        "breakdown": found.breakdown,
        "inputs": inputs,
    }


async def _zone_time(engine: Engine, zone: Zone) -> int:
    """Return the time of the zone's clock (ms). Each script updates it, and a timer does so once a second."""
    return int(await engine.store.command("HGET", keys.zone_meta(zone), "now") or 0)


async def _demand_factor(
    engine: Engine, zone: Zone, blueprint: Blueprint, terms: QuoteTerms, wanted_in_ms: int
) -> tuple[int, dict[str, Any]]:
    """Return the demand multiplier (per mille) of the area, and the members of ``inputs`` that explain it."""
    if blueprint.price.demand is None:
        return ONE, {"demand_from": "blueprint"}
    if wanted_in_ms > DEMAND_HORIZON_MS:
        return ONE, {"demand_from": "later"}
    found = None
    if terms.postal_code:
        found = await demand_pulse.read_area_pulse(engine, zone, "postal_code", terms.postal_code)
    if found is None or found.pulse.sample < LEAST_SAMPLE:
        found = await demand_pulse.read_place_pulse(engine, zone, terms.lat, terms.lon) or found
    if found is None:
        return ONE, {"demand_from": "none"}
    pulse = found.pulse
    inputs: dict[str, Any] = {
        "demand_from": "pulse",
        "kind": found.kind,
        "area": found.area,
        "as_of": rfc3339_of(found.as_of),
    }
    inputs |= {"waiting": pulse.waiting, "free": pulse.free, "lift": pulse.lift}
    return blueprint.price.demand.bound(pulse.multipliers.get(blueprint.name, ONE)), inputs
