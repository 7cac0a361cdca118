"""Acknowledgement level ``sql`` while the database is away: a command is indeterminate, and its repeat gets the reply
later.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from time import monotonic

import msgspec
import pytest

from engine.domain import jobs
from engine.domain.jobs import CommandInput
from engine.errors import Indeterminate
from engine.process.settings import Settings
from engine.runtime import Engine
from engine.startup import open_engine
from engine.workers import archiver
from tests.archive.conftest import DatabaseAway
from tests.support import event_log, people
from tests.support.wait import wait_until

KEY = "7f6b1c9e-4b8a-4f40-9d6e-0d5b6f3c1a44"


@asynccontextmanager
async def running_archiver(engine: Engine) -> AsyncIterator[None]:
    work = asyncio.create_task(archiver.run(engine))
    try:
        yield
    finally:
        work.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await work


async def test_the_database_away_and_back(settings: Settings, database_away: DatabaseAway) -> None:
    """While the database is away, a claim is indeterminate after 2 s. When it is back, the repeat gets the reply of the
    first request, and further commands are acknowledged.
    """
    async with open_engine(msgspec.structs.replace(settings, durability="sql")) as engine, running_archiver(engine):
        service, carla = await people.service(engine), await people.customer(engine)
        tom = await people.technician(engine, "t1", service)
        job = await people.offered_job(engine, carla, service)
        async with database_away():
            began = monotonic()
            with pytest.raises(Indeterminate):
                await jobs.claim(engine, tom, job, key=KEY)
            assert 1.9 < monotonic() - began < 8

        async def repeat() -> jobs.Outcome | None:
            with contextlib.suppress(Indeterminate):
                return await jobs.claim(engine, tom, job, key=KEY)
            return None

        again = await wait_until(repeat, within_s=20, what="the reply of the repeat")
        assert again.repeated and again.message == "Job accepted"
        assert len(await event_log.events(engine, "job.accepted", job)) == 1
        began = monotonic()
        await jobs.run_command(engine, tom, job, CommandInput(command="depart"))
        assert monotonic() - began < 1.9
