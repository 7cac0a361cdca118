"""Restore a finished job that was evicted from Redis, from SQL, so that each command on it is decided in Redis.

A script records a payment: the script compares the payment with all payments of the job and adds the amount to the
job's sums. Therefore the job and its payments are restored first, and the payment is then recorded as usual. Any other
command on the job gets the refusal that it would have got before the eviction. SQL is read when its checkpoint is at or
past the head of the log, so that SQL has every event that was appended while Redis stored the job. (Rejected: to decide
by SQL alone and append the event. Two concurrent refunds could each be within the captured amount, and together exceed
it.)
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from engine.archive import last_steps, ledger_reader, offer_reader, reader
from engine.archive.projection import FINISHED_PHASES
from engine.blueprint.relation import relations
from engine.errors import NotFound, Unavailable
from engine.events import Event, ms_of
from engine.payments.simulated import TEST_PREFIX
from engine.rules import job_document
from engine.rules.event_payloads import EventPayment
from engine.store import keys
from engine.store.scripts import Args
from engine.types import JobId, Principal, Zone
from engine.zone import log

if TYPE_CHECKING:
    from engine.runtime import Engine

ARCHIVE_WAIT_S = 2.0
"""How long (seconds) to wait until the archive reaches the head of the log."""
POLL_INTERVAL_S = 0.02
PAYMENT_KEEP_MS = 86_400_000
"""How long a job that was restored for a payment stays in Redis: more reports may follow."""
COMMAND_KEEP_MS = 600_000
"""How long a job that was restored for another command stays in Redis."""

T = TypeVar("T")

PAYMENT_EVENTS = (
    *("payment.requested", "payment.authorized", "payment.released", "payment.received", "payment.refunded"),
    *("payment.failed", "payment.unexpected", "payment.partial"),
)


class _PaymentData(msgspec.Struct):
    """The members of a payment event's data from which the payment's record is made."""

    payment: EventPayment | None = None
    why: str = ""


class _PaymentRecord(msgspec.Struct):
    """A payment as lua/lib/payment.lua stores it. ``statuses`` maps each status of the payment, in order, to
    ``<seq>:<amount>:<currency>`` of its event. ``refunded_amount`` is the refunded amount, and ``is_counted`` is true
    if the job's sums include the payment."""

    kind: str
    reference: str
    of: str
    id: str
    created_at: str
    statuses: dict[str, str] = msgspec.field(default_factory=dict)
    refunded_amount: int = 0
    is_counted: bool = True

    def record_text(self) -> str:
        path = ",".join(f"{status}:{rest}" for status, rest in self.statuses.items())
        fixed = encode_fixed_members(self.kind, self.reference, self.of).decode()
        return f'{path} {self.id} "{self.created_at}" {self.refunded_amount} {fixed}'


_payment_data_decoder = msgspec.json.Decoder(_PaymentData)
_members_decoder = msgspec.json.Decoder(dict[str, msgspec.Raw])


def encode_fixed_members(payment_kind: str, reference: str, charge_reference: str) -> bytes:
    """Return the members of a payment that never change, as JSON without its braces."""
    named = {
        "kind": payment_kind,
        **({"test": True} if reference.startswith(TEST_PREFIX) else {}),
        "reference": reference,
        **({"of": charge_reference} if payment_kind == "refund" else {}),
    }
    return msgspec.json.encode(named)[1:-1]


async def run_with_restored_job(
    engine: Engine, caller: Principal, zone: Zone, job: JobId, run: Callable[[], Awaitable[T]]
) -> T:
    """Run a command on a job. If it raises NotFound because Redis has evicted the finished job, restore the job and run
    the command again.

    A job that the caller may not see is not restored. Raises the errors of ``run``, and Unavailable if SQL cannot be
    read then.
    """
    try:
        return await run()
    except NotFound:
        if await engine.store.command("EXISTS", keys.job(zone, job)) or not await _was_visible(engine, caller, job):
            raise
        await restore_job(engine, zone, job, COMMAND_KEEP_MS)
        return await run()


async def _was_visible(engine: Engine, caller: Principal, job: JobId) -> bool:
    """Return whether the caller may see the archived job."""
    document = await reader.job(engine.archive, job)
    if document is None:
        return False
    offered = caller.role == "technician" and await offer_reader.was_offered(engine.archive, job, caller.id)
    return bool(relations(caller, job_document.decode_job(document), offered=offered))


async def restore_job(engine: Engine, zone: Zone, job: JobId, keep_ms: int) -> None:
    """Restore the job and its payments in Redis for ``keep_ms``, if the job is not in Redis.

    Raises NotFound if the archive does not have the job as finished, Unavailable if SQL cannot be read or does not
    reach the head of the log in time.
    """
    if zone not in engine.store.zones:
        raise NotFound("No such job")
    await wait_for_archive(engine, zone)
    document = await reader.job(engine.archive, job)
    members = _members_decoder.decode(document) if document else {}
    if not members or msgspec.json.decode(members["phase"]) not in FINISHED_PHASES:
        raise NotFound("No such job")
    payments = payment_records(await reader.job_events(engine.archive, job, PAYMENT_EVENTS))
    bp = await reader.blueprint_key_of(engine.archive, job) or engine.blueprints.default.key
    names = {"meta": keys.zone_meta(zone), "job": keys.job(zone, job), "payments": keys.job_payments(zone, job)}
    steps = await last_steps.read_last_steps(engine.archive, job)
    all_fields = _job_hash_fields(members, bp, sum_amounts_by_status(payments)) | steps._asdict()
    if payee := await ledger_reader.find_payee(engine.archive, job, all_fields["holder"]):
        all_fields["payee"] = f"{payee.technician} {payee.available_at}"
    fields = _encode_names_and_values(all_fields)
    records = _encode_names_and_values({f"{each.kind} {each.reference}": each.record_text() for each in payments})
    args: Args = {"fields": fields, "records": records, "keep_ms": keep_ms}
    await engine.store.run(zone, "job_restore", keys=names, args=args)


async def wait_for_archive(engine: Engine, zone: Zone) -> None:
    """Wait until SQL has all events that are in the log now. Raises Unavailable after ``ARCHIVE_WAIT_S``."""
    head = await log.read_head(engine.store.read_connection, zone)
    for _ in range(round(ARCHIVE_WAIT_S / POLL_INTERVAL_S)):
        at = await reader.checkpoint(engine.archive, zone)
        if at is not None and at.seq >= head.seq:
            return
        await asyncio.sleep(POLL_INTERVAL_S)
    raise Unavailable("The archive has not reached the head of the log yet")


def payment_records(events: Iterable[Event]) -> list[_PaymentRecord]:
    """Return the payments that result from ``events``, in order. Each status of a payment has the seq of the first
    event with this status.
    """
    payments: dict[tuple[str, str], _PaymentRecord] = {}
    for event in events:
        data = _payment_data_decoder.decode(event.data)
        reported = data.payment
        if reported is None or reported.reference is None:  # requested by a step of the job
            continue
        kind, of = "charge", reported.reference
        if reported.status == "refunded":
            kind, of = "refund", reported.of or reported.reference
        new = _PaymentRecord(kind, reported.reference, of, reported.id, reported.created_at)
        payment = payments.setdefault((kind, reported.reference), new)
        if reported.status in payment.statuses:  # a captured payment may have more than one event
            continue
        if data.why == "other_currency":
            payment.is_counted = False
        if kind == "refund" and (charge := payments.get(("charge", of))):
            charge.refunded_amount += reported.amount
            payment.is_counted = charge.is_counted
        mark = "" if payment.is_counted else ":-"
        payment.statuses[reported.status] = f"{event.seq}:{reported.amount}:{reported.currency}{mark}"
    return list(payments.values())


def sum_amounts_by_status(payments: Iterable[_PaymentRecord]) -> dict[str, int]:
    """Return the sum of the amounts for each of the statuses ``captured`` and ``refunded``, without payments in another
    currency than the job's.
    """
    total = {"captured": 0, "refunded": 0}
    for payment in payments:
        for status, rest in payment.statuses.items():
            if status in total and payment.is_counted:
                total[status] += int(rest.split(":")[1])
    return total


def _job_hash_fields(members: dict[str, msgspec.Raw], bp: str, total: dict[str, int]) -> dict[str, Any]:
    """Return the fields of a finished job's hash in Redis, as Job.load in lua/lib/job.lua reads them. ``bp`` names the
    job's blueprint, and ``total`` has the sums that were captured and refunded.
    """
    fixed = {name: raw for name, raw in members.items() if name in job_document.RECORD_MEMBERS}
    plain: dict[str, Any] = {name: msgspec.json.decode(raw) for name, raw in members.items()}
    holder = plain["technician"]
    return {
        **{name: plain[name] for name in ("id", "status", "phase", "version", "service", "lat", "lon", "amount")},
        "bp": bp,
        "customer": plain["customer"]["id"],
        "holder": holder["id"] if holder else "",
        "card": bytes(members["technician"]).decode() if holder else "",
        "full": job_document.encode_members(fixed).decode(),
        "pub": job_document.encode_public_members({name: plain[name] for name in fixed}).decode(),
        "at": bytes(members["at"]).decode()[1:-1],
        "created": ms_of(plain["created_at"]),
        "updated": ms_of(plain["updated_at"]),
        "paid": total["captured"],
        "refunded": total["refunded"],
        **dict.fromkeys(("expires", "wave", "asked_back"), 0),
        **dict.fromkeys(("frozen", "reference", "owner", "preferred"), ""),
        "mode": "none",
        "entered": plain["version"],
        "unaccepted": "1" if plain.get("asked") else "",
        "room": plain.get("room") or "",
        "promise": ms_of(plain["promise"]) if plain.get("promise") else "",
        "photos": bytes(members["photos"]).decode() if "photos" in members else "[]",
        "signed": bytes(members["signed"]).decode() if "signed" in members else "",
    }


def _encode_names_and_values(fields: dict[str, Any]) -> bytes:
    """Return a JSON array in which names and values alternate, all as text."""
    return msgspec.json.encode([str(part) for pair in fields.items() for part in pair])
