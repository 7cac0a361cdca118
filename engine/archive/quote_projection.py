"""Fold the events of quotes into rows of SQL: new quotes, and for each used quote the job that used it up."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import msgspec

from engine.events import Event, ms_of
from engine.rules.job_document import Party

USING_TYPES = ("job.created", "job.updated")
"""The events of the steps that use a quote up."""
QUOTE_MEMBER = b'"quote":{'


@dataclass(slots=True)
class QuoteRows:
    """The new quotes of a batch by id, and the job of each quote that a step used up."""

    new: dict[str, dict[str, Any]] = field(default_factory=dict)
    jobs: dict[str, str] = field(default_factory=dict)


class _Quote(msgspec.Struct):
    id: str
    customer: Party
    expires_at: str
    used_by: str | None = None


class _QuoteData(msgspec.Struct):
    quote: dict[str, msgspec.Raw]


class _UsedQuote(msgspec.Struct):
    id: str


class _QuotedJob(msgspec.Struct):
    id: str
    quote: _UsedQuote | None = None


class _JobData(msgspec.Struct):
    job: _QuotedJob


_data_decoder = msgspec.json.Decoder(_QuoteData)
_job_decoder = msgspec.json.Decoder(_JobData)


def fold_quote(rows: QuoteRows, event: Event) -> None:
    """Fold an event into ``rows``. Raises msgspec.DecodeError."""
    if event.type == "quote.created":
        members = _data_decoder.decode(event.data).quote
        used_by = members.pop("used_by", None)
        doc = msgspec.json.encode(members)
        found = msgspec.json.decode(doc, type=_Quote)
        if used_by is not None:
            rows.jobs[found.id] = msgspec.json.decode(used_by)
        rows.new[found.id] = {
            "id": found.id,
            "zone": event.zone,
            "seq": event.seq,
            "customer": found.customer.id,
            "job": None,
            "expires_at": ms_of(found.expires_at),
            "doc": doc.decode(),
        }
    elif event.type in USING_TYPES and QUOTE_MEMBER in event.data:
        job = _job_decoder.decode(event.data).job
        if job.quote is not None:
            rows.jobs[job.quote.id] = job.id
