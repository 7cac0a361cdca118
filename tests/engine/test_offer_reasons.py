"""Tests of the reasons why a technician gets offers or not: who may read them, and which reasons are hidden from the
technician.
"""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from engine.domain import jobs, offer_reasons
from engine.domain.jobs import CommandInput
from engine.errors import Forbidden, NotFound
from engine.runtime import Engine
from engine.store import keys
from engine.types import DEFAULT_ZONE, JobId, Principal
from engine.workers import archiver
from tests.support import people
from tests.support.clock import advance
from tests.support.dispatch_setup import change_record, metres_north, run_due_tasks, set_dispatch


async def explain(engine: Engine, caller: Principal, technician: str, job: str | None = None) -> dict[str, Any]:
    """Return the explanation for a technician that the caller gets."""
    return await offer_reasons.explain_offers(engine, caller, technician, job)


async def explain_job(engine: Engine, caller: Principal, technician: str, job: str) -> tuple[Any, ...]:
    """Return the caller's view of the choice for a job: whether the technician was asked, the reason, and their
    offer.
    """
    found = (await explain(engine, caller, technician, job))["job"]
    return found["asked"], found.get("reason"), found.get("offer")


async def book(engine: Engine, customer: Principal, service: str, **changes: Any) -> JobId:
    """Book a job and run what is due."""
    job = people.id_of(await people.job(engine, customer, service, **changes))  # type: ignore[arg-type]
    await run_due_tasks(engine)
    return job


async def test_only_the_technician_and_ops_may_ask(engine: Engine) -> None:
    """A customer is refused. Another technician gets `not_found`, and so do ops for an unknown id."""
    service, carla = await people.service(engine), await people.customer(engine)
    await people.technician(engine, "tom", service)
    with pytest.raises(Forbidden):
        await explain(engine, carla, "tom")
    with pytest.raises(NotFound):
        await explain(engine, people.technician_without_account("una"), "tom")
    with pytest.raises(NotFound):
        await explain(engine, people.ADMIN, "nobody")


async def test_a_job_that_never_looked_at_them_does_not_exist(engine: Engine) -> None:
    """A job that was neither offered to the technician nor considered them is `not_found`, as is one that does not
    exist, also to ops. An offer that opens later is not there yet for the technician.
    """
    set_dispatch(engine, head_start=None)
    service, other, carla = await people.service(engine), await people.service(engine), await people.customer(engine)
    tom = await people.technician(engine, "tom", service)
    await people.technician(engine, "una", other)
    job = await book(engine, carla, other)
    for name in (job, "job_main_01jb4zqk3m8r5t7v9x2c6d8f0g", "nonsense"):
        for caller in (tom, people.ADMIN):
            with pytest.raises(NotFound):
                await explain(engine, caller, "tom", name)


async def test_what_blocks_offers_is_listed(engine: Engine) -> None:
    """All reasons that prevent offers to a technician are listed, in the order of a claim's refusals."""
    service = await people.service(engine)
    tom = await people.technician(engine, "tom", service)
    assert (await explain(engine, tom, "tom"))["receiving"] is True
    await change_record(engine, "tom", load=1)
    await advance(engine, 130)
    why = await explain(engine, people.ADMIN, "tom")
    assert (why["online"], why["receiving"], why["blockers"]) == (True, False, ["at_capacity", "stale_position"])
    await people.technician(engine, "new", service, at=None, kyc="pending")
    why = await explain(engine, people.technician_without_account("new"), "new")
    assert why["blockers"] == ["kyc_not_approved", "offline", "no_position"]
    await change_record(engine, "tom", load=0)


async def test_reasons_about_others_are_hidden_from_technicians(engine: Engine) -> None:
    """Ops see that a technician was blocked or ranked behind another; the technician sees `not_chosen` in both cases.
    Reasons that concern only the technician are shown to both.
    """
    service, carla = await people.service(engine), await people.customer(engine)
    for name, metres in (("best", 100), ("second", 200), ("avoided", 10), ("busy", 20)):
        await people.technician(engine, name, service, at=metres_north(metres))
    await engine.store.redis.sadd(keys.user_blocks(DEFAULT_ZONE, carla.id), "avoided")
    managed = engine.blueprints.by_name["managed"]
    alone = msgspec.structs.replace(managed, dispatch=msgspec.structs.replace(managed.dispatch, match=None))
    engine.blueprints.by_name["managed"] = engine.blueprints.by_key[managed.key] = alone
    await change_record(engine, "busy", load=1)
    job = await book(engine, carla, service, blueprint="managed")
    await change_record(engine, "busy", load=0)
    seen = {}
    for name in ("best", "second", "avoided", "busy"):
        own = await explain_job(engine, people.technician_without_account(name), name, job)
        seen[name] = (own, await explain_job(engine, people.ADMIN, name, job))
    assert seen["best"] == ((True, None, None),) * 2
    assert seen["second"] == ((False, "not_chosen", None), (False, "rank", None))
    assert seen["avoided"] == ((False, "not_chosen", None), (False, "blocked", None))
    assert seen["busy"] == ((False, "at_capacity", None),) * 2


async def test_a_window_explains_its_choice_without_names(engine: Engine) -> None:
    """A technician whom a matching window considered and did not choose sees `not_chosen`, and ops see the rank."""
    service, carla = await people.service(engine), await people.customer(engine)
    for name, metres in (("best", 100), ("second", 200)):
        await people.technician(engine, name, service, at=metres_north(metres))
    job = people.id_of(await people.job(engine, carla, service, blueprint="managed"))
    await advance(engine, 1.1)
    await run_due_tasks(engine)
    second = people.technician_without_account("second")
    assert await explain_job(engine, second, "second", job) == (False, "not_chosen", None)
    assert await explain_job(engine, people.ADMIN, "second", job) == (False, "rank", None)
    assert "best" not in str(await explain(engine, second, "second", job))
    assert await explain_job(engine, people.ADMIN, "best", job) == (True, None, None)


async def test_the_answers_are_counted_and_remain_when_the_job_is_over(engine: Engine) -> None:
    """The outcomes of the last week's offers are counted. What a job decided is the same while it is live and when it
    is over, archived and gone from Redis.
    """
    service, carla = await people.service(engine), await people.customer(engine)
    tom, una = [await people.technician(engine, name, service, at=metres_north(10)) for name in ("tom", "una")]
    await people.technician(engine, "far", service, at=metres_north(2_000))
    set_dispatch(engine, waves=(engine.blueprints.default.dispatch.waves[0],))
    job = await book(engine, carla, service)
    await jobs.run_command(engine, tom, job, CommandInput(command="decline"))
    await jobs.claim(engine, una, job)
    live = [await explain_job(engine, people.ADMIN, name, job) for name in ("tom", "una", "far")]
    assert live == [(True, None, "rejected"), (True, None, "accepted"), (True, None, "expired")]
    for command in ("depart", "arrive", "start", "complete"):
        await jobs.run_command(engine, una, job, CommandInput(command=command))
    while await archiver.run_once(engine):
        pass
    await engine.store.redis.delete(keys.job_offers(DEFAULT_ZONE, job), keys.job_waves(DEFAULT_ZONE, job))
    over = [await explain_job(engine, people.ADMIN, name, job) for name in ("tom", "una", "far")]
    assert over == [(True, None, "rejected"), (True, None, "accepted"), (True, None, "expired")]
    counts = [(await explain(engine, people.ADMIN, name))["offers"]["outcomes"] for name in ("tom", "una", "far")]
    assert counts == [{"rejected": 1}, {"accepted": 1}, {"taken": 1}]
