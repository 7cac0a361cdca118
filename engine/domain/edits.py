"""Changing what was booked, as far as the blueprint's edit table lets the job be changed in its state.

The text of a job's record is made here, not in Lua: the job is read, the change merged into it and judged, and the
script takes it if the job is still at the version that was read. Where it has moved on, it is read again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from engine.blueprint import edit_table, registry
from engine.blueprint.schema import Blueprint
from engine.clock import now_ms
from engine.domain import jobs, services
from engine.domain.commands import CommandContext
from engine.errors import (
    FieldError,
    Forbidden,
    Invalid,
    NotEditable,
    NotFound,
    PriceLocked,
    Refused,
    Unavailable,
    VersionConflict,
)
from engine.events import iso, ms_of
from engine.idempotency import in_redis
from engine.idempotency.in_redis import Outcome, located
from engine.rules import job_document
from engine.store import keys
from engine.store.connection import Done
from engine.technicians.live import check_mappable
from engine.types import OPS, Principal, ServiceId

if TYPE_CHECKING:
    from engine.runtime import Engine

TRIES = 16
PAST_MS = 60_000
"""How far in the past a job may be scheduled: clocks differ."""
PLACE = frozenset({"service", "lat", "lon"})
"""What decides where a technician is looked for."""
TERMS = PLACE | {"scheduled_for", "amount", "currency", "pricing"}
"""What a bid is made on: it ends when any of these changes."""


class Draft(msgspec.Struct, frozen=True):
    """A job with the change merged into it, as of ``version``. ``changed`` are the fields that differ."""

    blueprint: Blueprint
    status: str
    version: int
    members: dict[str, Any]
    amount: int
    changed: list[str]
    refused: list[str]
    denied: edit_table.Denied


async def edit(
    engine: Engine,
    caller: Principal,
    job_id: str,
    change: dict[str, Any],
    *,
    version: int | None = None,
    key: str | None = None,
    trace: str = "",
) -> Outcome:
    """Change the fields of ``change`` (``scheduled_for`` in ms since the Unix epoch); what is so already is no change.

    Raises Forbidden, NotFound for a job that is not the caller's, NotEditable or PriceLocked naming the fields, Frozen,
    Invalid, ServiceInactive, VersionConflict with the present job, ReusedKey, Unavailable.
    """
    if caller.role not in OPS and caller.role not in ("customer", "service"):
        raise Forbidden("Its customer changes a job, and ops or the service that booked it for him")
    zone, job = located(job_id)
    fingerprint = in_redis.fingerprint(engine, "edit", job, [version, change])
    ask = CommandContext(zone, job, caller, in_redis.checked_key(key), fingerprint, trace)
    for _ in range(TRIES):
        try:
            draft = await _drafted(engine, ask, change)
        except Refused:
            await jobs.must_know(engine, ask)
            raise
        try:
            done = await _send(engine, ask, draft, version)
        except VersionConflict as error:
            if error.reply[:1] == [b"seen"]:
                continue
            error.extra["job"] = msgspec.Raw(await jobs.present(engine, ask))
            raise
        except (NotEditable, PriceLocked) as error:
            error.errors = [FieldError(f"/{field}", "Not to be changed in this state") for field in draft.refused]
            raise
        except Invalid as error:
            if type(error) is Invalid:
                error.errors = [FieldError("/service", "Its technician does not do it")]
            raise
        return await _answer(engine, ask, draft, done)
    raise Unavailable("The job changes faster than it can be edited")


async def _answer(engine: Engine, ask: CommandContext, draft: Draft, done: Done) -> Outcome:
    if len(done.rest) > 1:
        shown = done.rest[1]
    else:
        shown = await in_redis.job_at(engine, ask.zone, done) or await jobs.present(engine, ask)
    return await jobs.answer(engine, ask, draft.blueprint, shown, done)


async def _drafted(engine: Engine, ask: CommandContext, change: dict[str, Any]) -> Draft:
    fields = ("bp", "status", "version", "amount", "full", "price_locked", "paid")
    found = await engine.store.command("HMGET", keys.job(ask.zone, ask.job), *fields)
    bp, status, version, amount, full, locked, paid = (part or b"" for part in found)
    if not bp:
        raise NotFound("No such job")
    blueprint, members = registry.judged(engine.blueprints, bp.decode()), job_document.members(full)
    before = {**members, "amount": int(amount)}
    wanted = {name: _as_told(name, value) for name, value in change.items()}
    changed = [name for name, value in wanted.items() if value != before.get(name)]
    try:
        judged = [*changed, *await _repriced(engine, before, wanted, changed)]
    except Refused:
        # Given already, the first verdict stands, whatever has become of the service since.
        done = await in_redis.find_done(engine, ask.zone, ask.caller, ask.key, ask.fingerprint)
        if done is None or not done.seq:
            raise
        judged = changed
    state, after = status.decode(), {**before, **wanted}
    fixed = {"locked": locked == b"1", "paid": paid not in (b"", b"0")}
    denied = edit_table.denied(blueprint, state, judged, **fixed)
    if not denied and "currency" in changed and "amount" not in change:
        raise Invalid(errors=[FieldError("/currency", "Give the amount in it too")])
    return Draft(
        blueprint,
        state,
        int(version),
        after,
        after.pop("amount"),
        changed,
        edit_table.refused(blueprint, state, judged, **fixed),
        denied,
    )


def _as_told(name: str, value: Any) -> Any:
    return iso(value) if name == "scheduled_for" and value is not None else value


async def _repriced(engine: Engine, before: dict[str, Any], wanted: dict[str, Any], changed: list[str]) -> list[str]:
    """Check what the values name. Another service may have another pricing, and that changes the price as well."""
    if PLACE & set(changed) - {"service"}:
        check_mappable(wanted.get("lat", before["lat"]), wanted.get("lon", before["lon"]))
    when = wanted.get("scheduled_for") if "scheduled_for" in changed else None
    if when is not None and ms_of(when) < now_ms() - PAST_MS:
        raise Invalid(errors=[FieldError("/scheduled_for", "In the past")])
    if "service" not in changed:
        return []
    service = await services.active_service(engine, ServiceId(wanted["service"]))
    if service.pricing == before["pricing"]:
        return []
    wanted["pricing"] = service.pricing
    return [] if "amount" in changed else ["amount"]


async def _send(engine: Engine, ask: CommandContext, draft: Draft, version: int | None) -> Done:
    zone, blueprint, members = ask.zone, draft.blueprint, draft.members
    moved = {name for name in draft.changed if name in PLACE}
    when = members["scheduled_for"]
    return await engine.store.run(
        zone,
        "job_edit",
        keys=ask.keys(),
        args={
            "actor": ask.actor,
            **ask.head(version),
            "bp": blueprint.key,
            "seen": draft.version,
            "denied": draft.denied,
            "changed": msgspec.json.encode(draft.changed),
            "full": job_document.whole(members),
            "pub": job_document.public(members),
            "service": members["service"],
            "lat": members["lat"],
            "lon": members["lon"],
            "amount": draft.amount,
            "anew": "time" if "scheduled_for" in draft.changed else "place" if moved else "",
            "release": 0 if when is None else blueprint.begins(ms_of(when)),
            "scheduled": 0 if when is None else ms_of(when),
            "life": engine.plans.life_ms(blueprint, draft.status),
            "waits": "1" if blueprint.waits(draft.status) else "",
            "audience": blueprint.audience("job.updated"),
            "terms": "1" if TERMS & set(draft.changed) else "",
            "bids_audience": blueprint.audience("bid.closed"),
        },
    )
