"""Edits of a job that depend on timing: an offer that is not open yet, and a job that changes during the edit."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from engine.clock import now_ms
from engine.domain import edits, jobs, prices, services
from engine.domain.jobs import CommandInput
from engine.errors import FieldError, Invalid, NotEditable, NotFound, ReusedKey, Unavailable
from engine.rules import job_document
from engine.runtime import Engine
from engine.store import keys
from engine.types import DEFAULT_ZONE, new_job_id
from tests.support import event_log, people

IDEMPOTENCY_KEY = "7f6b1c9e-4b8a-4f40-9d6e-0d5b6f3c1a22"


async def test_an_unknown_job_is_not_found(engine: Engine) -> None:
    """An edit and a price proposal for a job that does not exist are refused with `not_found`."""
    carla = await people.customer(engine)
    for name in (new_job_id(DEFAULT_ZONE), "x"):
        with pytest.raises(NotFound):
            await edits.edit_job(engine, carla, name, {"notes": "x"})
        with pytest.raises(NotFound):
            await prices.propose_price(engine, carla, name, 1)


async def test_an_edit_is_checked_again_after_the_job_has_moved(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If the job reaches a state without edits after the engine has read it, the edit is checked again, refused with
    `not_editable` and not written.
    """
    service, carla = await people.service(engine), await people.customer(engine)
    tom = await people.technician(engine, "t1", service)
    job = await people.offered_job(engine, carla, service)
    draft_change, attempts = edits._draft_change, 0

    async def draft_then_change_job(*args: Any) -> Any:
        nonlocal attempts
        attempts += 1
        draft = await draft_change(*args)
        if attempts == 1:
            for step in ("claim", "depart", "arrive"):
                await jobs.run_command(engine, tom, job, CommandInput(command=step))
        return draft

    monkeypatch.setattr(edits, "_draft_change", draft_then_change_job)
    with pytest.raises(NotEditable):
        await edits.edit_job(engine, carla, job, {"notes": "x"})
    assert attempts == 2
    assert await event_log.events(engine, "job.updated", job) == []


@pytest.mark.usefixtures("records_by_hand")
async def test_an_edit_that_always_conflicts_is_unavailable(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """If the job changes during each attempt to write the edit, the edit is refused as `unavailable` after a limited
    number of attempts.
    """
    service, carla = await people.service(engine), await people.customer(engine)
    job = await people.offered_job(engine, carla, service)
    draft_change = edits._draft_change

    async def draft_then_change_job(*args: Any) -> Any:
        draft = await draft_change(*args)
        await engine.store.redis.hincrby(keys.job(DEFAULT_ZONE, job), "version", 1)  # type: ignore[misc]
        return draft

    monkeypatch.setattr(edits, "_draft_change", draft_then_change_job)
    with pytest.raises(Unavailable):
        await edits.edit_job(engine, carla, job, {"notes": "x"})


@pytest.mark.usefixtures("records_by_hand")
async def test_an_edit_does_not_reach_technicians_whose_offer_opens_later(engine: Engine) -> None:
    """An edit sends `offer.updated` with the public part to technicians whose offer is open. It sends nothing for an
    offer that opens later or has expired.
    """
    service, carla = await people.service(engine), await people.customer(engine)
    for name in ("now", "later", "over"):
        await people.technician(engine, name, service)
    job = await people.offered_job(engine, carla, service)
    offers = keys.job_offers(DEFAULT_ZONE, job)
    await engine.store.redis.hset(offers, "later", "sent 1 9999999999000 9999999999999 10")  # type: ignore[misc]
    await engine.store.redis.hset(offers, "over", "sent 1 1 2 10")  # type: ignore[misc]
    await edits.edit_job(engine, carla, job, {"notes": "Ring twice", "public_notes": "A tap drips"})
    [event] = await event_log.events(engine, "offer.updated", job)
    assert event.to == ("user:now",)
    assert event_log.payload(event)["offer"]["job"]["public_notes"] == "A tap drips" and b"Ring" not in event.data


async def test_a_repeat_has_its_first_reply_after_the_service_is_deactivated(engine: Engine) -> None:
    """A repeat of an edit under its key has the first reply, although the new service was deactivated
    in the meantime.
    """
    old, new, carla = await people.service(engine), await people.service(engine), await people.customer(engine)
    job = people.id_of(await people.job(engine, carla, old, blueprint="marketplace"))
    first = await edits.edit_job(engine, carla, job, {"service": new}, key=IDEMPOTENCY_KEY)
    await edits.edit_job(engine, carla, job, {"service": old})
    await services.patch_service(engine, people.ADMIN, new, {"active": False})
    again = await edits.edit_job(engine, carla, job, {"service": new}, key=IDEMPOTENCY_KEY)
    assert again.repeated and orjson.loads(bytes(again.job or b"")) == orjson.loads(bytes(first.job or b""))


async def test_a_repeat_of_an_edit_that_changed_nothing_does_not_undo_later_edits(engine: Engine) -> None:
    """An edit to the values that the job has already stores its key. Its repeat changes nothing, although somebody has
    edited the job since, and the key is refused for another edit.
    """
    service, carla = await people.service(engine), await people.customer(engine)
    job = await people.offered_job(engine, carla, service)
    await edits.edit_job(engine, carla, job, {"public_notes": "Ring twice"})
    same = await edits.edit_job(engine, carla, job, {"public_notes": "Ring twice"}, key=IDEMPOTENCY_KEY)
    later = await edits.edit_job(engine, carla, job, {"public_notes": "Dog"})
    again = await edits.edit_job(engine, carla, job, {"public_notes": "Ring twice"}, key=IDEMPOTENCY_KEY)
    assert (same.repeated, again.repeated) == (False, True)
    assert (again.version, orjson.loads(bytes(again.job or b""))["public_notes"]) == (later.version, "Dog")
    with pytest.raises(ReusedKey):
        await edits.edit_job(engine, carla, job, {"public_notes": "Other"}, key=IDEMPOTENCY_KEY)
    assert len(await event_log.events(engine, "job.updated", job)) == 2


def test_the_public_part_has_no_private_member() -> None:
    """The public part of a job has no customer, address, reference or metadata, and its place is rounded to three
    decimals. The whole document has all members in their order.
    """
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
    assert job_document.decode_members(job_document.encode_public_members(members)) == {
        "id": "j",
        "service": "s",
        "lat": 52.123,
        "lon": 13.0,
        "currency": "EUR",
    }
    assert list(job_document.decode_members(job_document.encode_members(members))) == list(members)


async def test_a_change_of_place_does_not_change_the_time_for_bids(engine: Engine) -> None:
    """The time for bids counts from the booking, even if the work is much later, so an edit of the place does not
    change its end.
    """
    service, carla = await people.service(engine), await people.customer(engine)
    when = now_ms() + 30 * 86_400_000
    job = people.id_of(await people.job(engine, carla, service, blueprint="marketplace", scheduled_for=when))
    ends = await engine.store.redis.hget(keys.job(DEFAULT_ZONE, job), "expires")  # type: ignore[misc]
    await edits.edit_job(engine, carla, job, {"lat": 40.8, "lon": -73.9})
    assert await engine.store.redis.hget(keys.job(DEFAULT_ZONE, job), "expires") == ends  # type: ignore[misc]


async def test_an_edit_must_suit_the_named_technician(engine: Engine) -> None:
    """If the customer named a technician, an edit to a service that this technician lacks is refused at `/service`. An
    edit of the time does not change the deadline of the request.
    """
    service, other, carla = await people.service(engine), await people.service(engine), await people.customer(engine)
    tom = await people.technician(engine, "t1", service)
    job = people.id_of(await people.job(engine, carla, service, blueprint="marketplace", technician="t1"))
    with pytest.raises(Invalid) as caught:
        await edits.edit_job(engine, carla, job, {"service": other})
    assert caught.value.errors == [FieldError("/service", "Its technician does not do it")]
    ends = await engine.store.redis.hget(keys.job(DEFAULT_ZONE, job), "expires")  # type: ignore[misc]
    await edits.edit_job(engine, carla, job, {"scheduled_for": now_ms() + 86_400_000})
    assert await engine.store.redis.hget(keys.job(DEFAULT_ZONE, job), "expires") == ends  # type: ignore[misc]
    await jobs.run_command(engine, tom, job, CommandInput(command="accept"))
