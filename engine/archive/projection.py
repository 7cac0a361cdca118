"""Fold events into rows of SQL.

The functions are pure, so that the archiver and a rebuild produce the same rows from the same log. An event whose data
cannot be read is stored unchanged and produces no other row: one bad event must not stop the events behind it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import msgspec
import structlog

from engine.archive.demand_projection import DEMAND_EVENTS, DemandCounts, fold_demand_event
from engine.archive.file_projection import fold_files
from engine.archive.job_states import state_rows
from engine.archive.ledger_projection import LEDGER_TYPES, LedgerRows, fold_ledger_event
from engine.archive.offer_projection import OfferRows
from engine.archive.quote_projection import QuoteRows, fold_quote
from engine.archive.receipt_projection import fold_receipt
from engine.archive.room_projection import ROOM_EVENT_PREFIXES, RoomRows, fold_room_event
from engine.archive.technician_projection import TechnicianChanges, count_offers, fold_technician_event
from engine.events import Event
from engine.rules import job_document
from engine.rules.event_payloads import EventBid, EventOffer, EventPayment, NotificationData
from engine.rules.job_document import Party

FINISHED_PHASES = ("done", "closed")
"""The phases of a finished job. After it is archived, its keys in Redis may expire."""

CHANNEL_COLUMNS = ("zone", "channel", "seq")

Row = dict[str, Any]

log = structlog.get_logger(__name__)


@dataclass(slots=True)
class Batch:
    """The rows that a sequence of events adds or changes. ``channels`` are rows as tuples of ``CHANNEL_COLUMNS``, not
    dictionaries, because there are more of them than of all other rows.
    """

    events: list[Row] = field(default_factory=list)
    channels: list[tuple[str, str, int]] = field(default_factory=list)
    jobs: dict[str, Row] = field(default_factory=dict)
    references: list[Row] = field(default_factory=list)
    offers: OfferRows = field(default_factory=OfferRows)
    bids: dict[str, Row] = field(default_factory=dict)
    payments: dict[tuple[str, str], Row] = field(default_factory=dict)
    notifications: list[Row] = field(default_factory=list)
    quotes: QuoteRows = field(default_factory=QuoteRows)
    receipts: list[Row] = field(default_factory=list)
    rooms: RoomRows = field(default_factory=RoomRows)
    technicians: TechnicianChanges = field(default_factory=TechnicianChanges)
    demand: DemandCounts = field(default_factory=DemandCounts)
    ledger: LedgerRows = field(default_factory=LedgerRows)
    job_states: list[Row] = field(default_factory=list)
    files: dict[str, Row] = field(default_factory=dict)
    quarantined: list[Row] = field(default_factory=list)

    @property
    def finished(self) -> list[str]:
        """The ids of the jobs that are finished at the end of the batch."""
        return [row["id"] for row in self.jobs.values() if row["phase"] in FINISHED_PHASES]


class _ProjectedData(msgspec.Struct):
    """The members of an event's data from which rows are derived. Each may be missing."""

    job: msgspec.Raw = msgspec.Raw(b"")
    offer: EventOffer | None = None
    bid: msgspec.Raw = msgspec.Raw(b"")
    payment: msgspec.Raw = msgspec.Raw(b"")
    technician: Party | None = None
    former: Party | None = None
    reason: str | None = None


_projected_data_decoder = msgspec.json.Decoder(_ProjectedData)
_bid_decoder = msgspec.json.Decoder(EventBid)
_payment_decoder = msgspec.json.Decoder(EventPayment)
_notification_decoder = msgspec.json.Decoder(NotificationData)


def fold_events(events: Iterable[Event], batch: Batch | None = None) -> Batch:
    """Return all rows that ``events``, in order, add to SQL or change there. If ``batch`` is given, they are added to
    it.
    """
    batch = batch or Batch()
    for event in events:
        try:
            job = _fold_event(batch, event)
        except (msgspec.DecodeError, ValueError) as error:
            job = None
            log.error("event_not_projected", zone=event.zone, seq=event.seq, type=event.type, error=str(error))
        batch.events.append(_event_row(event, job))
        if event.state:
            batch.job_states += state_rows(event)
        zone, seq = event.zone, event.seq
        batch.channels += [(zone, channel, seq) for channel in dict.fromkeys(event.to)]
    return batch


def _event_row(event: Event, job: str | None) -> Row:
    return {
        "zone": event.zone,
        "seq": event.seq,
        "type": event.type,
        "to": " ".join(event.to),
        "at": event.at,
        "actor": event.actor,
        "bp": event.blueprint_key,
        "data": event.data.decode("utf-8", "replace"),
        "cause": event.cause,
        "trace": event.trace,
        "job": job,
    }


def _fold_event(batch: Batch, event: Event) -> str | None:
    """Fold one event into the batch. Return the id of the event's job, or None if it has none."""
    kind = event.type
    fold_files(batch.files, event)
    if kind.startswith(ROOM_EVENT_PREFIXES):
        return fold_room_event(batch.rooms, event)
    fold_technician_event(batch.technicians, event)
    data = _projected_data_decoder.decode(event.data)
    job, values = job_document.decode_columns(bytes(data.job)) if data.job else (None, None)
    if data.offer:
        job = data.offer.job.id or None
    elif not data.job and data.bid:
        job = _bid_decoder.decode(data.bid).job
    if values:
        _fold_job(batch, event, data, values)
    fold_quote(batch.quotes, event)
    fold_receipt(batch.receipts, event)
    if kind in DEMAND_EVENTS:
        fold_demand_event(batch.demand, event)
    if kind in LEDGER_TYPES:
        fold_ledger_event(batch.ledger, event)
    if kind.startswith("offer."):
        _fold_offer(batch, event, data, job)
    elif kind.startswith("bid."):
        _fold_bid(batch, event, data)
    elif kind.startswith("payment.") and job:
        _fold_payment(batch, event, data, job)
    elif kind == "notification":
        _fold_notification(batch, event)
    if job and data.former:
        batch.offers.answer(event, job, [data.former.id], "expired", "left")
    if job and data.technician and kind in ("job.accepted", "job.assigned"):
        batch.offers.answer(event, job, [data.technician.id], "accepted", None)
    return job


def _fold_job(batch: Batch, event: Event, data: _ProjectedData, row: Row) -> None:
    """Store the whole job of an event. The event may have any type, because payments also change the state of jobs."""
    job, reference = row["id"], row["reference"]
    former = data.former.id if data.former else None
    batch.technicians.note_holder(job, row["technician"], event.at, former=former)
    row["hot"], row["doc"] = True, bytes(data.job).decode("utf-8", "replace")
    batch.jobs[job] = row
    if reference and event.type == "job.created":
        principal = event.actor.partition(":")[2]
        batch.references.append({"principal": principal, "reference": reference, "job": job})


def _fold_offer(batch: Batch, event: Event, data: _ProjectedData, job: str | None) -> None:
    """Store a new offer of each receiver, or the answer to an offer, or its end."""
    users = [channel.removeprefix("user:") for channel in event.to if channel.startswith("user:")]
    if data.offer:
        batch.offers.add(event, users, data.offer)
        count_offers(batch.technicians, users if event.type == "offer.created" else ())
    elif job is None:
        return
    elif event.type == "offer.declined" and data.technician:
        batch.offers.answer(event, job, [data.technician.id], "rejected", data.reason)
    elif event.type == "offer.closed":
        batch.offers.answer(event, job, users, "expired", data.reason)


def _fold_bid(batch: Batch, event: Event, data: _ProjectedData) -> None:
    bid = _bid_decoder.decode(data.bid)
    if event.type == "bid.created":  # a bid is the answer to the offer, if the technician had one
        batch.offers.answer(event, bid.job, [bid.technician.id], "accepted", None)
    first = batch.bids.get(bid.id, {"created_at": event.at})
    batch.bids[bid.id] = {
        "id": bid.id,
        "job": bid.job,
        "technician": bid.technician.id,
        "zone": event.zone,
        "status": bid.status,
        "amount": bid.amount,
        "created_at": first["created_at"],
        "updated_at": event.at,
        "doc": bytes(data.bid).decode("utf-8", "replace"),
    }


def _fold_payment(batch: Batch, event: Event, data: _ProjectedData, job: str) -> None:
    payment = _payment_decoder.decode(data.payment)
    name = payment.id or payment.reference or ""
    first = batch.payments.get((job, name), {"created_at": event.at})
    batch.payments[job, name] = {
        "job": job,
        "id": name,
        "zone": event.zone,
        "reference": payment.reference,
        "kind": payment.kind,
        "status": payment.status,
        "amount": payment.amount,
        "currency": payment.currency,
        "created_at": first["created_at"],
        "updated_at": event.at,
        "doc": bytes(data.payment).decode("utf-8", "replace"),
    }


def _fold_notification(batch: Batch, event: Event) -> None:
    members = msgspec.structs.asdict(_notification_decoder.decode(event.data))
    texts = {name: members[name].replace("\0", "") for name in ("title", "body")}  # PostgreSQL stores no NUL in a text
    batch.notifications += [
        {**members, **texts, "user": channel.removeprefix("user:"), "at": event.at, "seq": event.seq}
        for channel in event.to
        if channel.startswith("user:")
    ]
