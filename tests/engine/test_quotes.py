"""Quotes: their comparison with the booking, and that exactly one booking uses a quote up."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest
from sqlalchemy import event

from engine.blueprint.price import TotalLimits
from engine.domain import jobs, quotes
from engine.domain.booking import Booking
from engine.domain.jobs import CommandInput
from engine.errors import Duplicate, Expired, Forbidden, Invalid, NotFound
from engine.events import ms_of
from engine.idempotency.in_redis import Outcome
from engine.runtime import Engine
from engine.store import keys
from engine.types import DEFAULT_ZONE, Principal, UserId
from engine.workers import archiver
from tests.rebuild.compare import check_rebuild
from tests.support import event_log, people
from tests.support.clock import advance
from tests.support.postgres import on_both_databases
from tests.support.quoted import ALWAYS, LATER_MS, book, job_of, quote, set_price

KEY = "7f6b1c9e-4b8a-4f40-9d6e-0d5b6f3c1a33"
SERVICE_ACCOUNT = Principal(UserId("psp"), "service")
OPS = people.ADMIN


async def test_a_quote_is_the_price_of_its_booking(engine: Engine) -> None:
    """The booking has the quoted amount even if the blueprint's prices rise meanwhile. The quote names the job, and
    only ops see the inputs of the price.
    """
    set_price(engine, peak=(ALWAYS,), total=TotalLimits(900, 2200), round_to=50)
    service, carla = await people.service(engine, base_amount=5010), await people.customer(engine)
    promised = await quote(engine, carla, service)
    assert (promised["amount"], promised["multiplier"]) == (6000, 1200)
    assert [line["amount"] for line in promised["breakdown"]] == [5010, 1002, -12]
    [created] = await event_log.events(engine, "quote.created")
    assert created.to == ("role:ops",) and event_log.payload(created)["quote"]["inputs"]["peak"] == 1200
    set_price(engine, peak=(msgspec.structs.replace(ALWAYS, by=2000),), total=TotalLimits(900, 2200))
    job = job_of(await book(engine, carla, service, quote=promised["id"]))
    assert (job["amount"], job["currency"]) == (6000, "USD")
    assert job["quote"] == {name: promised[name] for name in ("id", "amount", "breakdown")}
    read = msgspec.json.decode(await quotes.read_quote(engine, carla, promised["id"]))
    assert read == promised | {"used_by": job["id"]} and "inputs" not in read
    for who in (OPS, SERVICE_ACCOUNT):
        seen = msgspec.json.decode(await quotes.read_quote(engine, who, promised["id"]))
        assert ("inputs" in seen) is who.is_ops
    with pytest.raises(NotFound):
        await quotes.read_quote(engine, await people.customer(engine), promised["id"])


async def test_a_quote_reads_sql_once(engine: Engine) -> None:
    """One query reads the service and the cap of the zone; the customer's own account is not read."""
    set_price(engine, peak=(ALWAYS,), total=TotalLimits(900, 2200))
    service, carla = await people.service(engine), await people.customer(engine)
    statements: list[str] = []

    def note(*execution: Any) -> None:
        statements.append(execution[2])

    event.listen(engine.archive.engine.sync_engine, "before_cursor_execute", note)
    try:
        await quote(engine, carla, service)
    finally:
        event.remove(engine.archive.engine.sync_engine, "before_cursor_execute", note)
    assert len([each for each in statements if each.startswith("SELECT")]) == 1, statements


@pytest.mark.parametrize(
    ("change", "pointers"),
    [
        ({"blueprint": "home_service"}, ["/quote", "/blueprint"]),
        ({"service": "other"}, ["/service"]),
        ({"postal_code": "10002"}, ["/postal_code"]),
        ({"postal_code": None}, ["/postal_code"]),
        ({"scheduled_for": LATER_MS}, ["/scheduled_for"]),
        ({"currency": "EUR"}, ["/currency"]),
        ({"amount": 1}, ["/amount"]),
        ({"lat": people.HERE.lat + 0.001}, ["/lat", "/lon"]),
        ({"lat": people.HERE.lat + 0.0005}, []),
    ],
)
async def test_a_booking_must_be_what_was_quoted(engine: Engine, change: dict[str, Any], pointers: list[str]) -> None:
    """A booking that differs from its quote is refused with the differing fields, and the quote stays unused. A
    difference of 55 m is allowed.
    """
    set_price(engine)
    service, carla = await people.service(engine), await people.customer(engine)
    promised = await quote(engine, carla, service, postal_code="10001")
    if "service" in change:
        change = {"service": await people.service(engine)}
    wanted = {"quote": promised["id"], "service": service, "postal_code": "10001", **change}
    if pointers:
        with pytest.raises(Invalid) as refused:
            await book(engine, carla, **wanted)
        assert [pointer for pointer, _ in refused.value.errors] == pointers
        wanted |= {"service": service, "postal_code": "10001"}
        wanted = {name: value for name, value in wanted.items() if name in ("quote", "service", "postal_code")}
    assert job_of(await book(engine, carla, **wanted))["quote"]["id"] == promised["id"]


async def test_a_quote_is_its_customers_alone(engine: Engine) -> None:
    """Another customer's quote and an unknown one are `not_found`. Ops book with the quote of the customer for whom
    they book.
    """
    set_price(engine)
    service, carla, other = await people.service(engine), await people.customer(engine), await people.customer(engine)
    promised = await quote(engine, carla, service)
    for name in (promised["id"], promised["id"][:-1] + "0", "quo_x", "job_main_x"):
        with pytest.raises(NotFound):
            await book(engine, other, service, quote=name)
    with pytest.raises(NotFound):
        await book(engine, OPS, service, customer=other.id, quote=promised["id"])
    booked = job_of(await book(engine, OPS, service, customer=carla.id, quote=promised["id"]))
    assert booked["customer"]["id"] == carla.id
    with pytest.raises(Forbidden):
        await quote(engine, people.technician_without_account("t1"), service)
    with pytest.raises(Invalid):
        await quote(engine, OPS, service)  # the quote is for no customer


async def test_a_hundred_bookings_at_once_use_a_quote_once(engine: Engine) -> None:
    """Of a hundred bookings with one quote exactly one succeeds, and 99 are refused as `duplicate` and name its job. A
    repeat with the winner's key returns the same job. A cancelled job does not give the quote back.
    """
    set_price(engine)
    service, carla = await people.service(engine), await people.customer(engine)
    promised = await quote(engine, carla, service)
    found = [f"7f6b1c9e-4b8a-4f40-9d6e-0d5b6f3c{number:04x}" for number in range(100)]
    results = await asyncio.gather(
        *(book(engine, carla, service, key=key, quote=promised["id"]) for key in found), return_exceptions=True
    )
    [winner] = [result for result in results if isinstance(result, Outcome)]
    losers = [result for result in results if isinstance(result, Duplicate)]
    assert len(losers) == 99 and {loser.extra["job"]["id"] for loser in losers} == {people.id_of(winner)}
    assert len(await event_log.events(engine, "job.created")) == 1
    again = await book(engine, carla, service, key=winner.key, quote=promised["id"])
    assert again.repeated and people.id_of(again) == people.id_of(winner)
    await jobs.run_command(engine, carla, people.id_of(winner), CommandInput(command="cancel"))
    with pytest.raises(Duplicate):
        await book(engine, carla, service, quote=promised["id"])


async def test_a_quote_ends_at_its_time(engine: Engine) -> None:
    """Bookings succeed until the last millisecond of a quote, and are refused as `expired` after it, by the zone's
    clock.
    """
    set_price(engine, quote_s=60)
    service, carla = await people.service(engine), await people.customer(engine)
    made = [await quote(engine, carla, service) for _ in range(12)]
    meta, end = keys.zone_meta(DEFAULT_ZONE), ms_of(made[-1]["expires_at"])
    now = int(await engine.store.command("HGET", meta, "now"))
    await advance(engine, (end - now - 3) / 1000)
    results = await asyncio.gather(
        *(book(engine, carla, service, quote=each["id"]) for each in made), return_exceptions=True
    )
    for promised, result in zip(made, results, strict=True):
        if isinstance(result, Outcome):
            assert ms_of(job_of(result)["created_at"]) <= ms_of(promised["expires_at"])
        else:
            assert isinstance(result, Expired), result
    assert int(await engine.store.command("HGET", meta, "now")) >= end - 3
    late = await quote(engine, carla, service)
    await advance(engine, 50)
    assert job_of(await book(engine, carla, service, quote=late["id"]))["amount"] == 5000
    late = await quote(engine, carla, service)
    await advance(engine, 60.001)
    with pytest.raises(Expired):
        await book(engine, carla, service, quote=late["id"])


async def test_a_booking_without_a_quote_is_quoted_in_its_step(engine: Engine) -> None:
    """The booking has a quote of its own, which it has used up. It cannot name an amount or another currency."""
    set_price(engine, peak=(ALWAYS,), total=TotalLimits(900, 2200))
    service, carla = await people.service(engine), await people.customer(engine)
    for change, pointer in (({"amount": 5000}, "/amount"), ({"currency": "EUR"}, "/currency")):
        with pytest.raises(Invalid) as refused:
            await book(engine, carla, service, **change)
        assert [each for each, _ in refused.value.errors] == [pointer]
    first = await book(engine, carla, service, key=KEY, currency="USD", reference="order 1")
    job = job_of(first)
    assert job["amount"] == job["quote"]["amount"] == 6000
    own = msgspec.json.decode(await quotes.read_quote(engine, carla, job["quote"]["id"]))
    assert own["used_by"] == job["id"]
    again = await book(engine, carla, service, key=KEY, currency="USD", reference="order 1")
    assert again.repeated and job_of(again) == job
    assert len(await event_log.events(engine, "quote.created")) == 1
    plain = job_of(await people.job(engine, carla, service, blueprint="home_service"))
    assert plain["quote"] is None and plain["amount"] == 5000


async def test_a_repeated_request_has_the_first_quote(engine: Engine) -> None:
    """A repeated request for a quote with the same key returns the same quote, even if the service's price has risen
    meanwhile.
    """
    set_price(engine)
    service, carla = await people.service(engine), await people.customer(engine)
    asked = Booking(blueprint="managed", service=service, lat=1.0, lon=1.0, address="")
    first = await quotes.create_quote(engine, carla, asked, key=KEY)
    set_price(engine, peak=(ALWAYS,), total=TotalLimits(900, 2200))
    again = await quotes.create_quote(engine, carla, asked, key=KEY)
    assert (again.repeated, again.id, bytes(again.quote)) == (True, first.id, bytes(first.quote))
    with pytest.raises(Invalid):
        await quotes.create_quote(engine, carla, msgspec.structs.replace(asked, blueprint="home_service"))


@on_both_databases
async def test_the_archive_has_each_quote_and_its_job(engine: Engine) -> None:
    """A quote that Redis no longer has is read from SQL, with the job that used it up in another batch."""
    set_price(engine)
    service, carla = await people.service(engine), await people.customer(engine)
    promised, other = await quote(engine, carla, service), await quote(engine, carla, service)
    await archiver.run_once(engine)
    job = people.id_of(await book(engine, carla, service, quote=promised["id"]))
    await archiver.run_once(engine)
    for name in (promised["id"], other["id"]):
        await engine.store.redis.delete(keys.quote(DEFAULT_ZONE, name))
    assert msgspec.json.decode(await quotes.read_quote(engine, carla, promised["id"])) == promised | {"used_by": job}
    assert msgspec.json.decode(await quotes.read_quote(engine, carla, other["id"])) == other


async def test_a_rebuilt_zone_keeps_its_quotes(engine: Engine) -> None:
    """After Redis was emptied and rebuilt from SQL, an open quote is still valid and a used one is still used. A
    repeated request for the open quote returns the same quote.
    """
    set_price(engine)
    service, carla = await people.service(engine), await people.customer(engine)
    used = await quote(engine, carla, service)
    job = people.id_of(await book(engine, carla, service, quote=used["id"]))
    asked = Booking(blueprint="managed", service=service, lat=people.HERE.lat, lon=people.HERE.lon, address="")
    promised = await quotes.create_quote(engine, carla, asked, key=KEY)
    await check_rebuild(engine)
    again = await quotes.create_quote(engine, carla, asked, key=KEY)
    assert (again.repeated, again.id) == (True, promised.id)
    with pytest.raises(Duplicate) as refused:
        await book(engine, carla, service, quote=used["id"])
    assert refused.value.extra["job"]["id"] == job
    assert job_of(await book(engine, carla, service, quote=promised.id))["quote"]["id"] == promised.id
