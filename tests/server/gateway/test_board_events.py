"""Delivery as the server's default: what a board and the apps beside it hear, under that blueprint's names."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from typing import Any

import msgspec
import pytest

from engine.process.settings import Settings
from engine.types import Role
from server.serve import running
from tests.server.gateway.streams import Site, Source, site_of
from tests.server.http import people
from tests.server.http.client import HERE, Client, code_of, pointers
from tests.support.epochs import epoch_name
from tests.support.wait import wait_until


class City:
    """A customer, a driver and staff of a delivery service; what each has heard, by poll, under the clients' names."""

    def __init__(self, site: Site, staff: dict[str, Client], service: str) -> None:
        self.site, self.all, self.service = site, staff, service

    async def heard(self, name: str, kind: str) -> list[dict[str, Any]]:
        """Everything of this type that was for this person from the beginning on."""
        answer = await self.all[name]("GET", f"/v1/events?after=main:{epoch_name(1)}:0&wait=0")
        return [event for event in answer.json()["events"] if event["type"] == kind]

    async def hears(self, name: str, kind: str, count: int = 1) -> list[dict[str, Any]]:
        """Wait for so many events of a type."""

        async def there() -> bool:
            return len(await self.heard(name, kind)) >= count

        await wait_until(there, what=f"{kind} to {name}")
        return await self.heard(name, kind)

    async def step(self, name: str, job: str, command: str, **more: Any) -> None:
        """One step that is done."""
        answer = await self.all[name]("POST", f"/v1/jobs/{job}/{command}", more)
        assert answer.status_code == 200, answer.text

    async def announce(self, event: str, **more: Any) -> Any:
        """What ops tell everybody."""
        body = {"event": event, "data": {"text": "…"}, **more}
        return await self.all["admin"]("POST", "/v1/announcements", body)


async def told_next(source: Source, kind: str) -> Any:
    """The next event of a type on a stream, whatever comes before it."""
    while (block := await source.event()).data["type"] != kind:
        pass
    return block.data


@pytest.fixture
async def city(settings: Settings) -> AsyncIterator[City]:
    """A server whose default blueprint is `delivery`."""
    mine = msgspec.structs.replace(settings, port=0, blueprint="delivery")
    async with running(mine) as server, site_of(server) as site:
        nobody = Client(site.http)
        roles: tuple[Role, ...] = ("admin", "ops_manager", "onboarding_manager", "mediator", "service")
        staff = {str(role): people.principal(site.running, site.http, role) for role in roles}
        for name, role in (("customer", "customer"), ("other", "customer"), ("driver", "technician")):
            staff[name] = await people.register(nobody, role)
        service = await people.make_service(staff["admin"])
        await people.approve(staff["driver"], staff["admin"], service)
        yield City(site, staff, service)


async def test_announcements_that_it_does_not_allow(city: City) -> None:
    """Roles that the declaration leaves out are refused, each by its place; an undeclared one needs roles."""
    assert pointers(await city.announce("promotion", roles=["customer", "technician"])) == {"/roles/1"}
    assert pointers(await city.announce("promotion", roles=["ops"])) == {"/roles/0"}
    assert pointers(await city.announce("business.status", roles=["service"])) == {"/roles/0"}
    assert pointers(await city.announce("announcement.x")) == {"/roles"}
    assert pointers(await city.announce("technician.status", roles=["ops"])) == {"/event"}
    assert code_of(await city.all["driver"]("POST", "/v1/announcements", {})) == (403, "forbidden")


async def test_announcements_reach_whom_it_declares(city: City) -> None:
    """Without roles everybody of the declaration gets it, by the blueprint's name; given fewer, only those."""
    made = await city.announce("business.status")
    assert made.json()["announcement"]["roles"] == ["customer", "ops", "technician"]
    await city.announce("promotion")
    await city.announce("business.status", roles=["ops_manager"])
    for name, count in (("customer", 1), ("other", 1), ("driver", 1), ("admin", 1), ("ops_manager", 2)):
        told = await city.hears(name, "business.status", count)
        assert [event["event"] for event in told] == ["business:status:update"] * count, name
    for name in ("customer", "other"):
        assert [event["event"] for event in await city.hears(name, "promotion")] == ["offer:new"]
    for name in ("driver", "admin", "ops_manager", "mediator", "service", "onboarding_manager"):
        assert await city.heard(name, "promotion") == [], name
    for name in ("mediator", "service", "onboarding_manager"):
        assert await city.heard(name, "business.status") == [], name


async def test_a_driver_on_the_board(city: City) -> None:
    """Online, assigned, departed, free and offline are told to ops, the first and the last to the driver too; the
    position to the order's customer and ops while it is brought.
    """
    await people.go_online(city.all["driver"])
    order = await people.book(city.all["customer"], city.service)
    for command in ("confirm", "prepare", "ready"):
        await city.step("ops_manager", order["id"], command)
    await people.wait_for_offer(city.all["driver"], order["id"])
    customer, other, board = (city.all[name].token for name in ("customer", "other", "ops_manager"))
    mine, spot = f"/v1/technicians/{city.all['driver'].user}", {"lat": 52.53, "lon": HERE["lon"]}

    def stream(token: str) -> AbstractAsyncContextManager[Source]:
        return city.site.source("", headers={"Authorization": f"Bearer {token}"})

    async with stream(customer) as app, stream(board) as screen, stream(other) as stranger:
        for command in ("claim", "depart"):
            await city.step("driver", order["id"], command)
        await city.all["driver"]("PUT", f"{mine}/location", spot)
        for each in (app, screen):
            push = await told_next(each, "position")
            assert (push["type"], push["event"]) == ("position", "delivery:location:update")
            assert (push["data"]["job"], push["data"]["lat"], push["data"]["stale"]) == (order["id"], 52.53, False)
        track = (await city.all["customer"]("GET", f"/v1/jobs/{order['id']}/track")).json()["position"]
        assert (track["job"], track["lat"]) == (order["id"], 52.53)
        await city.step("driver", order["id"], "deliver")
        await city.all["driver"]("PUT", f"{mine}/availability", {"online": False})
        told = await city.hears("admin", "technician.status", 5)
        assert [event["event"] for event in told] == ["delivery:status:update"] * 5
        states = [(event["data"]["online"], event["data"]["reason"]) for event in told]
        steps = ["self", "assigned", "departed", "free", "self"]
        assert states == list(zip([True, True, True, True, False], steps, strict=True))
        own = [event["data"]["reason"] for event in await city.heard("driver", "technician.status")]
        assert own == ["self", "self"]
        for name in ("customer", "service"):
            assert await city.heard(name, "technician.status") == [], name
        await city.all["driver"]("PUT", f"{mine}/location", {**spot, "lat": 52.54})
        ended = (await city.all["customer"]("GET", f"/v1/jobs/{order['id']}/track")).json()["position"]
        assert (ended["lat"], ended["at"]) == (52.53, track["at"]), (
            "where the order was delivered, not the driver's way home"
        )
        await city.announce("promotion")
        assert (await stranger.event()).data["type"] == "promotion"
