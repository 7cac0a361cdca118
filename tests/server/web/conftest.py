"""A browser and a server for these tests, and the steps to open the JavaScript client in a page."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import orjson
import pytest

from engine.process.settings import Settings
from engine.process.signer import sign_token
from engine.types import DEFAULT_ZONE, Principal, UserId
from engine.zone import log
from server.serve import RunningServer, run_server
from tests.server.web.network_proxy import NetworkProxy
from tests.support import browser as browsers
from tests.support.browser import Browser, Page

OPEN_CLIENT_SCRIPT = """
    const { Callout } = await import("/web/callout.js");
    const tokens = %s;
    window.asked = [];
    window.callout = new Callout({ token: async (fresh) => (asked.push(fresh), fresh ? tokens.at(-1) : tokens[0]) });
    Object.assign(window, { events: [], statuses: [], syncs: [], frames: [] });
    callout.addEventListener("event", ({ detail }) => events.push(detail));
    callout.addEventListener("status", ({ detail }) => statuses.push(detail));
    callout.addEventListener("sync", ({ detail }) => syncs.push({ ...detail, at: callout.cursors.toJSON() }));
    callout.addEventListener("frame", ({ detail }) => frames.push(detail));
    callout.open();
"""


@pytest.fixture(scope="package")
async def browser() -> AsyncIterator[Browser]:
    """Start one Chromium for all tests of this package. Skip them if none is installed."""
    binary = browsers.find_binary()
    if binary is None:
        pytest.skip(browsers.NO_BROWSER_MESSAGE)
    async with browsers.start_browser(binary) as opened:
        yield opened


@pytest.fixture(scope="package")
async def site(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RunningServer]:
    """Start a server that is shared by the tests that only need its files."""
    async with run_server(Settings(data=str(tmp_path_factory.mktemp("site")), port=0, limits="off")) as serving:
        yield serving


@pytest.fixture
async def page(browser: Browser) -> AsyncIterator[Page]:
    """Open an empty page. At the end, assert that the page had no uncaught exception or policy violation."""
    async with browser.new_page() as opened:
        yield opened
        assert opened.faults == []


@pytest.fixture
async def network(server: RunningServer) -> AsyncIterator[NetworkProxy]:
    """Start a proxy between the browser and the server."""
    async with NetworkProxy(server.url) as proxy:
        yield proxy


def token(server: RunningServer, who: Principal, expires_s: float = 3600) -> str:
    """Return an access token for a principal who has an account; ``expires_s`` is in seconds from now."""
    return sign_token(server.engine.signer, UserId(who.id), who.role, name=who.name, expires_s=expires_s)


async def open_client(page: Page, network: NetworkProxy, *tokens: str) -> None:
    """Open the client in ``page``. The client gets the first of ``tokens``, and the last one when it requests a fresh
    token.
    """
    await page.goto(f"{network.origin}/web/try.html")
    await page.run(OPEN_CLIENT_SCRIPT % orjson.dumps(tokens).decode())


async def logged_seqs(server: RunningServer, who: Principal) -> list[int]:
    """Return the seqs of all logged events addressed to the principal, without internal events."""
    entries: list[Any] = await log.read_range(server.engine.store.redis, DEFAULT_ZONE, 0, 10_000)
    return [entry.seq for entry in entries if f"user:{who.id}" in entry.to and not entry.type.startswith("session.")]
