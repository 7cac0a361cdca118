"""Acknowledgement level ``sql``: a reply, a repeat, a push and a notification wait until the archive has the event."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import msgspec
import pytest

from engine.domain import bid_list, bids, edits, jobs, offers, sync
from engine.domain.bids import BidTerms
from engine.domain.jobs import CommandInput
from engine.errors import Indeterminate, Unavailable
from engine.idempotency import in_redis
from engine.process.levels import Level
from engine.process.settings import Settings
from engine.runtime import Engine
from engine.startup import open_engine
from engine.store import acknowledgement, keys
from engine.store.acknowledgement import without_acknowledgement
from engine.types import DEFAULT_ZONE, JobId, Principal, ServiceId
from engine.workers import archiver, notifier
from server.health import Health
from tests.server.gateway.conftest import running_node
from tests.support import event_log, people
from tests.support.wait import wait_until

KEY = "7f6b1c9e-4b8a-4f40-9d6e-0d5b6f3c1a22"


@pytest.fixture
def sql_settings(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Return settings of level ``sql``. A reply waits for the archive only briefly, since no archiver runs."""
    monkeypatch.setattr(acknowledgement, "ARCHIVE_TIMEOUT_S", 0.2)
    return msgspec.structs.replace(settings, durability="sql")


@pytest.fixture
async def engine(sql_settings: Settings) -> AsyncIterator[Engine]:
    async with open_engine(sql_settings) as opened:
        yield opened


async def offered_job(engine: Engine, *names: str, **changes: object) -> tuple[Principal, Principal, JobId]:
    """Book a job with offers to the technicians ``names``, and archive it. Return its customer, the first technician
    and its id.
    """
    with without_acknowledgement():
        service, carla = await people.service(engine), await people.customer(engine)
        tom, *_ = [await people.technician(engine, name, service) for name in names or ("t1",)]
        job = await people.offered_job(engine, carla, service, **changes)
    await archiver.run_once(engine)
    return carla, tom, job


async def test_a_claim_and_its_repeat_wait_for_the_archive(engine: Engine) -> None:
    """A claim that is not archived in time is indeterminate, and so are its repeat and the question for its outcome.
    ``/readyz`` names the archive. When it has the claim, the repeat returns the reply of the first request.
    """
    _, tom, job = await offered_job(engine)
    health = Health(engine)
    with pytest.raises(Indeterminate):
        await jobs.claim(engine, tom, job, key=KEY)
    with pytest.raises(Indeterminate):
        await jobs.claim(engine, tom, job, key=KEY)
    assert health.problems() == ["zone main: level sql: the archive is more than 0.2 s behind: is an archiver running?"]
    with pytest.raises(Indeterminate):
        await in_redis.find_record(engine, tom, KEY)
    await archiver.run_once(engine)
    await health.check()
    assert health.problems() == []
    again = await jobs.claim(engine, tom, job, key=KEY)
    assert again.repeated and again.message == "Job accepted"
    assert (await in_redis.find_record(engine, tom, KEY)).status == "done"
    assert len(await event_log.events(engine, "job.accepted", job)) == 1


async def test_a_reply_waits_for_as_long_as_the_archive_needs(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """A claim is acknowledged as soon as the archive has it, and not before."""
    monkeypatch.setattr(acknowledgement, "ARCHIVE_TIMEOUT_S", 10.0)
    _, tom, job = await offered_job(engine)
    claim = asyncio.create_task(jobs.claim(engine, tom, job))
    await wait_until(lambda: event_log.events(engine, "job.accepted", job))
    await asyncio.sleep(0.05)
    assert not claim.done()
    await archiver.run_once(engine)
    assert (await asyncio.wait_for(claim, 5)).message == "Job accepted"


Repeat = Callable[[Engine, Principal, Principal, JobId], Awaitable[object]]


async def decline(engine: Engine, _: Principal, tom: Principal, job: JobId) -> object:
    return await offers.decline_offer(engine, tom, job)


async def withdraw_bid(engine: Engine, _: Principal, tom: Principal, job: JobId) -> object:
    """Withdraw the technician's bid, after making one if there is none."""
    with without_acknowledgement():
        if not (found := (await bid_list.find_bids(engine, tom, job)).items):
            found = [bytes((await bids.create_bid(engine, tom, job, BidTerms(amount=4000))).bid)]
    return await bids.withdraw_bid(engine, tom, job, msgspec.json.decode(found[0])["id"])


async def edit(engine: Engine, carla: Principal, _: Principal, job: JobId) -> object:
    return await edits.edit_job(engine, carla, job, {"notes": "Second floor"})


async def book_again(engine: Engine, carla: Principal, _: Principal, job: JobId) -> object:
    service = ServiceId((await engine.store.redis.hget(keys.job(DEFAULT_ZONE, job), "service")).decode())  # type: ignore[misc]
    return await people.job(engine, carla, service, reference="r1")


@pytest.mark.parametrize("repeat", [decline, withdraw_bid, edit, book_again])
async def test_a_repeat_under_another_key_waits_too(engine: Engine, repeat: Repeat) -> None:
    """A repeat that changes nothing, and has no event of its own, is not acknowledged before the first request is."""
    carla, tom, job = await offered_job(engine, **({"blueprint": "marketplace"} if repeat is withdraw_bid else {}))
    for _ in range(2):
        with pytest.raises(Indeterminate):
            await repeat(engine, carla, tom, job)
    await archiver.run_once(engine)
    await repeat(engine, carla, tom, job)


async def test_a_claim_of_another_history_is_not_acknowledged(engine: Engine) -> None:
    """While a claim waits, a failover leads to a server that lacks it: the other event with the same seq is archived,
    and the claim is not acknowledged.
    """
    _, tom, job = await offered_job(engine)
    claim = asyncio.create_task(jobs.claim(engine, tom, job))
    await wait_until(lambda: event_log.events(engine, "job.accepted", job))
    await engine.store.redis.hset(keys.zone_meta(DEFAULT_ZONE), mapping={"epoch": "e2-0a1b2c3d", "archived": 10_000})  # type: ignore[misc]
    with pytest.raises(Indeterminate):
        await claim


async def test_the_relay_holds_back_what_is_not_archived(sql_settings: Settings) -> None:
    """At acknowledgement level ``sql`` a session gets an event only after SQL has it, even if the session starts in the
    meantime.
    """
    Path(sql_settings.data).mkdir(exist_ok=True)
    async with running_node(sql_settings) as node, node.connect("ann") as client:
        await node.append("user:ann", times=2)
        await asyncio.sleep(0.6)
        assert node.gateway.relay.tails[DEFAULT_ZONE].cursor == 0
        async with node.connect("ann") as late:
            assert late.hello["zones"]["main"]["seq"] == 0  # type: ignore[attr-defined]
        await archiver.run_once(node.engine)
        assert await client.next_seqs(2) == [1, 2]


async def test_a_gateway_that_starts_reads_only_what_is_archived(sql_settings: Settings) -> None:
    """At acknowledgement level ``sql`` the replay buffer of a new gateway ends at the archived seq."""
    Path(sql_settings.data).mkdir(exist_ok=True)
    async with running_node(sql_settings) as node:
        await node.append("user:ann", times=2)
        await archiver.run_once(node.engine)
        await node.append("user:ann")
        async with running_node(sql_settings) as second:
            assert second.gateway.relay.tails[DEFAULT_ZONE].cursor == 2
            await archiver.run_once(node.engine)
            await second.wait_until_relayed(3)


async def test_the_cursor_of_a_snapshot_is_archived(engine: Engine) -> None:
    """``GET /v1/sync`` gives a cursor that the relay has reached or soon reaches, although the snapshot is newer."""
    carla, tom, job = await offered_job(engine)
    archived = await event_log.read_head(engine)
    with pytest.raises(Indeterminate):
        await jobs.claim(engine, tom, job)
    found = await sync.read_snapshot(engine, carla)
    assert found.cursor[DEFAULT_ZONE].seq == archived
    assert msgspec.json.decode(found.jobs[0])["status"] == "accepted"


async def test_the_notifier_holds_back_what_is_not_archived(engine: Engine) -> None:
    """At acknowledgement level ``sql`` nobody is notified of an event that SQL does not have yet."""
    carla, tom, job = await offered_job(engine)
    await notifier.run_once(engine)
    before = len(await event_log.events(engine, "notification"))
    with pytest.raises(Indeterminate):
        await jobs.claim(engine, tom, job)
    await notifier.run_once(engine)
    assert len(await event_log.events(engine, "notification")) == before
    await archiver.run_once(engine)
    await notifier.run_once(engine)
    assert len(await event_log.events(engine, "notification")) > before
    assert carla.id


@pytest.mark.parametrize("level", ["fast", "sql"])
async def test_a_redis_that_lost_an_acknowledged_claim(settings: Settings, level: Level) -> None:
    """Redis comes back without the last acknowledged claim. At level ``sql`` the job cannot be claimed again: the
    archive has the claim, so the zone stays closed. At level ``fast`` the claim is undone.
    """
    async with open_engine(msgspec.structs.replace(settings, durability=level)) as engine:
        _, tom, job = await offered_job(engine, "t1", "t2")
        before = {key: await engine.store.redis.dump(key) for key in await engine.store.redis.keys()}
        claim = asyncio.create_task(jobs.claim(engine, tom, job))
        await wait_until(lambda: event_log.events(engine, "job.accepted", job))
        if level == "sql":
            await archiver.run_once(engine)
        assert (await claim).message == "Job accepted"
        await engine.store.redis.flushall()
        for key, value in before.items():
            await engine.store.redis.restore(key, 0, value)
        await engine.store.reopen(DEFAULT_ZONE, stale=engine.store.zones[DEFAULT_ZONE].epoch)
        second = jobs.claim(engine, people.technician_without_account("t2"), job)
        if level == "sql":
            with pytest.raises(Unavailable, match="behind the archive"):
                await second
        else:
            assert (await second).message == "Job accepted"


async def test_the_archiver_does_not_pause_between_batches(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """With an archiver in the process, each of several commands in a row is acknowledged."""
    monkeypatch.setattr(archiver, "BATCH_PAUSE_S", 3600.0)
    async with open_engine(msgspec.structs.replace(settings, durability="sql")) as engine:
        work = asyncio.create_task(archiver.run(engine))
        service, carla = await people.service(engine), await people.customer(engine)
        tom = await people.technician(engine, "t1", service)
        job = await people.offered_job(engine, carla, service)
        assert (await jobs.claim(engine, tom, job)).seq
        await jobs.run_command(engine, carla, job, CommandInput(command="cancel"))
        work.cancel()
        await asyncio.gather(work, return_exceptions=True)
