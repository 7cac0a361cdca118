"""Tests of the script library in Redis: another client flushes it, two releases run at once, and the memory is full."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path

import pytest
from redis.asyncio import Redis

from engine.domain import job_queries, jobs
from engine.errors import Unavailable
from engine.process.settings import Settings
from engine.runtime import Engine
from engine.startup import open_engine
from engine.store import scripts
from engine.store.error_replies import UNAVAILABLE_REPLIES, parse_error_reply
from tests.support import event_log, people


async def _library_names(engine: Engine) -> set[str]:
    entries = await engine.store.redis.execute_command("FUNCTION", "LIST", "LIBRARYNAME", scripts.FUNCTION_PREFIX + "*")
    return {entry[1].decode() for entry in entries}


async def test_functions_flushed_under_a_running_engine_are_loaded_again(engine: Engine) -> None:
    """After a FUNCTION FLUSH by another client the engine loads its functions again, and all commands in flight succeed
    exactly once.
    """
    service, carla = await people.service(engine), await people.customer(engine)
    tom = await people.technician(engine, "t1", service)
    for _ in range(3):
        await engine.store.redis.execute_command("FUNCTION", "FLUSH")
        outcomes = await asyncio.gather(*(people.job(engine, carla, service) for _ in range(20)))
        assert len({people.id_of(done) for done in outcomes}) == 20
    job = await people.offered_job(engine, carla, service)
    await engine.store.redis.execute_command("FUNCTION", "FLUSH")
    assert (await jobs.claim(engine, tom, job)).message == "Job accepted"
    assert await _library_names(engine) == {engine.store.scripts.name}
    created = await event_log.events(engine, "job.created")
    assert len(created) == 61


async def test_two_releases_run_side_by_side_and_the_old_library_is_removed(
    engine: Engine, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A new release deletes the script library of the old release from Redis when it starts. A process of the old
    release that still runs loads its own script library again and continues.
    """
    shutil.copytree(scripts.scripts_folder(), tmp_path / "lua")
    with (tmp_path / "lua" / "job_read.lua").open("a") as verb:
        verb.write("-- of another release\n")
    other_release = scripts.load_library(tmp_path / "lua")
    monkeypatch.setattr(scripts, "load_installed_library", lambda: other_release)
    service, carla = await people.service(engine), await people.customer(engine)
    async with open_engine(settings) as other:
        assert other.store.scripts.name != engine.store.scripts.name
        assert await _library_names(engine) == {other.store.scripts.name}
        await asyncio.gather(*(people.job(who, carla, service) for who in (engine, other) * 20))
        assert await _library_names(engine) == {engine.store.scripts.name, other.store.scripts.name}
    async with open_engine(settings) as other:
        assert await _library_names(engine) == {other.store.scripts.name}
    assert len(await event_log.events(engine, "job.created")) == 40


@pytest.mark.parametrize("word", sorted(UNAVAILABLE_REPLIES))
def test_an_error_before_any_effect_is_unavailable(word: str) -> None:
    """Each error reply in which Redis reports its own state, or that another node serves the key, becomes
    `unavailable` (503), never an internal error.
    """
    assert isinstance(parse_error_reply(f"{word} 3999 127.0.0.1:6381"), Unavailable)


async def test_too_few_replicas_are_unavailable_and_leave_no_trace(engine: Engine) -> None:
    """With `min-replicas-to-write` and no replica each command returns `unavailable` (503) without an effect; without
    the setting the same command succeeds.
    """
    service, carla = await people.service(engine), await people.customer(engine)
    tom = await people.technician(engine, "t1", service)
    job = await people.offered_job(engine, carla, service)
    before = await event_log.events(engine)
    redis: Redis = engine.store.redis
    await redis.config_set("min-replicas-to-write", "1")
    try:
        with pytest.raises(Unavailable, match="NOREPLICAS"):
            await jobs.claim(engine, tom, job)
        with pytest.raises(Unavailable, match="NOREPLICAS"):
            await people.job(engine, carla, service)
    finally:
        await redis.config_set("min-replicas-to-write", "0")
    assert await event_log.events(engine) == before
    assert (await jobs.claim(engine, tom, job)).message == "Job accepted"


async def test_a_full_memory_refuses_commands_without_an_effect_and_serves_reads(engine: Engine) -> None:
    """At `maxmemory` a command is `unavailable` and has no effect, and jobs can be read; when memory is available
    again, commands succeed.
    """
    service, carla = await people.service(engine), await people.customer(engine)
    tom = await people.technician(engine, "t1", service)
    job = await people.offered_job(engine, carla, service)
    before = await event_log.events(engine)
    redis: Redis = engine.store.redis
    await redis.config_set("maxmemory", "1mb")
    try:
        with pytest.raises(Unavailable, match="OOM"):
            await jobs.claim(engine, tom, job)
        with pytest.raises(Unavailable, match="OOM"):
            await people.job(engine, carla, service)
        assert b'"status":"broadcasted"' in await job_queries.read_job(engine, carla, job)
    finally:
        await redis.config_set("maxmemory", "0")
    assert await event_log.events(engine) == before
    assert (await jobs.claim(engine, tom, job)).message == "Job accepted"
