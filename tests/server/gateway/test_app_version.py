"""Apps that are too old are sent away with 4506."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from engine.process.settings import Settings
from server.gateway.app_version import is_too_old
from tests.server.gateway.conftest import node_of


@pytest.mark.parametrize(
    ("app", "version", "oldest", "old"),
    [
        ("driver", "2.0.9", ("2.1",), True),
        ("driver", "", ("2.1",), True),
        ("driver", "beta", ("2.1",), True),
        ("driver", "2.9", ("2.10",), True),
        ("driver", "1.9", ("rider=3", "driver=2"), True),
        ("driver", "2.1", ("2.1.0",), False),
        ("driver", "2.10+build7", ("2.9",), False),
        ("driver", "1.0", ("rider=3",), False),
        ("driver", "", (), False),
    ],
)
def test_versions_compare_by_their_numbers(app: str, version: str, oldest: tuple[str, ...], old: bool) -> None:
    """An entry with a name concerns that app alone; an app without a version is older than any."""
    assert is_too_old(app, version, oldest) is old


async def test_an_old_app_is_told_to_upgrade(settings: Settings) -> None:
    """It is refused before its token is looked at, and closed with 4506; a newer one is let in."""
    async with node_of(msgspec.structs.replace(settings, app_min_version=("2.1",))) as node:
        apps: list[dict[str, Any]] = [{}, {"app": {"name": "a", "version": "2.0"}}]
        for app in apps:
            async with node.raw() as client:
                refused = await client.ask(op="connect", token="nonsense", **app)
                assert refused["error"]["code"] == "forbidden" and "upgrade" in refused["error"]["detail"]
                assert await client.closed() == 4506
        async with node.client("ann", app={"name": "a", "version": "2.1"}) as client:
            assert "now" in (await client.ask(op="ping"))["ok"]
