"""The log determines the keys of jobs in Redis. (Every other test of this folder compares them at its end.)"""

from __future__ import annotations

import msgspec

from engine.domain import jobs
from engine.domain.jobs import CommandInput
from engine.rebuild.job_contents import JobRows, job_contents
from engine.runtime import Engine
from engine.store import keys
from engine.types import DEFAULT_ZONE, JobId, Principal, ServiceId, TechnicianId
from tests.support import job_keys, people

ZONE = DEFAULT_ZONE
MAX_CLAIM_STATE_BYTES = 230
"""The most bytes that the field `state` of a claim's event may have."""


async def offered_job(engine: Engine) -> tuple[JobId, Principal, ServiceId]:
    """Book and offer a job. Return it, a technician who has an offer, and the service."""
    service = await people.service(engine)
    carla = await people.customer(engine)
    tom = await people.technician(engine, "tom", service)
    await people.technician(engine, "tim", service)
    return await people.offered_job(engine, carla, service, reference="r1"), tom, service


async def read_rows(engine: Engine) -> list[JobRows]:
    """Return the rows that SQL would have of the jobs after all events of the log."""
    return job_keys.rows_of_events(await job_keys.read_events(engine))


async def test_a_job_that_is_booked_offered_claimed_and_done(engine: Engine) -> None:
    """After each step of a home service job, the keys that are computed from the log are equal to those in Redis. The
    part of the claim's event that only a rebuild needs is at most 230 bytes long.
    """
    job, tom, _ = await offered_job(engine)
    assert await job_keys.check_jobs(engine, await read_rows(engine)) == 1
    await jobs.claim(engine, tom, job)
    assert await job_keys.check_jobs(engine, await read_rows(engine)) == 1
    claimed = [event for event in await job_keys.read_events(engine) if event.type == "job.accepted"]
    assert 0 < len(claimed[0].state) <= MAX_CLAIM_STATE_BYTES
    for command in ("depart", "arrive", "start", "complete"):
        await jobs.run_command(engine, tom, job, CommandInput(command=command))
        assert await job_keys.check_jobs(engine, await read_rows(engine)) == 1, command


async def test_a_job_of_an_older_release_is_as_good_as_its_document(engine: Engine) -> None:
    """If no event of a job has the field `state`, because an older release wrote them, the job is rebuilt from its
    document and marked as inexact. A job without a holder is searched for again at once; a job with a holder keeps the
    holder.
    """
    job, tom, service = await offered_job(engine)
    now = 1_800_000_000_000

    def rebuilt(rows: list[JobRows], mode: str) -> dict[str, object]:
        (row,) = rows
        old = msgspec.structs.replace(row, states=(), search_mode=mode, blueprint_key="home_service@3")
        parts = job_contents(old, now)
        assert not parts.is_exact
        return {key: content.value for key, content in parts.contents.items()}

    found = rebuilt(await read_rows(engine), "broadcast")
    due = found[keys.due_tasks(ZONE)]
    assert isinstance(due, dict) and due[f"wave:{job}:1"] == str(now) and f"expire:{job}" in due
    assert found[keys.job_demand(ZONE, service)]
    await jobs.claim(engine, tom, job)
    found = rebuilt(await read_rows(engine), "none")
    record = found[keys.job(ZONE, job)]
    assert isinstance(record, dict) and (record["holder"], record["bp"], record["version"]) == (
        tom.id,
        "home_service@3",
        "2",
    )
    assert found[keys.technician_jobs(ZONE, TechnicianId(tom.id))] == {job} and keys.due_tasks(ZONE) not in found


async def test_the_first_change_after_an_older_release_writes_the_whole_state(engine: Engine) -> None:
    """If SQL does not have the state of a job, the next change of the job writes all of it: from then on the keys are
    exact.
    """
    job, tom, _ = await offered_job(engine)
    await engine.store.redis.hdel(keys.job(ZONE, job), "recorded")  # type: ignore[misc]
    (before,) = await read_rows(engine)
    await jobs.claim(engine, tom, job)
    (after,) = await read_rows(engine)
    later = [state for state in after.states if state not in before.states]
    assert len(later) == 1
    assert await job_keys.check_jobs(engine, [msgspec.structs.replace(after, states=later)]) == 1


async def test_a_job_whose_last_command_an_older_release_ran_is_marked(engine: Engine) -> None:
    """If a server of an older release ran the last command of a job, the job's rebuilt keys are marked as inexact."""
    job, tom, _ = await offered_job(engine)
    (before,) = await read_rows(engine)
    await jobs.claim(engine, tom, job)
    (after,) = await read_rows(engine)
    assert job_contents(after, 0).is_exact
    mixed = job_contents(msgspec.structs.replace(after, states=before.states), 0)
    assert not mixed.is_exact and mixed.holder == tom.id
