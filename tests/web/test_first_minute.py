"""A stranger's first minute: they start the demo, open its address, and watch a city at work."""

from __future__ import annotations

import re
import time
from pathlib import Path

from playwright.async_api import FloatRect

from tests.support.browser import Browser, Page
from tests.support.demo import running_demo
from tests.support.wait import wait_until

FIRST_MINUTE_S = 60.0
WITHIN_S = 40.0
CITY: FloatRect = {"x": 220.0, "y": 200.0, "width": 580.0, "height": 440.0}
"""The part of the window in which the map is, without the counts, layers and figures around it."""


async def claims_of(page: Page) -> int:
    """Return the number of claims that the bar of the console shows; 0 while it shows none."""
    text = " ".join(await page.raw.locator(".promise").all_inner_texts())
    assert not text or "0 doubled" in text, text
    found = re.search(r"([\d,.]+) claims", text)
    return int(re.sub(r"\D", "", found[1])) if found else 0


async def test_a_strangers_first_minute(browser: Browser, tmp_path: Path) -> None:
    """Within a minute of the start, one click on the start page opens a console in which people move and jobs are won.
    Nothing goes wrong, and no other server is asked. A gateway that is killed takes nothing with it.
    """
    began_s = time.monotonic()
    async with running_demo(tmp_path / "data", "--people", "40") as url, browser.new_page() as page:
        await page.resize(1280, 800)
        await page.goto(f"{url}/")
        await page.raw.get_by_role("button", name="Admin").click()
        await page.raw.wait_for_url("**/console/**")
        await wait_until(lambda: claims_of(page), within_s=WITHIN_S, what="a claim in the bar of the console")
        took_s = time.monotonic() - began_s
        await page.wait_for("document.querySelector('canvas.maplibregl-canvas')", within_s=WITHIN_S)
        seen = await page.raw.screenshot(clip=CITY)
        await wait_until(lambda: _has_changed(page, seen), within_s=WITHIN_S, what="dots that move")
        await page.save_screenshot("first-minute-console")
        assert took_s < FIRST_MINUTE_S
        assert page.find_flaws() == []
        await _book_in_the_frame(page)
        await _work_in_the_frame(page)
        assert page.find_flaws() == []

        page.expected_errors = ("ERR_", "WebSocket")  # errors of requests that the killed gateway did not answer
        await page.raw.get_by_role("link", name="System").click()
        await page.raw.get_by_role("button", name="Kill a gateway").click()
        before = await claims_of(page)
        await wait_until(lambda: _is_above(page, before + 2), within_s=WITHIN_S, what="claims after the kill")
        await _see_the_demand(page)
        assert page.find_flaws() == []


async def _book_in_the_frame(page: Page) -> None:
    """*Be the customer*: one click signs in, and what is booked in the frame is on the map beside it."""
    await page.raw.get_by_role("link", name="Live").click()
    await page.raw.get_by_role("button", name="Be the customer").click()
    phone = page.raw.frame_locator("iframe")
    await phone.get_by_role("button", name="Customer").click()
    await phone.get_by_role("link", name="Plumbing repair").click()
    await phone.get_by_label("Address").fill("Juniper Street 81")
    await phone.get_by_role("button", name=re.compile("^Book · ")).click()
    await phone.get_by_text(re.compile("Asking|Looking for|accepted|on the way")).first.wait_for()
    await page.save_screenshot("first-minute-frame")
    await page.raw.get_by_role("button", name="Put the phone away").click()


async def _work_in_the_frame(page: Page) -> None:
    """*Be a technician*: one click signs in. The app receives events of other people's jobs, and sends no request for
    these jobs.
    """
    await page.raw.get_by_role("button", name="Be a technician").click()
    phone = page.raw.frame_locator("iframe")
    await phone.get_by_role("button", name="Technician").click()
    await phone.get_by_role("button", name=re.compile("^Go (on|off)line$")).wait_for()
    before = await claims_of(page)
    await wait_until(lambda: _is_above(page, before + 2), within_s=WITHIN_S, what="claims beside the frame")
    await page.save_screenshot("first-minute-technician")
    await page.raw.get_by_role("button", name="Put the phone away").click()


async def _see_the_demand(page: Page) -> None:
    """The demand is a map with cells, which are also shown as columns."""
    await page.raw.get_by_role("link", name="Demand").click()
    await page.wait_for("document.querySelector('.demand-map canvas')", within_s=WITHIN_S)
    flat = await page.raw.locator(".demand-map").screenshot()
    await page.raw.get_by_role("button", name="3-D").click()
    await wait_until(lambda: _is_another(page, ".demand-map", flat), what="columns")
    await page.save_screenshot("first-minute-demand")


async def _has_changed(page: Page, before: bytes) -> bool:
    return await page.raw.screenshot(clip=CITY) != before


async def _is_another(page: Page, place: str, before: bytes) -> bool:
    return await page.raw.locator(place).screenshot() != before


async def _is_above(page: Page, claims: int) -> bool:
    return await claims_of(page) > claims
