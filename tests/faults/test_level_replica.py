"""Acknowledgement level ``replica``: a reply, a repeat and a push wait until every replica has what was written."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import msgspec
import pytest

from engine.domain import job_queries, jobs
from engine.errors import Indeterminate, Unavailable
from engine.idempotency import in_redis
from engine.process.levels import Level
from engine.process.settings import Settings
from engine.runtime import Engine
from engine.startup import open_engine
from engine.store import pipeline
from engine.store.connection import Store
from engine.types import DEFAULT_ZONE, JobId, Principal, ServiceId
from engine.workers import archiver, notifier
from server.health import Health
from tests.faults.pair import RedisPair, running_pair
from tests.server.gateway.conftest import running_node
from tests.support import event_log, people, valkey
from tests.support.wait import wait_until

KEY = "7f6b1c9e-4b8a-4f40-9d6e-0d5b6f3c1a33"


@pytest.fixture
async def pair(tmp_path: Path) -> AsyncIterator[RedisPair]:
    async with running_pair(tmp_path) as both:
        yield both


@pytest.fixture
def replica_settings(pair: RedisPair, settings: Settings) -> Settings:
    return msgspec.structs.replace(settings, redis=pair.proxy.url, durability="replica", replicas=1)


@pytest.fixture
async def engine(replica_settings: Settings) -> AsyncIterator[Engine]:
    async with open_engine(replica_settings) as opened:
        yield opened


async def offered_jobs(engine: Engine, count: int) -> tuple[Principal, Principal, list[JobId]]:
    """Book jobs with offers to two technicians. Return the technicians and the jobs."""
    service, carla = await people.service(engine), await people.customer(engine)
    tom, tara = [await people.technician(engine, name, service, capacity=9) for name in ("t1", "t2")]
    return tom, tara, [await people.offered_job(engine, carla, service) for _ in range(count)]


@pytest.mark.parametrize("level", ["fast", "replica"])
async def test_a_failover_to_a_replica_that_lags(pair: RedisPair, replica_settings: Settings, level: Level) -> None:
    """A replica that no longer receives writes is promoted. At acknowledgement level ``replica`` it has every
    acknowledged claim. At level ``fast`` it lacks one, and another technician gets the job.
    """
    async with open_engine(msgspec.structs.replace(replica_settings, durability=level)) as engine:
        tom, tara, [first, second] = await offered_jobs(engine, 2)
        assert (await jobs.claim(engine, tom, first)).message == "Job accepted"
        await wait_until(pair.has_same_head)
        pair.replication.flows.clear()
        acknowledged = [first]
        try:
            await jobs.claim(engine, tom, second)
            acknowledged.append(second)
        except Indeterminate:
            pass
        assert (second in acknowledged) == (level == "fast")
        await pair.fail_over()
        pair.proxy.cut()
        undone = [job for job in (first, second) if await _can_claim(engine, tara, job)]
        assert undone == [second]
        assert [job for job in undone if job in acknowledged] == ([second] if level == "fast" else [])


async def test_a_failover_at_level_sql(pair: RedisPair, replica_settings: Settings) -> None:
    """A replica without an acknowledged claim is promoted at acknowledgement level ``sql``. The database has the claim,
    so the zone does not open on that server, and nobody else gets the job.
    """
    async with open_engine(msgspec.structs.replace(replica_settings, durability="sql")) as engine:
        work = asyncio.create_task(archiver.run(engine))
        tom, tara, [job] = await offered_jobs(engine, 1)
        await wait_until(pair.has_same_head)
        pair.replication.flows.clear()
        assert (await jobs.claim(engine, tom, job)).message == "Job accepted"
        await pair.fail_over()
        pair.proxy.cut()
        await wait_until(lambda: not engine.store.zones[DEFAULT_ZONE].open, within_s=15)
        with pytest.raises(Unavailable, match="behind the archive"):
            await jobs.claim(engine, tara, job)
        work.cancel()
        await asyncio.gather(work, return_exceptions=True)


async def _can_claim(engine: Engine, who: Principal, job: JobId) -> bool:
    """Return whether the technician gets the job from the new primary."""

    async def outcome() -> str:
        try:
            await jobs.claim(engine, who, job, key=KEY[:-1] + job[-1] if job[-1] in "0123456789abcdef" else None)
        except (Unavailable, Indeterminate):
            return ""
        except Exception as error:
            return type(error).__name__
        return "claimed"

    return bool(await wait_until(outcome, within_s=15, what="an answer of the new primary") == "claimed")


async def test_a_repeat_on_another_connection_waits_too(engine: Engine, pair: RedisPair, settings: Settings) -> None:
    """A repeated command writes nothing and only finds the first outcome. Its reply also waits until the replica has
    what the first request wrote, and is then the first reply.
    """
    tom, _, [job] = await offered_jobs(engine, 1)
    other_settings = msgspec.structs.replace(engine.settings, data=settings.data)
    async with open_engine(other_settings) as other:
        pair.replication.flows.clear()
        for each in (engine, other):
            with pytest.raises(Indeterminate):
                await jobs.claim(each, tom, job, key=KEY)
        pair.replication.flows.set()
        await wait_until(pair.has_same_head)
        again = await jobs.claim(other, tom, job, key=KEY)
        assert again.repeated and again.message == "Job accepted"


async def test_reads_and_refusals_do_not_wait(engine: Engine, pair: RedisPair) -> None:
    """While the replica lags, a job can be read."""
    tom, _, [job] = await offered_jobs(engine, 1)
    pair.replication.flows.clear()
    assert msgspec.json.decode(await job_queries.read_job(engine, tom, job))["id"] == job


async def test_only_acknowledged_events_are_handed_on(replica_settings: Settings, pair: RedisPair) -> None:
    """While the replica lags, neither a session nor the notifier gets new events; later they get all of them once."""
    Path(replica_settings.data).mkdir(exist_ok=True)
    async with running_node(replica_settings) as node, node.connect("ann") as client:
        await node.append("user:ann")
        assert await client.next_seqs(1) == [1]
        await notifier.run_once(node.engine)
        pair.replication.flows.clear()
        with pytest.raises(Indeterminate):
            await node.append("user:ann", times=2)
        await asyncio.sleep(0.5)
        assert node.gateway.relay.tails[DEFAULT_ZONE].cursor == 1
        assert await event_log.read_head(node.engine) == 3
        pair.replication.flows.set()
        assert await client.next_seqs(2) == [2, 3]


async def test_a_replica_that_is_gone_makes_commands_unavailable(
    engine: Engine, pair: RedisPair, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A command that meets too few replicas is indeterminate at first. Once the loss is noticed, commands are
    unavailable, nothing is done, and ``/readyz`` names the reason; all recovers with the replica.
    """
    monkeypatch.setattr(pipeline, "CALL_TIMEOUT_S", 1.0)
    service, carla = await people.service(engine), await people.customer(engine)
    health = Health(engine)
    assert health.durability_report()["checks"] == ["1 of 1 replicas connected"]
    await pair.replicate(pair.second_url, None)
    with pytest.raises(Indeterminate):
        await people.job(engine, carla, service)
    await health.check()
    await wait_until(lambda: not engine.store.pipeline.is_up)
    head = await event_log.read_head(engine)
    with pytest.raises(Unavailable):
        await people.job(engine, carla, service)
    assert "level replica: 0 of 1 replicas are connected" in health.problems()
    assert await event_log.read_head(engine) == head
    await pair.replicate(pair.second_url, pair.replication.url)
    await wait_until(lambda: engine.store.pipeline.is_up, within_s=15)
    await wait_until(lambda: _can_book(engine, carla, service), within_s=15)
    assert health.problems() == []


async def _can_book(engine: Engine, carla: Principal, service: ServiceId) -> bool:
    try:
        await people.job(engine, carla, service)
    except (Unavailable, Indeterminate):
        return False
    return True


async def test_more_replicas_than_waited_for_are_named(engine: Engine, pair: RedisPair, tmp_path: Path) -> None:
    """A replica beyond the configured number weakens the acknowledgement level, because no reply waits for it and it
    may be promoted.
    """
    (tmp_path / "three").mkdir()
    async with AsyncExitStack() as stack:
        third = stack.enter_context(valkey.run_server(tmp_path / "three", "--repl-diskless-sync-delay", "0"))
        await pair.replicate(third, pair.first_url)
        await wait_until(lambda: pair.is_synchronised(third))
        health = Health(engine)
        await health.check()
        assert health.durability_report()["warnings"] == [
            "1 more replicas are connected than are waited for: one of them must not be promoted"
        ]
        assert health.problems() == []


async def test_the_question_for_an_outcome_waits_too(
    engine: Engine, pair: RedisPair, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``GET /v1/requests/{key}`` does not confirm a claim that the replica lacks, nor one that it read from a primary
    that is replaced before the replicas have answered.
    """
    tom, _, [job] = await offered_jobs(engine, 1)
    pair.replication.flows.clear()
    for ask in (lambda: jobs.claim(engine, tom, job, key=KEY), lambda: in_redis.find_record(engine, tom, KEY)):
        with pytest.raises(Indeterminate):
            await ask()
    pair.replication.flows.set()
    await wait_until(pair.has_same_head)
    assert (await in_redis.find_record(engine, tom, KEY)).status == "done"
    command = Store.command

    async def run_on_another_server(store: Store, *words: Any) -> Any:
        shard = store.zones[DEFAULT_ZONE].shard
        shard.run_id = "another" if words[0] == "SET" else shard.run_id
        return await command(store, *words)

    monkeypatch.setattr(Store, "command", run_on_another_server)
    with pytest.raises(Indeterminate, match="replaced"):
        await in_redis.find_record(engine, tom, KEY)
