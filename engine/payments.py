"""What the payment service says: each payment under a reference of its own, each word of it once.

Callout moves no money. It asks (``payment.requested``, by a step of the job), is told what came of it, and lets the job
be paid in the same step. The order is requested, then captured or failed; captured, then refunded. A payment that
nobody announced may begin with any of the first three.

Money comes back weeks later, when Redis has forgotten the job. Then SQL says what was captured, and the refund is told
in the log like any other word; so it reaches SQL by the one way there is.
"""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any, Literal

import msgspec
from sqlalchemy import select

from engine import board, jobs, requests
from engine.announcements import SINGULAR
from engine.archive import reader
from engine.archive.projection import FINISHED
from engine.archive.schema import payments as payment_rows
from engine.errors import Duplicate, Forbidden, IllegalTransition, Indeterminate, NotFound
from engine.events import Event
from engine.requests import located
from engine.rules.lifecycle import Blueprint
from engine.rules.plans import Plan
from engine.steps import Ask
from engine.store import keys
from engine.store.connection import Done
from engine.types import OPS, JobId, Phase, Principal, UserId, Zone, new_id

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


ANOTHER = "This reference stands for another amount"


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


class _Word(msgspec.Struct):
    """What of a payment's JSON tells one word of it from another."""

    status: Status
    amount: int
    currency: str
    reference: str | None = None


class _Created(msgspec.Struct):
    created_at: str


class _Party(msgspec.Struct):
    id: str


class _Card(msgspec.Struct):
    """What of an archived job's JSON is needed to tell of it."""

    phase: Phase
    version: int
    blueprint: str
    customer: _Party
    technician: _Party | None = None


_told = msgspec.json.Decoder(_Told)
_word = msgspec.json.Decoder(_Word)
_created = msgspec.json.Decoder(_Created)
_card = msgspec.json.Decoder(_Card)


async def put(
    engine: Engine, caller: Principal, job_id: str, payment: Payment, *, key: str | None = None, trace: str = ""
) -> Put:
    """Take down what became of a payment; the same word again answers as the first time.

    Raises Forbidden for all but services, NotFound, Duplicate for a reference that stands for another amount,
    IllegalTransition out of order or, for a captured one, where the job cannot be paid now; Frozen, ReusedKey.
    Of a job that was archived more than a day ago only a refund is new.
    """
    if caller.role != "service":
        raise Forbidden("The payment service says what was paid")
    zone, job = located(job_id)
    mark = requests.fingerprint("payment", job, payment)
    ask = Ask(zone, job, caller, requests.checked_key(key), mark, trace)
    try:
        return await _put(engine, ask, payment)
    except NotFound:
        return await _put_archived(engine, ask, payment)


async def _put(engine: Engine, ask: Ask, payment: Payment) -> Put:
    zone, job = ask.zone, ask.job
    blueprint = await jobs.blueprint_of(engine, zone, job)
    plan = await _capture(engine, ask, blueprint) if payment.status == "captured" else None
    told = msgspec.json.encode(
        {
            "kind": "charge",
            "amount": payment.amount,
            "currency": payment.currency,
            "reference": payment.reference,
        }
    )[1:-1]
    try:
        done = await engine.store.run(
            zone,
            "payment_put",
            keys=ask.keys() | {"payments": keys.payments(zone, job)},
            args={
                "actor": ask.actor,
                **ask.cause(),
                "bp": blueprint.key,
                "id": new_id("pay"),
                "reference": payment.reference,
                "status": payment.status,
                "amount": payment.amount,
                "currency": payment.currency,
                "told": told,
                "plan": plan.body if plan else "",
                "audience_of": _audience(blueprint, payment),
            },
        )
    except Duplicate as error:
        raise Duplicate(ANOTHER, repeated=error.repeated) from error
    return await _answer(engine, ask, blueprint, done)


async def _answer(engine: Engine, ask: Ask, blueprint: Blueprint, done: Done) -> Put:
    data = await requests.told_at(engine, ask.zone, done.seq)
    if data is None:
        raise Indeterminate("Done, but its answer cannot be read any more")
    found = _told.decode(data)
    shown = await jobs.told(engine, ask.caller, blueprint, bytes(found.job))
    return Put(found.payment, shown, done.version, done.repeated, ask.key)


async def _put_archived(engine: Engine, ask: Ask, payment: Payment) -> Put:
    """The same by what SQL has of the job. All that was said of it while Redis had it is there: a job leaves a day
    after its last event was archived. What is said afterwards may not be there yet, and is remembered in Redis under
    the word itself: of all who say it at once one does.
    """
    known = await requests.remembered(engine, ask.zone, ask.caller, ask.key, ask.mark)
    document = await reader.job(engine.archive, ask.job)
    card = _card.decode(document) if document else None
    if document is None or card is None or card.phase not in FINISHED:
        raise NotFound("No such job")
    if known and known.seq:
        return await _answer(engine, ask, engine.blueprints.of(card.blueprint), known)
    said = await _said(engine, ask.job, payment.reference)
    first = _first(said, payment)
    blueprint = engine.blueprints.of(said[-1].bp)
    if first is not None:
        done = Done(True, first.seq, card.version, [])
    else:
        data = b'{"job":%b,"payment":%b}' % (document, _again(said[-1], payment.status))
        channels = _channels(_audience(blueprint, payment), card)
        done = await _append(engine, ask, payment, bp=blueprint.key, told=channels, data=data)
        done = done._replace(version=card.version)
    await requests.remember(engine, ask.zone, ask.caller, ask.key, ask.mark, done, ask.job)
    return await _answer(engine, ask, blueprint, done)


async def _said(engine: Engine, job: JobId, reference: str) -> list[Event]:
    """What the payment service has said under a reference, in order."""
    events = await reader.told_of(engine.archive, job, EVENTS.values())
    return [event for event in events if _word_of(event).reference == reference]


def _word_of(event: Event) -> _Word:
    return _word.decode(_told.decode(event.data).payment)


def _first(said: list[Event], payment: Payment) -> Event | None:
    """The event that said this word already; None where it is a new one that may be said now."""
    words = [_word_of(event) for event in said]
    if any((word.amount, word.currency) != (payment.amount, payment.currency) for word in words):
        raise Duplicate(ANOTHER)
    for event, word in zip(said, words, strict=True):
        if word.status == payment.status:
            return event
    if payment.status != "refunded" or not words or words[-1].status != "captured":
        raise IllegalTransition("The job is long over: what was captured may be refunded")
    return None


def _again(last: Event, status: Status) -> bytes:
    """The payment as ``last`` told it, having come to ``status``."""
    members = msgspec.json.decode(_told.decode(last.data).payment)
    return msgspec.json.encode({**members, "status": status})


async def _append(engine: Engine, ask: Ask, payment: Payment, **event: str | bytes) -> Done:
    """Put the event (its ``bp``, ``told`` and ``data``) into the log, once for each word of a payment."""
    word = uuid.uuid5(uuid.NAMESPACE_OID, f"{ask.job} {payment.status} {payment.reference}")
    request = keys.request(ask.zone, UserId("payments"), str(word))
    names = {"meta": keys.meta(ask.zone), "log": keys.log(ask.zone), "req": request}
    args = {"actor": ask.actor, **ask.cause(), "kind": EVENTS[payment.status], **event}
    return await engine.store.run(ask.zone, "event_append", keys=names, args=args)


def _audience(blueprint: Blueprint, payment: Payment) -> str:
    return blueprint.audience(EVENTS[payment.status]) or CONCERNED


def _channels(words: str, card: _Card) -> str:
    """The words of an audience as channels, as lua/lib/audience.lua makes them of a job that it has."""
    holder = f"user:{card.technician.id}" if card.technician else ""
    parties = {"customer": f"user:{card.customer.id}", "holder": holder}
    found = (parties.get(word, f"role:{SINGULAR.get(word, word)}") for word in words.split())
    return " ".join(channel for channel in found if channel)


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
    rows = await engine.store.command("HVALS", keys.payments(zone, job))
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
