"""The server with two workers that the tests of this package share."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.support.process import Server, run_server


@pytest.fixture(scope="package")
async def wide_server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Server]:
    """A server with two workers, for tests that do not stop it."""
    async with run_server(tmp_path_factory.mktemp("wide") / "data", "--workers", "2") as server:
        yield server
