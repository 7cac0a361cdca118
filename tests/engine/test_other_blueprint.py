"""Jobs of a blueprint other than the default: the job's own blueprint decides who may send a command, its effects and
the reply.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.domain import jobs, offers
from engine.domain.jobs import CommandInput
from engine.errors import NotFound
from engine.process.settings import Settings
from engine.runtime import Engine
from engine.store import keys
from engine.types import DEFAULT_ZONE
from tests.support import blueprints, people

IDEMPOTENCY_KEY = "7f6b1c9e-4b8a-4f40-9d6e-0d5b6f3c1a11"
BLUEPRINT_CHANGES = {
    'name = "home_service"': 'name = "other"',
    'message = "Job accepted"': 'message = "Yours"',
    '[commands.depart]\nby = ["holder"]': '[commands.depart]\nby = ["customer"]',
    'by = ["customer", "ops"]\nfrom = ["broadcasted",': 'by = ["holder", "customer", "ops"]\nfrom = ["broadcasted",',
    'message = "Offer declined"': 'message = "Pity"',
}


@pytest.fixture
def settings(settings: Settings, tmp_path: Path) -> Settings:
    """Return settings with a second blueprint, in which other callers may send some commands and the replies have other
    texts.
    """
    return blueprints.settings_with_blueprints(
        settings, tmp_path / "blueprints", other=blueprints.edited_toml("home_service", BLUEPRINT_CHANGES)
    )


async def test_a_repeat_has_the_reply_of_the_jobs_own_blueprint(engine: Engine) -> None:
    """A claim and a decline, and their repeats, are answered with the texts of the job's own blueprint."""
    service, carla = await people.service(engine), await people.customer(engine)
    tom, tara = [await people.technician(engine, name, service) for name in ("t1", "t2")]
    job = await people.offered_job(engine, carla, service, blueprint="other")
    assert [(await offers.decline_offer(engine, tara, job, key=IDEMPOTENCY_KEY)).message for _ in range(2)] == [
        "Pity"
    ] * 2
    answers = [await jobs.claim(engine, tom, job, key=IDEMPOTENCY_KEY) for _ in range(2)]
    assert [done.message for done in answers] == ["Yours"] * 2
    assert answers[0].job == answers[1].job


async def test_the_jobs_own_blueprint_decides_who_may_send_a_command(engine: Engine) -> None:
    """In this blueprint the customer may send `depart` and the holder may send `cancel`, which the default blueprint
    refuses.
    """
    service, carla = await people.service(engine), await people.customer(engine)
    tom = await people.technician(engine, "t1", service)
    job = await people.offered_job(engine, carla, service, blueprint="other")
    await jobs.claim(engine, tom, job)
    await jobs.run_command(engine, carla, job, CommandInput(command="depart"))
    with pytest.raises(NotFound):
        await jobs.run_command(
            engine, people.technician_without_account("stranger"), job, CommandInput(command="cancel")
        )
    await jobs.run_command(engine, tom, job, CommandInput(command="cancel"))
    assert await engine.store.redis.hget(keys.job(DEFAULT_ZONE, job), "status") == b"cancelled"
