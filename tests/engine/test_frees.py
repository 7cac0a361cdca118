"""States with `frees` in a blueprint: the work is done but the job is not over, so its holder has capacity for another
job.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.domain import jobs
from engine.domain.commands import CommandInput
from engine.errors import AtCapacity
from engine.process.settings import Settings
from engine.runtime import Engine
from engine.store import keys
from engine.types import DEFAULT_ZONE, Principal, TechnicianId
from tests.support import blueprints, people

BLUEPRINT_CHANGES = {
    "completed = { ": 'shown = { phase = "active", frees = true, says = "The work is shown" }\ncompleted = { ',
    "[commands.complete]": """[commands.show]
by = ["holder"]
from = ["in_progress"]
to = "shown"
event = "job.status"

[commands.mend]
by = ["customer"]
from = ["shown"]
to = "in_progress"
event = "job.status"

[commands.complete]""",
}


@pytest.fixture
def settings(settings: Settings, tmp_path: Path) -> Settings:
    """Return settings with a `home_service` in which the customer reviews the completed work and may send it back."""
    text = blueprints.edited_toml("home_service", BLUEPRINT_CHANGES)
    return blueprints.settings_with_blueprints(settings, tmp_path / "blueprints", home_service=text)


async def load_and_job_count(engine: Engine, who: Principal) -> tuple[bytes, int]:
    """Return the technician's load, and the number of jobs that they hold."""
    key = keys.technician(DEFAULT_ZONE, TechnicianId(who.id))
    load: bytes = await engine.store.redis.hget(key, "load")  # type: ignore[misc, assignment]
    return load, await engine.store.redis.scard(keys.technician_jobs(DEFAULT_ZONE, TechnicianId(who.id)))  # type: ignore[misc]


async def test_a_holder_whose_work_is_sent_back_is_busy_again(engine: Engine) -> None:
    """During the review the holder has capacity. When the customer sends the work back, the holder is at capacity
    again, until the job is completed.
    """
    service, carla = await people.service(engine), await people.customer(engine)
    tom = await people.technician(engine, "tom", service)
    job = await people.offered_job(engine, carla, service)
    for command in ("claim", "depart", "arrive", "start", "show"):
        await jobs.run_command(engine, tom, job, CommandInput(command=command))
    assert await load_and_job_count(engine, tom) == (b"0", 0)
    other = await people.offered_job(engine, carla, service)
    await jobs.run_command(engine, carla, job, CommandInput(command="mend"))
    assert await load_and_job_count(engine, tom) == (b"1", 1)
    with pytest.raises(AtCapacity):
        await jobs.claim(engine, tom, other)
    await jobs.run_command(engine, tom, job, CommandInput(command="complete"))
    assert await load_and_job_count(engine, tom) == (b"0", 0)
    await jobs.claim(engine, tom, other)
