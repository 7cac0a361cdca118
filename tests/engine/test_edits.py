"""Edits where timing matters: offers that are not open yet, and a job that moves on while it is edited."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from engine.clock import now_ms
from engine.domain import edits, jobs, prices, services
from engine.domain.jobs import Step
from engine.errors import FieldError, Invalid, NotEditable, NotFound, Unavailable
from engine.rules import job_document
from engine.runtime import Engine
from engine.store import keys
from engine.types import DEFAULT_ZONE, new_job_id
from tests.support import event_log, people

KEY = "7f6b1c9e-4b8a-4f40-9d6e-0d5b6f3c1a22"


async def test_a_job_that_is_not_there(engine: Engine) -> None:
    """No such job, whatever is to be changed."""
    carla = await people.customer(engine)
    for name in (new_job_id(DEFAULT_ZONE), "x"):
        with pytest.raises(NotFound):
            await edits.edit(engine, carla, name, {"notes": "x"})
        with pytest.raises(NotFound):
            await prices.propose(engine, carla, name, 1)


async def test_judged_again_where_the_job_moved_on(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Taken as far as where nothing may be edited, between reading and writing: refused as of then, and not written."""
    serves, carla = await people.service(engine), await people.customer(engine)
    one = await people.technician(engine, "t1", serves)
    job = await people.offered(engine, carla, serves)
    drafted, looks = edits._drafted, 0

    async def overtaken(*args: Any) -> Any:
        nonlocal looks
        looks += 1
        draft = await drafted(*args)
        if looks == 1:
            for step in ("claim", "depart", "arrive"):
                await jobs.command(engine, one, job, Step(command=step))
        return draft

    monkeypatch.setattr(edits, "_drafted", overtaken)
    with pytest.raises(NotEditable):
        await edits.edit(engine, carla, job, {"notes": "x"})
    assert looks == 2
    assert await event_log.events(engine, "job.updated", job) == []


async def test_one_that_never_rests_is_given_up(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Overtaken every time, the edit is unavailable: nothing was done."""
    serves, carla = await people.service(engine), await people.customer(engine)
    job = await people.offered(engine, carla, serves)
    drafted = edits._drafted

    async def overtaken(*args: Any) -> Any:
        draft = await drafted(*args)
        await engine.store.redis.hincrby(keys.job(DEFAULT_ZONE, job), "version", 1)  # type: ignore[misc]
        return draft

    monkeypatch.setattr(edits, "_drafted", overtaken)
    with pytest.raises(Unavailable):
        await edits.edit(engine, carla, job, {"notes": "x"})


async def test_who_may_not_see_his_offer_yet_is_not_told(engine: Engine) -> None:
    """An offer that opens later brings the job as it is then; one that ran out is over."""
    serves, carla = await people.service(engine), await people.customer(engine)
    for name in ("now", "later", "over"):
        await people.technician(engine, name, serves)
    job = await people.offered(engine, carla, serves)
    offers = keys.offers(DEFAULT_ZONE, job)
    await engine.store.redis.hset(offers, "later", "sent 1 9999999999000 9999999999999 10")  # type: ignore[misc]
    await engine.store.redis.hset(offers, "over", "sent 1 1 2 10")  # type: ignore[misc]
    await edits.edit(engine, carla, job, {"notes": "Ring twice", "public_notes": "A tap drips"})
    [told] = await event_log.events(engine, "offer.updated", job)
    assert told.to == ("user:now",)
    assert event_log.payload(told)["offer"]["job"]["public_notes"] == "A tap drips" and b"Ring" not in told.data


async def test_a_verdict_stands_whatever_becomes_of_the_service(engine: Engine) -> None:
    """The same key after the new service was withdrawn is answered as the first time."""
    old, new, carla = await people.service(engine), await people.service(engine), await people.customer(engine)
    job = people.id_of(await people.job(engine, carla, old, blueprint="marketplace"))
    first = await edits.edit(engine, carla, job, {"service": new}, key=KEY)
    await edits.edit(engine, carla, job, {"service": old})
    await services.patch(engine, people.ADMIN, new, {"active": False})
    again = await edits.edit(engine, carla, job, {"service": new}, key=KEY)
    assert again.repeated and orjson.loads(bytes(again.job or b"")) == orjson.loads(bytes(first.job or b""))


def test_the_public_part_hides_what_it_must() -> None:
    """No customer, address, reference nor metadata, the place rounded; and both texts read back in their order."""
    members = {
        "id": "j",
        "customer": {"id": "c"},
        "service": "s",
        "lat": 52.123456,
        "lon": 13.0,
        "address": "A",
        "currency": "EUR",
        "metadata": {"currency": "XXX"},
        "reference": "r",
    }
    assert job_document.members(job_document.public(members)) == {
        "id": "j",
        "service": "s",
        "lat": 52.123,
        "lon": 13.0,
        "currency": "EUR",
    }
    assert list(job_document.members(job_document.whole(members))) == list(members)


async def test_bids_are_taken_as_long_as_before_when_the_place_changes(engine: Engine) -> None:
    """Bids are taken from now on, however late the work is: another place leaves the end where it was."""
    serves, carla = await people.service(engine), await people.customer(engine)
    when = now_ms() + 30 * 86_400_000
    job = people.id_of(await people.job(engine, carla, serves, blueprint="marketplace", scheduled_for=when))
    ends = await engine.store.redis.hget(keys.job(DEFAULT_ZONE, job), "expires")  # type: ignore[misc]
    await edits.edit(engine, carla, job, {"lat": 40.8, "lon": -73.9})
    assert await engine.store.redis.hget(keys.job(DEFAULT_ZONE, job), "expires") == ends  # type: ignore[misc]


async def test_who_was_asked_by_name_must_do_what_the_job_becomes(engine: Engine) -> None:
    """Nobody else is looked for: a service that he does not do is refused, and another time moves no deadline."""
    serves, other, carla = await people.service(engine), await people.service(engine), await people.customer(engine)
    one = await people.technician(engine, "t1", serves)
    job = people.id_of(await people.job(engine, carla, serves, blueprint="marketplace", technician="t1"))
    with pytest.raises(Invalid) as caught:
        await edits.edit(engine, carla, job, {"service": other})
    assert caught.value.errors == [FieldError("/service", "Its technician does not do it")]
    ends = await engine.store.redis.hget(keys.job(DEFAULT_ZONE, job), "expires")  # type: ignore[misc]
    await edits.edit(engine, carla, job, {"scheduled_for": now_ms() + 86_400_000})
    assert await engine.store.redis.hget(keys.job(DEFAULT_ZONE, job), "expires") == ends  # type: ignore[misc]
    await jobs.command(engine, one, job, Step(command="accept"))
