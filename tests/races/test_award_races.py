"""Accept, decline, withdraw, cancel and expiry run at the same time: each job has one outcome, and its record, indexes
and events agree.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable
from typing import Any

import msgspec

from engine.domain import bid_list, bids, jobs
from engine.domain.bids import BidTerms
from engine.domain.commands import CommandInput
from engine.errors import CalloutError
from engine.events import Event
from engine.runtime import Engine
from engine.store import keys
from engine.types import DEFAULT_ZONE, JobId, Principal
from engine.workers import scheduled_tasks
from engine.zone import log
from tests.support import event_log, people
from tests.support.clock import advance
from tests.support.sizes import choose_size

REQUESTS, POSTED_JOBS, JOBS_AT_ONCE = choose_size(240, 1_000), choose_size(120, 400), 20
FINAL_STATUSES = {
    "job.accepted": "accepted",
    "job.status": "declined",
    "job.cancelled": "cancelled",
    "job.expired": "expired",
}
LOST_RACE_CODES = {"taken", "cancelled", "expired", "illegal_transition", "not_offered"}


async def is_accepted(command: Awaitable[Any]) -> bool:
    """Return whether the command succeeded. Only the codes of a lost race may refuse it."""
    try:
        await command
    except CalloutError as error:
        assert error.code in LOST_RACE_CODES
        return False
    return True


async def read_job_record(engine: Engine, job: str) -> dict[str, str]:
    """Return the job's record in Redis."""
    row = await engine.store.redis.hgetall(keys.job(DEFAULT_ZONE, JobId(job)))  # type: ignore[misc]
    return {name.decode(): value.decode() for name, value in row.items()}


async def assert_consistent(
    engine: Engine, job: str, crowd: list[Principal], job_events: list[Event]
) -> tuple[str, str]:
    """Assert that the record, the holders, the indexes and the events of a job agree. Return its status and its holder
    ("" = no holder).
    """
    row = await read_job_record(engine, job)
    is_listed = [await engine.store.redis.sismember(keys.technician_jobs(DEFAULT_ZONE, who.id), job) for who in crowd]  # type: ignore[misc, arg-type]
    assert [who.id for who, has in zip(crowd, is_listed, strict=True) if has] == (
        [row["holder"]] if row["holder"] and row["phase"] == "assigned" else []
    )
    versions = [event_log.payload(e)["job"]["version"] for e in job_events if e.type.startswith("job.")]
    assert versions == sorted(set(versions)) and versions[-1] == int(row["version"])
    if row["mode"] == "none":
        assert await engine.store.redis.zscore(keys.job_demand(DEFAULT_ZONE, row["service"]), job) is None  # type: ignore[arg-type]
        assert await engine.store.redis.zscore(keys.due_tasks(DEFAULT_ZONE), f"expire:{job}") is None
    return row["status"], row["holder"]


async def events_by_job(engine: Engine, since: int) -> tuple[dict[str, list[Event]], int]:
    """Return the events after ``since`` by their job, and the last sequence number."""
    by_job: dict[str, list[Event]] = {}
    for event in await log.read_range(engine.store.redis, DEFAULT_ZONE, since, 100_000):
        data = event_log.payload(event)
        job = data.get("job") or data.get("offer", {}).get("job")
        if job:
            by_job.setdefault(job["id"], []).append(event)
        since = event.seq
    return by_job, since


async def expire_job(engine: Engine, job: str, status: str) -> None:
    """Run the expiry task until the job has another status than ``status``."""
    while (await read_job_record(engine, job))["status"] == status:
        await scheduled_tasks.run_task(engine, DEFAULT_ZONE, f"expire:{job}")


async def test_accept_decline_cancel_and_expiry_of_a_request_have_one_end(engine: Engine) -> None:
    """Many requests to one technician, accepted and declined while they are cancelled or expire, end once each, and an
    acknowledged decline is never followed by an acceptance.
    """
    service, carla = await people.service(engine), await people.customer(engine)
    tom = await people.technician(engine, "tom", service, capacity=1000)
    draw, ends = random.Random(4), Counter[str]()

    async def create_request() -> str:
        outcome = await people.job(engine, carla, service, blueprint="direct_booking", technician="tom")
        return people.id_of(outcome)

    async def race(job: str, *, late: bool) -> None:
        acts = [
            is_accepted(jobs.run_command(engine, tom, job, CommandInput(command=command)))
            for command in ("accept", "decline")
        ]
        acts.append(
            is_accepted(
                expire_job(engine, job, "requested")
                if late
                else jobs.run_command(engine, carla, job, CommandInput(command="cancel"))
            )
        )
        draw.shuffle(acts)
        assert sum(await asyncio.gather(*acts)) >= 1

    seq = 0
    for turn in range(REQUESTS // JOBS_AT_ONCE):
        names = await asyncio.gather(*(create_request() for _ in range(JOBS_AT_ONCE)))
        if late := turn % 2 == 1:
            await advance(engine, 86_400 - 0.01)  # they expire in the middle of the race
        await asyncio.gather(*(race(job, late=late) for job in names))
        by_job, seq = await events_by_job(engine, seq)
        for job in names:
            status, _ = await assert_consistent(engine, job, [tom], by_job[job])
            types = [e.type for e in by_job[job] if e.type.startswith("job.") and e.type != "job.created"]
            assert types in ([t] for t in FINAL_STATUSES) or types == ["job.accepted", "job.cancelled"]
            assert status == FINAL_STATUSES[types[-1]]
            closed = [e.to for e in by_job[job] if e.type == "offer.closed"]
            assert closed == ([("user:tom",)] if types[0] in ("job.cancelled", "job.expired") else [])
            ends[types[0]] += 1
    assert ends.keys() == FINAL_STATUSES.keys()


async def test_awards_withdrawals_and_cancelling_have_one_end(engine: Engine) -> None:
    """Many jobs have three bids each; two bids are accepted and one is withdrawn while the job is cancelled or expires.
    Each job has at most one holder and the price of the accepted bid, and each bid is closed or accepted once.
    """
    service, carla = await people.service(engine), await people.customer(engine)
    crowd = [await people.technician(engine, name, service, capacity=1000) for name in ("tom", "tara", "tim")]
    draw, ends = random.Random(5), Counter[str]()

    async def post_job_with_bids() -> tuple[str, list[str]]:
        job = people.id_of(await people.job(engine, carla, service, blueprint="marketplace"))
        jobs_with_bids = [
            await bids.create_bid(engine, who, job, BidTerms(amount=1000 + n)) for n, who in enumerate(crowd)
        ]
        return job, [msgspec.json.decode(done.bid)["id"] for done in jobs_with_bids]

    async def race(job: str, names: list[str], *, late: bool) -> None:
        acts = [is_accepted(bids.accept_bid(engine, carla, job, name)) for name in names[:2]]
        acts.append(is_accepted(bids.withdraw_bid(engine, crowd[0], job, names[0])))
        acts.append(
            is_accepted(
                expire_job(engine, job, "open")
                if late
                else jobs.run_command(engine, carla, job, CommandInput(command="cancel"))
            )
        )
        draw.shuffle(acts)
        await asyncio.gather(*acts)

    seq = 0
    for turn in range(POSTED_JOBS // JOBS_AT_ONCE):
        jobs_with_bids = await asyncio.gather(*(post_job_with_bids() for _ in range(JOBS_AT_ONCE)))
        if late := turn % 2 == 1:
            # the end of the job, or one of the last 50 ms before it
            await advance(engine, 604_800 - (0 if turn % 4 == 3 else 0.05))
        await asyncio.gather(*(race(job, names, late=late) for job, names in jobs_with_bids))
        by_job, seq = await events_by_job(engine, seq)
        for job, names in jobs_with_bids:
            status, holder = await assert_consistent(engine, job, crowd, by_job[job])
            over = [e for e in by_job[job] if e.type in ("bid.closed", "bid.accepted")]
            endings = Counter(event_log.payload(e)["bid"]["id"] for e in over)
            bids_by_id = {
                b["id"]: b for b in map(msgspec.json.decode, (await bid_list.find_bids(engine, carla, job)).items)
            }
            assert endings == dict.fromkeys(names, 1)
            winners = [b for b in bids_by_id.values() if b["status"] == "accepted"]
            assert [b["technician"]["id"] for b in winners] == ([holder] if holder else [])
            assert (await read_job_record(engine, job))["amount"] == (str(winners[0]["amount"]) if winners else "5000")
            ends[status] += 1
    assert set(ends) == {"scheduled", "cancelled", "expired"}
