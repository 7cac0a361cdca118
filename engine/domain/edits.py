"""Edit a job after its booking, as far as the blueprint's edit table allows in the job's state.

The text of the job's record is encoded here, not in Lua. This module reads the job, merges the change and checks it.
The script applies the change if the job still has the version that was read. Otherwise this module reads the job again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from engine.blueprint import edit_table, registry
from engine.blueprint.schema import Blueprint
from engine.clock import now_ms
from engine.domain import edit_quotes, job_restore, jobs, payments, quote_use, schedules, services, zones
from engine.domain.commands import CommandContext, new_context
from engine.errors import (
    Duplicate,
    Expired,
    FieldError,
    Forbidden,
    Invalid,
    NotEditable,
    NotFound,
    PriceLocked,
    Refused,
    ScheduleConflict,
    Unavailable,
    VersionConflict,
)
from engine.events import ms_of, rfc3339_of
from engine.idempotency import in_redis
from engine.idempotency.in_redis import Outcome
from engine.rules import job_document
from engine.rules.work_times import check_work_time
from engine.store import keys
from engine.store.connection import ScriptReply
from engine.technicians.live import check_mappable
from engine.types import OPS, Principal, ServiceId, Zone

if TYPE_CHECKING:
    from engine.runtime import Engine

MAX_ATTEMPTS = 16
PLACE_MEMBERS = frozenset({"service", "lat", "lon"})
"""The members that decide where the dispatcher searches for technicians."""
BID_TERM_MEMBERS = PLACE_MEMBERS | {"scheduled_for", "duration_min", "amount", "currency", "pricing"}
"""The members that a bid depends on: a change of any of these members closes all open bids."""


class EditDraft(msgspec.Struct, frozen=True):
    """A job with a requested change merged into it, before the script applies the change. ``version`` is the job's
    version that was read. ``changed_fields`` are the fields that get another value; ``refused_fields`` are those that
    may not change in this state. ``quote`` is the quote that the edit uses up, or ""."""

    blueprint: Blueprint
    status: str
    version: int
    members: dict[str, Any]
    amount: int
    changed_fields: list[str]
    refused_fields: list[str]
    denial_reason: edit_table.DenialReason
    quote: str = ""


async def edit_job(
    engine: Engine,
    caller: Principal,
    job_id: str,
    change: dict[str, Any],
    *,
    version: int | None = None,
    key: str | None = None,
    trace: str = "",
) -> Outcome:
    """Change the fields of ``change`` (``scheduled_for`` in ms since the Unix epoch). A field that already has the new
    value is not changed.

    Raises Forbidden, NotFound for a job that is not the caller's, NotEditable or PriceLocked with the fields, Frozen,
    Invalid, OutOfArea, ServiceInactive, VersionConflict with the present job, ReusedKey, Unavailable.
    """
    if caller.role not in OPS and caller.role not in ("customer", "service"):
        raise Forbidden("Only its customer changes a job, and ops or the service that booked it for them")
    context = new_context(engine, caller, job_id, "edit", [version, change], key, trace)
    for _ in range(MAX_ATTEMPTS):
        try:
            draft = await job_restore.run_with_restored_job(
                engine, caller, context.zone, context.job, lambda: _draft_change(engine, context, change)
            )
        except Refused:
            await jobs.check_visible(engine, context)
            raise
        try:
            done = await _send_edit(engine, context, draft, version)
        except VersionConflict as error:
            if error.reply[:1] == [b"seen"]:
                continue
            error.extra["job"] = msgspec.Raw(await jobs.read_current_job(engine, context))
            raise
        except ScheduleConflict as error:
            raise (schedules.name_other_job(error) if caller.role in OPS else error) from None
        except (NotEditable, PriceLocked) as error:
            error.errors = [
                FieldError(f"/{field}", "Not to be changed in this state") for field in draft.refused_fields
            ]
            raise
        except (NotFound, Expired, Duplicate) as error:
            quote_use.explain_refusal(error)
            raise
        except Invalid as error:
            if type(error) is Invalid:
                error.errors = [FieldError("/service", "Its technician does not do it")]
            raise
        return await _edit_outcome(engine, context, draft, done)
    raise Unavailable("The job changes faster than it can be edited")


async def _edit_outcome(engine: Engine, context: CommandContext, draft: EditDraft, reply: ScriptReply) -> Outcome:
    if len(reply.values) > 1:
        shown = reply.values[1]
    else:
        shown = await in_redis.job_at_event(engine, context.zone, reply) or await jobs.read_current_job(engine, context)
    return await jobs.change_outcome(engine, context, draft.blueprint, shown, reply)


async def _draft_change(engine: Engine, context: CommandContext, change: dict[str, Any]) -> EditDraft:
    fields = ("bp", "status", "version", "amount", "full", "price_locked", "paid", "signed")
    found = await engine.store.command("HMGET", keys.job(context.zone, context.job), *fields)
    bp, status, version, amount, full, locked, paid, signed = (part or b"" for part in found)
    if not bp:
        raise NotFound("No such job")
    blueprint, members = registry.require_version(engine.blueprints, bp.decode()), job_document.decode_members(full)
    before = {**members, "amount": int(amount)}
    new_values = {name: _value_in_job_json(name, value) for name, value in change.items() if name != "quote"}
    changed = [name for name, value in new_values.items() if value != before.get(name)]
    state, fixed = status.decode(), {"locked": locked == b"1", "paid": paid not in (b"", b"0")}
    is_signed = signed != b""
    try:
        checked = [*changed, *await _check_new_values(engine, context.zone, before, new_values, changed)]
    except Refused:
        # A repeated request gets its first answer, even if the service has become inactive since.
        done = await in_redis.find_done_command(engine, context.zone, context.caller, context.key, context.fingerprint)
        if done is None:
            raise
        checked = changed
    after = {**before, **new_values}
    denied = edit_table.denial_reason(blueprint, state, checked, **fixed, signed=is_signed)
    refused = edit_table.refused_fields(blueprint, state, checked, **fixed, signed=is_signed)
    if denied:
        price = edit_quotes.EditPrice(denied=denied, refused=refused)
    else:
        if "currency" in changed and "amount" not in change and "quote" not in change:
            raise Invalid(errors=[FieldError("/currency", "Send the amount in this currency too")])
        price = await _price_edit(engine, context, blueprint, after, change, changed, fixed)
    changed += [name for name, value in price.members.items() if value != after.get(name) and name not in changed]
    after |= price.members
    amount = after.pop("amount")
    return EditDraft(
        blueprint, state, int(version), after, amount, changed, list(price.refused), price.denied, price.quote
    )


async def _price_edit(
    engine: Engine,
    context: CommandContext,
    blueprint: Blueprint,
    after: dict[str, Any],
    change: dict[str, Any],
    changed: list[str],
    fixed: dict[str, bool],
) -> edit_quotes.EditPrice:
    """Return the effect of the edit on a quoted price. A repeated request gets its first reply from the script, even if
    its quote has expired since. It is denied only if the script no longer has its idempotency record.
    """
    try:
        return await edit_quotes.price_edit(engine, blueprint, after, change, changed, **fixed)
    except Refused:
        done = await in_redis.find_done_command(engine, context.zone, context.caller, context.key, context.fingerprint)
        if done is None:
            raise
        return edit_quotes.EditPrice(denied="price", refused=["quote"])


def _value_in_job_json(field: str, value: Any) -> Any:
    return rfc3339_of(value) if field == "scheduled_for" and value is not None else value


async def _check_new_values(
    engine: Engine, zone: Zone, before: dict[str, Any], new_values: dict[str, Any], changed: list[str]
) -> list[str]:
    """Check the new values. Return the fields that change besides ``changed``: if the new service has another pricing,
    the price changes too, so that ``amount`` is in the result.
    """
    if PLACE_MEMBERS & set(changed) - {"service"}:
        place = new_values.get("lat", before["lat"]), new_values.get("lon", before["lon"])
        check_mappable(*place)
        zones.check_new_place(engine, zone, (before["lat"], before["lon"]), place)
    when = new_values.get("scheduled_for") if "scheduled_for" in changed else None
    if when is not None:
        check_work_time("/scheduled_for", ms_of(when), now_ms())
    if "service" not in changed:
        return []
    service = await services.active_service(engine, ServiceId(new_values["service"]))
    if service.pricing == before["pricing"]:
        return []
    new_values["pricing"] = service.pricing
    return [] if "amount" in changed or before.get("quote") else ["amount"]


async def _send_edit(engine: Engine, context: CommandContext, draft: EditDraft, version: int | None) -> ScriptReply:
    zone, blueprint, members = context.zone, draft.blueprint, draft.members
    place_changed = not PLACE_MEMBERS.isdisjoint(draft.changed_fields)
    when = members["scheduled_for"]
    return await engine.store.run(
        zone,
        "job_edit",
        keys=context.script_keys(),
        args={
            "actor": context.actor,
            **context.common_arguments(version),
            "bp": blueprint.key,
            "seen": draft.version,
            "denied": draft.denial_reason,
            "changed": msgspec.json.encode(draft.changed_fields),
            "full": job_document.encode_members(members),
            "pub": job_document.encode_public_members(members),
            "service": members["service"],
            "lat": members["lat"],
            "lon": members["lon"],
            "amount": draft.amount,
            "search_restart": "time" if "scheduled_for" in draft.changed_fields else "place" if place_changed else "",
            "release": 0 if when is None else blueprint.work_begins_at(ms_of(when)),
            "scheduled": 0 if when is None else ms_of(when),
            "lifetime_ms": engine.plans.search_lifetime_ms(blueprint, draft.status),
            "waits": "1" if blueprint.waits_for_schedule(draft.status) else "",
            "audience": blueprint.audience("job.updated"),
            "terms": "1" if BID_TERM_MEMBERS & set(draft.changed_fields) else "",
            "bids_audience": blueprint.audience("bid.closed"),
            "schedule": schedules.rule_text(engine, zone, blueprint),
            "quote": draft.quote,
            "captures": payments.capture_plans(engine, blueprint),
        },
    )
