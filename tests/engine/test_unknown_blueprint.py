"""Tests that a server without a job's blueprint does not change the job until it has loaded the blueprint."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from engine.blueprint import registry
from engine.blueprint.catalogue import Blueprints
from engine.domain import codes, disputes, edits, job_queries, jobs, payments, positions, prices, reassign
from engine.domain.jobs import CommandInput
from engine.domain.payments import Payment
from engine.errors import OtherBlueprint, Unavailable
from engine.process.settings import Settings
from engine.runtime import Engine
from engine.startup import open_engine
from engine.store import keys
from engine.types import DEFAULT_ZONE, JobId, Principal, TechnicianId, UserId
from engine.workers import archiver, scheduler
from tests.support import blueprints, event_log, people
from tests.support.clock import advance

ZONE = DEFAULT_ZONE
TIMERS = '{ after_s = 60, warn = "warn" }, { after_s = 120, command = "unassign" }'
BLUEPRINT_CHANGES = {
    'name = "home_service"': 'name = "other"',
    'accepted = { phase = "assigned", ': f'accepted = {{ phase = "assigned", timers = [{TIMERS}], ',
    '[commands.unassign]\nby = ["holder", "ops"]': '[commands.unassign]\nby = ["holder", "ops", "engine"]',
}


@pytest.fixture
def settings(settings: Settings, tmp_path: Path) -> Settings:
    """Return settings with two blueprints of the user's own: `other`, a home service with timers, and `market`, a
    marketplace.
    """
    other = blueprints.edited_toml("home_service", BLUEPRINT_CHANGES) + '\n[events."job.late"]\nto = ["ops"]\n'
    market = blueprints.edited_toml("marketplace", {'name = "marketplace"': 'name = "market"'})
    return blueprints.settings_with_blueprints(settings, tmp_path / "blueprints", other=other, market=market)


@pytest.fixture
async def unaware_server(engine: Engine, settings: Settings) -> AsyncIterator[Engine]:
    """Yield another server on the same Redis and SQL whose database was away at its start: it has only the shipped
    blueprints.
    """
    async with open_engine(msgspec.structs.replace(settings, blueprints=None)) as node:
        catalogue = Blueprints(node.blueprints.by_name.values(), node.blueprints.default.name)
        node.blueprints.by_key = catalogue.by_key
        yield node


def _downgrade_blueprint(server: Engine, blueprint_name: str) -> None:
    """Replace the server's blueprint of this name by an older version, 1."""
    catalogue = server.blueprints
    catalogue.by_name[blueprint_name] = msgspec.structs.replace(catalogue.by_name[blueprint_name], version=1)
    catalogue.by_key = {each.key: each for each in catalogue.by_name.values()}


async def read_state(engine: Engine, job: JobId) -> tuple[Any, int, list[bytes]]:
    """Return the job's record, the number of its events, and its scheduled tasks."""
    redis: Any = engine.store.redis
    due = sorted(entry for entry in await redis.zrange(keys.due_tasks(ZONE), 0, -1) if job.encode() in entry)
    return await redis.hgetall(keys.job(ZONE, job)), len(await event_log.events(engine, job=job)), due


async def run_due_tasks(engine: Engine) -> None:
    """Run the scheduled tasks that are due, and those that become due by them."""
    for _ in range(20):
        if await scheduler.run_once(engine, ZONE) > 0:
            return


async def test_timers_waves_and_expiry_wait_for_the_blueprint(engine: Engine, unaware_server: Engine) -> None:
    """A server without the jobs' blueprint runs none of their timers, waves and expiries, even if they are overdue.
    Once it has loaded the blueprint, it runs all that are due.
    """
    service, carla = await people.service(engine), await people.customer(engine)
    tom = await people.technician(engine, "t1", service)
    await people.technician(engine, "t2", service, at=None)
    held_job = await people.offered_job(engine, carla, service, blueprint="other")
    await jobs.claim(engine, tom, held_job)
    wanted = people.id_of(await people.job(engine, carla, service, blueprint="other"))
    await advance(engine, 130)
    before = [await read_state(engine, job) for job in (held_job, wanted)]
    await run_due_tasks(unaware_server)
    await advance(engine, 3600)
    await run_due_tasks(unaware_server)
    assert [await read_state(engine, job) for job in (held_job, wanted)] == before
    await registry.sync_with_sql(unaware_server.archive, unaware_server.blueprints)
    await advance(engine, 11)
    await run_due_tasks(unaware_server)
    late = [event_log.payload(event)["step"] for event in await event_log.events(engine, "job.late", held_job)]
    assert sorted(late) == ["promise", "warn"]
    assert await event_log.events(engine, "job.unassigned", held_job)
    assert await event_log.events(engine, "job.expired", wanted)


async def test_no_script_ends_a_job_by_another_blueprint(engine: Engine) -> None:
    """`job_late` and `job_expire` with another blueprint than the job's are refused with OTHER_BLUEPRINT, and the
    scheduled tasks stay.
    """
    carla = await people.customer(engine)
    job = people.id_of(await people.job(engine, carla, await people.service(engine), blueprint="other"))
    await advance(engine, 3600)
    before = await read_state(engine, job)
    names = {
        "meta": keys.zone_meta(ZONE),
        "job": keys.job(ZONE, job),
        "due": keys.due_tasks(ZONE),
        "log": keys.log(ZONE),
    }
    wrong = {"bp": "home_service@0", "audience": "ops"}
    arguments = {"entry": f"timer:{job}:1:0", "entered": "1", "step": "warn", **wrong}
    with pytest.raises(OtherBlueprint):
        await engine.store.run(ZONE, "job_late", keys=names, args=arguments)
    expire = {"entry": f"expire:{job}", "bp": "home_service@0", "plan": "", "grace_ms": 0, "lease_ms": 1}
    with pytest.raises(OtherBlueprint):
        await engine.store.run(ZONE, "job_expire", keys={**names, "offers": keys.job_offers(ZONE, job)}, args=expire)
    assert await read_state(engine, job) == before


async def test_a_reassignment_waits_for_the_blueprint(engine: Engine, unaware_server: Engine) -> None:
    """The reassignment of a suspended technician's job is `unavailable` on a server without the job's blueprint, and
    the job stays as it is.
    """
    service, carla = await people.service(engine), await people.customer(engine)
    tom = await people.technician(engine, "t1", service)
    job = await people.offered_job(engine, carla, service, blueprint="other")
    await jobs.claim(engine, tom, job)
    before = await read_state(engine, job)
    with pytest.raises(Unavailable, match="other@"):
        await reassign.release_jobs(unaware_server, TechnicianId(tom.id), people.ADMIN)
    assert await read_state(engine, job) == before


async def test_tasks_of_a_missing_job_are_removed_by_any_server(engine: Engine, unaware_server: Engine) -> None:
    """Scheduled tasks of a job that no longer exists are removed by any server, also by one without its blueprint."""
    await engine.store.redis.zadd(keys.due_tasks(ZONE), {"expire:job_main_gone": 1, "timer:job_main_gone:1:0": 1})
    await run_due_tasks(unaware_server)
    assert await engine.store.redis.zcard(keys.due_tasks(ZONE)) == 0


IDEMPOTENCY_KEY = "7f6b1c9e-4b8a-4f40-9d6e-0d5b6f3c1a11"
PAYMENT_SERVICE = Principal(UserId("cli_service"), "service")
CAPTURED_PAYMENT = Payment(reference="pi_1", status="captured", amount=5000, currency="USD")
REQUESTS: dict[str, Callable[[Engine, Principal, JobId], Awaitable[object]]] = {
    "job.assigned": lambda node, _, job: jobs.run_command(
        node, people.technician_without_account("t1"), job, CommandInput(command="accept"), key=IDEMPOTENCY_KEY
    ),
    "price.proposed": lambda node, who, job: prices.propose_price(node, who, job, 7000, key=IDEMPOTENCY_KEY),
    "job.updated": lambda node, who, job: edits.edit_job(
        node, who, job, {"notes": "The back door"}, key=IDEMPOTENCY_KEY
    ),
    "payment.received": lambda node, _, job: payments.put_payment(
        node, PAYMENT_SERVICE, job, CAPTURED_PAYMENT, key=IDEMPOTENCY_KEY
    ),
}
"""Requests about a job of the blueprint `market`, by the event that each of them appends."""


async def _complete_and_confirm(engine: Engine, customer: Principal, technician: Principal, job: JobId) -> None:
    """Bring the job to the customer's confirmation, with start and completion code."""
    for name, purpose in (("start", "start"), ("complete", "completion")):
        await jobs.run_command(
            engine, technician, job, CommandInput(command=name, code=codes.derive_code(engine, job, purpose, "1"))
        )
    await jobs.run_command(engine, customer, job, CommandInput(command="confirm"))


@pytest.mark.parametrize("event_type", REQUESTS)
async def test_a_request_waits_for_the_blueprint(engine: Engine, unaware_server: Engine, event_type: str) -> None:
    """A server without the job's blueprint refuses a request with `unavailable` and changes nothing. Once it has loaded
    the blueprint, the same request with the same key succeeds and its event carries the job's own blueprint.
    """
    service, carla = await people.service(engine), await people.customer(engine)
    tom = await people.technician(engine, "t1", service)
    job = people.id_of(await people.job(engine, carla, service, blueprint="market", technician="t1"))  # type: ignore[arg-type]
    if event_type != "job.assigned":
        await jobs.run_command(engine, tom, job, CommandInput(command="accept"))
    if event_type == "payment.received":
        await _complete_and_confirm(engine, carla, tom, job)
    before = await read_state(engine, job)
    with pytest.raises(Unavailable, match="market@"):
        await REQUESTS[event_type](unaware_server, carla, job)
    with pytest.raises(Unavailable, match="market@"):
        await disputes.open_dispute(unaware_server, carla, job, "It leaks")
    assert await read_state(engine, job) == before
    await registry.sync_with_sql(unaware_server.archive, unaware_server.blueprints)
    await REQUESTS[event_type](unaware_server, carla, job)
    assert [event.blueprint_key.partition("@")[0] for event in await event_log.events(engine, event_type, job)] == [
        "market"
    ]
    status = await engine.store.redis.hget(keys.job(ZONE, job), "status")  # type: ignore[misc]
    assert status == (b"paid" if event_type == "payment.received" else b"scheduled")


async def _read_and_list(server: Engine, caller: Principal, job: JobId) -> list[dict[str, Any]]:
    """Return the job as a read returns it, followed by the caller's list of jobs."""
    listed = (await job_queries.find_jobs(server, caller, job_queries.JobQuery())).items
    return [msgspec.json.decode(text) for text in (await job_queries.read_job(server, caller, job), *listed)]


async def test_an_older_version_shows_no_actions_codes_phone_or_position(
    engine: Engine, unaware_server: Engine
) -> None:
    """A server with an older version of the job's blueprint shows the job to both sides without actions, codes, phone
    number and position. Once it has loaded the job's own version it shows the phone number, also when Redis has
    forgotten the job.
    """
    service, carla = await people.service(engine), await people.customer(engine)
    tom = await people.technician(engine, "t1", service)
    job = people.id_of(await people.job(engine, carla, service, blueprint="marketplace", technician="t1"))
    await jobs.run_command(engine, tom, job, CommandInput(command="accept"))
    _downgrade_blueprint(unaware_server, "marketplace")
    for who, other in ((carla, "technician"), (tom, "customer")):
        for view in await _read_and_list(unaware_server, who, job):
            assert view["status"] == "scheduled" and view.get("actions", []) == []
            assert "codes" not in view and "phone" not in view[other]
        assert await positions.read_position(unaware_server, who, job) is None
    await _complete_and_confirm(engine, carla, tom, job)
    await payments.put_payment(engine, PAYMENT_SERVICE, job, CAPTURED_PAYMENT)
    await archiver.run_once(engine)
    await engine.store.redis.delete(keys.job(ZONE, job))
    assert "phone" not in (await _read_and_list(unaware_server, carla, job))[0]["technician"]
    await registry.sync_with_sql(unaware_server.archive, unaware_server.blueprints)
    assert [view["technician"]["phone"] for view in await _read_and_list(unaware_server, carla, job)] == [
        "+1 555 0199"
    ] * 2


async def test_a_loaded_blueprint_shows_actions_codes_phone_and_position(
    engine: Engine, unaware_server: Engine
) -> None:
    """After the server has loaded the job's blueprint, a live job has its actions, codes, phone number and position."""
    service, carla = await people.service(engine), await people.customer(engine)
    tom = await people.technician(engine, "t1", service)
    job = people.id_of(await people.job(engine, carla, service, blueprint="marketplace", technician="t1"))
    await jobs.run_command(engine, tom, job, CommandInput(command="accept"))
    _downgrade_blueprint(unaware_server, "marketplace")
    await registry.sync_with_sql(unaware_server.archive, unaware_server.blueprints)
    read, listed = await _read_and_list(unaware_server, carla, job)
    assert read["actions"] == ["reissue", "unassign"] and set(read["codes"]) == set(listed["codes"])
    assert read["technician"]["phone"] == listed["technician"]["phone"] == "+1 555 0199"
    assert await positions.read_position(unaware_server, carla, job) is not None


async def test_no_script_changes_a_job_by_another_blueprint(engine: Engine) -> None:
    """A price, an edit or a payment with another blueprint than the job's is refused with OTHER_BLUEPRINT, and nothing
    is written.
    """
    carla = await people.customer(engine)
    job = people.id_of(await people.job(engine, carla, await people.service(engine), blueprint="other"))
    before = await read_state(engine, job)
    names = {"meta": keys.zone_meta(ZONE), "job": keys.job(ZONE, job), "causes": keys.job_causes(ZONE, job)}
    names |= {
        "log": keys.log(ZONE),
        "req": keys.idempotency_record(ZONE, carla.id, IDEMPOTENCY_KEY),
        "offers": keys.job_offers(ZONE, job),
    }
    names["payments"] = keys.job_payments(ZONE, job)
    for script in ("price_propose", "price_answer", "job_edit", "payment_put"):
        loaded_script = engine.store.scripts[script]
        args = dict.fromkeys(loaded_script.argv[1:], "1") | {"bp": "home_service@0"}
        with pytest.raises(OtherBlueprint):
            await engine.store.run(ZONE, script, keys={key: names[key] for key in loaded_script.keys}, args=args)
    assert await read_state(engine, job) == before
