"""Count the requests of areas: bookings where they were asked for, whether or not anybody took them. Demand that found
nobody is demand.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import msgspec

from engine.events import Event
from engine.rules.hour_slots import hour_of
from engine.rules.pulse import cell_at

DEMAND_EVENTS = ("job.created", "job.accepted", "job.assigned", "job.expired")
"""The types of events that are counted."""
CELL, POSTAL_CODE, POSTAL_CELL = COUNT_KINDS = ("cell", "postal_code", "postal_cell")
"""The kinds of areas that are counted. A ``postal_cell`` is a postal code and a cell, separated by a space: it says
which codes and cells share jobs."""
COUNT_COLUMNS = ("booked", "quoted", "filled", "expired")

AreaHour = tuple[str, str, int]
"""A kind, an area and an hour."""


@dataclass(slots=True)
class DemandCounts:
    """What a sequence of events adds to the counts of areas and hours. The values are those of ``COUNT_COLUMNS``."""

    counts: dict[AreaHour, list[int]] = field(default_factory=dict)

    def add(self, kind: str, area: str, hour: int, column: str, by: int = 1) -> None:
        """Add to one count."""
        row = self.counts.setdefault((kind, area, hour), [0] * len(COUNT_COLUMNS))
        row[COUNT_COLUMNS.index(column)] += by

    def rows(self, zone: str) -> list[dict[str, Any]]:
        """Return the rows to add, in the order of their keys: two archivers then lock rows in the same order."""
        keys = ("zone", "kind", "area", "hour")
        return [
            dict(zip((*keys, *COUNT_COLUMNS), (zone, *key, *self.counts[key]), strict=True))
            for key in sorted(self.counts)
        ]


class _Place(msgspec.Struct):
    """The members of a job that are counted. A public part of a job has no customer and is not counted."""

    customer: msgspec.Raw = msgspec.Raw(b"")
    lat: float | None = None
    lon: float | None = None
    postal_code: str | None = None
    asked: bool = False


class _Data(msgspec.Struct):
    job: _Place | str | None = None
    former: msgspec.Raw = msgspec.Raw(b"")


_decoder = msgspec.json.Decoder(_Data)


def fold_demand_event(counts: DemandCounts, event: Event) -> None:
    """Count an event of ``DEMAND_EVENTS``. A job that goes back and is accepted again is ``filled`` twice. Raises
    msgspec.DecodeError.
    """
    data = _decoder.decode(event.data)
    job = data.job
    if not isinstance(job, _Place) or not job.customer or job.lat is None or job.lon is None:
        return
    if event.type == "job.created":
        column = "booked"
    elif event.type == "job.expired":
        column = "expired"
    elif job.asked or data.former:  # only asked, or from one technician to another
        return
    else:
        column = "filled"
    hour, cell, code = hour_of(event.at), cell_at(job.lat, job.lon), (job.postal_code or "").strip()
    counts.add(CELL, cell, hour, column)
    if code:
        counts.add(POSTAL_CODE, code, hour, column)
    if code and column == "booked":
        counts.add(POSTAL_CELL, f"{code} {cell}", hour, column)
