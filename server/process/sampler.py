"""Each process adds a sample of its figures every two seconds to the samples of all processes (engine/domain/stats.py).

Counts of a sample that did not reach Redis are included in the next sample. Therefore a pause of Redis leaves out
steps, but no count is lost.
"""

from __future__ import annotations

import asyncio
import os
import socket
from importlib.metadata import version
from secrets import token_hex
from typing import TYPE_CHECKING

import msgspec

from engine.clock import now_ms
from engine.domain import stats
from engine.domain.stats import ProcessSample
from engine.errors import CalloutError
from engine.events import rfc3339_of
from engine.process.loops import not_cancelled
from engine.runtime import Engine
from engine.store import keys
from engine.store.acknowledgement import without_acknowledgement

if TYPE_CHECKING:
    from server.gateway.gateway import Gateway
    from server.http.http_metrics import HttpMetrics


class Sampler:
    """The sampler of one process. ``name`` is the name of the process in its server."""

    def __init__(self, engine: Engine, gateway: Gateway | None, http_metrics: HttpMetrics, name: str) -> None:
        self._engine = engine
        self._gateway = gateway
        self._http_metrics = http_metrics
        self._first = ProcessSample(
            process=token_hex(8),
            name=name,
            host=socket.gethostname(),
            pid=os.getpid(),
            version=version("callout"),
            roles=engine.settings.roles,
            started_at=rfc3339_of(now_ms()),
        )
        self._counted = self._count()

    async def run(self) -> None:
        """Add a sample every ``STEP_S`` seconds, forever."""
        with without_acknowledgement():
            while not_cancelled():
                await asyncio.sleep(stats.STEP_S)
                try:
                    await self.add_sample()
                except CalloutError:  # Redis is unavailable: the counts are in the next sample
                    continue

    async def add_sample(self) -> None:
        """Add one sample with the counts since the last one that was added. Raises Unavailable, Indeterminate."""
        claims, errors, took = counted = self._count()
        was_claims, was_errors, was_took = self._counted
        sample = msgspec.structs.replace(
            self._first,
            claims=claims - was_claims,
            errors=errors - was_errors,
            took=[now - was for now, was in zip(took, was_took, strict=True)],
            open_jobs=await self._read_open_jobs(),
            **self._sizes(),
        )
        await stats.add_sample(self._engine, sample)
        self._counted = counted

    def _count(self) -> tuple[int, int, list[int]]:
        commands = self._engine.metrics.commands
        errors = self._http_metrics.failures + (self._gateway.counters.failures if self._gateway else 0)
        return commands.claims, errors, list(commands.took.counts)

    def _sizes(self) -> dict[str, float]:
        gateway = self._gateway
        if gateway is None:
            return {}
        streams = gateway.streams.count
        return {"sockets": len(gateway.sessions) - streams, "streams": streams, "lag_s": gateway.relay.lag_s}

    async def _read_open_jobs(self) -> dict[str, int]:
        """Return the number of live jobs of each zone. Only gateways read it, because all processes would return the
        same.
        """
        if self._gateway is None:
            return {}
        zones, reads = self._engine.store.zones, self._engine.store.read_connection
        counts = await asyncio.gather(*(reads.count_members(keys.map_places(zone)) for zone in zones))
        return dict(zip(zones, counts, strict=True))
