"""Measure the live page of the console, and print the figures: ``python -m tests.web.console_figures [--minutes 2]``.

A real server serves the page. A relay drops the server's map frames and sends artificial ones instead: a snapshot of
many people, then two frames a second with the changes. So the page's own work is measured, and not the server's. The
figures are those of Chromium's main thread (CDP ``Performance.getMetrics``) on a map in software GL.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import random
import tempfile
import time
from pathlib import Path
from typing import Any

from playwright.async_api import WebSocketRoute

from engine.process.settings import Settings
from server.serve import run_server
from tests.support import browser as browsers
from tests.support.browser import Page
from tests.web.console import admin_token, open_console, open_town

FRAMES_A_SECOND = 2
METRES_A_STEP = 12.0
DEGREES_A_METRE = 1 / 111_320
AT = "2026-01-31T12:00:00.000Z"
SHOWS_MANY = "return [...document.querySelector('.map-canvas').dots.places()].length > 100"
COUNT_DRAWS = "return document.querySelector('.map-canvas').dots.draws"
COUNT_LONG_TASKS = """
window.long = 0;
const count = (list) => { window.long += list.getEntries().length };
new PerformanceObserver(count).observe({entryTypes: ['longtask']});
"""
CENTRE = (52.52, 13.405)
SPREAD = 0.08


class Feed:
    """Artificial frames of a map with ``people`` people, of whom ``changes`` move each second."""

    def __init__(self, people: int, changes: int) -> None:
        self._rng = random.Random(1)
        self._moves = max(1, changes // FRAMES_A_SECOND)
        self._k = 0
        self._sockets: list[WebSocketRoute] = []
        self.people = [self._person(number) for number in range(people)]

    def _person(self, number: int) -> dict[str, Any]:
        lat, lon = (value + self._rng.uniform(-SPREAD, SPREAD) for value in CENTRE)
        state = ("free", "free", "busy", "offline")[number % 4]
        at = AT
        return {
            "id": f"usr_{number}",
            "name": f"P {number}",
            "lat": lat,
            "lon": lon,
            "at": at,
            "age_s": 1.0,
            "state": state,
            "jobs": 0,
        }

    def relay(self, page: WebSocketRoute) -> None:
        """Connect the page to the server, without the server's frames of the map."""
        server = page.connect_to_server()
        self._sockets = [page]

        def to_page(message: str | bytes) -> None:
            if '"map.' not in str(message):
                page.send(message)

        server.on_message(to_page)

    def send(self, kind: str, data: dict[str, Any]) -> None:
        """Send one frame."""
        self._k += 1
        frame = {
            "type": kind,
            "event": kind,
            "at": AT,
            "data": {"zone": "main", "k": self._k, **data},
        }
        for socket in self._sockets:
            socket.send(json.dumps(frame))

    def send_snapshot(self) -> None:
        """Send everybody."""
        self.send("map.snapshot", {"bbox": [13, 52, 14, 53], "people": self.people, "jobs": [], "clusters": []})

    def send_moves(self) -> None:
        """Move some people by a few metres."""
        moved = self._rng.sample(self.people, min(self._moves, len(self.people)))
        for person in moved:
            angle = self._rng.uniform(0, 2 * math.pi)
            person["lat"] += METRES_A_STEP * DEGREES_A_METRE * math.sin(angle)
            person["lon"] += METRES_A_STEP * DEGREES_A_METRE * math.cos(angle) / math.cos(math.radians(CENTRE[0]))
        self.send("map.delta", {"entered": [], "moved": moved, "left": []})


async def run_for(feed: Feed, seconds: float) -> None:
    """Send moves for some seconds."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        feed.send_moves()
        await asyncio.sleep(1 / FRAMES_A_SECOND)


async def measure(people: int, changes: int, minutes: float) -> dict[str, float]:
    """Return the figures of one run."""
    binary = browsers.find_binary()
    assert binary, browsers.NO_BROWSER_MESSAGE
    with tempfile.TemporaryDirectory() as folder:
        settings = Settings(data=str(Path(folder) / "data"), port=0, limits="off")
        async with (
            run_server(settings) as site,
            browsers.start_browser(binary) as browser,
            open_town(site.url, admin_token(site)) as town,
            open_console(browser, site.url, town.admin, "ops_manager", reduced_motion=None) as page,
        ):
            return await measure_page(page, site.url, Feed(people, changes), minutes)


async def measure_page(page: Page, url: str, feed: Feed, minutes: float) -> dict[str, float]:
    """Return the figures of a signed-in page."""
    await page.raw.route_web_socket(lambda address: "/v1/ws" in address, feed.relay)
    began = time.monotonic()
    await page.goto(f"{url}/console/live")
    await page.wait_for("document.querySelector('.map-canvas')?.map?.getLayer('jobs')", within_s=120)
    first_map_s = time.monotonic() - began
    for _ in range(60):  # a snapshot that is sent while the page reconnects is lost
        feed.send_snapshot()
        await asyncio.sleep(1)
        if await page.run(SHOWS_MANY):
            break
    await page.run(COUNT_LONG_TASKS)
    cdp = await page.raw.context.new_cdp_session(page.raw)
    await cdp.send("Performance.setTimeDomain", {"timeDomain": "threadTicks"})  # CPU time, also on a busy machine
    await cdp.send("Performance.enable")
    await run_for(feed, 5)
    before = await read_metrics(cdp)
    first_heap = await heap_bytes(cdp)
    start, drawn = time.monotonic(), await page.run(COUNT_DRAWS)
    await run_for(feed, 60 * minutes)
    took, after = time.monotonic() - start, await read_metrics(cdp)
    drawn = await page.run(COUNT_DRAWS) - drawn
    return {
        "first_map_s": first_map_s,
        "frames_per_s": drawn / took,
        "main_thread_share": (after["TaskDuration"] - before["TaskDuration"]) / took,
        "script_share": (after["ScriptDuration"] - before["ScriptDuration"]) / took,
        "long_tasks_per_min": await page.run("return window.long") / (took / 60),
        "heap_mb_before": first_heap / 2**20,
        "heap_mb_after": await heap_bytes(cdp) / 2**20,
    }


async def read_metrics(cdp: Any) -> dict[str, float]:
    """Return the metrics of the page's main thread; durations are seconds of CPU time."""
    found = await cdp.send("Performance.getMetrics")
    return {each["name"]: each["value"] for each in found["metrics"]}


async def heap_bytes(cdp: Any) -> float:
    """Return the size of the JavaScript heap after a garbage collection."""
    await cdp.send("HeapProfiler.collectGarbage")
    return (await read_metrics(cdp))["JSHeapUsedSize"]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--people", type=int, default=5_000)
    parser.add_argument("--changes", type=int, default=1_000, help="a second")
    parser.add_argument("--minutes", type=float, default=2.0)
    given = parser.parse_args()
    figures = asyncio.run(measure(given.people, given.changes, given.minutes))
    print(f"{given.people} people, {given.changes} changes a second, {given.minutes} min")
    for name, value in figures.items():
        print(f"  {name:20} {value:8.2f}")


if __name__ == "__main__":
    main()
