"""Replies of Redis that are lost on their way to the engine: no command has two effects (promise G2 of
docs/design.md).
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest

from engine.domain import job_queries, jobs
from engine.domain.jobs import CommandInput
from engine.errors import Indeterminate, Unavailable
from engine.process.settings import Settings
from engine.runtime import Engine
from engine.startup import open_engine
from engine.store import keys
from engine.types import DEFAULT_ZONE
from tests.support import event_log, people
from tests.support.proxy import Proxy
from tests.support.wait import wait_until


@pytest.fixture
async def proxy(empty_redis: str) -> AsyncIterator[Proxy]:
    """Yield a proxy in front of the real Redis server."""
    async with Proxy(empty_redis) as between:
        yield between


@pytest.fixture
async def engine(proxy: Proxy, settings: Settings) -> AsyncIterator[Engine]:
    """Yield an engine that reaches Redis through the proxy."""
    Path(settings.data).mkdir(exist_ok=True)
    async with open_engine(msgspec.structs.replace(settings, redis=proxy.url)) as opened:
        yield opened


async def test_a_claim_whose_reply_is_lost_is_indeterminate_and_its_repeat_succeeds(
    engine: Engine, proxy: Proxy
) -> None:
    """A claim whose reply is lost raises Indeterminate and is not retried by the engine; a repeat with the same key
    returns the outcome of the one claim.
    """
    service, carla = await people.service(engine), await people.customer(engine)
    tom = await people.technician(engine, "t1", service)
    job, key = await people.offered_job(engine, carla, service), str(uuid.uuid4())
    proxy.drop_next = b'"status":"accepted"'
    with pytest.raises(Indeterminate):
        await jobs.claim(engine, tom, job, key=key)
    assert proxy.dropped == 1
    await wait_until(lambda: engine.store.pipeline.is_up)
    again = await jobs.claim(engine, tom, job, key=key)
    assert again.repeated and again.message == "Job accepted"
    assert len(await event_log.events(engine, "job.accepted", job)) == 1


async def test_a_read_whose_reply_is_lost_is_unavailable(engine: Engine, proxy: Proxy) -> None:
    """A read whose reply is lost is Unavailable, because a read changes nothing. The store refuses a script that writes
    in `read`, and a script that reads in `run`.
    """
    service, carla = await people.service(engine), await people.customer(engine)
    job = await people.offered_job(engine, carla, service)
    proxy.drop_next = b'"status":"broadcasted"'
    with pytest.raises(Unavailable):
        await job_queries.read_job(engine, carla, job)
    assert proxy.dropped == 1
    await wait_until(lambda: engine.store.pipeline.is_up)
    assert b'"status":"broadcasted"' in await job_queries.read_job(engine, carla, job)
    proxy.drop_next = b"broadcasted"
    with pytest.raises(Unavailable):
        await engine.store.command("HGET", keys.job(DEFAULT_ZONE, job), "status")
    assert proxy.dropped == 2
    for call, script in ((engine.store.read, "job_step"), (engine.store.run, "job_read")):
        with pytest.raises(TypeError, match=script):
            await call(DEFAULT_ZONE, script, keys={}, args={})


async def test_a_connection_cut_again_and_again_loses_and_doubles_nothing(engine: Engine, proxy: Proxy) -> None:
    """Although the connection to Redis is cut repeatedly, each command that is retried with its key happens once: the
    log has no gaps, and each job passed its states in order.
    """
    service, carla = await people.service(engine), await people.customer(engine)
    tom = await people.technician(engine, "t1", service)

    async def retry_until_done(job: str, command: str) -> None:
        key = str(uuid.uuid4())
        while True:
            try:
                await jobs.run_command(engine, tom, job, CommandInput(command=command), key=key)
                return
            except (Indeterminate, Unavailable):
                await asyncio.sleep(0.01)

    async def cut_often() -> None:
        while True:
            await asyncio.sleep(0.03)
            proxy.cut()

    done: list[str] = []
    for _ in range(8):
        await wait_until(lambda: engine.store.pipeline.is_up)
        done.append(await people.offered_job(engine, carla, service))
        cutter = asyncio.create_task(cut_often())
        for command in ("claim", "depart", "arrive", "start", "complete"):
            await retry_until_done(done[-1], command)
        cutter.cancel()
        await wait_until(lambda: engine.store.pipeline.is_up)
    for job in done:
        steps = [e.type for e in await event_log.events(engine, job=job) if e.actor.startswith("technician:")]
        assert steps == ["job.accepted", "room.opened", *["job.status"] * 4]
    seqs = [e.seq for e in await event_log.events(engine)]
    assert seqs == list(range(1, len(seqs) + 1))
    assert await engine.store.redis.hget(keys.technician(DEFAULT_ZONE, "t1"), "load") == b"0"  # type: ignore[arg-type]


async def test_a_command_that_was_not_sent_is_unavailable(engine: Engine, proxy: Proxy) -> None:
    """While Redis is unreachable a command that was not sent is refused with `unavailable`, which promises that the
    command had no effect.
    """
    service = await people.service(engine)
    tom = await people.technician(engine, "t1", service)
    await proxy.__aexit__()
    await wait_until(lambda: not engine.store.pipeline.is_up)
    with pytest.raises(Unavailable):
        await asyncio.wait_for(jobs.claim(engine, tom, "job_main_01m7ykehw8kv7j2zzy75kyk383"), 10)
