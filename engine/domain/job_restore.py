"""A finished job that Redis has forgotten, put back as SQL has it, so that money may still come and go.

A payment is noted by a script that compares it with all payments of the job and adds it to the job's sums. So what SQL
has of both is put back first, and the payment goes the ordinary way. SQL is read at a checkpoint at or past the head of
the log: whatever was appended about the job while Redis had it is there. (Rejected: deciding by SQL alone and appending
the event. Two refunds at once were each within what was captured, and both together beyond it.)
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import msgspec

from engine.archive import reader
from engine.archive.projection import FINISHED
from engine.errors import NotFound, Unavailable
from engine.events import Event, ms_of
from engine.rules import job_document
from engine.store import keys
from engine.types import JobId, Zone
from engine.zone import log

if TYPE_CHECKING:
    from engine.runtime import Engine

ARCHIVED_S = 2.0
"""How long the archive may take to reach the head of the log."""
LOOK_S = 0.02

PAYMENTS = (
    *("payment.requested", "payment.received", "payment.refunded", "payment.failed", "payment.unexpected"),
    "payment.partial",
)


class _Payment(msgspec.Struct):
    status: str
    amount: int
    currency: str
    id: str = ""
    reference: str | None = None
    of: str | None = None
    created_at: str = ""


class _Told(msgspec.Struct):
    payment: _Payment | None = None
    why: str = ""


class _Kept(msgspec.Struct):
    """A payment as lua/lib/payment.lua keeps it. ``counts``: what it captured or gave back is in the job's sums."""

    kind: str
    reference: str
    of: str
    id: str
    created_at: str
    words: dict[str, str] = msgspec.field(default_factory=dict)
    back: int = 0
    counts: bool = True

    def record(self) -> str:
        path = ",".join(f"{status}:{rest}" for status, rest in self.words.items())
        told = members(self.kind, self.reference, self.of).decode()
        return f'{path} {self.id} "{self.created_at}" {self.back} {told}'


_told = msgspec.json.Decoder(_Told)
_members = msgspec.json.Decoder(dict[str, msgspec.Raw])


def members(kind: str, reference: str, of: str) -> bytes:
    """The members of a payment that never change, as JSON without its braces."""
    named = {"kind": kind, "reference": reference, **({"of": of} if kind == "refund" else {})}
    return msgspec.json.encode(named)[1:-1]


async def put_back(engine: Engine, zone: Zone, job: JobId) -> None:
    """Put the job and its payments back into Redis, if they are not there.

    Raises NotFound for a job that the archive does not have, or has as not finished, Unavailable where SQL cannot be
    read or stays behind the log.
    """
    if zone not in engine.store.zones:
        raise NotFound("No such job")
    await _reached(engine, zone)
    document = await reader.job(engine.archive, job)
    shown = _members.decode(document) if document else {}
    if not shown or msgspec.json.decode(shown["phase"]) not in FINISHED:
        raise NotFound("No such job")
    found = kept(await reader.told_of(engine.archive, job, PAYMENTS))
    bp = await reader.blueprint_of(engine.archive, job) or engine.blueprints.default.key
    names = {"meta": keys.meta(zone), "job": keys.job(zone, job), "payments": keys.payments(zone, job)}
    fields = _pairs(_fields(shown, bp, sums(found)))
    records = _pairs({f"{each.kind} {each.reference}": each.record() for each in found})
    await engine.store.run(zone, "job_restore", keys=names, args={"fields": fields, "kept": records})


async def _reached(engine: Engine, zone: Zone) -> None:
    """Wait until all that the log holds by now is in SQL."""
    head = await log.head(engine.store.reads, zone)
    for _ in range(round(ARCHIVED_S / LOOK_S)):
        at = await reader.checkpoint(engine.archive, zone)
        if at is not None and at.seq >= head.seq:
            return
        await asyncio.sleep(LOOK_S)
    raise Unavailable("The archive has not yet all that it needs to know of this job")


def kept(events: Iterable[Event]) -> list[_Kept]:
    """The payments that ``events``, in order, leave behind: each word at the seq that told it first."""
    found: dict[tuple[str, str], _Kept] = {}
    for event in events:
        data = _told.decode(event.data)
        told = data.payment
        if told is None or told.reference is None:  # asked for by a step of the job
            continue
        kind, of = ("refund", told.of or told.reference) if told.status == "refunded" else ("charge", told.reference)
        new = _Kept(kind, told.reference, of, told.id, told.created_at)
        payment = found.setdefault((kind, told.reference), new)
        if told.status in payment.words:  # told twice: of one that was captured more than one event may tell
            continue
        if data.why == "other_currency":
            payment.counts = False
        if kind == "refund" and (charge := found.get(("charge", of))):
            charge.back += told.amount
            payment.counts = charge.counts
        payment.words[told.status] = f"{event.seq}:{told.amount}:{told.currency}{'' if payment.counts else ':-'}"
    return list(found.values())


def sums(payments: Iterable[_Kept]) -> dict[str, int]:
    """What was captured and refunded, of what counted when it came: the job's currency may have been another."""
    total = {"captured": 0, "refunded": 0}
    for payment in payments:
        for status, rest in payment.words.items():
            if status in total and payment.counts:
                total[status] += int(rest.split(":")[1])
    return total


def _fields(shown: dict[str, msgspec.Raw], bp: str, total: dict[str, int]) -> dict[str, Any]:
    """The record of a finished job, as Job.load in lua/lib/job.lua reads it."""
    fixed = {name: raw for name, raw in shown.items() if name in job_document.RECORD}
    plain: dict[str, Any] = {name: msgspec.json.decode(raw) for name, raw in shown.items()}
    holder = plain["technician"]
    return {
        **{name: plain[name] for name in ("id", "status", "phase", "version", "service", "lat", "lon", "amount")},
        "bp": bp,
        "customer": plain["customer"]["id"],
        "holder": holder["id"] if holder else "",
        "card": bytes(shown["technician"]).decode() if holder else "",
        "full": job_document.whole(fixed).decode(),
        "pub": job_document.public({name: plain[name] for name in fixed}).decode(),
        "at": bytes(shown["at"]).decode()[1:-1],
        "created": ms_of(plain["created_at"]),
        "updated": ms_of(plain["updated_at"]),
        "paid": total["captured"],
        "refunded": total["refunded"],
        **dict.fromkeys(("expires", "wave", "asked_back"), 0),
        **dict.fromkeys(("claimed", "frozen", "last", "reference", "owner", "preferred"), ""),
        "mode": "none",
        "entered": plain["version"],
        "unaccepted": "1" if plain.get("asked") else "",
    }


def _pairs(fields: dict[str, Any]) -> bytes:
    """Names and values in turn, all of them text."""
    return msgspec.json.encode([str(part) for pair in fields.items() for part in pair])
