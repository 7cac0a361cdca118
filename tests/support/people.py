"""Create accounts, technicians, services and jobs for the engine's tests by calls of the engine's own functions."""

from __future__ import annotations

import uuid

import msgspec

from engine.domain import booking, profile, services
from engine.idempotency.in_redis import Outcome
from engine.identity import accounts
from engine.runtime import Engine
from engine.technicians import live
from engine.technicians.live import Coordinates
from engine.types import DEFAULT_ZONE, JobId, Principal, ServiceId, TechnicianId, UserId
from engine.workers import scheduler

ADMIN = Principal(UserId("cli_admin"), "admin", "Admin")
HERE = Coordinates(40.75, -73.99)


async def service(engine: Engine, **changes: object) -> ServiceId:
    """Create a service and return its id. ``changes`` replace fields of ``NewService``; the price is 5000 (USD 50.00)
    unless they change it.
    """
    new = {"name": "Plumbing", "category": "home", "base_amount": 5000, "currency": "USD", **changes}
    created = await services.create_service(engine, ADMIN, services.NewService(**new))  # type: ignore[arg-type]
    return created.value.id


async def customer(engine: Engine, name: str = "Carla Customer") -> Principal:
    """Create a customer's account in SQL and return the customer."""
    address = f"{uuid.uuid4().hex}@example.org"
    new = accounts.NewAccount(email=address, password="correct horse", name=name, role="customer", phone="+1 555 0100")
    created = await accounts.create_user(engine, ADMIN, new)
    return Principal(created.value.id, "customer", name)


def technician_without_account(name: str) -> Principal:
    """Return the principal of a technician who has no account and no row in SQL: for tests with
    hundreds of technicians.
    """
    return Principal(UserId(name), "technician", name)


async def technician(
    engine: Engine,
    name: str,
    service: ServiceId,
    *,
    at: Coordinates | None = HERE,
    capacity: int = 1,
    **changes: object,
) -> Principal:
    """Write the record of an eligible technician to Redis, and put them online at the position ``at``. None: they stay
    offline. ``changes`` replace fields of the record.
    """
    fields = {"complete": True, "kyc": "approved", "account": "approved", "version": 1, **changes}
    record = live.TechnicianRecord(
        id=TechnicianId(UserId(name)),
        name=f"T {name}",
        phone="+1 555 0199",
        services=[service],
        capacity=capacity,
        **fields,  # type: ignore[arg-type]
    )
    await live.write_record(engine, record)
    who = technician_without_account(name)
    if at is not None:
        await live.set_availability(engine, who, name, online=True, position=at)
    return who


async def job(
    engine: Engine, who: Principal, service: ServiceId, *, at: Coordinates = HERE, **changes: object
) -> Outcome:
    """Book a job at the position ``at`` as the customer ``who``. The job has no offers until a wave opens."""
    fields = {"service": service, "lat": at.lat, "lon": at.lon, "address": "1 Main St", **changes}
    return await booking.book_job(engine, who, booking.Booking(**fields))  # type: ignore[arg-type]


def id_of(outcome: Outcome) -> JobId:
    """Return the id of the job that an outcome contains."""
    assert outcome.job is not None
    return JobId(msgspec.json.decode(outcome.job)["id"])


async def offered_job(engine: Engine, who: Principal, service: ServiceId, **changes: object) -> JobId:
    """Book a job as the customer ``who``, open its first wave, and return the job's id."""
    name = id_of(await job(engine, who, service, **changes))  # type: ignore[arg-type]
    await scheduler.open_wave(engine, DEFAULT_ZONE, name, 1)
    return name


__all__ = [
    "ADMIN",
    "HERE",
    "customer",
    "id_of",
    "job",
    "offered_job",
    "profile",
    "service",
    "technician",
    "technician_without_account",
]
