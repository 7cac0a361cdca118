"""Headless Chromium over its DevTools protocol, by the WebSocket library that is here anyway.

(Rejected: Playwright, which brings a browser of its own, and Selenium, whose driver is one more thing to install, for
the four things that these tests do: go to a page, run a script in it, resize it, look at it.)
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

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
FLAGS = (
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


def found() -> str | None:
    """The browser of this machine."""
    return next((path for name in NAMES if (path := shutil.which(name))), None)


class ScriptFailed(AssertionError):
    """A script that a test ran in a page threw."""


class Browser:
    """One Chromium; its pages share nothing with each other."""

    def __init__(self, socket: ClientConnection) -> None:
        self._socket = socket
        self._ids = itertools.count(1)
        self._replies: dict[int, asyncio.Future[Any]] = {}
        self._pages: dict[str, Page] = {}
        self._reader = asyncio.create_task(self._read())

    async def call(self, method: str, session: str | None = None, **params: Any) -> Any:
        """One command of the protocol and its result."""
        number = next(self._ids)
        self._replies[number] = asyncio.get_running_loop().create_future()
        frame = {"id": number, "method": method, "params": params}
        await self._socket.send(orjson.dumps(frame | ({"sessionId": session} if session else {})).decode())
        try:
            async with asyncio.timeout(20):
                return await self._replies[number]
        finally:
            del self._replies[number]

    async def _read(self) -> None:
        async for text in self._socket:
            frame = orjson.loads(text)
            if "id" not in frame:
                if page := self._pages.get(frame.get("sessionId", "")):
                    page.hear(frame["method"], frame["params"])
            elif (reply := self._replies.get(frame["id"])) and not reply.done():
                if "error" in frame:
                    reply.set_exception(ScriptFailed(str(frame["error"])))
                else:
                    reply.set_result(frame["result"])

    @asynccontextmanager
    async def page(self) -> AsyncIterator[Page]:
        """A page with cookies and storage of its own."""
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
        """Stop reading; the process is ended by who started it."""
        self._reader.cancel()
        await asyncio.gather(self._reader, return_exceptions=True)


class Page:
    """One tab."""

    def __init__(self, browser: Browser, session: str) -> None:
        self._browser, self._session = browser, session
        self.faults: list[str] = []
        """Exceptions that nobody caught, and what the policy of the page refused."""
        self._loaded = asyncio.Event()

    def hear(self, method: str, params: Any) -> None:
        """An event of the protocol."""
        if method == "Page.loadEventFired":
            self._loaded.set()
        elif method == "Runtime.exceptionThrown":
            self.faults.append(str(params["exceptionDetails"].get("exception", {}).get("description")))
        elif method == "Log.entryAdded" and params["entry"]["source"] == "security":
            self.faults.append(params["entry"]["text"])

    async def call(self, method: str, **params: Any) -> Any:
        """One command to this page."""
        return await self._browser.call(method, self._session, **params)

    async def goto(self, url: str) -> None:
        """Load ``url``, scripts and all."""
        self._loaded.clear()
        await self.call("Page.navigate", url=url)
        async with asyncio.timeout(20):
            await self._loaded.wait()

    async def run(self, script: str) -> Any:
        """The value of an async function's body, run in the page."""
        expression = f"(async () => {{ {script} }})()"
        done = await self.call("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True)
        if "exceptionDetails" in done:
            raise ScriptFailed(done["exceptionDetails"].get("exception", {}).get("description", done))
        return done["result"].get("value")

    async def until(self, expression: str, within_s: float = 10.0) -> Any:
        """Wait until ``expression`` is true in the page, and give its value."""
        return await wait_until(lambda: self.run(f"return {expression}"), within_s=within_s, what=expression)

    async def resize(self, width: int, height: int, *, dark: bool = False) -> None:
        """The window of a telephone, or of a desktop."""
        mobile = width < 600
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": mobile}
        await self.call("Emulation.setDeviceMetricsOverride", **size)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        await self.call("Emulation.setEmulatedMedia", features=[scheme])

    async def picture(self, path: Path) -> None:
        """A screenshot as PNG."""
        path.write_bytes(base64.b64decode((await self.call("Page.captureScreenshot"))["data"]))


@asynccontextmanager
async def browser(binary: str, folder: Path) -> AsyncIterator[Browser]:
    """A Chromium with a profile in ``folder``."""
    flags = [*FLAGS, f"--user-data-dir={folder}", "about:blank"]
    quiet = asyncio.subprocess.DEVNULL
    process = await asyncio.create_subprocess_exec(binary, *flags, stdout=quiet, stderr=quiet)
    try:
        told = folder / "DevToolsActivePort"
        await wait_until(lambda: told.exists() and told.read_text().count("\n"), within_s=20, what="Chromium")
        port, path = told.read_text().split("\n")[:2]
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
