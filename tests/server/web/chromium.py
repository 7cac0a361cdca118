"""Headless Chromium, driven by its DevTools protocol over the WebSocket library that the server uses anyway.

(Rejected: Playwright, because it downloads its own browser, and Selenium, because it needs a driver. These tests only
load a page, run a script in it, resize it and save a screenshot.)
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import itertools
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import orjson
from websockets.asyncio.client import ClientConnection, connect

from tests.support.wait import wait_until

BINARY_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
CHROMIUM_FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-extensions",
    "--disable-background-networking",
    "--disable-component-update",
    "--no-proxy-server",
    "--remote-debugging-port=0",
)


def find_binary() -> str | None:
    """Return the path of an installed Chromium or Chrome; None if there is none."""
    return next((path for name in BINARY_NAMES if (path := shutil.which(name))), None)


class ScriptFailed(AssertionError):
    """Raised if a script throws in a page, or if Chromium refuses a command."""


class Browser:
    """A running Chromium. Its pages share no cookies and no storage."""

    def __init__(self, socket: ClientConnection) -> None:
        self._socket = socket
        self._ids = itertools.count(1)
        self._replies: dict[int, asyncio.Future[Any]] = {}
        self._pages: dict[str, Page] = {}
        self._reader = asyncio.create_task(self._read_frames())

    async def call(self, method: str, session: str | None = None, **params: Any) -> Any:
        """Send one command of the DevTools protocol and return its result. Raises ScriptFailed if Chromium refuses the
        command.
        """
        number = next(self._ids)
        self._replies[number] = asyncio.get_running_loop().create_future()
        frame = {"id": number, "method": method, "params": params}
        await self._socket.send(orjson.dumps(frame | ({"sessionId": session} if session else {})).decode())
        try:
            async with asyncio.timeout(20):
                return await self._replies[number]
        finally:
            del self._replies[number]

    async def _read_frames(self) -> None:
        async for text in self._socket:
            frame = orjson.loads(text)
            if "id" not in frame:
                if page := self._pages.get(frame.get("sessionId", "")):
                    page.handle_event(frame["method"], frame["params"])
            elif (reply := self._replies.get(frame["id"])) and not reply.done():
                if "error" in frame:
                    reply.set_exception(ScriptFailed(str(frame["error"])))
                else:
                    reply.set_result(frame["result"])

    @asynccontextmanager
    async def new_page(self) -> AsyncIterator[Page]:
        """Open a page with its own cookies and storage, and close it at the end."""
        context = (await self.call("Target.createBrowserContext"))["browserContextId"]
        target = await self.call("Target.createTarget", url="about:blank", browserContextId=context)
        attached = await self.call("Target.attachToTarget", targetId=target["targetId"], flatten=True)
        page = self._pages[attached["sessionId"]] = Page(self, attached["sessionId"])
        for domain in ("Page", "Runtime", "Log"):
            await page.call(f"{domain}.enable")
        try:
            yield page
        finally:
            await self.call("Target.disposeBrowserContext", browserContextId=context)

    async def close(self) -> None:
        """Stop reading frames. The caller ends the process."""
        self._reader.cancel()
        await asyncio.gather(self._reader, return_exceptions=True)


class Page:
    """One tab of a `Browser`."""

    def __init__(self, browser: Browser, session: str) -> None:
        self._browser, self._session = browser, session
        self.faults: list[str] = []
        """Uncaught exceptions of the page, and violations of its Content-Security-Policy."""
        self._loaded = asyncio.Event()

    def handle_event(self, method: str, params: Any) -> None:
        """Record what one event of the DevTools protocol reports."""
        if method == "Page.loadEventFired":
            self._loaded.set()
        elif method == "Runtime.exceptionThrown":
            self.faults.append(str(params["exceptionDetails"].get("exception", {}).get("description")))
        elif method == "Log.entryAdded" and params["entry"]["source"] == "security":
            self.faults.append(params["entry"]["text"])

    async def call(self, method: str, **params: Any) -> Any:
        """Send one command to this page and return its result."""
        return await self._browser.call(method, self._session, **params)

    async def goto(self, url: str) -> None:
        """Load ``url`` and wait for its load event."""
        self._loaded.clear()
        await self.call("Page.navigate", url=url)
        async with asyncio.timeout(20):
            await self._loaded.wait()

    async def run(self, script: str) -> Any:
        """Run ``script`` as the body of an async function in the page, and return its value."""
        expression = f"(async () => {{ {script} }})()"
        reply = await self.call("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True)
        if "exceptionDetails" in reply:
            raise ScriptFailed(reply["exceptionDetails"].get("exception", {}).get("description", reply))
        return reply["result"].get("value")

    async def wait_for(self, expression: str, within_s: float = 10.0) -> Any:
        """Wait until the JavaScript ``expression`` is truthy in the page, and return its value."""
        return await wait_until(lambda: self.run(f"return {expression}"), within_s=within_s, what=expression)

    async def resize(self, width: int, height: int, *, dark: bool = False) -> None:
        """Set the size of the window in CSS pixels and the colour scheme. A width below 600 means a phone."""
        mobile = width < 600
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": mobile}
        await self.call("Emulation.setDeviceMetricsOverride", **size)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        await self.call("Emulation.setEmulatedMedia", features=[scheme])

    async def save_screenshot(self, path: Path) -> None:
        """Save a screenshot of the page as PNG in ``path``."""
        path.write_bytes(base64.b64decode((await self.call("Page.captureScreenshot"))["data"]))


@asynccontextmanager
async def start_browser(binary: str, folder: Path) -> AsyncIterator[Browser]:
    """Start a Chromium with its profile in ``folder``, and end it after the block."""
    flags = [*CHROMIUM_FLAGS, f"--user-data-dir={folder}", "about:blank"]
    quiet = asyncio.subprocess.DEVNULL
    process = await asyncio.create_subprocess_exec(binary, *flags, stdout=quiet, stderr=quiet)
    try:
        port_file = folder / "DevToolsActivePort"
        await wait_until(lambda: port_file.exists() and port_file.read_text().count("\n"), within_s=20, what="Chromium")
        port, path = port_file.read_text().split("\n")[:2]
        async with connect(f"ws://127.0.0.1:{port}{path}", max_size=None, proxy=None) as socket:
            opened = Browser(socket)
            try:
                yield opened
            finally:
                with contextlib.suppress(Exception):
                    await opened.call("Browser.close")
                await opened.close()
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
