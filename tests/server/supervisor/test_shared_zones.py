"""Three processes with the same roles and twelve zones: each works for four, and the others take over when one ends."""

from __future__ import annotations

import json
import signal
from collections import Counter
from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from time import monotonic

import redis

from engine.process.settings import Settings
from engine.store import keys
from engine.types import DEFAULT_ZONE, Zone
from engine.workers import archiver, notifier, scheduler
from tests.support.process import run_server
from tests.support.wait import wait_until
from tests.support.wide import IS_WIDE

ZONES_BESIDE_MAIN = [Zone(f"z{number}") for number in range(11)]
ZONES = [DEFAULT_ZONE, *ZONES_BESIDE_MAIN]
BOX = {"type": "Polygon", "coordinates": [[[0, 0], [1, 0], [1, 1], [0, 1], [0, 0]]]}
LEASES_S = {"scheduler": scheduler.LEASE_S, "push": notifier.LEASE_S, "archiver": archiver.LEASE_S}
ROLES = tuple(LEASES_S) if IS_WIDE else ("scheduler",)
"""The roles whose shares are compared: only that with the shortest lease, unless `make test-wide` runs the test."""


def zones_of_holders(client: redis.Redis, role: str) -> dict[bytes, int]:
    """Return how many zones each process holds in this role."""
    holders = client.mget([keys.runner_lease(zone, role) for zone in ZONES])
    return Counter(holder for holder in holders if holder)


async def wait_for_shares(
    client: redis.Redis, shares: Sequence[int], within_s: float, roles: Sequence[str] = ROLES
) -> None:
    """Wait until, in every one of ``roles``, the processes hold as many zones as ``shares`` says, one number for each
    process."""
    await wait_until(
        lambda: all(sorted(zones_of_holders(client, role).values()) == sorted(shares) for role in roles),
        within_s=within_s,
        what=f"{shares} of { ({role: zones_of_holders(client, role) for role in roles}) }",
    )


async def test_zones_are_shared_and_taken_over(settings: Settings, redis_client: redis.Redis, tmp_path: Path) -> None:
    """Three processes share twelve zones: each holds four in every role. If a process is killed, the others take over
    its zones when its leases expire. If it stops in order, they take over at their next periodic check.
    """
    shared = {
        "redis": settings.redis or "",
        "database": settings.database or f"sqlite:///{settings.data}/callout.db",
        "key_file": f"{tmp_path}/signing.key",
        "files": f"{tmp_path}/blobs",
        "roles": ",".join(LEASES_S),
    }
    (tmp_path / "box.geojson").write_text(json.dumps(BOX))
    (tmp_path / "callout.toml").write_text(
        "\n".join(f"[zones.{zone}]\npolygon = 'box.geojson'" for zone in ZONES_BESIDE_MAIN)
    )
    async with AsyncExitStack() as stack:
        first, second, _ = [
            await stack.enter_async_context(run_server(tmp_path / f"p{number}", **shared)) for number in range(3)
        ]
        await wait_for_shares(redis_client, (4, 4, 4), within_s=40)
        began = monotonic()
        await first.stop(signal.SIGKILL)
        for role in ROLES:
            until = began + LEASES_S[role] * 5 / 3 + 10
            await wait_for_shares(redis_client, (6, 6), within_s=until - monotonic(), roles=[role])
        assert (await second.stop()).code == 0
        for role in ROLES:
            assert len(zones_of_holders(redis_client, role)) == 1
            await wait_for_shares(redis_client, (12,), within_s=LEASES_S[role] + 10, roles=[role])
