"""Count the requests of areas from events. A booking counts at its place even if no technician took it, because an
unserved request is demand too.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple

import msgspec

from engine.archive.quote_projection import QUOTE_MEMBER
from engine.events import Event
from engine.rules.hour_slots import hour_of
from engine.rules.pulse import cell_at

DEMAND_EVENTS = ("job.created", "job.accepted", "job.assigned", "job.expired", "job.updated", "quote.created")
"""The types of events that are counted."""
CELL, POSTAL_CODE, POSTAL_CELL = COUNT_KINDS = ("cell", "postal_code", "postal_cell")
"""The kinds of areas that are counted. A ``postal_cell`` is a postal code and a cell, separated by a space: it says
which codes and cells share jobs."""
COUNT_COLUMNS = ("booked", "quoted", "filled", "expired")

AreaHour = tuple[str, str, int]
"""A kind, an area and an hour."""


class QuotedPlace(NamedTuple):
    """A quote that a customer requested before a booking, at a time (ms since the Unix epoch), and the areas of its
    place.
    """

    quote: str
    customer: str
    at: int
    cell: str
    code: str


@dataclass(slots=True)
class DemandCounts:
    """The amounts that a sequence of events adds to the counts of areas and hours. The values of one area and hour are
    those of ``COUNT_COLUMNS``.
    """

    counts: dict[AreaHour, list[int]] = field(default_factory=dict)
    quoted: list[QuotedPlace] = field(default_factory=list)
    """New quotes. Whether they count depends on the quotes and bookings in SQL (engine/archive/demand_quotes.py)."""
    used: dict[str, int] = field(default_factory=dict)
    """The quotes that bookings and edits used up, each with the time (ms)."""

    def add(self, kind: str, area: str, hour: int, column: str, by: int = 1) -> None:
        """Add to one count."""
        row = self.counts.setdefault((kind, area, hour), [0] * len(COUNT_COLUMNS))
        row[COUNT_COLUMNS.index(column)] += by

    def add_place(self, cell: str, code: str, at_ms: int, column: str, by: int = 1) -> None:
        """Add to one count of a cell, and of a postal code unless ``code`` is ""."""
        self.add(CELL, cell, hour_of(at_ms), column, by)
        if code:
            self.add(POSTAL_CODE, code, hour_of(at_ms), column, by)

    def rows(self, zone: str) -> list[dict[str, Any]]:
        """Return the rows to add, in the order of their keys, so that two archivers lock rows in the same order."""
        keys = ("zone", "kind", "area", "hour")
        return [
            dict(zip((*keys, *COUNT_COLUMNS), (zone, *key, *self.counts[key]), strict=True))
            for key in sorted(self.counts)
        ]


class _Named(msgspec.Struct):
    id: str


class _Place(msgspec.Struct):
    """The members of a job that are counted. A public part of a job has no customer and is not counted."""

    customer: msgspec.Raw = msgspec.Raw(b"")
    lat: float | None = None
    lon: float | None = None
    postal_code: str | None = None
    asked: bool = False
    quote: _Named | None = None


class _Quote(_Place):
    id: str = ""
    used_by: str | None = None


class _Data(msgspec.Struct):
    job: _Place | str | None = None
    former: msgspec.Raw = msgspec.Raw(b"")
    quote: _Quote | None = None


_decoder = msgspec.json.Decoder(_Data)


def fold_demand_event(counts: DemandCounts, event: Event) -> None:
    """Count an event of ``DEMAND_EVENTS``. A job that loses its technician and is accepted again counts as ``filled``
    twice. Raises msgspec.DecodeError.
    """
    if event.type == "job.updated" and QUOTE_MEMBER not in event.data:
        return
    data = _decoder.decode(event.data)
    if event.type == "quote.created":
        _fold_quote(counts, event, data.quote)
        return
    job = data.job
    if not isinstance(job, _Place) or not job.customer or job.lat is None or job.lon is None:
        return
    if job.quote is not None and event.type in ("job.created", "job.updated"):
        counts.used.setdefault(job.quote.id, event.at)
    if event.type == "job.updated":
        return
    if event.type == "job.created":
        column = "booked"
    elif event.type == "job.expired":
        column = "expired"
    elif job.asked or data.former:
        # Not counted as filled: the technician was only asked, or the job went from one technician to another.
        return
    else:
        column = "filled"
    cell, code = cell_at(job.lat, job.lon), (job.postal_code or "").strip()
    counts.add_place(cell, code, event.at, column)
    if code and column == "booked":
        counts.add(POSTAL_CELL, f"{code} {cell}", hour_of(event.at), column)


def _fold_quote(counts: DemandCounts, event: Event, quote: _Quote | None) -> None:
    """Add a quote to ``counts.quoted``. A quote that was created in the step of a booking is left out, because the
    booking counts.
    """
    if quote is None or quote.used_by is not None or quote.lat is None or quote.lon is None:
        return
    customer = msgspec.json.decode(quote.customer, type=_Named).id
    code = (quote.postal_code or "").strip()
    counts.quoted.append(QuotedPlace(quote.id, customer, event.at, cell_at(quote.lat, quote.lon), code))
