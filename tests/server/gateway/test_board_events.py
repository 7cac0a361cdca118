"""The `delivery` blueprint as the default of a server: which events ops and the apps receive, under the names that the
blueprint declares.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from typing import Any

import msgspec
import pytest

from engine.process.settings import Settings
from engine.types import Role
from server.serve import run_server
from tests.server.gateway.streams import EventServer, EventStream, open_event_server
from tests.server.http import people
from tests.server.http.client import HERE, Client, code_of, pointers
from tests.support.epochs import epoch_name
from tests.support.wait import wait_until


class Delivery:
    """A customer, a driver and the staff of a delivery service."""

    def __init__(self, site: EventServer, staff: dict[str, Client], service: str) -> None:
        self.site, self.clients, self.service = site, staff, service

    async def events_of(self, user: str, event_type: str) -> list[dict[str, Any]]:
        """Return all events of this type that a poll of ``user`` returns from the beginning of the log."""
        answer = await self.clients[user]("GET", f"/v1/events?after=main:{epoch_name(1)}:0&wait=0")
        return [event for event in answer.json()["events"] if event["type"] == event_type]

    async def wait_for_events(self, user: str, event_type: str, count: int = 1) -> list[dict[str, Any]]:
        """Wait until ``user`` can read ``count`` events of this type, and return them."""

        async def has_events() -> bool:
            """Return whether ``user`` can read at least ``count`` events of the type."""
            return len(await self.events_of(user, event_type)) >= count

        await wait_until(has_events, what=f"{event_type} to {user}")
        return await self.events_of(user, event_type)

    async def take_step(self, user: str, job: str, command: str, **more: Any) -> None:
        """Send one command of the blueprint as ``user``, and assert that the status is 200."""
        answer = await self.clients[user]("POST", f"/v1/jobs/{job}/{command}", more)
        assert answer.status_code == 200, answer.text

    async def announce(self, event: str, **more: Any) -> Any:
        """Send an announcement as an admin and return the response."""
        body = {"event": event, "data": {"text": "…"}, **more}
        return await self.clients["admin"]("POST", "/v1/announcements", body)


async def next_of_type(source: EventStream, event_type: str) -> Any:
    """Return the next event of this type on a stream. Other events before it are skipped."""
    while (block := await source.next_event()).data["type"] != event_type:
        pass
    return block.data


@pytest.fixture
async def delivery(settings: Settings) -> AsyncIterator[Delivery]:
    """Run a server whose default blueprint is `delivery`."""
    delivery_settings = msgspec.structs.replace(settings, port=0, blueprint="delivery")
    async with run_server(delivery_settings) as server, open_event_server(server) as site:
        nobody = Client(site.http)
        roles: tuple[Role, ...] = ("admin", "ops_manager", "onboarding_manager", "mediator", "service")
        staff = {str(role): people.principal(site.running, site.http, role) for role in roles}
        for name, role in (("customer", "customer"), ("other", "customer"), ("driver", "technician")):
            staff[name] = await people.register(nobody, role)
        service = await people.make_service(staff["admin"])
        await people.approve(staff["driver"], staff["admin"], service)
        yield Delivery(site, staff, service)


async def test_announcements_that_the_blueprint_does_not_allow(delivery: Delivery) -> None:
    """An announcement to roles that its declaration does not contain is refused, with a pointer to each wrong role. An
    undeclared announcement must name its roles. A technician may not announce.
    """
    assert pointers(await delivery.announce("promotion", roles=["customer", "technician"])) == {"/roles/1"}
    assert pointers(await delivery.announce("promotion", roles=["ops"])) == {"/roles/0"}
    assert pointers(await delivery.announce("business.status", roles=["service"])) == {"/roles/0"}
    assert pointers(await delivery.announce("announcement.x")) == {"/roles"}
    assert pointers(await delivery.announce("technician.status", roles=["ops"])) == {"/event"}
    assert code_of(await delivery.clients["driver"]("POST", "/v1/announcements", {})) == (403, "forbidden")


async def test_announcements_reach_the_declared_roles(delivery: Delivery) -> None:
    """An announcement without roles reaches all roles of its declaration, under the name from the blueprint. An
    announcement that names fewer roles reaches only those.
    """
    answer = await delivery.announce("business.status")
    assert answer.json()["announcement"]["roles"] == ["customer", "ops", "technician"]
    await delivery.announce("promotion")
    await delivery.announce("business.status", roles=["ops_manager"])
    for name, count in (("customer", 1), ("other", 1), ("driver", 1), ("admin", 1), ("ops_manager", 2)):
        received_events = await delivery.wait_for_events(name, "business.status", count)
        assert [event["event"] for event in received_events] == ["business:status:update"] * count, name
    for name in ("customer", "other"):
        assert [event["event"] for event in await delivery.wait_for_events(name, "promotion")] == ["offer:new"]
    for name in ("driver", "admin", "ops_manager", "mediator", "service", "onboarding_manager"):
        assert await delivery.events_of(name, "promotion") == [], name
    for name in ("mediator", "service", "onboarding_manager"):
        assert await delivery.events_of(name, "business.status") == [], name


async def test_a_driver_is_shown_to_ops(delivery: Delivery) -> None:
    """Ops receive `technician.status` when a driver is online, assigned, departed, free and offline. The driver
    receives only `online` and `offline`. While the order is delivered, its position is sent to ops and to the order's
    customer.
    """
    await people.go_online(delivery.clients["driver"])
    order = await people.book(delivery.clients["customer"], delivery.service)
    for command in ("confirm", "prepare", "ready"):
        await delivery.take_step("ops_manager", order["id"], command)
    await people.wait_for_offer(delivery.clients["driver"], order["id"])
    customer, other, board = (delivery.clients[name].token for name in ("customer", "other", "ops_manager"))
    profile_path, spot = f"/v1/technicians/{delivery.clients['driver'].user}", {"lat": 52.53, "lon": HERE["lon"]}

    def stream(token: str) -> AbstractAsyncContextManager[EventStream]:
        return delivery.site.open_stream("", headers={"Authorization": f"Bearer {token}"})

    async with stream(customer) as app, stream(board) as screen, stream(other) as stranger:
        for command in ("claim", "depart"):
            await delivery.take_step("driver", order["id"], command)
        await delivery.clients["driver"]("PUT", f"{profile_path}/location", spot)
        for each in (app, screen):
            push = await next_of_type(each, "position")
            assert (push["type"], push["event"]) == ("position", "delivery:location:update")
            assert (push["data"]["job"], push["data"]["lat"], push["data"]["stale"]) == (order["id"], 52.53, False)
        track = (await delivery.clients["customer"]("GET", f"/v1/jobs/{order['id']}/track")).json()["position"]
        assert (track["job"], track["lat"]) == (order["id"], 52.53)
        await delivery.take_step("driver", order["id"], "deliver")
        await delivery.clients["driver"]("PUT", f"{profile_path}/availability", {"online": False})
        received_events = await delivery.wait_for_events("admin", "technician.status", 5)
        assert [event["event"] for event in received_events] == ["delivery:status:update"] * 5
        states = [(event["data"]["online"], event["data"]["reason"]) for event in received_events]
        steps = ["self", "assigned", "departed", "free", "self"]
        assert states == list(zip([True, True, True, True, False], steps, strict=True))
        reasons = [event["data"]["reason"] for event in await delivery.events_of("driver", "technician.status")]
        assert reasons == ["self", "self"]
        for name in ("customer", "service"):
            assert await delivery.events_of(name, "technician.status") == [], name
        await delivery.clients["driver"]("PUT", f"{profile_path}/location", {**spot, "lat": 52.54})
        position = (await delivery.clients["customer"]("GET", f"/v1/jobs/{order['id']}/track")).json()["position"]
        assert (position["lat"], position["at"]) == (52.53, track["at"]), (
            "where the order was delivered, not the driver's way home"
        )
        await delivery.announce("promotion")
        assert (await stranger.next_event()).data["type"] == "promotion"
