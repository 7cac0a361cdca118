"""The services that customers of a demo can book: one or several for each blueprint."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from server.simulation.account import Operator


class DemoService(NamedTuple):
    """A service of the catalogue. ``amount`` is in cents: the price, or the rate of an hour if it is ``hourly``."""

    blueprint: str
    name: str
    category: str
    amount: int
    minutes: int
    pricing: str = "flat"


CURRENCY = "EUR"
SERVICES = (
    DemoService("home_service", "Plumbing repair", "home", 6900, 60),
    DemoService("home_service", "Electrical repair", "home", 7900, 60),
    DemoService("home_service", "Locksmith", "home", 8900, 30),
    DemoService("direct_booking", "Piano tuning", "home", 12000, 90),
    DemoService("managed", "Boiler service", "home", 14900, 60),
    DemoService("managed", "Window cleaning", "cleaning", 5900, 60),
    DemoService("marketplace", "Furniture assembly", "home", 5500, 90),
    DemoService("marketplace", "Moving help", "transport", 9900, 120),
    DemoService("delivery", "Food delivery", "delivery", 490, 30),
    DemoService("delivery", "Grocery delivery", "delivery", 690, 30),
)


async def create_services(operator: Operator) -> Mapping[str, tuple[str, ...]]:
    """Return the ids of the services by blueprint. Create those that are missing. Raises Refusal or Unreachable."""
    known = {each["name"]: each["id"] for each in (await operator.request("GET", "/v1/services?limit=200"))["items"]}
    ids: dict[str, tuple[str, ...]] = {}
    for service in SERVICES:
        if service.name not in known:
            body = {"name": service.name, "category": service.category, "base_amount": service.amount}
            body |= {"currency": CURRENCY, "pricing": service.pricing, "duration_min": service.minutes}
            known[service.name] = (await operator.request("POST", "/v1/services", body))["service"]["id"]
        ids[service.blueprint] = (*ids.get(service.blueprint, ()), known[service.name])
    return ids
