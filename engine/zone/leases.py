"""Which zones this process works for: leases, shared fairly between the processes of a role.

A process holds at most its share: the zones that it could serve, each divided by the number of processes that could,
rounded up. So three processes of twelve zones hold four each, and a process that comes or goes moves no more zones
than it must. A process above its share gives a zone back, and who has room takes it at its next look. Nothing depends
on a lease being exclusive: it only spares work.
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

PATIENCE = 3
"""Looks at which a lease was free, after which it is taken above the share: the others may not serve that zone."""

log = structlog.get_logger(__name__)


@dataclass(slots=True)
class _Known:
    """What was found of a zone: processes that could serve it, and at how many looks in a row nobody did."""

    nodes: int = 1
    free: int = 0
    above: bool = False
    """Taken above the share, since nobody else came for it; kept until the number of processes changes."""
    due: float = 0.0


class Leases:
    """One process's leases for one ``role``. They last for ``lease_s`` and are renewed every third of it."""

    def __init__(self, store: Store, role: str, lease_s: float) -> None:
        self.mine: set[Zone] = set()
        self._store = store
        self._role = role
        self._node = new_id("node")
        self._lease_s = lease_s
        self._known: dict[Zone, _Known] = {}

    async def held(self, zone: Zone) -> bool:
        """Whether the zone is ours to work for; asks Redis only when it is time to. Raises as ``Store.run``."""
        if not self._store.zones[zone].open:
            self._forget(zone)
            return False
        known = self._known.setdefault(zone, _Known())
        now = monotonic()
        if known.due <= now:
            known.due = now + self._lease_s / 3
            await self._ask(zone, known)
        return zone in self.mine

    def forget(self) -> None:
        """Hold nothing and know nothing: the next look asks Redis."""
        self.mine.clear()
        self._known.clear()

    async def give_back(self) -> None:
        """Let others take over at once what is ours, and be counted no longer."""
        for zone in list(self._known):
            try:
                await self._call(zone, "leave")
            except (CalloutError, redis.RedisError, OSError) as error:
                log.info("lease_kept", zone=zone, role=self._role, error=str(error))
        self.forget()

    def _forget(self, zone: Zone) -> None:
        self._known.pop(zone, None)
        self.mine.discard(zone)

    @property
    def _share(self) -> int:
        return math.ceil(sum(1 / known.nodes for known in self._known.values()) - 1e-9)

    async def _ask(self, zone: Zone, known: _Known) -> None:
        ours, room = zone in self.mine, len(self.mine) < self._share
        above = known.above if ours else not room and known.free >= PATIENCE
        excess = ours and not above and known.nodes > 1 and len(self.mine) > self._share
        want = "free" if excess else "take" if ours or room or above else "keep"
        self.mine.discard(zone)  # where the answer is lost we do not know
        held, nodes = await self._call(zone, want)
        known.free = 0 if held else known.free + 1
        known.above = above and held == b"1" and nodes == known.nodes
        known.nodes = max(1, nodes)
        if held == b"1":
            self.mine.add(zone)

    async def _call(self, zone: Zone, want: str) -> tuple[bytes, int]:
        names = {
            "meta": keys.meta(zone),
            "runner": keys.runner(zone, self._role),
            "runners": keys.runners(zone, self._role),
        }
        args: Args = {"node": self._node, "ms": round(self._lease_s * 1000), "want": want}
        done = await self._store.run(zone, "runner_lease", keys=names, args=args)
        return done.rest[0], int(done.rest[1])
