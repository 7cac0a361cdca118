"""Restore a finished job that was evicted from Redis, from SQL, so that each command on it is decided in Redis.

A script records a payment: the script compares the payment with all payments of the job and adds the amount to the
job's sums. Therefore the job and its payments are restored first, and the payment is then recorded as usual. Any other
command on the job gets the refusal that it would have got before the eviction. SQL is read when its checkpoint is at or
past the head of the log, so that SQL has every event that was appended while Redis stored the job. (Rejected: to decide
only by SQL and append the event. Two concurrent refunds could each be within the captured amount, and together exceed
it.)
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from engine.archive import last_steps, ledger_reader, offer_reader, reader
from engine.archive.projection import FINISHED_PHASES
from engine.blueprint.relation import relations
from engine.domain.payment_fold import PAYMENT_EVENTS, PaymentFold
from engine.errors import NotFound, Unavailable
from engine.events import ms_of
from engine.rules import job_document
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

_members_decoder = msgspec.json.Decoder(dict[str, msgspec.Raw])


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
    payments = PaymentFold()
    payments.add(await reader.job_events(engine.archive, job, PAYMENT_EVENTS))
    bp = await reader.blueprint_key_of(engine.archive, job) or engine.blueprints.default.key
    names = {"meta": keys.zone_meta(zone), "job": keys.job(zone, job), "payments": keys.job_payments(zone, job)}
    steps = await last_steps.read_last_steps(engine.archive, job)
    all_fields = _job_hash_fields(members, bp, payments) | steps._asdict()
    if payee := await ledger_reader.find_payee(engine.archive, job, all_fields["holder"]):
        all_fields["payee"] = f"{payee.technician} {payee.available_at}"
    fields = _encode_names_and_values(all_fields)
    records = _encode_names_and_values(payments.hash_fields())
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


def _job_hash_fields(members: dict[str, msgspec.Raw], bp: str, payments: PaymentFold) -> dict[str, Any]:
    """Return the fields of a finished job's hash in Redis, as Job.load in lua/lib/job.lua reads them. ``bp`` names the
    job's blueprint, and ``payments`` have the sums.
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
        "paid": payments.sum_of("captured"),
        "refunded": payments.sum_of("refunded"),
        "asked_back": payments.asked_back,
        **dict.fromkeys(("expires", "wave"), 0),
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
