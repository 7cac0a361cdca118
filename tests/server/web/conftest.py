"""A browser for these tests, and people who use the client in it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import orjson
import pytest

from engine.process.settings import Settings
from engine.process.signer import sign_token
from engine.types import DEFAULT_ZONE, Principal, UserId
from engine.zone import log
from server.serve import Running, running
from tests.server.web import chromium
from tests.server.web.chromium import Browser, Page
from tests.server.web.street import Street

NONE = "NO CHROMIUM ON THIS MACHINE: the browser's client is NOT tested (Debian: apt-get install chromium)"

OPEN = """
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
async def browser(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Browser]:
    """One Chromium for all of these tests."""
    binary = chromium.found()
    if binary is None:
        pytest.skip(NONE)
    async with chromium.browser(binary, tmp_path_factory.mktemp("chromium")) as opened:
        yield opened


@pytest.fixture(scope="package")
async def site(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Running]:
    """A server shared by the tests that only want its files."""
    async with running(Settings(data=str(tmp_path_factory.mktemp("site")), port=0, limits="off")) as serving:
        yield serving


@pytest.fixture
async def page(browser: Browser) -> AsyncIterator[Page]:
    """An empty page, in which nothing may go wrong unseen."""
    async with browser.page() as opened:
        yield opened
        assert opened.faults == []


@pytest.fixture
async def street(server: Running) -> AsyncIterator[Street]:
    """The way to the server."""
    async with Street(server.url) as way:
        yield way


def token(server: Running, who: Principal, expires_s: float = 3600) -> str:
    """An access token of somebody who has an account."""
    return sign_token(server.engine.signer, UserId(who.id), who.role, name=who.name, expires_s=expires_s)


async def connected(page: Page, street: Street, *tokens: str) -> None:
    """Open the client in ``page``; the last of ``tokens`` is what it is given when it asks for a fresh one."""
    await page.goto(f"{street.origin}/web/try.html")
    await page.run(OPEN % orjson.dumps(tokens).decode())


async def logged(server: Running, who: Principal) -> list[int]:
    """The seqs of every event addressed to somebody, as the log has them."""
    entries: list[Any] = await log.read_range(server.engine.store.redis, DEFAULT_ZONE, 0, 10_000)
    return [entry.seq for entry in entries if f"user:{who.id}" in entry.to and not entry.type.startswith("session.")]
