"""Apps older than `app_min_version` are closed with 4506."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from engine.process.settings import Settings
from server.gateway.app_version import is_too_old
from tests.server.gateway.conftest import running_node


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
    """Versions are compared number by number. An entry with an app's name applies to that app only. An app without a
    version is older than any version.
    """
    assert is_too_old(app, version, oldest) is old


async def test_an_old_app_is_told_to_upgrade(settings: Settings) -> None:
    """An app that is too old is refused before its token is checked, and closed with 4506. A newer app is accepted."""
    async with running_node(msgspec.structs.replace(settings, app_min_version=("2.1",))) as node:
        apps: list[dict[str, Any]] = [{}, {"app": {"name": "a", "version": "2.0"}}]
        for app in apps:
            async with node.open_socket() as client:
                refused = await client.request(op="connect", token="nonsense", **app)
                assert refused["error"]["code"] == "forbidden" and "upgrade" in refused["error"]["detail"]
                assert await client.wait_for_close() == 4506
        async with node.connect("ann", app={"name": "a", "version": "2.1"}) as client:
            assert "now" in (await client.request(op="ping"))["ok"]
