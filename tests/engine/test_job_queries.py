"""Queries of jobs: which events a job's history contains, and which jobs and fields lists show."""

from __future__ import annotations

from engine.archive import reader
from engine.archive.reader import JobFilter
from engine.domain import job_history, job_queries, jobs
from engine.domain.commands import CommandInput
from engine.domain.job_queries import JobQuery
from engine.runtime import Engine
from engine.types import DEFAULT_ZONE
from engine.zone import log
from tests.archive.test_archiver import archived_seq, run_archiver
from tests.support import people
from tests.support.wait import wait_until


async def test_a_history_has_only_events_of_its_job(engine: Engine) -> None:
    """The history of a job does not contain events of another job that has the first job's id in its metadata."""
    service, ann, bob = await people.service(engine), await people.customer(engine), await people.customer(engine)
    job = people.id_of(await people.job(engine, ann, service))
    await people.job(engine, bob, service, metadata={"follows": job})
    assert [item.actor for item in await job_history.history(engine, ann, job)] == [f"customer:{ann.id}"]


async def test_a_repeated_reference_returns_the_callers_actions(engine: Engine) -> None:
    """A second booking with the same reference returns the first job with the caller's actions, exactly
    as a read does.
    """
    service, ann = await people.service(engine), await people.customer(engine)
    first = await people.job(engine, ann, service, reference="r-1")
    again = await people.job(engine, ann, service, reference="r-1")
    assert (again.created, people.id_of(again)) == (False, people.id_of(first))
    assert again.job is not None
    assert bytes(again.job) == await job_queries.read_job(engine, ann, people.id_of(first))
    assert bytes(again.job).endswith(b'"actions":["cancel"]}')


async def test_a_former_holder_has_the_job_in_no_list(engine: Engine) -> None:
    """A list shows a live job as it is in Redis, even if SQL is behind: after a technician leaves the job, no list
    shows them its private fields, and it has its new status.
    """
    service, ann = await people.service(engine), await people.customer(engine)
    tom = await people.technician(engine, "tom", service)
    job = await people.offered_job(engine, ann, service, notes="gate code 4711")
    await jobs.claim(engine, tom, job)
    assert [b"4711" in item for item in (await job_queries.find_jobs(engine, tom, JobQuery())).items] == [True]
    async with run_archiver(engine):
        head = (await log.read_head(engine.store.read_connection, DEFAULT_ZONE)).seq

        async def is_archived() -> bool:
            return await archived_seq(engine) >= head

        await wait_until(is_archived, what="the archive")
    await jobs.run_command(engine, tom, job, CommandInput(command="unassign"))
    for query in (JobQuery(), JobQuery(status="accepted"), JobQuery(customer=ann.id), JobQuery(technician=tom.id)):
        assert [item for item in (await job_queries.find_jobs(engine, tom, query)).items if b"4711" in item] == []
    assert [b'"broadcasted"' in item for item in (await job_queries.find_jobs(engine, ann, JobQuery())).items] == [True]
    assert (await job_queries.find_jobs(engine, ann, JobQuery(status="accepted"))).items == []


async def test_a_filter_reveals_no_private_field(engine: Engine) -> None:
    """A technician who sees only the public part of a job does not find it by its customer or reference, in Redis or in
    SQL.
    """
    service, ann = await people.service(engine), await people.customer(engine)
    tom = await people.technician(engine, "tom", service)
    job = people.id_of(await people.job(engine, ann, service, blueprint="managed", reference="r-7"))
    await jobs.run_command(engine, people.ADMIN, job, CommandInput(command="assign", technician=tom.id))
    for archive in (False, True):
        if archive:
            await jobs.run_command(engine, people.ADMIN, job, CommandInput(command="cancel"))
            async with run_archiver(engine):
                await wait_until(lambda: _is_cancelled_in_sql(engine, job), what="the archive")
        for query in (JobQuery(customer=ann.id), JobQuery(reference="r-7")):
            assert (await job_queries.find_jobs(engine, tom, query)).items == [], archive


async def _is_cancelled_in_sql(engine: Engine, job: str) -> bool:
    """Return whether SQL contains a cancelled job."""
    rows, _ = await reader.jobs(engine.archive, JobFilter(status="cancelled"), 1)
    return bool(rows)
