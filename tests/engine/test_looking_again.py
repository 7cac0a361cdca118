"""A job whose search starts a second time: the new search begins with the first wave or the first allocation."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from engine.domain import bids, jobs, offers
from engine.domain.commands import CommandInput
from engine.process.settings import Settings
from engine.runtime import Engine
from engine.store import keys
from engine.types import DEFAULT_ZONE, JobId, Principal
from tests.support import event_log, people
from tests.support.clock import advance
from tests.support.dispatch_setup import run_due_tasks

CASCADE_TOML = """
name = "cascade"
version = 1
title = "Bids, then whoever is first, then whom the engine chooses"
[dispatch]
job_s = 0
repeat_s = 5
waves = [{ size = 5, radius_m = 0, interval_s = 5 }]
[states]
bidding = { phase = "open", seeks = "bids", says = "Bids" }
hurried = { phase = "open", seeks = "broadcast", says = "Whoever is first" }
given = { phase = "open", seeks = "allocate", says = "The engine chooses" }
paused = { phase = "open", says = "Paused" }
held = { phase = "assigned", says = "Held" }
left = { phase = "active", then = "over", says = "Left" }
over = { phase = "active", then = "hurried", says = "Over" }
done = { phase = "done", says = "Done" }
[commands]
bid = { by = ["technician"], from = ["bidding"], does = "bid", event = "bid.created" }
withdraw = { by = ["technician"], from = ["bidding"], does = "withdraw", event = "bid.closed" }
award = { by = ["customer"], from = ["bidding"], to = "held", does = "award", event = "job.assigned" }
hurry = { by = ["customer"], from = ["bidding"], to = "hurried", event = "job.status" }
claim = { by = ["offered"], from = ["hurried"], to = "held", does = "take", event = "job.accepted" }
decline = { by = ["offered"], from = ["hurried"], does = "refuse", to = "given", event = "job.status" }
pause = { by = ["customer"], from = ["hurried"], to = "paused", event = "job.status" }
resume = { by = ["customer"], from = ["paused"], to = "hurried", event = "job.status" }
give = { by = ["customer"], from = ["hurried"], to = "given", event = "job.status" }
assign = { by = ["engine"], from = ["given"], to = "held", does = "assign", event = "job.assigned" }
leave = { by = ["holder"], from = ["held"], to = "left", does = "release", event = "job.unassigned" }
rest = { by = ["holder"], from = ["held"], to = "paused", does = "release", event = "job.unassigned" }
finish = { by = ["holder"], from = ["held"], to = "done", event = "job.status" }
[events]
"job.created" = { to = ["customer"] }
"job.searching" = { to = ["ops"] }
"job.status" = { to = ["customer", "holder"] }
"job.accepted" = { to = ["customer", "holder"] }
"job.assigned" = { to = ["customer", "holder"] }
"job.unassigned" = { to = ["customer", "holder"] }
"bid.created" = { to = ["customer"] }
"bid.accepted" = { to = ["customer"] }
"bid.closed" = { to = ["customer"] }
"""


@pytest.fixture
def settings(settings: Settings, tmp_path: Path) -> Settings:
    """Return settings with the blueprint `cascade`, which searches for a technician in three modes, one after the
    other.
    """
    (tmp_path / "blueprints").mkdir()
    (tmp_path / "blueprints" / "cascade.toml").write_text(CASCADE_TOML)
    return msgspec.structs.replace(settings, blueprints=str(tmp_path / "blueprints"))


async def create_job_in_state_hurried(engine: Engine) -> tuple[JobId, Principal, Principal, Principal]:
    """Create a job with one bidder and one technician who is invited to bid. Move it to the state `hurried`, in which
    it searches by offers. Return the job, the customer, the bidder and the invited technician.
    """
    service, carla = await people.service(engine), await people.customer(engine)
    tom, tara = [await people.technician(engine, name, service) for name in ("tom", "tara")]
    job = people.id_of(await people.job(engine, carla, service, blueprint="cascade"))
    await run_due_tasks(engine)
    await bids.create_bid(engine, tom, job, bids.BidTerms())
    await jobs.run_command(engine, carla, job, CommandInput(command="hurry"))
    return job, carla, tom, tara


async def technicians_with_offer(engine: Engine, job: JobId) -> list[str]:
    """Return the technicians with an open offer of the job, sorted."""
    offer_of = await engine.store.redis.hgetall(keys.job_offers(DEFAULT_ZONE, job))  # type: ignore[misc]
    return sorted(name.decode() for name, offer in offer_of.items() if offer.startswith(b"sent "))


async def closed_offers(engine: Engine, job: JobId) -> list[tuple[str, list[str]]]:
    """Return the reason and the channels of each `offer.closed` of the job, in order."""
    events = await event_log.events(engine, "offer.closed", job)
    return [(event_log.payload(event)["reason"], sorted(event.to)) for event in events]


async def test_a_new_search_withdraws_old_offers_and_offers_the_job_to_all(engine: Engine) -> None:
    """When a search by offers follows a search by bids, the invitation to bid closes as `withdrawn`. The first wave
    then offers the job to the invited technician and to the bidder.
    """
    job, _, tom, _ = await create_job_in_state_hurried(engine)
    assert await closed_offers(engine, job) == [("withdrawn", ["user:tara"])]
    assert await technicians_with_offer(engine, job) == []
    await run_due_tasks(engine)
    assert await technicians_with_offer(engine, job) == ["tara", "tom"]
    await jobs.claim(engine, tom, job)


async def test_after_a_pause_the_job_is_offered_again(engine: Engine) -> None:
    """A state without a search withdraws all offers. When the job returns to a state that searches, the first wave
    opens at once.
    """
    job, carla, tom, _ = await create_job_in_state_hurried(engine)
    await run_due_tasks(engine)
    await jobs.run_command(engine, carla, job, CommandInput(command="pause"))
    assert (await closed_offers(engine, job))[-1] == ("withdrawn", ["user:tara", "user:tom"])
    assert (await offers.find_open_offers(engine, tom)).items == []
    await jobs.run_command(engine, carla, job, CommandInput(command="resume"))
    await run_due_tasks(engine)
    assert await technicians_with_offer(engine, job) == ["tara", "tom"]


@pytest.mark.parametrize("by", ["customer", "technician"])
async def test_the_engine_allocates_after_waves(engine: Engine, by: str) -> None:
    """When the job moves to a state in which the engine allocates, the first allocation is due at once. A technician
    who declined the offer is not assigned.
    """
    job, carla, tom, tara = await create_job_in_state_hurried(engine)
    await run_due_tasks(engine)
    if by == "customer":
        await jobs.run_command(engine, carla, job, CommandInput(command="give"))
    else:
        await offers.decline_offer(engine, tom, job)
    recipients = ["user:tara", "user:tom"] if by == "customer" else ["user:tara"]
    assert (await closed_offers(engine, job))[-1] == ("withdrawn", recipients)
    await advance(engine, 1)
    await run_due_tasks(engine)
    holder = await engine.store.redis.hget(keys.job(DEFAULT_ZONE, job), "holder")  # type: ignore[misc]
    assert holder in ((b"tom", b"tara") if by == "customer" else (tara.id.encode(),))


@pytest.mark.parametrize("command", ["leave", "rest"])
async def test_a_former_holder_is_not_offered_the_job_again(engine: Engine, command: str) -> None:
    """A new search excludes the technician who left the job, also if the job was in other states in between."""
    job, carla, tom, _ = await create_job_in_state_hurried(engine)
    await run_due_tasks(engine)
    await jobs.claim(engine, tom, job)
    await jobs.run_command(engine, tom, job, CommandInput(command=command))
    if command == "rest":
        await jobs.run_command(engine, carla, job, CommandInput(command="resume"))
    status = await engine.store.redis.hget(keys.job(DEFAULT_ZONE, job), "status")  # type: ignore[misc]
    assert status == b"hurried"
    await run_due_tasks(engine)
    assert await technicians_with_offer(engine, job) == ["tara"]
