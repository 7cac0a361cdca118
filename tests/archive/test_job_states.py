"""SQL stores what each event changed in a job's keys, as long as the job is in Redis."""

from __future__ import annotations

from sqlalchemy import select

from engine.domain import jobs
from engine.domain.jobs import CommandInput
from engine.rebuild import log_tail
from engine.rebuild.job_rows import live_job_ids, read_job_rows
from engine.runtime import Engine
from engine.sql.job_tables import job_states
from engine.types import DEFAULT_ZONE
from engine.workers import archiver
from tests.support import job_keys, people


async def test_sql_determines_the_keys_of_a_job_until_it_is_archived(engine: Engine) -> None:
    """A job's keys that are computed from SQL are equal to those in Redis. When the job is done and archived, SQL
    deletes its saved state except for its waves.
    """
    service = await people.service(engine)
    carla = await people.customer(engine)
    tom = await people.technician(engine, "tom", service)
    job = await people.offered_job(engine, carla, service)
    await jobs.claim(engine, tom, job)
    await jobs.run_command(engine, tom, job, CommandInput(command="depart"))
    await archiver.run_once(engine)
    assert await live_job_ids(engine.archive, DEFAULT_ZONE, "", 10) == [job]
    rows = await read_job_rows(engine.archive, DEFAULT_ZONE, [job], lambda *_: "none")
    assert await job_keys.check_jobs(engine, rows) == 1
    for command in ("arrive", "start", "complete"):
        await jobs.run_command(engine, tom, job, CommandInput(command=command))
    await archiver.run_once(engine)
    assert await live_job_ids(engine.archive, DEFAULT_ZONE, "", 10) == []
    async with engine.archive.begin_read() as conn:
        states = (await conn.execute(select(job_states.c.state))).scalars().all()
    assert ['"waves":[' in state for state in states] == [True]


async def test_the_end_of_a_closed_zones_log_is_archived_with_its_state(engine: Engine) -> None:
    """What a rebuild archives of a closed zone's log before it begins has the state of jobs too."""
    service = await people.service(engine)
    carla = await people.customer(engine)
    tom = await people.technician(engine, "tom", service)
    job = await people.offered_job(engine, carla, service)
    await archiver.run_once(engine)
    await jobs.claim(engine, tom, job)
    assert await log_tail.archive_tail(engine, DEFAULT_ZONE) > 0
    rows = await read_job_rows(engine.archive, DEFAULT_ZONE, [job], lambda *_: "none")
    assert await job_keys.check_jobs(engine, rows) == 1
