"""Commands that waited while Redis was away do not run if their zone is closed when Redis returns."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path

import pytest

from engine.domain import jobs
from engine.errors import Unavailable
from engine.process.settings import Settings
from engine.startup import open_engine
from engine.types import DEFAULT_ZONE
from engine.workers import archiver
from tests.support import people, valkey
from tests.support.wait import wait_until


async def test_a_claim_that_waited_does_not_run_in_an_older_file(tmp_path: Path) -> None:
    """A job is won and archived, then Redis comes back with a file from before that. A claim that was sent while Redis
    was away is `unavailable`: that file has the same epoch, and in it the job is still free.
    """
    home, options, port = tmp_path / "redis", ("--appendfsync", "always"), valkey.free_port()
    home.mkdir()
    process, url = valkey.start_server(home, *options, port=port)
    try:
        async with open_engine(Settings(data=str(tmp_path), redis=url, limits="off")) as engine:
            service, carla = await people.service(engine), await people.customer(engine)
            tom, tara = [await people.technician(engine, name, service) for name in ("t1", "t2")]
            job = await people.offered_job(engine, carla, service)
            shutil.copytree(home / "appendonlydir", tmp_path / "older")
            await jobs.claim(engine, tom, job)
            await archiver.run_once(engine)
            process.kill()
            process.wait()
            await wait_until(lambda: not engine.store.pipeline.is_up)
            claim = asyncio.create_task(jobs.claim(engine, tara, job))
            await asyncio.sleep(0)
            shutil.rmtree(home / "appendonlydir")
            shutil.copytree(tmp_path / "older", home / "appendonlydir")
            process, _ = valkey.start_server(home, *options, port=port)
            with pytest.raises(Unavailable, match="closed"):
                await claim
            assert not engine.store.zones[DEFAULT_ZONE].open
    finally:
        process.kill()
        process.wait()
