"""Quoted prices: demand, the cap of ops, currencies, and later changes of a price."""

from __future__ import annotations

import msgspec
import pytest

from engine.blueprint.price import TotalLimits
from engine.domain import demand_pulse, edits, jobs, price_caps, prices, quote_use, quotes
from engine.domain.jobs import CommandInput
from engine.errors import Duplicate, Expired, Forbidden, Invalid, NotEditable, NotFound, PriceLocked
from engine.rules.pulse import AreaKind, AreaPulse, cell_at
from engine.rules.surge import DemandTable
from engine.runtime import Engine
from engine.store import keys
from engine.types import DEFAULT_ZONE
from engine.workers import archiver
from tests.support import event_log, people
from tests.support.clock import advance
from tests.support.quoted import ALWAYS, LATER_MS, book, job_of, quote, set_price

KEY = "7f6b1c9e-4b8a-4f40-9d6e-0d5b6f3c1a33"
OPS = people.ADMIN


async def test_the_demand_of_the_area_is_in_the_price(engine: Engine) -> None:
    """The multiplier of the place's area, or of its postal code if that has enough requests, raises the price within
    the blueprint's limits. An old pulse, work at a later hour, and the multiplier of another blueprint do not.
    """
    set_price(engine, demand=DemandTable(((1.0, 1000), (2.0, 1500)), max=1500), total=TotalLimits(900, 1400))
    service, carla = await people.service(engine), await people.customer(engine)
    assert [(await quote(engine, carla, service))["amount"], await demand_from(engine)] == [5000, "none"]
    await set_pulse(engine, "cell", cell_at(people.HERE.lat, people.HERE.lon), 1200)
    await set_pulse(engine, "postal_code", "10001", 1300)
    await set_pulse(engine, "postal_code", "10002", 9000)
    for code, amount in ((None, 6000), ("10001", 6500), ("10002", 7000), ("10003", 6000)):
        promised = await quote(engine, carla, service, postal_code=code)
        assert (promised["amount"], await demand_from(engine)) == (amount, "pulse")
    assert [line["line"] for line in promised["breakdown"]] == ["base", "demand", "rounding"]
    assert job_of(await book(engine, carla, service))["amount"] == 6000
    now = int(await engine.store.command("HGET", keys.zone_meta(DEFAULT_ZONE), "now"))
    assert (await quote(engine, carla, service, scheduled_for=now + 3_600_000))["amount"] == 6000
    assert (await quote(engine, carla, service, scheduled_for=now + 9_000_000))["amount"] == 5000
    assert await demand_from(engine) == "later"
    await set_pulse(engine, "cell", cell_at(people.HERE.lat, people.HERE.lon), 1200, blueprint="other")
    assert (await quote(engine, carla, service))["amount"] == 5000
    await set_pulse(engine, "cell", cell_at(people.HERE.lat, people.HERE.lon), 1200)
    await advance(engine, 301)
    assert [(await quote(engine, carla, service))["amount"], await demand_from(engine)] == [5000, "none"]


async def set_pulse(engine: Engine, kind: AreaKind, area: str, multiplier: int, blueprint: str = "managed") -> None:
    """Store a pulse of an area with a demand multiplier, as of now."""
    now = int(await engine.store.command("HGET", keys.zone_meta(DEFAULT_ZONE), "now"))
    pulse = AreaPulse(sample=100, multipliers={blueprint: multiplier})
    await demand_pulse.store_pulses(engine, DEFAULT_ZONE, kind, {area: demand_pulse.encode_pulse(pulse)}, now)


async def demand_from(engine: Engine) -> str:
    """Return the source of the demand multiplier in the last quote."""
    [*_, event] = await event_log.events(engine, "quote.created")
    return str(event_log.payload(event)["quote"]["inputs"]["demand_from"])


async def test_what_happens_after_the_quote_does_not_change_the_amount(engine: Engine) -> None:
    """The amount does not change when the demand rises, the blueprint gets a peak factor, or another technician gets
    the job.
    """
    set_price(engine, demand=DemandTable(((1.0, 1000), (2.0, 1500)), max=1500), total=TotalLimits(900, 2200))
    service, carla = await people.service(engine), await people.customer(engine)
    first, second = [await people.technician(engine, name, service) for name in ("first", "second")]
    promised = await quote(engine, carla, service)
    await set_pulse(engine, "cell", cell_at(people.HERE.lat, people.HERE.lon), 1500)
    set_price(engine, peak=(ALWAYS,), total=TotalLimits(900, 2200))
    job = people.id_of(await book(engine, carla, service, quote=promised["id"]))
    for command, technician in (("assign", first), ("reassign", second)):
        step = CommandInput(command=command, technician=technician.id)
        seen = job_of(await jobs.run_command(engine, OPS, job, step))
        assert (seen["technician"]["id"], seen["amount"]) == (technician.id, promised["amount"])
    assert promised["amount"] == 5000 and (await quote(engine, carla, service))["amount"] == 6000


async def test_a_cap_of_ops_bounds_every_price(engine: Engine) -> None:
    """A cap of × 1 applies immediately to new quotes, even if the blueprint's lower limit is higher. A promised price
    does not change. The cap is recorded in the audit trail, and null removes it.
    """
    set_price(engine, peak=(ALWAYS,), total=TotalLimits(900, 2200))
    service, carla = await people.service(engine), await people.customer(engine)
    before = await quote(engine, carla, service)
    with pytest.raises(Forbidden):
        await price_caps.put_cap(engine, carla, DEFAULT_ZONE, 1000)
    first = await price_caps.put_cap(engine, OPS, DEFAULT_ZONE, 1000, key=KEY)
    again = await price_caps.put_cap(engine, OPS, DEFAULT_ZONE, 1000, key=KEY)
    assert first.value == again.value and again.repeated
    capped = await quote(engine, carla, service)
    assert (before["amount"], capped["amount"], capped["multiplier"]) == (6000, 5000, 1000)
    assert [line["line"] for line in capped["breakdown"]] == ["base", "peak", "limit", "rounding"]
    assert job_of(await book(engine, carla, service, quote=before["id"]))["amount"] == 6000
    await price_caps.put_cap(engine, OPS, DEFAULT_ZONE, 1100)
    assert (await quote(engine, carla, service))["amount"] == 5500
    await price_caps.put_cap(engine, OPS, DEFAULT_ZONE, None)
    assert (await quote(engine, carla, service))["amount"] == 6000


async def test_an_edit_of_what_is_priced_needs_a_fresh_quote(engine: Engine) -> None:
    """An edit of the place, service or time is `price_locked` without a quote. With a quote, the job gets its price and
    uses it up. An edit of the notes needs no quote. A used quote, a quote that is not needed, and one of another place
    are refused.
    """
    set_price(engine)
    service, dearer = await people.service(engine), await people.service(engine, base_amount=9000, pricing="hourly")
    carla = await people.customer(engine)
    first = await quote(engine, carla, service)
    job = people.id_of(await book(engine, carla, service, quote=first["id"]))
    moved = {"lat": people.HERE.lat + 0.01}
    for change, pointers in (
        ({"service": dearer}, ["/service"]),
        ({"lat": moved["lat"]}, ["/lat"]),
        ({"postal_code": "10003"}, ["/postal_code"]),
        ({"scheduled_for": LATER_MS}, ["/scheduled_for"]),
    ):
        with pytest.raises(PriceLocked) as locked:
            await edits.edit_job(engine, carla, job, change)
        assert [pointer for pointer, _ in locked.value.errors] == pointers
    await edits.edit_job(engine, carla, job, {"notes": "Ring twice"})
    fresh = await quote(engine, carla, dearer, lat=moved["lat"])
    change = {"service": dearer, "lat": moved["lat"], "quote": fresh["id"]}
    for wrong, pointers in (
        ({"notes": "x", "quote": fresh["id"]}, ["/quote", "/service", "/lat", "/lon"]),
        ({"service": dearer, "quote": fresh["id"]}, ["/lat", "/lon"]),
        ({**change, "amount": 1}, ["/amount"]),
    ):
        with pytest.raises((Invalid, NotEditable)) as refused:
            await edits.edit_job(engine, carla, job, wrong)
        assert [pointer for pointer, _ in refused.value.errors] == pointers
    with pytest.raises(NotFound):
        await edits.edit_job(engine, carla, job, {**change, "quote": first["id"][:-1] + "0"})
    edited = job_of(await edits.edit_job(engine, carla, job, change, key=KEY))
    assert (edited["amount"], edited["pricing"], edited["quote"]["id"]) == (9000, "hourly", fresh["id"])
    [*_, event] = await event_log.events(engine, "job.updated", job)
    assert set(event_log.payload(event)["changed"]) == {"service", "lat", "amount", "quote"}
    assert job_of(await edits.edit_job(engine, carla, job, change, key=KEY)) == edited
    read = msgspec.json.decode(await quotes.read_quote(engine, carla, fresh["id"]))
    assert read["used_by"] == job
    with pytest.raises(Duplicate) as used:
        await edits.edit_job(engine, carla, job, {"lat": people.HERE.lat, "service": service, "quote": first["id"]})
    assert used.value.extra["job"]["id"] == job


async def test_a_quote_that_redis_forgot_is_expired(engine: Engine) -> None:
    """Redis deletes a quote a day after its end. Even then a booking and an edit with the quote are refused as
    `expired`, and not as `not_found`.
    """
    set_price(engine)
    service, carla = await people.service(engine), await people.customer(engine)
    old = await quote(engine, carla, service)
    moved = await quote(engine, carla, service, lat=people.HERE.lat + 0.01)
    job = people.id_of(await book(engine, carla, service))
    await archiver.run_once(engine)
    for name in (old["id"], moved["id"]):
        await engine.store.redis.delete(keys.quote(DEFAULT_ZONE, name))
    with pytest.raises(Expired):
        await book(engine, carla, service, quote=old["id"])
    with pytest.raises(Expired):
        await edits.edit_job(engine, carla, job, {"lat": moved["lat"], "quote": moved["id"]})


async def test_an_edit_uses_a_quote_of_its_own_zone_up(engine: Engine) -> None:
    """A quote of the neighbouring zone cannot be used for the job, even if its place is less than 100 m away."""
    set_price(engine)
    service, carla = await people.service(engine), await people.customer(engine)
    promised = await quote(engine, carla, service)
    abroad = {**promised, "id": promised["id"].replace("quo_main_", "quo_north_")}
    terms = {**promised, "zone": "main"}
    found = [quote_use.differences(msgspec.convert(each, quote_use.Quote), terms) for each in (promised, abroad)]
    assert [[pointer for pointer, _ in errors] for errors in found] == [[], ["/lat", "/lon"]]


async def test_an_accepted_proposal_changes_the_amount_and_not_the_quote(engine: Engine) -> None:
    """After a proposal was accepted the job has its amount, and the quote that was promised before."""
    managed = engine.blueprints.by_name["managed"]
    set_price(engine, propose=("accepted",))
    service, carla = await people.service(engine), await people.customer(engine)
    tom = await people.technician(engine, "t1", service)
    job = people.id_of(await book(engine, carla, service))
    await jobs.run_command(engine, OPS, job, CommandInput(command="assign", technician=tom.id))
    await jobs.run_command(engine, tom, job, CommandInput(command="accept"))
    proposed = await prices.propose_price(engine, tom, job, 7000)
    name = msgspec.json.decode(proposed.proposal)["id"]
    changed = msgspec.json.decode((await prices.answer_proposal(engine, carla, job, name, "accepted")).job)
    assert (changed["amount"], changed["quote"]["amount"]) == (7000, 5000)
    assert managed.price.source == "quote"


@pytest.mark.parametrize(("currency", "base", "amount"), [("JPY", 5000, 6000), ("KWD", 1, 1), ("USD", 0, 0)])
async def test_amounts_are_minor_units_of_any_currency(engine: Engine, currency: str, base: int, amount: int) -> None:
    """A currency without decimals, one with three, and a free service are quoted like any other."""
    set_price(engine, peak=(ALWAYS,), total=TotalLimits(900, 2200))
    service = await people.service(engine, base_amount=base, currency=currency)
    promised = await quote(engine, await people.customer(engine), service)
    assert (promised["amount"], promised["currency"]) == (amount, currency)
    assert sum(line["amount"] for line in promised["breakdown"]) == amount
