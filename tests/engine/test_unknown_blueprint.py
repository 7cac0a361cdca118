"""A node that does not know a job's blueprint leaves the job alone, and acts once it has loaded the blueprint."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from engine.blueprint import registry
from engine.blueprint.catalogue import Blueprints
from engine.domain import codes, disputes, edits, job_queries, jobs, payments, positions, prices, reassign
from engine.domain.jobs import Step
from engine.domain.payments import Payment
from engine.errors import OtherBlueprint, Unavailable
from engine.process.settings import Settings
from engine.runtime import Engine, open_engine
from engine.store import keys
from engine.types import DEFAULT_ZONE, JobId, Principal, TechnicianId, UserId
from engine.workers import archiver, scheduler
from tests.support import blueprints, event_log, people
from tests.support.clock import advance

ZONE = DEFAULT_ZONE
LATE = '{ after_s = 60, warn = "warn" }, { after_s = 120, command = "unassign" }'
CHANGES = {
    'name = "home_service"': 'name = "other"',
    'accepted = { phase = "assigned", ': f'accepted = {{ phase = "assigned", timers = [{LATE}], ',
    '[commands.unassign]\nby = ["holder", "ops"]': '[commands.unassign]\nby = ["holder", "ops", "engine"]',
}


@pytest.fixture
def settings(settings: Settings, tmp_path: Path) -> Settings:
    """A blueprint of the user's own, with timers where the default has none."""
    other = blueprints.edited("home_service", CHANGES) + '\n[events."job.late"]\nto = ["ops"]\n'
    market = blueprints.edited("marketplace", {'name = "marketplace"': 'name = "market"'})
    return blueprints.settings_with(settings, tmp_path / "blueprints", other=other, market=market)


@pytest.fixture
async def stranger(engine: Engine, settings: Settings) -> AsyncIterator[Engine]:
    """Another node on the same stores whose database was away at its start: it knows only the shipped blueprints."""
    async with open_engine(msgspec.structs.replace(settings, blueprints=None)) as node:
        known = Blueprints(node.blueprints.by_name.values(), node.blueprints.default.name)
        node.blueprints.by_key = known.by_key
        yield node


def _forgets(node: Engine, name: str) -> None:
    """Let the node know only an older version of a blueprint."""
    known = node.blueprints
    known.by_name[name] = msgspec.structs.replace(known.by_name[name], version=1)
    known.by_key = {each.key: each for each in known.by_name.values()}


async def state(engine: Engine, job: JobId) -> tuple[Any, int, list[bytes]]:
    """Return the job's record, the number of its events, and its scheduled tasks."""
    redis: Any = engine.store.redis
    due = sorted(entry for entry in await redis.zrange(keys.due_tasks(ZONE), 0, -1) if job.encode() in entry)
    return await redis.hgetall(keys.job(ZONE, job)), len(await event_log.events(engine, job=job)), due


async def all_due(engine: Engine) -> None:
    """Run the tasks that are due, and those that become due by them."""
    for _ in range(20):
        if await scheduler.run_once(engine, ZONE) > 0:
            return


async def test_timers_waves_and_expiry_wait_for_who_knows(engine: Engine, stranger: Engine) -> None:
    """The stranger changes nothing of such jobs, however late; a node that knows the blueprint runs all that was
    due.
    """
    serves, carla = await people.service(engine), await people.customer(engine)
    one = await people.technician(engine, "t1", serves)
    await people.technician(engine, "t2", serves, at=None)
    held = await people.offered(engine, carla, serves, blueprint="other")
    await jobs.claim(engine, one, held)
    wanted = people.id_of(await people.job(engine, carla, serves, blueprint="other"))
    await advance(engine, 130)
    before = [await state(engine, job) for job in (held, wanted)]
    await all_due(stranger)
    await advance(engine, 3600)
    await all_due(stranger)
    assert [await state(engine, job) for job in (held, wanted)] == before
    await registry.sync_with_sql(stranger.archive, stranger.blueprints)
    await advance(engine, 11)
    await all_due(stranger)
    assert [event_log.payload(event)["step"] for event in await event_log.events(engine, "job.late", held)] == ["warn"]
    assert await event_log.events(engine, "job.unassigned", held)
    assert await event_log.events(engine, "job.expired", wanted)


async def test_no_script_ends_a_job_by_another_blueprint(engine: Engine) -> None:
    """Expiry and lateness by another blueprint are refused, and their entries stay."""
    carla = await people.customer(engine)
    job = people.id_of(await people.job(engine, carla, await people.service(engine), blueprint="other"))
    await advance(engine, 3600)
    before = await state(engine, job)
    names = {
        "meta": keys.zone_meta(ZONE),
        "job": keys.job(ZONE, job),
        "due": keys.due_tasks(ZONE),
        "log": keys.log(ZONE),
    }
    wrong = {"bp": "home_service@0", "audience": "ops"}
    late = {"entry": f"timer:{job}:1:0", "entered": "1", "step": "warn", **wrong}
    with pytest.raises(OtherBlueprint):
        await engine.store.run(ZONE, "job_late", keys=names, args=late)
    expire = {"entry": f"expire:{job}", "bp": "home_service@0", "plan": "", "grace_ms": 0, "lease_ms": 1}
    with pytest.raises(OtherBlueprint):
        await engine.store.run(ZONE, "job_expire", keys={**names, "offers": keys.job_offers(ZONE, job)}, args=expire)
    assert await state(engine, job) == before


async def test_a_suspension_waits_for_who_knows(engine: Engine, stranger: Engine) -> None:
    """Jobs of a blueprint that is unknown here are neither taken from their holder nor reported as stalled."""
    serves, carla = await people.service(engine), await people.customer(engine)
    one = await people.technician(engine, "t1", serves)
    job = await people.offered(engine, carla, serves, blueprint="other")
    await jobs.claim(engine, one, job)
    before = await state(engine, job)
    with pytest.raises(Unavailable, match="other@"):
        await reassign.release_jobs(stranger, TechnicianId(one.id), people.ADMIN)
    assert await state(engine, job) == before


async def test_a_job_that_is_gone_is_cleared_by_anybody(engine: Engine, stranger: Engine) -> None:
    """Tasks of a job that exists nowhere any more are removed."""
    await engine.store.redis.zadd(keys.due_tasks(ZONE), {"expire:job_main_gone": 1, "timer:job_main_gone:1:0": 1})
    await all_due(stranger)
    assert await engine.store.redis.zcard(keys.due_tasks(ZONE)) == 0


KEY = "7f6b1c9e-4b8a-4f40-9d6e-0d5b6f3c1a11"
PAY = Principal(UserId("cli_service"), "service")
PAID = Payment(reference="pi_1", status="captured", amount=5000, currency="USD")
ASKED: dict[str, Callable[[Engine, Principal, JobId], Awaitable[object]]] = {
    "job.assigned": lambda node, _, job: jobs.run_command(
        node, people.hot_technician("t1"), job, Step(command="accept"), key=KEY
    ),
    "price.proposed": lambda node, who, job: prices.propose_price(node, who, job, 7000, key=KEY),
    "job.updated": lambda node, who, job: edits.edit_job(node, who, job, {"notes": "The back door"}, key=KEY),
    "payment.received": lambda node, _, job: payments.put_payment(node, PAY, job, PAID, key=KEY),
}
"""What is asked of a job of the market, by the event that tells of it."""


async def _worked(engine: Engine, carla: Principal, one: Principal, job: JobId) -> None:
    for name, purpose in (("start", "start"), ("complete", "completion")):
        await jobs.run_command(engine, one, job, Step(command=name, code=codes.derive_code(engine, job, purpose, "1")))
    await jobs.run_command(engine, carla, job, Step(command="confirm"))


@pytest.mark.parametrize("told", ASKED)
async def test_what_is_asked_waits_for_who_knows(engine: Engine, stranger: Engine, told: str) -> None:
    """The stranger answers that it cannot say yet and changes nothing; the same key is done once it has learnt the
    blueprint, and the event is of the job's own.
    """
    serves, carla = await people.service(engine), await people.customer(engine)
    one = await people.technician(engine, "t1", serves)
    job = people.id_of(await people.job(engine, carla, serves, blueprint="market", technician="t1"))  # type: ignore[arg-type]
    if told != "job.assigned":
        await jobs.run_command(engine, one, job, Step(command="accept"))
    if told == "payment.received":
        await _worked(engine, carla, one, job)
    before = await state(engine, job)
    with pytest.raises(Unavailable, match="market@"):
        await ASKED[told](stranger, carla, job)
    with pytest.raises(Unavailable, match="market@"):
        await disputes.create(stranger, carla, job, "It leaks")
    assert await state(engine, job) == before
    await registry.sync_with_sql(stranger.archive, stranger.blueprints)
    await ASKED[told](stranger, carla, job)
    assert [event.bp.partition("@")[0] for event in await event_log.events(engine, told, job)] == ["market"]
    status = await engine.store.redis.hget(keys.job(ZONE, job), "status")  # type: ignore[misc]
    assert status == (b"paid" if told == "payment.received" else b"scheduled")


async def _shown(node: Engine, who: Principal, job: JobId) -> list[dict[str, Any]]:
    """The job as it is read, and as it stands in a list."""
    listed = (await job_queries.find_jobs(node, who, job_queries.JobQuery())).items
    return [msgspec.json.decode(text) for text in (await job_queries.read_job(node, who, job), *listed)]


async def test_nothing_is_shown_by_another_version(engine: Engine, stranger: Engine) -> None:
    """The job is, but no action, code, phone nor position, to neither side: an older version of its blueprint says
    nothing of it. A phone is there once the node has learnt the job's own, also when Redis has forgotten the job.
    """
    serves, carla = await people.service(engine), await people.customer(engine)
    one = await people.technician(engine, "t1", serves)
    job = people.id_of(await people.job(engine, carla, serves, blueprint="marketplace", technician="t1"))
    await jobs.run_command(engine, one, job, Step(command="accept"))
    _forgets(stranger, "marketplace")
    for who, other in ((carla, "technician"), (one, "customer")):
        for found in await _shown(stranger, who, job):
            assert found["status"] == "scheduled" and found.get("actions", []) == []
            assert "codes" not in found and "phone" not in found[other]
        assert await positions.read_position(stranger, who, job) is None
    await _worked(engine, carla, one, job)
    await payments.put_payment(engine, PAY, job, PAID)
    await archiver.run_once(engine)
    await engine.store.redis.delete(keys.job(ZONE, job))
    assert "phone" not in (await _shown(stranger, carla, job))[0]["technician"]
    await registry.sync_with_sql(stranger.archive, stranger.blueprints)
    assert [found["technician"]["phone"] for found in await _shown(stranger, carla, job)] == ["+1 555 0199"] * 2


async def test_all_is_shown_once_it_is_known(engine: Engine, stranger: Engine) -> None:
    """After the node has loaded the blueprint, a live job shows actions, codes, phone and position."""
    serves, carla = await people.service(engine), await people.customer(engine)
    one = await people.technician(engine, "t1", serves)
    job = people.id_of(await people.job(engine, carla, serves, blueprint="marketplace", technician="t1"))
    await jobs.run_command(engine, one, job, Step(command="accept"))
    _forgets(stranger, "marketplace")
    await registry.sync_with_sql(stranger.archive, stranger.blueprints)
    read, listed = await _shown(stranger, carla, job)
    assert read["actions"] == ["reissue", "unassign"] and set(read["codes"]) == set(listed["codes"])
    assert read["technician"]["phone"] == listed["technician"]["phone"] == "+1 555 0199"
    assert await positions.read_position(stranger, carla, job) is not None


async def test_no_script_judges_a_job_by_another_blueprint(engine: Engine) -> None:
    """A price, an edit or a payment by another blueprint is refused and nothing is written."""
    carla = await people.customer(engine)
    job = people.id_of(await people.job(engine, carla, await people.service(engine), blueprint="other"))
    before = await state(engine, job)
    names = {"meta": keys.zone_meta(ZONE), "job": keys.job(ZONE, job), "causes": keys.job_causes(ZONE, job)}
    names |= {
        "log": keys.log(ZONE),
        "req": keys.idempotency_record(ZONE, carla.id, KEY),
        "offers": keys.job_offers(ZONE, job),
    }
    names["payments"] = keys.job_payments(ZONE, job)
    for script in ("price_propose", "price_answer", "job_edit", "payment_put"):
        made = engine.store.scripts[script]
        args = dict.fromkeys(made.argv[1:], "1") | {"bp": "home_service@0"}
        with pytest.raises(OtherBlueprint):
            await engine.store.run(ZONE, script, keys={key: names[key] for key in made.keys}, args=args)
    assert await state(engine, job) == before
