"""The console for tests: its staff, who sign in by its form, and a small town of people and jobs."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Literal, NamedTuple

from engine.process.signer import sign_token
from engine.types import Role, UserId
from server.serve import RunningServer
from tests.server.http import people
from tests.server.http.client import HERE, Client
from tests.support.browser import Browser, Page
from tests.support.http import open_http

PASSWORD = "a long pass phrase"
EAST, WEST = {"lat": HERE["lat"], "lon": HERE["lon"] + 0.02}, {"lat": HERE["lat"], "lon": HERE["lon"] - 0.02}
"""Each is about 1.4 km from ``HERE``, far enough to be apart on a map of the town."""


class Town(NamedTuple):
    """People of a test: the admin by API, a customer, two technicians at ``EAST`` and ``WEST``, and their service."""

    admin: Client
    nobody: Client
    customer: Client
    east: Client
    west: Client
    service: str

    async def book(self, **more: Any) -> str:
        """Book a job at ``HERE`` and return its id."""
        return str((await people.book(self.customer, self.service, **more))["id"])

    async def book_and_claim(self, **more: Any) -> str:
        """Book a job that the technician in the east takes, and return its id."""
        job = await self.book(**more)
        await people.wait_for_offer(self.east, job)
        answer = await self.east("POST", f"/v1/jobs/{job}/claim", {})
        assert answer.status_code == 200, answer.text
        return job

    async def holder_of(self, job: str) -> str:
        """Return the id of the technician who has a job."""
        return str((await self.admin("GET", f"/v1/jobs/{job}")).json()["job"]["technician"]["id"])


@asynccontextmanager
async def open_town(url: str, token: str) -> AsyncIterator[Town]:
    """Make a town on a server. At the end its technicians are offline, so that they get no jobs of other tests."""
    async with open_http(url, timeout_s=20) as http:
        nobody, admin = Client(http), Client(http, token, "cli_admin")
        service = await people.make_service(admin)
        town = Town(
            admin,
            nobody,
            await people.register(nobody, "customer"),
            await people.register(nobody, "technician"),
            await people.register(nobody, "technician"),
            service,
        )
        for name, technician, place in (("Erna East", town.east, EAST), ("Wim West", town.west, WEST)):
            await technician("PATCH", f"/v1/technicians/{technician.user}", {"name": name})
            await people.approve(technician, admin, service)
            await people.go_online(technician, **place)
        yield town
        for technician in (town.east, town.west):
            await technician("PUT", f"/v1/technicians/{technician.user}/availability", {"online": False})


def admin_token(site: RunningServer) -> str:
    """Return an admin's token, as `callout token` prints one."""
    return sign_token(site.engine.signer, UserId("cli_admin"), "admin")


@asynccontextmanager
async def open_console(browser: Browser, url: str, admin: Client, role: Role, **options: Any) -> AsyncIterator[Page]:
    """Create a member of the staff, sign in by the form of the console, and wait until it is live."""
    email = f"{uuid.uuid4().hex}@example.org"
    account = {"email": email, "password": PASSWORD, "name": "Olga Ops", "role": role}
    assert (await admin("POST", "/v1/users", account)).status_code == 201
    options = {"viewport": {"width": 1280, "height": 800}, "reduced_motion": "reduce", **options}
    async with browser.new_page(**options) as page:
        await page.goto(f"{url}/console")
        await page.raw.get_by_label("E-mail").fill(email)
        await page.raw.get_by_label("Password").fill(PASSWORD)
        await page.raw.get_by_role("button", name="Sign in").click()
        await page.raw.locator(".bar .connection[data-status=connected]").wait_for()
        yield page


async def wait_for_map(page: Page, *ids: str) -> None:
    """Wait until the map shows these people and jobs."""
    await page.wait_for("document.querySelector('.map-canvas')?.map?.getLayer('jobs')", within_s=40)
    names = ", ".join(f"'{each}'" for each in ids)
    jobs = "map.queryRenderedFeatures({layers: ['jobs']}).map((each) => each.properties.id)"
    shown = f"[...{jobs}, ...[...dots.places()].map(([id]) => id)]"
    found = f"(() => {{ const {{map, dots}} = document.querySelector('.map-canvas'); const shown = {shown};"
    await page.wait_for(f"{found} return [{names}].every((id) => shown.includes(id)); }})()", within_s=40)


async def point_of(page: Page, thing: str) -> tuple[float, float]:
    """Return where the map shows a person or a job, in CSS pixels of the window."""
    x, y = await page.run(
        f"""
        const canvas = document.querySelector('.map-canvas'), {{map, dots}} = canvas;
        const box = canvas.getBoundingClientRect();
        const dot = [...dots.places()].find(([id]) => id === '{thing}')?.[1];
        const jobs = dot ? [] : map.queryRenderedFeatures({{layers: ['jobs']}});
        const job = jobs.find((each) => each.properties.id === '{thing}');
        const {{x, y}} = job ? map.project(job.geometry.coordinates) : {{x: dot[0], y: dot[1]}};
        return [box.left + x, box.top + y];
        """
    )
    return x, y


async def right_of(page: Page, role: Literal["button", "tab"], name: str) -> float:
    """Return where a button or a tab ends at the right, in CSS pixels from the left side of the page."""
    box = await page.raw.get_by_role(role, name=name).first.bounding_box()
    assert box
    return box["x"] + box["width"]


async def flaws_of(page: Page, name: str) -> list[str]:
    """Save a screenshot, and return the axe violations of the page, and whether it scrolls sideways."""
    await page.save_screenshot(name)
    found = [f"{name}: {each}" for each in await page.find_axe_violations()]
    is_narrow = await page.run("return document.documentElement.scrollWidth <= innerWidth")
    return found if is_narrow else [*found, f"{name}: scrolls sideways"]
