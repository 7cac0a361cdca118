"""Tests of the catalogue of services: who may change it, which bookings are refused, and how it is searched."""

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


def new_service(name: str = "Plumbing", category: str = "home", **changes: object) -> NewService:
    """Return the fields of a new service; the keyword arguments replace defaults."""
    fields = {"name": name, "category": category, "base_amount": 5_000, "currency": "EUR", **changes}
    return NewService(**fields)  # type: ignore[arg-type]


async def test_only_ops_may_change_services(engine: Engine) -> None:
    """Only ops and admins may create or change a service; every other role is refused with `forbidden`."""
    service = (await services.create_service(engine, ADMIN, new_service())).value
    for role in ("customer", "technician", "mediator", "onboarding_manager", "service"):
        caller = Principal(UserId("x"), role)
        with pytest.raises(Forbidden):
            await services.create_service(engine, caller, new_service())
        with pytest.raises(Forbidden):
            await services.patch_service(engine, caller, service.id, {"active": False})


async def test_refuses_a_booking_of_an_unknown_or_inactive_service(engine: Engine) -> None:
    """A booking of an unknown service is `invalid` with the pointer `/service`; one of an inactive service is refused
    with `service_inactive`.
    """
    service = (await services.create_service(engine, ADMIN, new_service(active=False))).value
    with pytest.raises(Invalid) as refusal:
        await services.active_service(engine, ServiceId("srv_x"))
    assert refusal.value.errors[0][0] == "/service"
    with pytest.raises(ServiceInactive):
        await services.active_service(engine, service.id)
    with pytest.raises(NotFound):
        await services.patch_service(engine, ADMIN, ServiceId("srv_x"), {"active": True})


async def test_a_service_is_created_and_patched(engine: Engine) -> None:
    """A new service has defaults for the fields that are left out; a patch changes only the fields that it names."""
    new = (await services.create_service(engine, ADMIN, new_service())).value
    assert (new.pricing, new.duration_min, new.active) == ("flat", 60, True)
    changed = (await services.patch_service(engine, ADMIN, new.id, {"pricing": "hourly", "base_amount": 7})).value
    assert (changed.pricing, changed.base_amount, changed.name) == ("hourly", 7, "Plumbing")
    assert await services.read_service(engine, new.id) == changed == await services.active_service(engine, new.id)
    assert (await services.patch_service(engine, ADMIN, new.id, {})).value == changed


async def test_a_repeat_by_key_makes_one_service(engine: Engine) -> None:
    """A repeated creation with the same key returns the first reply and creates no second service."""
    key = str(uuid.uuid4())
    first = await services.create_service(engine, ADMIN, new_service(), key=key)
    again = await services.create_service(engine, ADMIN, new_service(), key=key)
    assert (again.value, again.repeated, again.key) == (first.value, True, key)


async def test_services_are_found_by_word_and_category(engine: Engine) -> None:
    """The search finds words in name or category, ignores upper and lower case, and treats `%` as a plain character.
    Only ops find inactive services.
    """
    for service in (
        new_service("Plumbing"),
        new_service("Painting 50%", "decor"),
        new_service("Wiring", "home", active=False),
        new_service("Walls", "Decor outside"),
    ):
        await services.create_service(engine, ADMIN, service)

    async def find_names(caller: Principal, **query: Any) -> list[str]:
        return [s.name for s in (await services.find_services(engine, caller, ServiceQuery(**query))).items]

    assert await find_names(CUSTOMER) == ["Painting 50%", "Plumbing", "Walls"]
    assert await find_names(ADMIN, category="home") == ["Plumbing", "Wiring"]
    assert await find_names(CUSTOMER, q="DECOR") == ["Painting 50%", "Walls"]
    assert await find_names(CUSTOMER, q="%") == ["Painting 50%"]
    assert await find_names(CUSTOMER, q="nothing") == []


async def test_pages_show_every_service_once(engine: Engine) -> None:
    """The pages of the list contain each service once, ordered by name, also where several names are equal. A cursor of
    another list is `invalid`.
    """
    for number in range(5):
        await services.create_service(engine, ADMIN, new_service("Same" if number < 3 else f"Z{number}"))
    listed_ids: list[ServiceId] = []
    cursor = None
    while True:
        page = await services.find_services(engine, CUSTOMER, ServiceQuery(limit=2, cursor=cursor))
        listed_ids += [service.id for service in page.items]
        if (cursor := page.next) is None:
            break
    assert len(listed_ids) == len(set(listed_ids)) == 5
    with pytest.raises(Invalid):
        await services.find_services(engine, CUSTOMER, ServiceQuery(cursor="WzFd"))
