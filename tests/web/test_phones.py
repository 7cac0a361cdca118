"""The phone apps as stories: two real pages of a browser, a customer's and a technician's, on one job."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from datetime import datetime
from random import Random
from zoneinfo import ZoneInfo

import httpx
import pytest

from server.serve import RunningServer
from server.simulation.pictures import draw_picture
from tests.server.http import people
from tests.server.http.client import HERE
from tests.support.browser import Browser, Page
from tests.support.http import open_http
from tests.web.phones import employ, make_service, open_phone, pay, wait_for_map


@pytest.fixture(scope="module")
async def http(site: RunningServer) -> AsyncIterator[httpx.AsyncClient]:
    """Yield an HTTP client for requests beside the pages."""
    async with open_http(site.url) as client:
        yield client


async def test_a_customer_books_chats_and_signs_while_a_technician_works(
    browser: Browser, site: RunningServer, http: httpx.AsyncClient
) -> None:
    """A customer books at a quoted price; the technician who is asked accepts, drives, works and shows photos; the two
    chat; somebody follows by a link; the customer signs with a finger, the payment comes, and they give stars. Each
    state is without an axe violation.
    """
    admin = people.principal(site, http, "admin")
    service = await make_service(admin, "Boiler inspection")
    async with (
        open_phone(browser, site, http, "tech", "Tom Technician") as tom,
        open_phone(browser, site, http, "book", "Carla Customer") as carla,
    ):
        await tom.look("off-new")
        assert await tom.raw.get_by_role("switch").count() == 0  # this server sends no Web Push
        await employ(tom, admin, service)
        await tom.look("off")
        await tom.tap("Go online")
        await tom.see("Waiting for an offer")
        await tom.look("waiting")

        await carla.see("What do you need?")
        await carla.look("services")
        await carla.raw.get_by_role("link", name="Boiler inspection").tap()
        await carla.raw.get_by_label("Managed service").check()
        await carla.raw.get_by_label("Address").fill("Torstrasse 1, third floor")
        await carla.tap("Use my place")
        book = carla.raw.get_by_role("button", name=re.compile(r"Book · "))
        await book.wait_for()
        await carla.look("booking")
        await book.tap()

        await tom.raw.get_by_role("dialog").wait_for()
        await tom.look("offer")
        await tom.tap("Accept")
        await carla.see("The technician has accepted")
        await carla.raw.get_by_label("Message", exact=True).fill("The bell is broken, please call.")
        await carla.tap("Send")
        await tom.see("The bell is broken, please call.")
        await tom.raw.get_by_label("Message", exact=True).fill("I will.")
        await tom.tap("Send")
        await carla.see("I will.")
        await carla.look("accepted")
        await tom.look("accepted")

        await tom.tap("On my way")
        await tom.raw.context.set_geolocation({"latitude": HERE["lat"] + 0.01, "longitude": HERE["lon"]})
        await carla.raw.get_by_text(re.compile(r"away, about")).wait_for()
        await carla.look("on-the-way")
        await carla.tap("Make a link")
        link = await carla.raw.locator(".link-address").get_attribute("href")
        async with browser.new_phone() as friend:
            await friend.goto(f"{site.url}{link}")
            await friend.raw.get_by_text(re.compile(r"Arrives in about")).wait_for()
            await wait_for_map(friend)
            assert await friend.find_axe_violations() == []
            await friend.save_screenshot("track-phone-light")
            await tom.tap("Start")
            await friend.raw.get_by_text("The work is being done").wait_for()
            assert friend.find_flaws() == []

        await tom.see("Add the photos of the work")
        files = [{"name": f"{n}.png", "mimeType": "image/png", "buffer": draw_picture(Random(n))} for n in range(2)]
        await tom.raw.locator("input[type=file]").set_input_files(files)  # type: ignore[arg-type]
        await tom.raw.get_by_role("button", name="Work done").wait_for()
        await tom.look("working")
        await tom.tap("Work done")

        pad = carla.raw.locator("canvas.sign-pad")
        await pad.scroll_into_view_if_needed()
        await draw(carla.page, pad)
        await carla.look("sign")
        await pad.scroll_into_view_if_needed()
        await draw(carla.page, pad)
        await carla.tap("Sign")
        await carla.see("Waiting for the payment")
        await carla.look("waiting-for-payment")
        job = carla.raw.url.rpartition("/")[2]
        await pay(people.principal(site, http, "service"), job)
        await carla.raw.get_by_label("5 stars").check(force=True)
        await carla.look("done")
        await carla.raw.get_by_role("button", name="Send stars").tap()
        await carla.see("Thank you.")
        booked = (await carla.client("GET", f"/v1/jobs/{job}")).json()["job"]["created_at"]
        await carla.see(f"{datetime.fromisoformat(booked).astimezone(ZoneInfo('Asia/Kolkata')):%H:%M}")
        await tom.see("The work is done")
        await tom.look("done")


async def draw(page: Page, pad: object) -> None:
    """Draw a line with the pointer."""
    box = await pad.bounding_box()  # type: ignore[attr-defined]
    await page.raw.mouse.move(box["x"] + 30, box["y"] + 60)
    await page.raw.mouse.down()
    for step in range(12):
        await page.raw.mouse.move(box["x"] + 30 + 18 * step, box["y"] + 60 + 30 * (step % 2))
    await page.raw.mouse.up()
