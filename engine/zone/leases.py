"""Runner leases: which zones this process works for, shared fairly between the processes of a role.

A process holds at most its *share* of leases. Each zone that the process can serve adds 1/n to the share, where n is
the number of processes that can serve the zone; the sum is rounded up. Example: three processes that serve the same
twelve zones have a share of 12 * 1/3 = 4 each. A process that starts or stops moves no more zones than necessary.

A process above its share releases a zone, and a process below its share takes the zone at its next check. Nothing
depends on a lease being exclusive: it only saves work.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from time import monotonic

import redis.asyncio as redis
import structlog

from engine.errors import CalloutError
from engine.store import keys
from engine.store.connection import Store
from engine.store.scripts import Args
from engine.types import Zone, new_id

ROLES = ("scheduler", "push", "archiver", "demand", "payments")
"""The kinds of background work."""
MIN_FREE_CHECKS_TO_EXCEED_SHARE = 3
"""If a lease was free at this many checks in a row, a process takes the lease even above its share: perhaps no
other process can serve the zone."""

log = structlog.get_logger(__name__)


@dataclass(slots=True)
class _ZoneLease:
    """The state of a zone's lease: ``process_count`` processes can serve the zone; the lease was free at
    ``free_check_count`` checks in a row."""

    process_count: int = 1
    free_check_count: int = 0
    is_above_share: bool = False
    """Whether the lease is held above the share, because no other process took it. It is then held until the number of
    processes changes."""
    next_check: float = 0.0
    """The time (``monotonic``) of the next check."""


class Leases:
    """The leases of one process for one ``role`` of ``ROLES``. A lease lasts ``lease_s`` seconds and is renewed after a
    third of that."""

    def __init__(self, store: Store, role: str, lease_s: float) -> None:
        self.held_zones: set[Zone] = set()
        self._store = store
        self._role = role
        self._node = new_id("node")
        self._lease_s = lease_s
        self._known: dict[Zone, _ZoneLease] = {}

    async def holds_lease(self, zone: Zone) -> bool:
        """Return whether this process holds the zone's lease. Redis is called only after a third of ``lease_s``.

        Raises the same errors as ``Store.run``.
        """
        if not self._store.zones[zone].open:
            self._drop_zone(zone)
            return False
        known = self._known.setdefault(zone, _ZoneLease())
        now = monotonic()
        if known.next_check <= now:
            known.next_check = now + self._lease_s / 3
            await self._renew_lease(zone, known)
        return zone in self.held_zones

    def drop_cache(self) -> None:
        """Drop all cached leases, so that the next check reads each from Redis."""
        self.held_zones.clear()
        self._known.clear()

    async def release_all(self) -> None:
        """Release all leases, so that other processes can take them at once, and stop counting this process."""
        for zone in list(self._known):
            try:
                await self._call_script(zone, "leave")
            except (CalloutError, redis.RedisError, OSError) as error:
                log.info("lease_not_released", zone=zone, role=self._role, error=str(error))
        self.drop_cache()

    def _drop_zone(self, zone: Zone) -> None:
        self._known.pop(zone, None)
        self.held_zones.discard(zone)

    @property
    def _max_leases(self) -> int:
        """The most leases that this process should hold."""
        return math.ceil(sum(1 / known.process_count for known in self._known.values()) - 1e-9)

    async def _renew_lease(self, zone: Zone, lease: _ZoneLease) -> None:
        """Take, renew or release the lease of a zone in Redis, depending on the share."""
        is_held, room = zone in self.held_zones, len(self.held_zones) < self._max_leases
        above = (
            lease.is_above_share if is_held else not room and lease.free_check_count >= MIN_FREE_CHECKS_TO_EXCEED_SHARE
        )
        excess = is_held and not above and lease.process_count > 1 and len(self.held_zones) > self._max_leases
        want = "free" if excess else "take" if is_held or room or above else "keep"
        self.held_zones.discard(zone)  # if the reply is lost, it is unknown whether the lease was renewed
        held, nodes = await self._call_script(zone, want)
        lease.free_check_count = 0 if held else lease.free_check_count + 1
        lease.is_above_share = above and held == b"1" and nodes == lease.process_count
        lease.process_count = max(1, nodes)
        if held == b"1":
            self.held_zones.add(zone)
        if len(self.held_zones) < self._max_leases:  # another process has ended: its zones need not wait
            for known in self._known.values():
                known.next_check = 0.0 if known.free_check_count else known.next_check

    async def _call_script(self, zone: Zone, wanted_change: str) -> tuple[bytes, int]:
        names = {
            "meta": keys.zone_meta(zone),
            "runner": keys.runner_lease(zone, self._role),
            "runners": keys.runner_candidates(zone, self._role),
        }
        args: Args = {"node": self._node, "ms": round(self._lease_s * 1000), "want": wanted_change}
        done = await self._store.run(zone, "runner_lease", keys=names, args=args)
        return done.values[0], int(done.values[1])
