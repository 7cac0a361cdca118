"""Book a job: check the booking against catalogue and customer account, then create the job with one script."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from engine.archive import reader
from engine.blueprint import registry
from engine.blueprint.compiler import compile_room_json
from engine.blueprint.schema import Blueprint
from engine.clock import now_ms
from engine.domain import booking_notes, booking_outcomes, quote_use, services, slots
from engine.domain.booking_record import duration_of, encode_record_members
from engine.domain.booking_request import Booking
from engine.errors import (
    AccountNotApproved,
    Duplicate,
    Expired,
    FieldError,
    Forbidden,
    Invalid,
    KycNotApproved,
    NotFound,
    ProfileIncomplete,
    ScheduleConflict,
)
from engine.idempotency import in_redis
from engine.idempotency.in_redis import Outcome
from engine.identity import accounts
from engine.rules.work_times import check_work_time
from engine.store import keys
from engine.technicians.live import check_mappable
from engine.types import DEFAULT_ZONE, OPS, IdempotencyKey, JobId, Principal, ServiceId, UserId, Zone, is_id, zone_of

if TYPE_CHECKING:
    from engine.runtime import Engine

__all__ = ["Booking", "book_job"]

OTHER_BOOKING_TEXT = "Another booking was made under this reference"


async def book_job(
    engine: Engine, caller: Principal, booking: Booking, *, key: str | None = None, trace: str = ""
) -> Outcome:
    """Book a job. The job is on offer when this function returns.

    A repeat under the same key, or of the same booking under the same ``reference`` of this principal, returns the
    first job. Raises Duplicate, with the first job's id, for another booking under that reference; Forbidden for a
    caller who may not book (for this customer), OutOfArea, Invalid, NotFound, ServiceInactive, ReusedKey.
    """
    key = in_redis.validate_key(key)
    customer = customer_id(caller, booking)
    check_mappable(booking.lat, booking.lon)
    blueprint = registry.find_named(engine.blueprints, booking.blueprint)
    fingerprint = _booking_fingerprint(engine, booking, customer)
    if (earlier := await _find_earlier(engine, caller, blueprint, booking, key, fingerprint)) is not None:
        return earlier
    check_technician(blueprint, booking)
    service = await services.active_service(engine, ServiceId(booking.service))
    person = await customer_account(engine, customer)
    quote = await quote_use.find_for_booking(engine, customer, blueprint, booking, service)
    place = (booking.lat, booking.lon)
    zone = quote.zone if quote else await booking_notes.choose_zone(engine, caller.id, key, booking.reference, place)
    note = await booking_notes.reserve_job(engine, caller.id, key, booking.reference, fingerprint, zone)
    zone, job = note.zone, note.job
    price = await quote_use.price_booking(engine, zone, blueprint, booking, service, customer, quote)
    full, public = encode_record_members(zone, job, blueprint, booking, service, person, price)
    creation = _JobCreation(zone, job, customer, service, booking, blueprint)
    work = slots.Work(zone, blueprint, service.id, customer, booking.lat, booking.lon, duration_of(booking, service))
    head = {"actor": f"{caller.role}:{caller.id}", "key": key, "fingerprint": fingerprint, "trace": trace}
    args = {**head, **creation.arguments(engine), "full": full, "pub": public, **price.script_arguments}
    args["contact"] = msgspec.json.encode(person.phone)
    state, preferred = first_state(blueprint, booking), str(args["preferred"])
    args["reserve"] = await slots.reservation_text(engine, work, state, booking.scheduled_for, preferred)
    try:
        done = await engine.store.run(zone, "job_create", keys=creation.script_keys(caller, key), args=args)
    except (Expired, Duplicate) as error:
        if quote_use.explain_refusal(error):
            await booking_notes.release_job(engine, note)
            raise
        raise Duplicate(OTHER_BOOKING_TEXT, job={"id": error.reply[0].decode()}) from error
    except ScheduleConflict as error:
        await booking_notes.release_job(engine, note)
        raise await slots.add_slots(engine, error, work, booking.scheduled_for or 0) from error
    except (ProfileIncomplete, KycNotApproved, AccountNotApproved, Invalid) as error:
        await booking_notes.release_job(engine, note)
        if booking.technician is None:
            raise
        raise Invalid(
            errors=[FieldError("/technician", "Cannot take this job now")], repeated=error.repeated
        ) from error
    if done.repeated:
        return await booking_outcomes.repeated_outcome(engine, zone, caller, blueprint, done, key)
    booked = await booking_outcomes.booking_outcome(engine, blueprint, caller, done.values[1], done, key)
    room = msgspec.Raw(done.values[2]) if len(done.values) > 2 and booking_outcomes.may_see_room(caller) else None
    return msgspec.structs.replace(booked, room=room)


async def _find_earlier(
    engine: Engine, caller: Principal, blueprint: Blueprint, booking: Booking, key: IdempotencyKey, fingerprint: str
) -> Outcome | None:
    """Return the archived outcome of an earlier booking with the same reference; None if there is none."""
    earlier = booking.reference and await reader.job_of_reference(engine.archive, caller.id, booking.reference)
    if not earlier:
        return None
    # The key is checked before the reference: a repeat gets its first answer, also if the job is archived.
    zone = zone_of(earlier.job) or DEFAULT_ZONE
    done = await in_redis.find_done_command(engine, zone, caller, key, fingerprint)
    if done is not None:
        return await booking_outcomes.repeated_outcome(engine, zone, caller, blueprint, done, key)
    if earlier.fingerprint not in ("", fingerprint):
        raise Duplicate(OTHER_BOOKING_TEXT, job={"id": earlier.job})
    return await booking_outcomes.earlier_job_outcome(engine, caller, earlier.job, key)


def _booking_fingerprint(engine: Engine, booking: Booking, customer: UserId) -> str:
    """Return the fingerprint of a booking under its key and reference. Fields that are not given are left out, so that
    the fingerprint stays the same when bookings get more fields: a reference is unique forever.
    """
    given = {name: value for name, value in msgspec.structs.asdict(booking).items() if value is not None}
    return in_redis.fingerprint_of(engine, "create", "", {**given, "customer": customer})


def customer_id(caller: Principal, booking: Booking) -> UserId:
    if caller.role == "customer":
        if booking.customer not in (None, caller.id):
            raise Forbidden("Customers book only for themselves")
        return caller.id
    if caller.role not in OPS and caller.role != "service":
        raise Forbidden("Only customers book, and ops or services for them")
    if booking.customer is None:
        raise Invalid(errors=[FieldError("/customer", "Required: whom the job is for")])
    return UserId(booking.customer)


def check_technician(blueprint: Blueprint, booking: Booking) -> None:
    if booking.technician is None and blueprint.technician == "required":
        raise Invalid(errors=[FieldError("/technician", "Required: who is to do the job")])
    if booking.technician is not None and not is_id(booking.technician):
        raise Invalid(errors=[FieldError("/technician", "No such technician")])
    if booking.scheduled_for is not None:
        check_work_time("/scheduled_for", booking.scheduled_for, now_ms())


async def customer_account(engine: Engine, customer: UserId) -> accounts.User:
    try:
        user = await accounts.read_user(engine, customer)
    except NotFound:
        raise Invalid(errors=[FieldError("/customer", "No such customer")]) from None
    if user.role != "customer":
        raise Invalid(errors=[FieldError("/customer", "Not a customer")])
    return user


class _JobCreation(msgspec.Struct, frozen=True):
    """The values from which the keys and arguments of lua/job_create.lua are made."""

    zone: Zone
    job: JobId
    customer: UserId
    service: services.Service
    booking: Booking
    blueprint: Blueprint

    def script_keys(self, caller: Principal, key: str) -> dict[str, str]:
        """Return the keys of lua/job_create.lua."""
        zone = self.zone
        return {
            "meta": keys.zone_meta(zone),
            "job": keys.job(zone, self.job),
            "offers": keys.job_offers(zone, self.job),
            "log": keys.log(zone),
            "req": keys.idempotency_record(zone, caller.id, key),
            "ref": keys.booking_references(zone, caller.id),
            "jobs": keys.jobs(zone),
            "user_jobs": keys.user_jobs(zone, self.customer),
        }

    def arguments(self, engine: Engine) -> dict[str, str | int | float]:
        """Return the arguments of lua/job_create.lua, except for the request and the texts of the job."""
        blueprint, booking = self.blueprint, self.booking
        named = (booking.technician or "") if blueprint.technician else ""
        preferred = "" if named else booking.technician or ""
        scheduled = booking.scheduled_for
        return {
            "id": self.job,
            "reference": booking.reference or "",
            "bp": blueprint.key,
            "state_entry": engine.plans.state_entry(blueprint, first_state(blueprint, booking)),
            "service": self.service.id,
            "customer": self.customer,
            "lat": booking.lat,
            "lon": booking.lon,
            "release": 0 if scheduled is None else blueprint.work_begins_at(scheduled),
            "scheduled": scheduled or 0,
            "named": named,
            "preferred": preferred,
            "audience": blueprint.audience("job.created"),
            "room": compile_room_json(blueprint),
        }


def first_state(blueprint: Blueprint, booking: Booking) -> str:
    """Return the first state of a job. A blueprint may have another one for bookings that name their technician."""
    return blueprint.named if blueprint.named and booking.technician is not None else blueprint.initial_state
