"""What the log says of a job determines its keys in Redis."""

from __future__ import annotations

from engine.domain import jobs
from engine.domain.jobs import CommandInput
from engine.runtime import Engine
from tests.support import job_keys, people


async def test_a_job_that_is_booked_offered_claimed_and_done(engine: Engine) -> None:
    """After each step of a home service job, the keys that are computed from the log are those in Redis."""
    service = await people.service(engine)
    carla = await people.customer(engine)
    tom = await people.technician(engine, "tom", service)
    await people.technician(engine, "tim", service)
    job = await people.offered_job(engine, carla, service)
    assert await _compared(engine) == 1
    await jobs.claim(engine, tom, job)
    assert await _compared(engine) == 1
    for command in ("depart", "arrive", "start", "complete"):
        await jobs.run_command(engine, tom, job, CommandInput(command=command))
        assert await _compared(engine) == 1, command


async def _compared(engine: Engine) -> int:
    return await job_keys.check_jobs(engine, job_keys.rows_of_events(await job_keys.read_events(engine)))
