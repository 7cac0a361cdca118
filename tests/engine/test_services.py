"""The catalogue of services: who may change it, what a booking is refused for, and how it is searched."""

from __future__ import annotations

import uuid
from typing import Any

import pytest

from engine.domain import services
from engine.domain.services import NewService, ServiceQuery
from engine.errors import Forbidden, Invalid, NotFound, ServiceInactive
from engine.runtime import Engine
from engine.types import Principal, ServiceId, UserId
from tests.support.people import ADMIN

CUSTOMER = Principal(UserId("c"), "customer")


def new(name: str = "Plumbing", category: str = "home", **changes: object) -> NewService:
    fields = {"name": name, "category": category, "base_amount": 5_000, "currency": "EUR", **changes}
    return NewService(**fields)  # type: ignore[arg-type]


async def test_refuses_all_but_ops(engine: Engine) -> None:
    """Everybody reads the catalogue; ops and admins change it."""
    made = (await services.create_service(engine, ADMIN, new())).value
    for role in ("customer", "technician", "mediator", "onboarding_manager", "service"):
        caller = Principal(UserId("x"), role)
        with pytest.raises(Forbidden):
            await services.create_service(engine, caller, new())
        with pytest.raises(Forbidden):
            await services.patch_service(engine, caller, made.id, {"active": False})


async def test_refuses_a_booking_of_what_is_not_on_offer(engine: Engine) -> None:
    """An unknown service is invalid input with the name of its field; an inactive one has its own code."""
    made = (await services.create_service(engine, ADMIN, new(active=False))).value
    with pytest.raises(Invalid) as refusal:
        await services.active_service(engine, ServiceId("srv_x"))
    assert refusal.value.errors[0][0] == "/service"
    with pytest.raises(ServiceInactive):
        await services.active_service(engine, made.id)
    with pytest.raises(NotFound):
        await services.patch_service(engine, ADMIN, ServiceId("srv_x"), {"active": True})


async def test_a_service_is_made_and_changed(engine: Engine) -> None:
    """Fields that are left out have defaults; a patch changes only the fields that it names."""
    made = (await services.create_service(engine, ADMIN, new())).value
    assert (made.pricing, made.duration_min, made.active) == ("flat", 60, True)
    changed = (await services.patch_service(engine, ADMIN, made.id, {"pricing": "hourly", "base_amount": 7})).value
    assert (changed.pricing, changed.base_amount, changed.name) == ("hourly", 7, "Plumbing")
    assert await services.read_service(engine, made.id) == changed == await services.active_service(engine, made.id)
    assert (await services.patch_service(engine, ADMIN, made.id, {})).value == changed


async def test_a_repeat_by_key_makes_one_service(engine: Engine) -> None:
    """The second reply is the first one."""
    key = str(uuid.uuid4())
    first = await services.create_service(engine, ADMIN, new(), key=key)
    again = await services.create_service(engine, ADMIN, new(), key=key)
    assert (again.value, again.repeated, again.key) == (first.value, True, key)


async def test_services_are_found_by_word_and_category(engine: Engine) -> None:
    """The search matches words in name or category without case, takes ``%`` literally, and shows inactive services
    only to ops.
    """
    for service in (
        new("Plumbing"),
        new("Painting 50%", "decor"),
        new("Wiring", "home", active=False),
        new("Walls", "Decor outside"),
    ):
        await services.create_service(engine, ADMIN, service)

    async def names(caller: Principal, **query: Any) -> list[str]:
        return [s.name for s in (await services.find_services(engine, caller, ServiceQuery(**query))).items]

    assert await names(CUSTOMER) == ["Painting 50%", "Plumbing", "Walls"]
    assert await names(ADMIN, category="home") == ["Plumbing", "Wiring"]
    assert await names(CUSTOMER, q="DECOR") == ["Painting 50%", "Walls"]
    assert await names(CUSTOMER, q="%") == ["Painting 50%"]
    assert await names(CUSTOMER, q="nothing") == []


async def test_pages_show_every_service_once(engine: Engine) -> None:
    """Pages are ordered by name, also with equal names."""
    for n in range(5):
        await services.create_service(engine, ADMIN, new("Same" if n < 3 else f"Z{n}"))
    seen: list[ServiceId] = []
    cursor = None
    while True:
        page = await services.find_services(engine, CUSTOMER, ServiceQuery(limit=2, cursor=cursor))
        seen += [service.id for service in page.items]
        if (cursor := page.next) is None:
            break
    assert len(seen) == len(set(seen)) == 5
    with pytest.raises(Invalid):
        await services.find_services(engine, CUSTOMER, ServiceQuery(cursor="WzFd"))
