"""People with phones, for the stories of the customer's and the technician's app: real pages of a real browser, and the
requests that staff and services send beside them.
"""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx

from engine.types import Role
from server.serve import RunningServer
from tests.server.http import people
from tests.server.http.client import HERE, Client
from tests.support.browser import DESK, PHONE, SCREENSHOTS, Browser, Page
from tests.support.wait import wait_until

PASSWORD = "a long pass phrase"
VIEWS = (("phone-light", PHONE, False), ("phone-dark", PHONE, True), ("desk-light", DESK, False))
NEAR = {"latitude": HERE["lat"], "longitude": HERE["lon"]}


WIDER_THAN = """
const widerThan = (width) => document.documentElement.scrollWidth <= width ? [] : [...document.querySelectorAll("*")]
  .filter((each) => each.getBoundingClientRect().right > width + 1).map((each) => each.outerHTML.slice(0, 90));
"""
"""A JavaScript function that returns the elements which reach beyond the right edge of a page of this width."""


class Phone:
    """The phone of one user: a page of an app, in which they are signed in."""

    def __init__(self, page: Page, client: Client, app: str) -> None:
        self.page = page
        self.raw = page.raw
        self.client = client
        self.app = app

    async def tap(self, name: str) -> None:
        """Tap the button or link with this name."""
        found = self.raw.get_by_role("button", name=name, exact=True)
        await found.or_(self.raw.get_by_role("link", name=name, exact=True)).first.tap()

    async def see(self, text: str) -> None:
        """Wait until the page shows a text."""
        await self.raw.get_by_text(text).first.wait_for()

    async def look(self, state: str) -> None:
        """Assert that axe finds nothing in this state and that nothing is cut off at the side, and save screenshots in
        both themes and two widths for people to look at.
        """
        await wait_for_map(self.page)
        for name, size, dark in VIEWS:
            await self.page.resize(*size, dark=dark)
            await self.page.run("await new Promise((done) => setTimeout(done, 150))")  # the theme's transitions end
            wider = await self.page.run(f"{WIDER_THAN}return widerThan({size[0]})")
            assert wider == [], (state, name)
            SCREENSHOTS.mkdir(parents=True, exist_ok=True)
            path = SCREENSHOTS / f"{self.app}-{state}-{name}.png"
            await self.raw.screenshot(path=path, full_page=await self.raw.get_by_role("dialog").count() == 0)
            if name == "phone-light":
                assert await self.page.find_axe_violations() == [], (state, name)
            elif name == "phone-dark":
                assert await self.page.find_axe_violations(["color-contrast"]) == [], (state, name)
        await self.page.resize(*PHONE)


async def wait_for_map(page: Page) -> None:
    """Wait until the map of the page, if it has one, has drawn something."""
    if await page.raw.locator(".map-view").count():
        await page.raw.locator(".map-view canvas").first.wait_for()
        await page.run("await new Promise((done) => setTimeout(done, 500))")  # software GL draws its first frames


async def register(nobody: Client, role: Role, name: str) -> tuple[Client, str]:
    """Register a user, and return their client and their e-mail address."""
    email = f"{uuid.uuid4().hex}@example.org"
    body = {"email": email, "password": PASSWORD, "name": name, "role": role, "phone": "+49 30 1"}
    reply = (await nobody("POST", "/v1/auth/register", body)).json()
    return Client(nobody.http, reply["access_token"], reply["user"]["id"]), email


@asynccontextmanager
async def open_phone(
    browser: Browser, site: RunningServer, http: httpx.AsyncClient, app: str, name: str, **options: Any
) -> AsyncIterator[Phone]:
    """Register a customer (app `book`) or a technician (`tech`), and open their app at `HERE` on a phone. At the end,
    assert that the page had no error.
    """
    client, email = await register(Client(http), "customer" if app == "book" else "technician", name)
    place = {"permissions": ["geolocation"], "geolocation": NEAR, "service_workers": "block"}
    async with browser.new_phone(**{**place, **options}) as page:
        page.expected_errors = ("status of 409",)
        await page.goto(f"{site.url}/{app}")
        await page.raw.get_by_label("E-mail").fill(email)
        await page.raw.get_by_label("Password").fill(PASSWORD)
        await page.raw.get_by_role("button", name="Sign in").tap()
        await page.raw.locator(".connection[data-status=connected]").wait_for()
        yield Phone(page, client, app)
        assert page.find_flaws() == []


async def employ(technician: Phone, admin: Client, service: str) -> None:
    """Approve a technician for a service, and wait until their page shows that they can go online."""
    await people.approve(technician.client, admin, service)
    await technician.raw.reload()
    button = technician.raw.get_by_role("button", name="Go online", exact=True)
    await wait_until(button.is_enabled, what="the button")


async def make_service(admin: Client, name: str, **more: Any) -> str:
    """Create a service, and return its id."""
    body = {"name": name, "category": "Home", "base_amount": 9000, "currency": "EUR", "pricing": "flat", **more}
    return str((await admin("POST", "/v1/services", body)).json()["service"]["id"])


async def pay(service: Client, job: str, *, amount: int | None = None) -> None:
    """Report that the payment of a job was captured; by default the amount of the job."""
    found = (await service("GET", f"/v1/jobs/{job}")).json()["job"]
    word = {"reference": f"pi_{job}", "status": "captured", "currency": found["currency"]}
    answer = await service("POST", f"/v1/jobs/{job}/payments", {**word, "amount": amount or found["amount"]})
    assert answer.status_code == 201, answer.text
