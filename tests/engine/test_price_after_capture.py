"""A job whose price falls to what was paid before is paid by the step that changes the price."""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import Any

import msgspec
import pytest

from engine.domain import edits, job_queries, jobs, prices
from engine.domain.commands import CommandInput
from engine.process.settings import Settings
from engine.runtime import Engine
from engine.types import JobId, Principal
from tests.engine.test_holds import complete, open_market, report
from tests.rebuild.compare import check_rebuild
from tests.support import event_log, people
from tests.support.blueprints import edited_toml, settings_with_blueprints

CHANGES = {
    'name = "marketplace"': 'name = "haggling"',
    'propose = ["scheduled"]': 'propose = ["scheduled", "awaiting_confirmation"]',
    "locks_price = true\n": "",
    "[edit]\n": '[edit]\nawaiting_confirmation = ["amount"]\n',
}
PAID = 3_000


@pytest.fixture
def settings(settings: Settings, tmp_path: Path) -> Settings:
    """Return settings with a blueprint in which the price can change after the work, and no money is held."""
    text = edited_toml("marketplace", CHANGES).replace("holds = true\n", "")
    return settings_with_blueprints(settings, tmp_path / "own", haggling=text)


async def test_a_price_that_falls_to_what_was_paid_ends_the_job(engine: Engine) -> None:
    """An accepted proposal and an edit pay the job if the captured amount covers the new price, in one step. A price
    that it does not cover leaves the job as it is. The repeated answer is the first one.
    """
    carla, service, tom = await open_market(engine)

    async def confirmed_job() -> JobId:
        more = {"blueprint": "haggling", "technician": tom.id}
        job = people.id_of(await people.job(engine, carla, service, **more))  # type: ignore[arg-type]
        await jobs.run_command(engine, tom, job, CommandInput(command="accept"))
        await complete(engine, carla, tom, job)
        assert await report(engine, job, "captured", f"pi_{job}", PAID) == "ok"
        assert await status_of(engine, carla, job) == ("awaiting_confirmation", PAID)
        return job

    job = await confirmed_job()
    for amount, status in ((PAID + 1, "awaiting_confirmation"), (PAID, "paid")):
        proposed = await prices.propose_price(engine, tom, job, amount)
        name = msgspec.json.decode(proposed.proposal)["id"]
        done = await prices.answer_proposal(engine, carla, job, name, "accepted")
        again = await prices.answer_proposal(engine, carla, job, name, "accepted")
        assert (again.repeated, again.proposal) == (True, done.proposal)
        assert await status_of(engine, carla, job) == (status, PAID)
    edited = await confirmed_job()
    for amount, status in ((PAID + 1, "awaiting_confirmation"), (PAID, "paid")):
        key = str(uuid.uuid4())
        first = await edits.edit_job(engine, carla, edited, {"amount": amount}, key=key)
        again_edited = await edits.edit_job(engine, carla, edited, {"amount": amount}, key=key)
        assert (again_edited.repeated, again_edited.seq, again_edited.job) == (True, first.seq, first.job)
        assert await status_of(engine, carla, edited) == (status, PAID)
    for each in (job, edited):
        assert len(await event_log.events(engine, "session.ledger", each)) == 1
    await check_rebuild(engine)


async def status_of(engine: Engine, carla: Principal, job: JobId) -> tuple[str, int]:
    """Return the job's status and its paid amount, as its customer sees them."""
    shown: Any = msgspec.json.decode(bytes(await job_queries.read_job(engine, carla, job)))  # type: ignore[arg-type]
    return shown["status"], shown["paid_amount"]
