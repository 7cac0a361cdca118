"""The live state of a technician in Redis: whether they may receive offers, their position, their lease.

SQL is the source of profiles and reviews. Waves and claims use a copy in Redis. The copy has the profile's version, so
that a late or repeated write changes nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

import msgspec

from engine.errors import CalloutError, FieldError, Forbidden, Invalid, NotFound, NotOffered, ProfileIncomplete
from engine.idempotency import in_redis
from engine.idempotency.in_sql import Result
from engine.rules.availability import TechnicianAvailability
from engine.rules.boxes import MAX_LATITUDE
from engine.rules.fixes import IDLE_RATE, Fix, FixRate, FixReply, Latitude, Longitude, api_offset_s, parse_fix_rate
from engine.rules.rating import PRIOR_MEAN
from engine.store import keys
from engine.store.connection import ScriptReply
from engine.store.fix_batches import FixDone, FixOutcome
from engine.types import DEFAULT_ZONE, Principal, TechnicianId, UserId, Zone

if TYPE_CHECKING:
    from engine.runtime import Engine

MAX_TECHNICIANS_PER_CALL = 500


class Coordinates(msgspec.Struct, frozen=True):
    """A position in degrees, WGS 84."""

    lat: Latitude
    lon: Longitude


class TechnicianRecord(msgspec.Struct, frozen=True, kw_only=True):
    """The part of a profile that waves and claims need. ``version`` rises with every change of the profile.
    ``accepted``, ``asked`` and ``free_at`` are those of an earlier time in the zone, for a new record."""

    id: TechnicianId
    version: int
    name: str
    phone: str | None
    services: Sequence[str]
    complete: bool
    kyc: str
    account: str
    capacity: int
    zone: Zone = DEFAULT_ZONE
    rating: float = PRIOR_MEAN
    rating_count: int = 0
    accepted: int = 0
    asked: int = 0
    free_at: int = 0


async def write_record(engine: Engine, record: TechnicianRecord, *, reason: str = "ops", actor: str = "engine") -> None:
    """Copy a profile to the technician's zone in Redis. A technician who may not receive offers any more becomes
    offline; the event then has ``reason`` and ``actor``.
    """
    zone = record.zone
    await engine.store.run(
        zone,
        "technician_put",
        keys=_script_keys(zone, record.id),
        args={
            **profile_fields(record),
            "actor": actor,
            "offline_reason": reason,
            "audience": status_audience(engine),
            "accepted": record.accepted,
            "asked": record.asked,
            "free_at": record.free_at,
        },
    )


def profile_fields(record: TechnicianRecord) -> dict[str, str | int | float | bytes]:
    """Return the fields of the record in Redis that the profile determines."""
    return {
        "id": record.id,
        "profile": record.version,
        "complete": int(record.complete),
        "kyc": record.kyc,
        "account": record.account,
        "capacity": record.capacity,
        "services": " ".join(record.services),
        "name": msgspec.json.encode(record.name),
        "phone": msgspec.json.encode(record.phone),
        "rating": record.rating,
        "rated": record.rating_count,
    }


def _script_keys(zone: Zone, technician: TechnicianId) -> dict[str, str]:
    """Return the keys of the scripts that change a technician's record and append an event."""
    tech = keys.technician(zone, technician)
    return {"meta": keys.zone_meta(zone), "tech": tech, "seen": keys.last_seen(zone), "log": keys.log(zone)}


async def remove_from_zone(engine: Engine, zone: Zone, technician: TechnicianId) -> None:
    """Remove an offline technician without jobs from a zone. Raises IllegalTransition for any other technician."""
    names = {
        "meta": keys.zone_meta(zone),
        "tech": keys.technician(zone, technician),
        "tech_jobs": keys.technician_jobs(zone, technician),
        "tech_offers": keys.technician_offers(zone, technician),
        "seen": keys.last_seen(zone),
        "log": keys.log(zone),
    }
    await engine.store.run(zone, "technician_leave", keys=names, args={"id": technician})


async def read_open_work(engine: Engine, zone: Zone, technician: UserId) -> dict[str, int]:
    """Return the services whose jobs the technician may take in this zone now. Each service is mapped to the seq of the
    log since which the technician may take its jobs (lua/lib/work_feed.lua).
    """
    text = await engine.store.command("HGET", keys.technician(zone, TechnicianId(technician)), "works")
    pairs = (each.rpartition(":") for each in (text or b"").decode().split())
    return {service: int(since) for service, _, since in pairs}


async def read_zone(engine: Engine, technician: str) -> Zone:
    """Return the zone in which Redis has a technician's record. Raises NotFound if no zone has the record."""
    return await engine.technician_zones.find(TechnicianId(UserId(technician)))


async def set_availability(
    engine: Engine,
    caller: Principal,
    technician: str,
    *,
    online: bool,
    position: Coordinates | None = None,
    key: str | None = None,
) -> Result[TechnicianAvailability]:
    """Set the caller online or offline. A repeat returns the present state. Raises the same errors as a claim for a
    technician who is not approved; Invalid if no position is known.
    """
    require_self(caller, technician)
    zone, key = await find_own_zone(engine, technician), in_redis.validate_key(key)
    fingerprint = in_redis.fingerprint_of(engine, "availability", technician, [online, position])
    tech = TechnicianId(UserId(technician))
    names = _script_keys(zone, tech) | {"req": keys.idempotency_record(zone, caller.id, key)}
    audience = status_audience(engine)
    args: dict[str, str | int | float] = {"id": tech, "key": key, "fingerprint": fingerprint, "audience": audience}
    if not online:
        args |= {"actor": f"{caller.role}:{caller.id}", "reason": "self", "lease_ms": presence_lease_ms(engine)}
        done = await engine.store.run(zone, "technician_offline", keys=names, args=args)
        return Result(_availability_of_reply(engine, done, online=False), key, done.repeated)
    if position is not None:
        check_mappable(position.lat, position.lon)
    args |= {"lat": position.lat, "lon": position.lon} if position else {"lat": "", "lon": ""}
    try:
        done = await engine.store.run(zone, "technician_online", keys=names, args=args)
    except Invalid as error:
        error.errors = [FieldError("/lat", "A position is needed to go online"), FieldError("/lon", "Required")]
        raise
    return Result(_availability_of_reply(engine, done, online=True), key, done.repeated)


async def find_own_zone(engine: Engine, technician: str) -> Zone:
    """Return the zone that has the technician's record; ``main`` if there is none yet: a new technician's zone."""
    try:
        return await read_zone(engine, technician)
    except NotFound:
        return DEFAULT_ZONE


async def refusal_of_zone(
    engine: Engine, zone: Zone, technician: TechnicianId, error: ProfileIncomplete
) -> CalloutError:
    """Return NotOffered instead of ``error`` if no record of the technician was found in ``zone`` because they work
    in another zone.
    """
    with suppress(NotFound):
        if (own := await read_zone(engine, technician)) != zone:
            return NotOffered(f"A job of zone {zone}; you work in zone {own}", repeated=error.repeated)
    return error


def _availability_of_reply(engine: Engine, done: ScriptReply, *, online: bool) -> TechnicianAvailability:
    clock, rate, *reasons = done.values
    blockers = [reason.decode() for reason in reasons] if online else ["offline"]
    offset, lease_s = api_offset_s(clock), engine.settings.lease_s
    return TechnicianAvailability(online, not blockers, blockers, lease_s, parse_fix_rate(rate), offset)


async def store_fixes(
    engine: Engine, caller: Principal, technician: str, fixes: Sequence[Fix], *, live: bool = True
) -> FixReply:
    """Record the position of a technician. Several fixes count in the order of the device's clock. Fixes with
    impossible coordinates are ignored, and a fix that is older than the stored fix changes nothing.

    ``live`` is true if a single fix was sent at the moment of its measurement. Only such a fix is used to estimate the
    offset of the device's clock. Raises Invalid if no fix has possible coordinates.
    """
    future: asyncio.Future[FixOutcome] = asyncio.get_running_loop().create_future()

    def finish(outcome: FixOutcome) -> None:
        if not future.done():  # its caller may have been cancelled
            future.set_result(outcome)

    submit_fixes(engine, caller, technician, fixes, finish, live=live)
    outcome = await future
    if isinstance(outcome, CalloutError):
        raise outcome
    return outcome


def submit_fixes(
    engine: Engine, caller: Principal, technician: str, fixes: Sequence[Fix], done: FixDone, *, live: bool
) -> None:
    """Do the same as ``store_fixes`` without waiting: ``done`` gets the reply or the error later. Raises Forbidden,
    NotFound and Invalid at once.
    """
    require_self(caller, technician)
    is_live = live and len(fixes) == 1
    engine.fix_batches.add(TechnicianId(UserId(technician)), _mappable_fixes(fixes), done, live=is_live)


def _mappable_fixes(fixes: Sequence[Fix]) -> list[Fix]:
    """Return the fixes that a geo index accepts, the oldest first. Of those without a time (measured now) only the last
    counts. A fix of a device without a valid clock counts only if there is no other.
    """
    if not fixes:
        raise Invalid(errors=[FieldError("/fixes", "At least one")])
    good = [fix for fix in fixes if _is_mappable(fix)]
    if not good:
        check_mappable(fixes[0].lat, fixes[0].lon)
    timed = sorted((fix for fix in good if fix.measured_at is not None), key=lambda fix: fix.measured_at or 0)
    return [*timed, *[fix for fix in good if fix.at is None][-1:]] or good[-1:]


def _is_mappable(fix: Fix) -> bool:
    return abs(fix.lon) <= 180 and abs(fix.lat) <= MAX_LATITUDE


class Presence(msgspec.Struct, frozen=True):
    """The state of a technician that their app receives when the app connects."""

    online: bool
    clock_offset_s: float
    fix: FixRate = IDLE_RATE


async def read_presence(engine: Engine, caller: Principal) -> Presence | None:
    """Return whether the caller is online, the offset of their device's clock, and how often to send a fix; None if the
    caller is no technician.
    """
    if caller.role != "technician":
        return None
    technician = TechnicianId(caller.id)
    with suppress(NotFound):
        zone = await engine.technician_zones.find(technician)
        load, online, clock, rate = await engine.store.command(
            "HMGET", keys.technician(zone, technician), "load", "online", "clock", "rate"
        )
        return Presence(online == b"1", api_offset_s(clock), parse_fix_rate(rate, int(load or 0)))
    return Presence(online=False, clock_offset_s=0.0)


async def renew_leases(engine: Engine, zone: Zone, technicians: Collection[str]) -> list[TechnicianId]:
    """Renew the leases of technicians who were active. A technician who is offline stays offline. Returns those who are
    offline, or have no record in this zone.
    """
    alive, names = list(technicians), {"meta": keys.zone_meta(zone), "seen": keys.last_seen(zone)}
    absent: list[TechnicianId] = []
    for start in range(0, len(alive), MAX_TECHNICIANS_PER_CALL):
        batch = alive[start : start + MAX_TECHNICIANS_PER_CALL]
        done = await engine.store.run(zone, "technician_touch", keys=names, args={"ids": batch})
        absent += [TechnicianId(UserId(each.decode())) for each in done.values]
    return absent


def require_self(caller: Principal, technician: str) -> None:
    """Raise an error unless the caller is this technician: Forbidden for another role, NotFound for another
    technician.
    """
    if caller.role != "technician":
        raise Forbidden("Only a technician has an availability")
    if caller.id != technician:
        raise NotFound("No such technician")


def check_mappable(lat: float, lon: float) -> None:
    """Raise Invalid for a position that a geo index does not accept, since such a position would abort a script after
    its first writes.
    """
    if not abs(lon) <= 180:
        raise Invalid(errors=[FieldError("/lon", "Not between -180 and 180")])
    if not abs(lat) <= MAX_LATITUDE:
        raise Invalid(errors=[FieldError("/lat", f"Not between -{MAX_LATITUDE} and {MAX_LATITUDE}")])


def status_audience(engine: Engine) -> str:
    """Return the audience of the event that a technician is online or offline: the default blueprint's declaration, as
    an argument for scripts.
    """
    return engine.blueprints.default.audience("technician.status")


def presence_lease_ms(engine: Engine) -> int:
    """Return the lease of technicians in whole milliseconds, as an argument for scripts."""
    return round(engine.settings.lease_s * 1000)
