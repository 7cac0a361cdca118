"""Headless Chromium for tests, by Playwright. The browser of the machine is used, because Playwright's own would need a
download.

A page records uncaught exceptions, violations of the policy, errors in its console, and requests to other servers.
``find_flaws`` returns all of them, so that no test overlooks them.
"""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from axe_playwright_python.async_playwright import Axe
from playwright.async_api import Browser as PlaywrightBrowser
from playwright.async_api import BrowserContext, ConsoleMessage, Request, async_playwright
from playwright.async_api import Page as PlaywrightPage

from tests.support.wait import wait_until

ROOT = Path(__file__).resolve().parents[2]
SCREENSHOTS = ROOT / "build" / "screenshots"
BINARY_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
CHROMIUM_FLAGS = (
    "--no-sandbox",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-proxy-server",
    "--disable-dev-shm-usage",
)
NO_BROWSER_MESSAGE = "NO CHROMIUM ON THIS MACHINE: the pages are NOT tested (Debian: apt-get install chromium)"
PHONE, TABLET, DESK = (390, 844), (820, 1180), (1280, 800)
"""Sizes of windows, in CSS pixels."""


def find_binary() -> str | None:
    """Return the path of an installed Chromium or Chrome; None if there is none."""
    return next((path for name in BINARY_NAMES if (path := shutil.which(name))), None)


class Page:
    """One tab of a `Browser`. ``raw`` is Playwright's page, for what this class does not have."""

    def __init__(self, raw: PlaywrightPage) -> None:
        self.raw = raw
        self.faults: list[str] = []
        """Uncaught exceptions of the page, and violations of its Content-Security-Policy."""
        self.console_errors: list[str] = []
        self.foreign_requests: list[str] = []
        """Addresses of requests to another host than that of the page."""
        self.expected_errors: tuple[str, ...] = ()
        """Parts of errors in the console that the test provokes, such as ``401``."""
        raw.on("pageerror", lambda error: self.faults.append(str(error)))
        raw.on("console", self._note_console)
        raw.on("request", self._note_request)

    def _note_console(self, message: ConsoleMessage) -> None:
        if message.type == "error":
            self.console_errors.append(message.text)
            if "Content Security Policy" in message.text:
                self.faults.append(message.text)

    def _note_request(self, request: Request) -> None:
        asked, page = urlsplit(request.url), urlsplit(self.raw.url)
        if asked.scheme not in ("data", "blob") and page.netloc and asked.netloc != page.netloc:
            self.foreign_requests.append(request.url)

    def find_flaws(self) -> list[str]:
        """Return all recorded faults, foreign requests and unexpected errors."""
        errors = [text for text in self.console_errors if not any(part in text for part in self.expected_errors)]
        return [*self.faults, *errors, *self.foreign_requests]

    async def goto(self, url: str) -> None:
        """Load ``url`` and wait for its load event."""
        await self.raw.goto(url)

    async def run(self, script: str) -> Any:
        """Run ``script`` as the body of an async function in the page, and return its value."""
        return await self.raw.evaluate(f"async () => {{ {script} }}")

    async def wait_for(self, expression: str, within_s: float = 10.0) -> Any:
        """Wait until the JavaScript ``expression`` is truthy in the page, and return its value."""
        return await wait_until(lambda: self.run(f"return {expression}"), within_s=within_s, what=expression)

    async def resize(self, width: int, height: int, *, dark: bool = False) -> None:
        """Set the size of the window in CSS pixels and the colour scheme."""
        await self.raw.set_viewport_size({"width": width, "height": height})
        await self.raw.emulate_media(color_scheme="dark" if dark else "light")

    async def find_axe_violations(self, rules: Sequence[str] = ()) -> list[str]:
        """Return the violations that axe finds on the present page, each with its elements. With ``rules``, only these
        rules are checked.
        """
        only = {"runOnly": {"type": "rule", "values": list(rules)}} if rules else {}
        found = await Axe().run(self.raw, options={"resultTypes": ["violations"], **only})
        return [
            f"{each['id']}: {each['help']}: {[node['html'][:200] for node in each['nodes'][:5]]}"
            for each in found.response["violations"]
        ]

    async def save_screenshot(self, name: str) -> Path:
        """Save a screenshot for people to look at, as ``build/screenshots/NAME.png``, and return its path."""
        SCREENSHOTS.mkdir(parents=True, exist_ok=True)
        path = SCREENSHOTS / f"{name}.png"
        await self.raw.screenshot(path=path)
        return path


class Browser:
    """A running Chromium. Its pages share no cookies and no storage."""

    def __init__(self, raw: PlaywrightBrowser) -> None:
        self.raw = raw

    @asynccontextmanager
    async def new_context(self, **options: Any) -> AsyncIterator[BrowserContext]:
        """Open a context: pages of one context share cookies and storage. ``options`` are those of Playwright."""
        context = await self.raw.new_context(**options)
        context.set_default_timeout(20_000)
        try:
            yield context
        finally:
            await context.close()

    @asynccontextmanager
    async def new_page(self, **options: Any) -> AsyncIterator[Page]:
        """Open a page with its own cookies and storage, and close it at the end."""
        async with self.new_context(**options) as context:
            yield Page(await context.new_page())

    @asynccontextmanager
    async def new_phone(self, **options: Any) -> AsyncIterator[Page]:
        """Open a page on a phone: a small window, touch, and no mouse."""
        size = {"width": PHONE[0], "height": PHONE[1]}
        async with self.new_page(viewport=size, has_touch=True, is_mobile=True, **options) as page:
            yield page


@asynccontextmanager
async def start_browser(binary: str) -> AsyncIterator[Browser]:
    """Start a Chromium, and end it after the block."""
    async with async_playwright() as playwright:
        raw = await playwright.chromium.launch(executable_path=binary, args=list(CHROMIUM_FLAGS))
        try:
            yield Browser(raw)
        finally:
            await raw.close()
