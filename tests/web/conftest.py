"""A browser and a server for the tests of the pages."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from engine.process.settings import Settings
from engine.rules.zone_areas import ZoneArea
from engine.types import DEFAULT_ZONE
from server.serve import RunningServer, run_server
from server.web.built import BuiltPages
from tests.support import browser as browsers
from tests.support.browser import Browser, Page

NOT_BUILT_MESSAGE = "THE PAGES ARE NOT BUILT: make web"


@pytest.fixture(scope="session")
async def browser() -> AsyncIterator[Browser]:
    """Start one Chromium for all tests of this package. Skip them if none is installed, or if nothing is built."""
    binary = browsers.find_binary()
    if binary is None:
        pytest.skip(browsers.NO_BROWSER_MESSAGE)
    if BuiltPages().manifest() is None:
        pytest.skip(NOT_BUILT_MESSAGE)
    async with browsers.start_browser(binary) as opened:
        yield opened


@pytest.fixture(scope="package")
async def site(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RunningServer]:
    """Start a server that the tests of this package share. Its time zone is not that of the browser."""
    areas = (ZoneArea(DEFAULT_ZONE, timezone="Asia/Kolkata"),)
    data = str(tmp_path_factory.mktemp("site"))
    async with run_server(Settings(data=data, port=0, limits="off", zone_areas=areas)) as serving:
        yield serving


@pytest.fixture
async def page(browser: Browser) -> AsyncIterator[Page]:
    """Open an empty page. At the end, assert that it had no error and asked no other server."""
    async with browser.new_page() as opened:
        yield opened
        assert opened.find_flaws() == []


@pytest.fixture
async def phone(browser: Browser) -> AsyncIterator[Page]:
    """Open an empty page on a phone. At the end, assert that it had no error and asked no other server."""
    async with browser.new_phone() as opened:
        yield opened
        assert opened.find_flaws() == []
