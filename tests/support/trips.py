"""A technician on the way to a job, for tests of arrivals and paths."""

from __future__ import annotations

from engine.clock import now_ms
from engine.domain import jobs
from engine.domain.commands import CommandInput
from engine.rules.distances import METRES_PER_DEGREE
from engine.runtime import Engine
from engine.store import keys
from engine.technicians import live
from engine.technicians.live import Coordinates, Fix
from engine.types import DEFAULT_ZONE, JobId, Principal
from engine.workers import scheduler
from tests.support import event_log, people
from tests.support.clock import advance

NEAR, ARRIVED = "technician.near", "technician.arrived"


class Trip:
    """A technician on the way to a job at `people.HERE`, with the fixes that their device has sent. The device's clock
    is `ahead_s` ahead; None: its fixes have no time.
    """

    ahead_s: float | None = None

    def __init__(self, engine: Engine, driver: Principal, customer: Principal, job: JobId) -> None:
        self.engine, self.driver, self.customer, self.job = engine, driver, customer, job
        self.sent: list[Fix] = []

    async def send_fix(
        self, north_m: float, *, accuracy: float | None = 8.0, speed: float | None = 0.0, every_s: float = 10.0
    ) -> list[str]:
        """Advance the clock by `every_s` and send a fix `north_m` metres north of the job. Return the types of all
        arrival events so far.
        """
        await advance(self.engine, every_s)
        lat = people.HERE.lat + north_m / METRES_PER_DEGREE
        skew_ms = int(await self.engine.store.redis.hget(keys.zone_meta(DEFAULT_ZONE), "skew") or 0)
        at = None if self.ahead_s is None else now_ms() + skew_ms + round(self.ahead_s * 1000)
        fix = Fix(lat=lat, lon=people.HERE.lon, at=at, accuracy=accuracy, speed=speed)
        self.sent.append(fix)
        await live.store_fixes(self.engine, self.driver, self.driver.id, [fix])
        return await self.events()

    async def events(self) -> list[str]:
        """Return the types of the job's arrival events, in order."""
        found = await event_log.events(self.engine, job=self.job)
        return [event.type for event in found if event.type in (NEAR, ARRIVED)]

    async def stage(self) -> str:
        """Return the stage of the arrival, as the job's record in Redis has it."""
        text = await self.engine.store.redis.hget(keys.job(DEFAULT_ZONE, self.job), "arrival")
        return (text or b"- - 0").split()[1].decode()


async def start_trip(engine: Engine, north_m: float = 3000.0, *, departs: bool = True, **more: object) -> Trip:
    """Create a job and a technician `north_m` metres north of it who claims it and (by default) departs."""
    service, customer = await people.service(engine), await people.customer(engine)
    at = Coordinates(people.HERE.lat + north_m / METRES_PER_DEGREE, people.HERE.lon)
    driver = await people.technician(engine, "tom", service, at=at, capacity=2)
    job = await people.offered_job(engine, customer, service, **more)
    await scheduler.open_wave(engine, DEFAULT_ZONE, job, 2)
    await jobs.claim(engine, driver, job)
    if departs:
        await jobs.run_command(engine, driver, job, CommandInput(command="depart"))
    return Trip(engine, driver, customer, job)
