"""What the payment service says: each payment under a reference of its own, each word of it once.

Callout moves no money. It asks (``payment.requested``, by a step of the job), is told what came of it, and lets the job
be paid in the same step where the sum covers what it asked. A charge goes requested, failed, captured, and may begin
with any of them; a refund names the charge that it is of, and all of one charge come to at most what it captured.

A capture is a fact: it is noted whatever state the job is in, however long it is over. Where Redis has forgotten the
job, what SQL has of it is put back first (engine/domain/job_restore.py).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import msgspec
from sqlalchemy import select

from engine.blueprint.schema import Blueprint
from engine.domain import job_queries, job_restore, jobs
from engine.domain.commands import CommandContext
from engine.errors import Duplicate, FieldError, Forbidden, Indeterminate, Invalid, NotFound
from engine.idempotency import in_redis
from engine.idempotency.in_redis import located
from engine.sql.schema import payments as payment_rows
from engine.store import keys
from engine.store.connection import Done
from engine.types import OPS, JobId, Principal, Zone, new_id

if TYPE_CHECKING:
    from engine.runtime import Engine

Status = Literal["requested", "captured", "refunded", "failed"]
EVENTS: dict[Status, tuple[str, ...]] = {
    "requested": ("payment.requested",),
    "captured": ("payment.received", "payment.partial", "payment.unexpected"),
    "refunded": ("payment.refunded",),
    "failed": ("payment.failed",),
}
"""The events that a word may give rise to."""

ANOTHER = "This reference stands for another amount"
WRONG = {
    1: FieldError("/amount", "More than was captured and not refunded yet"),
    2: FieldError("/currency", "Not the one that was captured"),
    3: FieldError("/of", "No such charge"),
    4: FieldError("/reference", "Stands for another charge"),
}
"""What a refused refund is told, by the numbers of lua/lib/payment.lua."""


class Payment(msgspec.Struct, frozen=True, kw_only=True):
    """One word of the payment service; ``amount`` in minor units. ``of`` is the charge that a refund is of, where it
    does not use that one's reference itself.
    """

    reference: str
    status: Status
    amount: int
    currency: str
    of: str | None = None


class Put(msgspec.Struct, frozen=True):
    """What came of it: JSON of the payment and of the job as they stood then."""

    payment: msgspec.Raw
    job: msgspec.Raw
    version: int
    repeated: bool
    key: str


class _Told(msgspec.Struct):
    payment: msgspec.Raw
    job: msgspec.Raw


class _Place(msgspec.Struct):
    created_at: str
    id: str


_told = msgspec.json.Decoder(_Told)
_place = msgspec.json.Decoder(_Place)


async def put(
    engine: Engine, caller: Principal, job_id: str, payment: Payment, *, key: str | None = None, trace: str = ""
) -> Put:
    """Take down what became of a payment; the same word again answers as the first time.

    Raises Forbidden for all but services, NotFound, Duplicate for a reference and status that stand for another
    amount, IllegalTransition out of order, Frozen for one that is asked for during a dispute, Invalid for a refund
    that its charge has not, ReusedKey; Unavailable where the job's blueprint is not known here, or
    where the job has to be put back first and SQL is away. What was
    captured is refused for none but a malformed word.
    """
    if caller.role != "service":
        raise Forbidden("The payment service says what was paid")
    if payment.of is not None and payment.status != "refunded":
        raise Invalid(errors=[FieldError("/of", "Only a refund is of a charge")])
    zone, job = located(job_id)
    fingerprint = in_redis.fingerprint(engine, "payment", job, payment)
    ask = CommandContext(zone, job, caller, in_redis.checked_key(key), fingerprint, trace)
    name = new_id("pay")

    async def act(blueprint: Blueprint) -> Put:
        return await _put(engine, ask, payment, name, blueprint)

    try:
        return await jobs.by_blueprint(engine, act)
    except NotFound:
        await job_restore.put_back(engine, zone, job)
        return await jobs.by_blueprint(engine, act)


async def _put(engine: Engine, ask: CommandContext, payment: Payment, name: str, blueprint: Blueprint) -> Put:
    zone, job = ask.zone, ask.job
    kind = "refund" if payment.status == "refunded" else "charge"
    of = payment.of or payment.reference
    audiences = {event: blueprint.audience(event) for event in EVENTS[payment.status]}
    try:
        done = await engine.store.run(
            zone,
            "payment_put",
            keys=ask.keys() | {"payments": keys.payments(zone, job)},
            args={
                "actor": ask.actor,
                **ask.cause(),
                "bp": blueprint.key,
                "id": name,
                "reference": payment.reference,
                "of": of,
                "status": payment.status,
                "amount": payment.amount,
                "currency": payment.currency,
                "members": job_restore.members(kind, payment.reference, of),
                "captures": captures(engine, blueprint),
                "audiences": msgspec.json.encode(audiences),
            },
        )
    except Duplicate as error:
        raise Duplicate(ANOTHER, repeated=error.repeated) from error
    except Invalid as error:
        if type(error) is Invalid:
            error.errors = [WRONG[int(error.reply[0])]]
        raise
    return await _answer(engine, ask, blueprint, done)


def captures(engine: Engine, blueprint: Blueprint) -> bytes:
    """The plans of the commands by which a captured payment moves a job, as a JSON array."""
    names = (name for name, spec in blueprint.commands.items() if spec.does == "capture")
    plans = (engine.plans.of(blueprint, name) for name in names)
    return b"[%b]" % b",".join(plan.body for plan in plans if plan)


async def _answer(engine: Engine, ask: CommandContext, blueprint: Blueprint, done: Done) -> Put:
    data = await in_redis.payload_at(engine, ask.zone, done.seq)
    if data is None:
        raise Indeterminate("Done, but its answer cannot be read any more")
    found = _told.decode(data)
    shown = await jobs.told(engine, ask.caller, blueprint, bytes(found.job))
    return Put(found.payment, shown, done.version, done.repeated, ask.key)


async def find(engine: Engine, caller: Principal, job_id: str) -> list[bytes]:
    """The payments of a job as JSON, charges and refunds, the first one first. Raises Forbidden, NotFound."""
    if caller.role not in OPS and caller.role != "service":
        raise Forbidden("Payments are listed for ops and services")
    zone, job = located(job_id)
    await job_queries.read(engine, caller, job_id)
    rows = await engine.store.command("HVALS", keys.payments(zone, job))
    items = [_item(row) for row in rows] or await _archived(engine, zone, job)
    return sorted(items, key=place)


def place(payment: bytes) -> tuple[str, str]:
    """Where a payment stands in a list."""
    found = _place.decode(payment)
    return found.created_at, found.id


def _item(row: bytes) -> bytes:
    """A record of lua/lib/payment.lua as it is told: `path id created back members`."""
    path, name, created, _, members = row.split(b" ", 4)
    status, _, amount, currency = path.rpartition(b",")[2].split(b":")[:4]
    return b'{"id":"%b",%b,"status":"%b","amount":%b,"currency":"%b","created_at":%b}' % (
        *(name, members, status, amount, currency, created),
    )


async def _archived(engine: Engine, zone: Zone, job: JobId) -> list[bytes]:
    c: Any = payment_rows.c
    query = select(c.doc).where(c.job == job, c.zone == zone, c.reference.is_not(None)).order_by(c.id)
    async with engine.archive.reading() as conn:
        return [doc.encode() for doc in (await conn.execute(query)).scalars()]
