"""What the payment service says: each payment under a reference of its own, each word of it once.

Callout moves no money. It asks (``payment.requested``, by a step of the job), is told what came of it, and lets the job
be paid in the same step. The order is requested, then captured or failed; captured, then refunded. A payment that
nobody announced may begin with any of the first three.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import msgspec
from sqlalchemy import select

from engine import board, jobs, requests
from engine.archive.schema import payments as payment_rows
from engine.errors import Duplicate, Forbidden, Indeterminate
from engine.requests import located
from engine.rules.lifecycle import Blueprint
from engine.rules.plans import Plan
from engine.steps import Ask
from engine.store import keys
from engine.types import OPS, JobId, Principal, Zone, new_id

if TYPE_CHECKING:
    from engine.runtime import Engine

Status = Literal["requested", "captured", "refunded", "failed"]
EVENTS: dict[Status, str] = {
    "requested": "payment.requested",
    "captured": "payment.received",
    "refunded": "payment.refunded",
    "failed": "payment.failed",
}
CONCERNED = "customer holder ops service"
"""Who hears of it where the blueprint does not say."""


class Payment(msgspec.Struct, frozen=True, kw_only=True):
    """One word of the payment service; ``amount`` in minor units."""

    reference: str
    status: Status
    amount: int
    currency: str


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


class _Created(msgspec.Struct):
    created_at: str


_told = msgspec.json.Decoder(_Told)
_created = msgspec.json.Decoder(_Created)


async def put(
    engine: Engine, caller: Principal, job_id: str, payment: Payment, *, key: str | None = None, trace: str = ""
) -> Put:
    """Take down what became of a payment; the same word again answers as the first time.

    Raises Forbidden for all but services, NotFound, Duplicate for a reference that stands for another amount,
    IllegalTransition out of order or, for a captured one, where the job cannot be paid now; Frozen, ReusedKey.
    """
    if caller.role != "service":
        raise Forbidden("The payment service says what was paid")
    zone, job = located(job_id)
    mark = requests.fingerprint("payment", job, payment)
    ask = Ask(zone, job, caller, requests.checked_key(key), mark, trace)
    blueprint = await jobs.blueprint_of(engine, zone, job)
    plan = await _capture(engine, ask, blueprint) if payment.status == "captured" else None
    event = EVENTS[payment.status]
    names = [keys.meta(zone), keys.job(zone, job), keys.offers(zone, job), keys.causes(zone, job)]
    args = [ask.actor, ask.key, ask.mark, ask.trace, blueprint.key, new_id("pay"), payment.reference, payment.status]
    args += [str(payment.amount), payment.currency]
    told = msgspec.json.encode(
        {
            "kind": "charge",
            "amount": payment.amount,
            "currency": payment.currency,
            "reference": payment.reference,
        }
    )[1:-1]
    try:
        done = await engine.store.call(
            zone,
            "payment_put",
            [*names, keys.payments(zone, job), keys.log(zone), ask.request()],
            [*args, told, plan.body if plan else "", blueprint.audience(event) or CONCERNED],
        )
    except Duplicate as error:
        raise Duplicate("This reference stands for another amount", repeated=error.repeated) from error
    data = await requests.told_at(engine, zone, done.seq)
    if data is None:
        raise Indeterminate("Done, but its answer cannot be read any more")
    found = _told.decode(data)
    shown = jobs.with_actions(bytes(found.job), jobs.actions(caller, blueprint, bytes(found.job)))
    return Put(found.payment, msgspec.Raw(shown), done.version, done.repeated, ask.key)


async def _capture(engine: Engine, ask: Ask, blueprint: Blueprint) -> Plan | None:
    """The command by which a captured payment moves the job; of several the one from its present state."""
    name = await jobs.command_for(engine, ask.zone, ask.job, blueprint, "capture")
    return engine.plans.of(blueprint, name) if name else None


async def find(engine: Engine, caller: Principal, job_id: str) -> list[bytes]:
    """The payments of a job as JSON, the first one first. Raises Forbidden, NotFound."""
    if caller.role not in OPS and caller.role != "service":
        raise Forbidden("Payments are listed for ops and services")
    zone, job = located(job_id)
    await board.read(engine, caller, job_id)
    rows = await engine.store.run("HVALS", keys.payments(zone, job))
    items = [_item(row) for row in rows] or await _archived(engine, zone, job)
    return sorted(items, key=lambda item: _created.decode(item).created_at)


def _item(row: bytes) -> bytes:
    """A record of lua/lib/payment.lua as it is told: `path id amount currency created members`."""
    path, name, _, _, created, told = row.split(b" ", 5)
    status = path.rpartition(b",")[2].partition(b":")[0]
    return b'{"id":"%b","status":"%b",%b,"created_at":%b}' % (name, status, told, created)


async def _archived(engine: Engine, zone: Zone, job: JobId) -> list[bytes]:
    c: Any = payment_rows.c
    query = select(c.doc).where(c.job == job, c.zone == zone, c.reference.is_not(None))
    async with engine.archive.reading() as conn:
        return [doc.encode() for doc in (await conn.execute(query)).scalars()]
