"""Payments, as the payment service reports them: each payment has a reference, and each status of a payment is recorded
once.

Callout moves no money. A step of the job requests a payment (``payment.requested``), and the payment service reports
the result. If the captured sum covers the requested one, the same script moves the job to paid. The statuses of a
charge are requested, failed, authorized (held), released and captured, in this order; the first report of a charge may
have any of these statuses. A hold that the job does not want is released (lua/lib/hold.lua). A refund names its charge,
and the sum of a charge's refunds is at most the amount that the charge captured. A refund that was made may fail later.

A capture has already happened, so that it is recorded in every state of the job, even long after the job's end. If the
job is no longer in Redis, it is first restored from SQL (engine/domain/job_restore.py).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import msgspec
from sqlalchemy import select

from engine.blueprint.reach import is_signed
from engine.blueprint.schema import Blueprint
from engine.domain import job_queries, job_restore, jobs
from engine.domain.commands import CommandContext, new_context
from engine.domain.own_blueprint import run_with_own_blueprint
from engine.domain.payment_fold import encode_fixed_members
from engine.errors import Duplicate, FieldError, Forbidden, Invalid, NotFound
from engine.idempotency import in_redis
from engine.idempotency.in_redis import parse_job_id
from engine.rules import sort_keys
from engine.sql.schema import payments as payment_rows
from engine.store import keys
from engine.store.connection import ScriptReply
from engine.types import OPS, JobId, Principal, Zone, new_id

if TYPE_CHECKING:
    from engine.runtime import Engine

PaymentStatus = Literal["requested", "authorized", "captured", "released", "refunded", "failed"]
EVENTS_OF_STATUS: dict[PaymentStatus, tuple[str, ...]] = {
    "requested": ("payment.requested",),
    "authorized": ("payment.authorized",),
    "released": ("payment.released",),
    "captured": ("payment.received", "payment.partial", "payment.unexpected"),
    "refunded": ("payment.refunded",),
    "failed": ("payment.failed",),
}
"""The types of events that each status may cause. If the blueprint holds money, ``authorized`` may cause
``payment.requested`` too: the request to release what is not wanted."""

REFUND_STATUSES = ("refunded", "failed")
"""The statuses of a refund."""
OTHER_AMOUNT_TEXT = "This reference belongs to another amount"
REFUND_ERROR_OF_NUMBER = {
    1: FieldError("/amount", "More than the captured amount that is not refunded yet"),
    2: FieldError("/currency", "Not the captured currency"),
    3: FieldError("/of", "No such charge"),
    4: FieldError("/reference", "Belongs to another charge"),
}
"""The field error of a refused refund, by the number in the reply of lua/lib/refund.lua."""


class Payment(msgspec.Struct, frozen=True, kw_only=True):
    """A report of the payment service about a payment. ``amount`` is in minor units of ``currency``. ``of`` is only for
    a refund: the reference of the charge that it pays back. None means that the charge has the same ``reference``, if
    the refund was made; what has failed without ``of`` is a charge.
    """

    reference: str
    status: PaymentStatus
    amount: int
    currency: str
    of: str | None = None
    reason: str = ""
    """Why the payment failed: small letters, digits and `_`."""


class PaymentOutcome(msgspec.Struct, frozen=True):
    """The outcome of a report: the payment and the job as JSON, as of the time right after the report was recorded."""

    payment: msgspec.Raw
    job: msgspec.Raw
    version: int
    repeated: bool
    key: str


async def put_payment(
    engine: Engine, caller: Principal, job_id: str, payment: Payment, *, key: str | None = None, trace: str = ""
) -> PaymentOutcome:
    """Record a report about a payment; a repeated report has the same outcome as the first one.

    Raises Forbidden if the caller is no service; NotFound; Duplicate if the same reference and status were recorded
    with another amount; IllegalTransition for a status out of order; Frozen or Unsigned for a request during a dispute
    or before the signature; Invalid for a refund that its charge does not allow; ReusedKey; Unavailable if this process
    has not loaded the job's blueprint, or if the job must be restored and SQL is unavailable. A capture is refused only
    if the report is malformed.
    """
    if caller.role != "service":
        raise Forbidden("Only the payment service reports payments")
    if payment.of is not None and payment.status not in REFUND_STATUSES:
        raise Invalid(errors=[FieldError("/of", "Only a refund is of a charge")])
    context = new_context(engine, caller, job_id, "payment", payment, key, trace)
    name = new_id("pay")

    async def run_with_blueprint(blueprint: Blueprint) -> PaymentOutcome:
        return await _run_script(engine, context, payment, name, blueprint)

    try:
        return await run_with_own_blueprint(engine, None, run_with_blueprint)
    except NotFound:
        await job_restore.restore_job(engine, context.zone, context.job, job_restore.PAYMENT_KEEP_MS)
        return await run_with_own_blueprint(engine, None, run_with_blueprint)


async def _run_script(
    engine: Engine, context: CommandContext, payment: Payment, payment_id: str, blueprint: Blueprint
) -> PaymentOutcome:
    zone, job = context.zone, context.job
    kind = "refund" if payment.status == "refunded" or payment.of is not None else "charge"
    of = payment.of or payment.reference
    events = EVENTS_OF_STATUS[payment.status]
    if payment.status == "authorized" and blueprint.may_hold:
        events += ("payment.requested",)
    audiences = {event: blueprint.audience(event) for event in events}
    try:
        done = await engine.store.run(
            zone,
            "payment_put",
            keys=context.script_keys() | {"payments": keys.job_payments(zone, job)},
            args={
                "actor": context.actor,
                **context.request_arguments(),
                "bp": blueprint.key,
                "id": payment_id,
                "reference": payment.reference,
                "of": of,
                "status": payment.status,
                "amount": payment.amount,
                "currency": payment.currency,
                "members": encode_fixed_members(kind, payment.reference, of),
                "captures": capture_plans(engine, blueprint),
                "must_sign": "1" if is_signed(blueprint) else "",
                "commission": blueprint.price.commission_text,
                "audiences": msgspec.json.encode(audiences),
                "why": payment.reason,
            },
        )
    except Duplicate as error:
        raise Duplicate(OTHER_AMOUNT_TEXT, repeated=error.repeated) from error
    except Invalid as error:
        if type(error) is Invalid:
            error.errors = [REFUND_ERROR_OF_NUMBER[int(error.reply[0])]]
        raise
    return await _payment_outcome(engine, context, blueprint, done)


def capture_plans(engine: Engine, blueprint: Blueprint) -> bytes:
    """Return the plans of the commands by which a captured payment changes a job's state, as a JSON array."""
    names = (name for name, spec in blueprint.commands.items() if spec.effect == "capture")
    plans = (engine.plans.find_plan(blueprint, name) for name in names)
    return b"[%b]" % b",".join(plan.plan_json for plan in plans if plan)


async def _payment_outcome(
    engine: Engine, context: CommandContext, blueprint: Blueprint, reply: ScriptReply
) -> PaymentOutcome:
    members = await in_redis.read_payload_members(engine, context.zone, reply.seq)
    shown = await jobs.changed_view(engine, context.caller, blueprint, bytes(members["job"]))
    return PaymentOutcome(members["payment"], shown, reply.version, reply.repeated, context.key)


async def find_payments(engine: Engine, caller: Principal, job_id: str) -> list[bytes]:
    """Return the payments of a job as JSON, both charges and refunds, the earliest first. Raises Forbidden,
    NotFound.
    """
    if caller.role not in OPS and caller.role != "service":
        raise Forbidden("Payments are listed for ops and services")
    zone, job = parse_job_id(job_id)
    await job_queries.read_job(engine, caller, job_id)
    rows = await engine.store.command("HVALS", keys.job_payments(zone, job))
    items = [_payment_of_record(row) for row in rows] or await _archived_payments(engine, zone, job)
    return sorted(items, key=sort_keys.creation_key)


def _payment_of_record(row: bytes) -> bytes:
    """Return a payment as JSON. ``row`` is its Redis record, `path id created back members` (lua/lib/payment.lua)."""
    path, name, created, _, members = row.split(b" ", 4)
    status, _, amount, currency = path.rpartition(b",")[2].split(b":")[:4]
    # the same members as in the event (Payment.shown_members in lua/lib/payment.lua)
    if status in (b"authorized", b"released"):
        members = members.replace(b'"kind":"charge"', b'"kind":"hold"', 1)
    return b'{"id":"%b",%b,"status":"%b","amount":%b,"currency":"%b","created_at":%b}' % (
        *(name, members, status, amount, currency, created),
    )


async def _archived_payments(engine: Engine, zone: Zone, job: JobId) -> list[bytes]:
    columns: Any = payment_rows.c
    query = (
        select(columns.doc)
        .where(columns.job == job, columns.zone == zone, columns.reference.is_not(None))
        .order_by(columns.id)
    )
    async with engine.archive.begin_read() as conn:
        return [doc.encode() for doc in (await conn.execute(query)).scalars()]
