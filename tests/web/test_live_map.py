"""The console's live map: what is drawn on it, and a job that is dragged."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from engine.process.settings import Settings
from server import serve
from server.serve import RunningServer
from tests.support.browser import Browser, Page
from tests.support.wait import wait_until
from tests.web.console import Town, admin_token, open_console, open_town, point_of, wait_for_map


@pytest.fixture
async def empty_site(tmp_path: Path) -> AsyncIterator[RunningServer]:
    """Start a server whose map shows nobody of another test: a mouse cannot tell two people at one place apart."""
    async with serve.run_server(Settings(data=str(tmp_path / "site"), port=0, limits="off")) as serving:
        yield serving


async def test_ops_give_a_job_to_somebody_by_dragging_it(browser: Browser, empty_site: RunningServer) -> None:
    """Ops drag a job on the map onto a technician. Nothing is done before they confirm; the confirmation says who loses
    the job. Then the other technician has it, and the map shows it without a reload.
    """
    async with open_town(empty_site.url, admin_token(empty_site)) as town:
        await _drag_a_job(browser, empty_site.url, town)


async def _drag_a_job(browser: Browser, url: str, town: Town) -> None:
    job = await town.book_and_claim()
    async with open_console(browser, url, town.admin, "ops_manager") as page:
        await wait_for_map(page, job, town.east.user, town.west.user)
        await _look_at_the_dots(page, busy=town.east.user, free=town.west.user)
        mouse = page.raw.mouse
        await mouse.move(*await point_of(page, job))
        await mouse.down()
        await mouse.move(*await point_of(page, town.west.user), steps=8)
        await mouse.up()
        sheet = page.raw.get_by_role("dialog")
        await sheet.get_by_text("Erna East loses the job at once").wait_for()
        assert await town.holder_of(job) == town.east.user
        assert await page.find_axe_violations() == []
        await page.save_screenshot("console-reassign")
        await sheet.get_by_role("button", name="Give the job").click()
        await sheet.wait_for(state="detached")
        assert await town.holder_of(job) == town.west.user
        await page.raw.locator(".toast", has_text="Wim West has the job").wait_for()
        await _see_where_jobs_were(page, town, job)
        assert page.find_flaws() == []


async def _look_at_the_dots(page: Page, *, busy: str, free: str) -> None:
    """A free person's dot is filled with the colour of their state, a busy one's has a hole, and beside it is nothing.
    Where the user prefers less motion, a dot that moves is at its new place at once.
    """
    found = await page.run(
        f"""
        const {{map, dots}} = document.querySelector('.map-canvas'), {{lng, lat}} = map.getCenter();
        const pen = document.querySelector('.map-dots').getContext('2d', {{willReadFrequently: true}});
        const pixel = ([x, y]) => [...pen.getImageData(x * devicePixelRatio, y * devicePixelRatio, 1, 1).data];
        const color = (name) => {{
          const probe = document.body.appendChild(document.createElement('span'));
          probe.style.color = `var(${{name}})`;
          return [...getComputedStyle(probe).color.match(/\\d+/g).map(Number), 255];
        }};
        const places = new Map(dots.places()), person = {{id: 'x', name: 'X', state: 'free', age_s: 0, lat}};
        const drawn = [pixel(places.get('{free}')), pixel(places.get('{busy}'))];
        const beside = pixel(places.get('{free}').map((each) => each + 30));
        for (const lon of [lng, lng + 0.001]) dots.set({{...person, lon}});
        const [x] = new Map(dots.places()).get('x'), jump = x - map.project([lng + 0.001, lat]).x;
        dots.remove('x');
        return {{drawn, beside, jump, expected: [color('--done'), color('--card')]}};
        """
    )
    assert found["drawn"] == found["expected"] and found["beside"] == [0, 0, 0, 0]
    assert abs(found["jump"]) < 0.01


async def _see_where_jobs_were(page: Page, town: Town, job: str) -> None:
    """A map without another background has the places of past jobs as faint dots."""
    assert (await town.admin("POST", f"/v1/jobs/{job}/cancel", {"reason": "over"})).status_code == 200

    async def is_past() -> bool:
        return bool((await town.admin("GET", "/v1/zones/main/places")).json()["places"])

    await wait_until(is_past, what="the place of the job")
    await page.raw.reload()
    source = "document.querySelector('.map-canvas')?.map?.querySourceFeatures('past')"
    await page.wait_for(f"{source}?.length === 1")
