"""A zone with people and jobs for the tests of the rebuild."""

from __future__ import annotations

from dataclasses import dataclass

from engine.domain import jobs
from engine.idempotency.in_redis import Outcome
from engine.runtime import Engine
from engine.types import DEFAULT_ZONE, Principal, ServiceId, TechnicianId
from engine.zone import log
from tests.engine import staff
from tests.support import people


@dataclass
class Scene:
    """A customer, an approved technician who is online, and their service."""

    engine: Engine
    customer: Principal
    technician: Principal
    service: ServiceId

    @property
    def technician_id(self) -> TechnicianId:
        """The technician's id."""
        return TechnicianId(self.technician.id)

    async def read_head(self) -> int:
        """Return the seq of the last event in Redis."""
        return (await log.read_head(self.engine.store.read_connection, DEFAULT_ZONE)).seq

    async def empty_redis(self) -> None:
        """Delete all keys, and make the engine notice it."""
        await self.engine.store.redis.flushall()
        await self.notice()

    async def notice(self) -> None:
        """Make the engine compare the zone in Redis with SQL, as it does after a reconnection."""
        state = self.engine.store.zones[DEFAULT_ZONE]
        await self.engine.store.reopen(DEFAULT_ZONE, stale=state.epoch)

    async def book_and_claim(self) -> Outcome:
        """Book a job, open its wave, and claim it."""
        job = await people.offered_job(self.engine, self.customer, self.service)
        return await jobs.claim(self.engine, self.technician, job)


async def open_scene(engine: Engine, *, capacity: int = 2) -> Scene:
    """Create the people and the service in SQL and Redis. The technician is online."""
    service = await people.service(engine)
    technician = await staff.create_eligible_technician(engine, service, capacity=capacity)
    return Scene(engine, await people.customer(engine), technician, service)
