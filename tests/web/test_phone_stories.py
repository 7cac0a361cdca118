"""More stories of the phone apps: a race that is lost and one that is won, bids and codes, a lost connection."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import httpx
import pytest
from playwright.async_api import Route, WebSocketRoute

from server.serve import RunningServer
from tests.server.http import people
from tests.server.http.client import Client
from tests.support.browser import Browser
from tests.support.http import open_http
from tests.support.wait import wait_until
from tests.web.phones import Phone, employ, make_service, open_phone, pay, register

LONG_WORD = "W" * 180
"""A word that must not widen a page."""


@pytest.fixture(scope="module")
async def http(site: RunningServer) -> AsyncIterator[httpx.AsyncClient]:
    """Yield an HTTP client for requests beside the pages."""
    async with open_http(site.url) as client:
        yield client


@pytest.fixture(scope="module")
async def admin(site: RunningServer, http: httpx.AsyncClient) -> Client:
    """Return the client of an admin."""
    return people.principal(site, http, "admin")


class Network:
    """The connection of one phone, which a test may cut: no request leaves it, and its sockets end."""

    def __init__(self) -> None:
        self.is_cut = False
        self._sockets: list[WebSocketRoute] = []

    async def attach(self, phone: Phone) -> None:
        """Let all requests of a phone go through here."""
        await phone.raw.route("**/v1/**", self._route)
        await phone.raw.route_web_socket(re.compile(r"/v1/ws"), self._route_socket)
        await phone.raw.reload()
        await phone.raw.locator(".connection[data-status=connected]").wait_for()

    async def _route(self, route: Route) -> None:
        await (route.abort("internetdisconnected") if self.is_cut else route.continue_())

    async def _route_socket(self, socket: WebSocketRoute) -> None:
        if self.is_cut:
            return await socket.close(code=1011)
        self._sockets.append(socket)
        socket.connect_to_server()
        return None

    async def cut(self) -> None:
        """Lose the connection."""
        self.is_cut = True
        for socket in self._sockets:
            await socket.close(code=1011)
        self._sockets.clear()


async def test_a_technician_loses_one_race_and_wins_the_next(
    browser: Browser, site: RunningServer, http: httpx.AsyncClient, admin: Client
) -> None:
    """Another technician claims while this one's tap is on its way: the page says that somebody was faster, which is no
    error, and waits again. The next offer is theirs.
    """
    service = await make_service(admin, "Lock opening")
    rival, _ = await register(Client(http), "technician", "Rita Rival")
    await people.approve(rival, admin, service)
    customer, _ = await register(Client(http), "customer", "Carla Customer")
    async with open_phone(browser, site, http, "tech", "Tom Technician") as tom:
        await employ(tom, admin, service)
        await tom.tap("Go online")
        await tom.see("Waiting for an offer")
        await people.go_online(rival)

        lost = str((await people.book(customer, service))["id"])

        async def claim_first(route: Route) -> None:
            assert (await rival("POST", f"/v1/jobs/{lost}/claim", {})).is_success
            await route.continue_()

        await tom.raw.route(f"**/v1/jobs/{lost}/claim", claim_first)
        await tom.raw.get_by_role("dialog").wait_for()
        await tom.look("offer-with-time")
        await tom.tap("Take it")
        await tom.see("Somebody was faster")
        await tom.look("lost")
        await tom.see("Waiting for an offer")
        assert await tom.raw.get_by_role("alert").count() == 0

        await rival("PUT", f"/v1/technicians/{rival.user}/availability", {"online": False})
        won = str((await people.book(customer, service))["id"])
        await tom.raw.get_by_role("dialog").wait_for()
        await tom.tap("Take it")
        await tom.see("On my way")
        assert tom.raw.url.endswith(won)
        assert (await customer("GET", f"/v1/jobs/{won}")).json()["job"]["technician"]["id"] == tom.client.user


async def test_what_was_not_sent_survives_a_reload(
    browser: Browser, site: RunningServer, http: httpx.AsyncClient, admin: Client
) -> None:
    """Without a connection a technician takes a step and says something; both wait, and the page says so. After a
    reload with a connection both are sent, once, and the step says when it was taken.
    """
    service = await make_service(admin, "Window cleaning")
    customer, _ = await register(Client(http), "customer", "Carla Customer")
    async with open_phone(browser, site, http, "tech", "Tom Technician") as tom:
        tom.page.expected_errors += ("ERR_INTERNET_DISCONNECTED", "WebSocket")
        network = Network()
        await network.attach(tom)
        await employ(tom, admin, service)
        await tom.tap("Go online")
        job = str((await people.book(customer, service))["id"])
        await tom.tap("Take it")
        await tom.see("On my way")
        message = tom.raw.get_by_label("Message", exact=True)
        await message.wait_for()
        await network.cut()
        await tom.raw.locator(".connection:not([data-status=connected])").wait_for()
        await message.fill("I am in a tunnel.")
        await tom.tap("Send")
        await tom.see("Being sent")
        await tom.tap("On my way")
        await tom.see("Waits for the connection")
        await tom.look("offline")
        network.is_cut = False
        await tom.raw.reload()
        await tom.see("I am there")
        await tom.see("I am in a tunnel.")
        await wait_until(lambda: is_said_once(customer, job), what="the message")
        history = (await customer("GET", f"/v1/jobs/{job}/history")).json()["items"]
        [step] = [item for item in history if item["command"] == "depart"]
        assert step["occurred_at"] is not None and step["occurred_at"] <= step["at"]
        await tom.page.wait_for("!Object.keys(localStorage).some((name) => /outbox|unsaid/.test(name))")


async def is_said_once(customer: Client, job: str) -> bool:
    """Return whether the room of a job has exactly the message of the story above."""
    room = (await customer("GET", f"/v1/jobs/{job}")).json()["job"]["room"]
    items = (await customer("GET", f"/v1/rooms/{room}/messages")).json()["items"]
    return [item["text"] for item in items] == ["I am in a tunnel."]


async def test_bids_codes_and_work_by_the_hour(
    browser: Browser, site: RunningServer, http: httpx.AsyncClient, admin: Client
) -> None:
    """In the marketplace a technician bids, the customer takes the bid, agrees to another rate, reads a code out at the
    door, watches the hours run, confirms, and waits for the payment. A wrong code says how many tries are left.
    """
    service = await make_service(admin, f"Gardening {LONG_WORD}", pricing="hourly", base_amount=3000)
    async with AsyncExitStack() as stack:
        tom = await stack.enter_async_context(open_phone(browser, site, http, "tech", "Tom Technician"))
        carla = await stack.enter_async_context(open_phone(browser, site, http, "book", "Carla Customer"))
        tom.page.expected_errors += ("status of 403",)  # the wrong code
        await employ(tom, admin, service)
        await tom.tap("Go online")
        await carla.raw.get_by_role("link", name="Gardening").tap()
        await carla.raw.get_by_label("Marketplace").check()
        await carla.raw.get_by_label("Address").fill(f"Torstrasse {LONG_WORD}")
        await carla.tap("Use my place")
        await carla.raw.get_by_role("button", name=re.compile(r"Book · €30")).tap()
        await carla.see("No bids yet")
        await carla.look("no-bids")
        await tom.raw.get_by_role("dialog").wait_for()
        await tom.look("bid")
        await tom.raw.get_by_label(re.compile("Amount")).fill("35")
        await tom.tap("Send bid")
        await tom.see("Your bid is with the customer")
        await carla.see("€35.00")
        await carla.look("bids")
        await carla.tap("Take it")

        await tom.raw.get_by_role("link", name=re.compile("Gardening")).tap()
        await tom.tap("Propose another price")
        await tom.raw.get_by_label(re.compile("Amount")).fill("40")
        await tom.raw.get_by_role("dialog").get_by_role("button", name="Propose another price").tap()
        await carla.see("The other side proposes €40.00")
        await carla.look("proposal")
        await carla.tap("Agree")
        await carla.see("€40.00/h")

        code = await shown_code(carla)
        tom.page.expected_errors += ("status of 403",)
        await tom.raw.get_by_label("Code").fill("000000" if code != "000000" else "111111")
        await tom.tap("Start")
        await tom.see("Not this one. 4 tries left.")
        await tom.look("wrong-code")
        await tom.raw.get_by_label("Code").fill(code)
        await tom.tap("Start")
        await tom.raw.get_by_role("button", name="Complete").wait_for()
        await carla.raw.get_by_role("timer").wait_for()
        await carla.look("running")
        await tom.raw.get_by_label("Code").fill(await shown_code(carla))
        await tom.tap("Complete")
        await carla.tap("Confirm")
        await carla.see("Waiting for the payment")
        await pay(people.principal(site, http, "service"), carla.raw.url.rpartition("/")[2], amount=4000)
        await carla.see("How was Tom Technician?")


async def shown_code(customer: Phone) -> str:
    """Return the code that the customer's page shows."""
    shown = customer.raw.locator(".code-shown output:not([role=timer])")
    await shown.wait_for()
    return await shown.inner_text()


async def test_a_named_technician_a_dispute_and_a_delivery(
    browser: Browser, site: RunningServer, http: httpx.AsyncClient, admin: Client
) -> None:
    """A customer books a technician by name and calls a mediator: the job rests until it is settled. Then they order a
    delivery, which ops bring on; a driver takes and delivers it.
    """
    service = await make_service(admin, "Piano tuning")
    async with AsyncExitStack() as stack:
        tom = await stack.enter_async_context(open_phone(browser, site, http, "tech", "Tom Technician"))
        carla = await stack.enter_async_context(open_phone(browser, site, http, "book", "Carla Customer"))
        await employ(tom, admin, service)
        await tom.tap("Go online")
        await book_kind(carla, "Piano tuning", "Direct booking", whom="Tom Technician")
        await carla.see("Waiting for the technician's answer")
        await tom.raw.get_by_role("dialog").wait_for()
        await tom.raw.get_by_role("button", name=re.compile("^(Accept|Take it)$")).tap()
        await tom.see("The job is yours")
        await carla.tap("Call a mediator")
        await carla.raw.get_by_label("What is wrong?").fill("The piano is worse than before.")
        await carla.look("dispute")
        await carla.raw.get_by_role("dialog").get_by_role("button", name="Call a mediator").tap()
        await carla.see("A mediator looks into it")
        await tom.see("A mediator looks into it")
        await carla.look("disputed")
        mediator = people.principal(site, http, "mediator")
        [dispute] = [
            each for each in (await mediator("GET", "/v1/disputes")).json()["items"] if each["status"] == "open"
        ]
        await mediator("POST", f"/v1/disputes/{dispute['id']}/resolve", {"outcome": "complete", "note": "Settled"})
        await carla.see("How was Tom Technician?")
        await carla.tap("Book something else")

        await book_kind(carla, "Piano tuning", "Delivery")
        order = carla.raw.url.rpartition("/")[2]
        for command in ("confirm", "prepare", "ready"):
            assert (await admin("POST", f"/v1/jobs/{order}/{command}", {})).is_success
        await carla.see("The order is ready to be picked up")
        await tom.tap("Take it")
        await tom.tap("On my way")
        await carla.see("The order is on the way")
        await tom.tap("Delivered")
        await carla.see("The order was delivered")
        await asyncio.gather(carla.look("delivered"), tom.look("delivered"))


async def book_kind(customer: Phone, service: str, kind: str, *, whom: str = "") -> None:
    """Book a service under one blueprint at `HERE`."""
    await customer.raw.get_by_role("link", name=service).first.tap()
    await customer.raw.get_by_label(kind).check()
    await customer.raw.get_by_label("Address").fill("Torstrasse 1")
    await customer.tap("Use my place")
    if whom:
        await customer.raw.get_by_role("button", name=re.compile(whom)).tap()
    await customer.raw.get_by_role("button", name=re.compile("Book · ")).tap()
    await customer.raw.wait_for_url("**/book/jobs/*")
