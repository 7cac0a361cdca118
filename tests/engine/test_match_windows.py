"""Matching windows: the engine assigns waiting jobs and free technicians together."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import orjson
import pytest

from engine.blueprint.match_linter import match_problems
from engine.blueprint.schema import Blueprint
from engine.clock import now_ms
from engine.domain import job_history, jobs
from engine.domain.commands import CommandInput
from engine.rules.matchers import find_matcher
from engine.runtime import Engine
from engine.store import keys
from engine.technicians import live
from engine.types import DEFAULT_ZONE, JobId, Principal, ServiceId
from tests.support import event_log, people
from tests.support.clock import advance
from tests.support.dispatch_setup import exclusions, metres_north, run_due_tasks
from tests.support.installed_package import install_package

WINDOW_S = 1.0
"""The length of a window of `managed`."""


async def book(engine: Engine, carla: Principal, service: ServiceId, **more: Any) -> JobId:
    """Book a job of the blueprint `managed`, whose jobs are matched in windows. Return its id."""
    return people.id_of(await people.job(engine, carla, service, blueprint="managed", **more))


async def holder(engine: Engine, job: JobId) -> str:
    """Return a job's holder; "" if it has none."""
    found: bytes = await engine.store.command("HGET", keys.job(DEFAULT_ZONE, job), "holder") or b""
    return found.decode()


async def pass_window(engine: Engine, seconds: float = WINDOW_S) -> None:
    """Let ``seconds`` pass, and run what is due then."""
    await advance(engine, seconds + 0.001)
    await run_due_tasks(engine)


async def test_a_window_takes_the_pairs_that_cost_least_together(engine: Engine) -> None:
    """Two jobs wait for two technicians. The technician who is the nearest to both is assigned to the job that has
    nobody else near. The record of the wave gives this reason.
    """
    service, carla = await people.service(engine), await people.customer(engine)
    await people.technician(engine, "between", service, at=metres_north(300))
    await people.technician(engine, "south", service, at=metres_north(-400))
    here = await book(engine, carla, service)
    north = await book(engine, carla, service, at=metres_north(2_900))
    await run_due_tasks(engine)
    assert [await holder(engine, job) for job in (here, north)] == ["", ""], "the window has not ended"
    await pass_window(engine)
    assert [await holder(engine, job) for job in (here, north)] == ["south", "between"]
    [record] = [orjson.loads(each) for each in await job_history.waves(engine, people.ADMIN, here)]
    assert (record["jobs"], record["free"], record["in"]["technicians"]) == (2, 2, ["south"])
    assert record["out"]["rank"]["technicians"] == ["between"]
    assert record["why_not_nearest"] == (
        f"between was nearer by 100 m and went to {north}, which had nobody else within reach"
    )
    assert record["next_best"]["technician"] == "between" and record["next_best"]["cost"] < record["cost"]
    assert [each["technician"] for each in record["scores"]] == ["south", "between"]
    [event] = await event_log.events(engine, "job.assigned", here)
    assert event_log.payload(event)["actor"]["role"] == "engine"


async def test_a_technician_who_becomes_free_has_a_waiting_job_at_the_next_window(engine: Engine) -> None:
    """A job waits because the only technician is busy. When the technician becomes free, the window is due one window's
    length later, and they get the job. Ops were informed once that the job had no technician.
    """
    service, carla = await people.service(engine), await people.customer(engine)
    tom = await people.technician(engine, "tom", service)
    first = await book(engine, carla, service)
    await pass_window(engine)
    assert await holder(engine, first) == "tom"
    second = await book(engine, carla, service)
    await pass_window(engine, 30)
    assert await holder(engine, second) == ""
    [event] = await event_log.events(engine, "job.unfilled", second)
    assert event_log.payload(event)["step"] == "allocate" and "role:ops" in event.to
    await live.renew_leases(engine, DEFAULT_ZONE, ["tom"])
    await jobs.run_command(engine, people.ADMIN, first, CommandInput(command="cancel"))
    due = await engine.store.command("ZSCORE", keys.due_tasks(DEFAULT_ZONE), f"window:{service}")
    now = int(await engine.store.command("HGET", keys.zone_meta(DEFAULT_ZONE), "now"))
    assert due is not None and 0 < float(due) - now <= 1000 * WINDOW_S
    await pass_window(engine)
    assert await holder(engine, second) == "tom"
    assert len(await event_log.events(engine, "job.unfilled", second)) == 1
    assert tom.id == "tom"


async def test_the_reach_grows_while_somebody_nearer_is_busy(engine: Engine) -> None:
    """A technician 4 km away is out of the reach of a new job (2.8 km), and the nearer one is busy. The reach grows by
    4.6 m each second, so the farther one gets the job after 261 s, although nothing else happens.
    """
    service, carla = await people.service(engine), await people.customer(engine)
    near = await people.technician(engine, "near", service)
    first = await book(engine, carla, service)
    await pass_window(engine)
    await jobs.run_command(engine, near, first, CommandInput(command="accept"))
    far = await people.technician(engine, "far", service, at=metres_north(4_000))
    job = await book(engine, carla, service)
    for seconds, expected in ((110, ""), (110, ""), (20, ""), (25, "far")):
        await advance(engine, seconds)
        await live.renew_leases(engine, DEFAULT_ZONE, ["near"])
        await live.set_availability(engine, far, "far", online=True, position=metres_north(4_000))
        await run_due_tasks(engine)
        await pass_window(engine)
        assert await holder(engine, job) == expected


async def test_nobody_nearer_is_busy_so_a_far_technician_is_taken_at_once(engine: Engine) -> None:
    """If nobody nearer could become free, waiting would not help: the next window assigns the nearest technician beyond
    the reach. This is also so if fewer technicians are free than jobs wait.
    """
    service, carla = await people.service(engine), await people.customer(engine)
    await people.technician(engine, "far", service, at=metres_north(9_000))
    job = await book(engine, carla, service)
    await pass_window(engine)
    assert await holder(engine, job) == "far"
    await people.technician(engine, "farther", service, at=metres_north(12_000))
    one, two = [await book(engine, carla, service, at=metres_north(each)) for each in (15_000, 16_000)]
    await pass_window(engine)
    assert [await holder(engine, each) for each in (one, two)] == ["farther", ""]


async def test_the_preferred_technician_goes_first(engine: Engine) -> None:
    """The technician whom the customer prefers gets the job at any distance in the zone."""
    service, carla = await people.service(engine), await people.customer(engine)
    await people.technician(engine, "near", service, at=metres_north(100))
    await people.technician(engine, "friend", service, at=metres_north(30_000))
    job = await book(engine, carla, service, technician="friend")
    other = await book(engine, carla, service)
    await pass_window(engine)
    assert [await holder(engine, each) for each in (job, other)] == ["friend", "near"]


async def test_more_jobs_than_technicians_look_from_the_technicians(engine: Engine) -> None:
    """With fewer free technicians than jobs, the technicians get the jobs with the least total cost, and the other jobs
    wait. The record of a job that waits names nobody.
    """
    service, carla = await people.service(engine), await people.customer(engine)
    await people.technician(engine, "tom", service)
    near, middle, far = [await book(engine, carla, service, at=metres_north(each)) for each in (100, 500, 2_000)]
    await pass_window(engine)
    assert [await holder(engine, job) for job in (near, middle, far)] == ["tom", "", ""]
    await pass_window(engine, 3)
    assert await exclusions(engine, middle) == {}


@pytest.mark.usefixtures("records_by_hand")
async def test_unfit_technicians_are_not_matched(engine: Engine) -> None:
    """A window assigns no technician whom the customer blocked, or who left the job before. The record of the first
    round without a match has each reason.
    """
    service, carla = await people.service(engine), await people.customer(engine)
    for name in ("blocked", "left"):
        await people.technician(engine, name, service, at=metres_north(10))
    await engine.store.redis.sadd(keys.user_blocks(DEFAULT_ZONE, carla.id), "blocked")
    job = await book(engine, carla, service)
    await engine.store.redis.hset(keys.job_offers(DEFAULT_ZONE, job), "left", "left 0 1 1 0")
    await pass_window(engine)
    await pass_window(engine)
    assert await holder(engine, job) == ""
    assert await exclusions(engine, job) == {"blocked": ["blocked"], "left": ["left"]}


async def test_a_booking_for_later_waits_for_its_time(engine: Engine) -> None:
    """A job with a time in the future enters no window before its release, and is matched then."""
    service, carla = await people.service(engine), await people.customer(engine)
    await people.technician(engine, "tom", service)
    job = await book(engine, carla, service, scheduled_for=now_ms() + 7_200_000)
    waiting = keys.waiting_jobs(DEFAULT_ZONE, service)
    await pass_window(engine, 5)
    assert (await engine.store.redis.zcard(waiting), await holder(engine, job)) == (0, "")
    await advance(engine, 3_600)  # the release is an hour before the job's time
    tom = people.technician_without_account("tom")
    await live.set_availability(engine, tom, "tom", online=True, position=people.HERE)
    await run_due_tasks(engine)
    assert (await engine.store.redis.zcard(waiting), await holder(engine, job)) == (1, "")
    await pass_window(engine)
    assert (await engine.store.redis.zcard(waiting), await holder(engine, job)) == (0, "tom")


FARTHEST = """
def farthest(edges, unmatched, limit_s=0.0):
    return [max(each, key=lambda edge: edge[1])[0] if each else -1 for each in edges]


def broken(edges, unmatched, limit_s=0.0):
    raise ValueError("no solution")


def wrong(edges, unmatched, limit_s=0.0):
    return [99 for each in edges]
"""
ENTRY_POINTS = "[callout.matchers]\n" + "".join(f"{name} = far:{name}\n" for name in ("farthest", "broken", "wrong"))


async def test_a_matcher_of_another_package_decides(
    engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The linter refuses a solver that is not installed. A solver that a package adds by an entry point is used by its
    name, and its proposal is assigned. If it raises, or names a technician who does not exist, the cheapest pair is
    assigned.
    """
    managed = engine.blueprints.by_name["managed"]
    assert managed.dispatch.match

    def with_solver(name: str) -> Blueprint:
        match = msgspec.structs.replace(managed.dispatch.match, solver=name)  # type: ignore[arg-type]
        dispatch = msgspec.structs.replace(managed.dispatch, match=match)
        return msgspec.structs.replace(managed, dispatch=dispatch)

    assert [*match_problems(with_solver("farthest"))] == ["dispatch: match: solver 'farthest' is not installed"]
    find_matcher.cache_clear()
    install_package(tmp_path, monkeypatch, "far", FARTHEST, ENTRY_POINTS)
    try:
        service, carla = await people.service(engine), await people.customer(engine)
        crowd = [await people.technician(engine, f"t{n}", service, at=metres_north(100 * n)) for n in range(4)]
        for solver, expected in (("farthest", "t3"), ("broken", "t0"), ("wrong", "t1"), ("exact", "t2")):
            blueprint = with_solver(solver)
            assert [*match_problems(blueprint)] == []
            engine.blueprints.by_name["managed"] = engine.blueprints.by_key[managed.key] = blueprint
            job = await book(engine, carla, service)
            await pass_window(engine)
            assert await holder(engine, job) == expected, solver
        assert len(crowd) == 4
    finally:
        find_matcher.cache_clear()
    assert engine.metrics.match_degraded._value.get() == 2.0
