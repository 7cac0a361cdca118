"""Decide whether this server is ready for requests: the problems that ``/readyz`` returns, each as a sentence.

A process can be alive and not ready. A gateway whose relay has no connection to Redis answers every request but sends
no events. A check that only shows that the process runs would leave such a gateway behind the load balancer forever.
"""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.errors import CalloutError
from engine.process.datadir import write_problem
from engine.process.loops import not_cancelled
from engine.runtime import Engine
from engine.store import keys
from engine.store.error_replies import WRITE_REFUSED_REPLIES

if TYPE_CHECKING:
    from server.gateway.gateway import Gateway


CHECK_EVERY_S = 2.0
PROBE_LIFETIME_MS = 10_000


@dataclass(slots=True)
class Health:
    """The health of one server. The code that stops the server sets ``draining`` before it closes the sockets.
    ``writes_problem`` is the reason why Redis refuses writes, and ``disk_problem`` the reason why the data directory
    cannot be written to, both at the last check; "" means no problem.
    """

    engine: Engine
    gateway: Gateway | None = None
    draining: bool = False
    writes_problem: str = ""
    disk_problem: str = ""

    async def run(self) -> None:
        """Check every ``CHECK_EVERY_S`` seconds, forever: a server without write requests must find a problem as
        well.
        """
        while not_cancelled():
            await self.check()
            await asyncio.sleep(CHECK_EVERY_S)

    async def check(self) -> None:
        """Try to write to Redis and to the data directory, and store the results."""
        self.disk_problem = await asyncio.to_thread(write_problem, Path(self.engine.settings.data))
        self.writes_problem = await self._find_write_refusal()
        with contextlib.suppress(CalloutError):  # a primary that does not answer is reported by the connection
            await self.engine.store.check_level()
            await self.engine.store.acknowledgements.check_archives()
        if not self.draining and any(zone.word == "STALE_RELEASE" for zone in self.engine.store.zones.values()):
            self.draining = True  # This is final, because the zones' format is never lowered.
            if self.gateway:
                await self.gateway.drain()

    async def _find_write_refusal(self) -> str:
        for zone in self.engine.store.zones:  # in a cluster each zone may be on a primary of its own
            try:
                await self.engine.store.command("SET", keys.write_probe(zone), 1, "PX", PROBE_LIFETIME_MS)
            except CalloutError as error:  # a primary that does not answer is reported by the connection
                if str(error).startswith(WRITE_REFUSED_REPLIES):
                    return f"Redis refuses writes: {error}"
        return ""

    def problems(self) -> list[str]:
        """Return the reasons why this server is not ready, as sentences; [] if it is ready."""
        found = ["draining"] if self.draining else []
        for name, zone in self.engine.store.zones.items():
            if not zone.open:
                found.append(f"zone {name} is closed: {zone.why}")
        if not self.engine.store.is_up:
            found.append("no primary of Redis answers: no command can be done")
        found += self.engine.store.acknowledgements.problems()
        if self.gateway is not None and self.gateway.relay.is_disconnected:
            found.append("the relay is disconnected from Redis")
        elif self.gateway is not None:
            # A client that joined now would join without the zone, and be closed as soon as the relay has read it.
            unread = [name for name, tail in self.gateway.relay.tails.items() if not tail.is_open]
            found += [
                f"zone {name} is open, but the relay has not read its log yet"
                for name in unread
                if self.engine.store.zones[name].open
            ]
        if refuses := self.engine.archive.write_refusal:
            found.append(f"the database refuses writes: {refuses}")
        return [*found, *filter(None, (self.writes_problem, self.disk_problem))]

    def durability_report(self) -> dict[str, Any]:
        """Return the acknowledgement level, the facts about Redis and SQL that provide it, and those that weaken it."""
        acknowledgements = self.engine.store.acknowledgements
        reports = (acknowledgements.report, self.engine.archive.commit_settings.report)
        return {
            "level": acknowledgements.level,
            "checks": [check for report in reports for check in report.checks],
            "warnings": [warning for report in reports for warning in report.warnings],
        }
