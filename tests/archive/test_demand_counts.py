"""Tests of the counts of requests: what is counted in which area, and that nothing is counted twice."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace
from sqlalchemy import select, update

from engine.archive import apply, demand_refill
from engine.archive.projection import fold_events
from engine.archive.reader import Checkpoint
from engine.events import Event, rfc3339_of
from engine.rules.pulse import cell_at
from engine.sql.database import Archive
from engine.sql.demand_tables import demand_hours, demand_progress
from engine.types import DEFAULT_ZONE
from tests.archive.test_projection import create_event, create_job_document
from tests.archive.test_reader import EPOCH_1, archive_events

PLACE = {"lat": 52.52, "lon": 13.40, "postal_code": " 10178 "}
CELL = cell_at(52.52, 13.40)


def create_demand_event(seq: int, kind: str, **members: Any) -> Event:
    """Return an event of a job at ``PLACE``; ``members`` replace those of its document."""
    job = {**create_job_document(seq, "open", "open"), **PLACE, **members}
    return create_event(seq, kind, {"job": job})


async def read_counts(archive: Archive) -> dict[tuple[str, str], list[int]]:
    """Return booked, quoted, filled and expired of each kind and area; all are of the first hour."""
    async with archive.begin_read() as conn:
        rows = (await conn.execute(select(demand_hours))).all()
    assert {row.hour for row in rows} <= {0}
    return {(row.kind, row.area): [row.booked, row.quoted, row.filled, row.expired] for row in rows}


async def test_a_booking_is_counted_once_in_its_cell_and_postal_code(archive: Archive) -> None:
    """Bookings, acceptances and expiries are counted at their places, over several batches. A technician who is only
    asked, the public part of a job, and a job without a position are not counted.
    """
    await archive_events(archive, [create_demand_event(1, "job.created"), create_demand_event(2, "job.created")])
    more = [
        create_demand_event(3, "job.created", postal_code=None),
        create_demand_event(4, "job.assigned", asked=True),
        create_demand_event(5, "job.accepted"),
        create_demand_event(6, "job.expired"),
        create_demand_event(7, "job.updated"),
        create_event(8, "job.created", {"job": {"id": "j", "lat": 52.52, "lon": 13.4}}),
        create_demand_event(9, "job.created", lat=None),
    ]
    await archive_events(archive, more, before=2)
    counts = {("cell", CELL): [3, 0, 1, 1], ("postal_code", "10178"): [2, 0, 1, 1]}
    assert await read_counts(archive) == {**counts, ("postal_cell", f"10178 {CELL}"): [2, 0, 0, 0]}


async def test_a_batch_that_is_applied_twice_is_counted_once(archive: Archive) -> None:
    """The second of two archivers that apply the same batch is superseded and adds nothing."""
    batch = [create_demand_event(1, "job.created", postal_code=None)]
    await archive_events(archive, batch)
    here: Any = {"before": None, "after": Checkpoint(EPOCH_1, 1), "in_redis": {EPOCH_1: 1}}
    with pytest.raises(apply.Superseded):
        await apply.apply_batch(archive, DEFAULT_ZONE, fold_events(batch), **here)
    assert await read_counts(archive) == {("cell", CELL): [1, 0, 0, 0]}


async def test_events_of_an_older_release_are_counted_later(archive: Archive) -> None:
    """If an older archiver has stored events without counting them, the next archiver counts them once and
    continues.
    """
    for seq in (1, 2, 3):
        await archive_events(archive, [create_demand_event(seq, "job.created", postal_code=None)], before=seq - 1)
    async with archive.begin_write() as conn:
        await conn.execute(demand_hours.delete())
        await conn.execute(update(demand_progress).values(seq=1))
    await archive_events(archive, [create_demand_event(4, "job.created", postal_code=None)], before=3)
    assert await read_counts(archive) == {}
    for _ in range(2):
        await demand_refill.refill(archive, DEFAULT_ZONE, Checkpoint(EPOCH_1, 4))
    assert await read_counts(archive) == {("cell", CELL): [3, 0, 0, 0]}
    await archive_events(archive, [create_demand_event(5, "job.created", postal_code=None)], before=4)
    assert await read_counts(archive) == {("cell", CELL): [4, 0, 0, 0]}


def create_quote(seq: int, quote: str, at: int, *, customer: str = "c1", **members: Any) -> Event:
    """Return the event of a quote for ``PLACE`` at a time (ms)."""
    doc = {"id": quote, "customer": {"id": customer}, **PLACE, "created_at": rfc3339_of(at)}
    data = {"quote": {**doc, "expires_at": rfc3339_of(at + 600_000), **members}}
    return replace(create_event(seq, "quote.created", data), at=at)


def book_quote(seq: int, quote: str, at: int, kind: str = "job.created") -> Event:
    """Return the event of a booking, or of an edit, that uses a quote up."""
    return replace(create_demand_event(seq, kind, quote={"id": quote}), at=at)


async def test_a_customer_who_asks_twice_counts_once_in_ten_minutes(archive: Archive) -> None:
    """A quote counts in its cell and postal code, once for each customer, cell and ten minutes, in one batch or in two.
    A quote that was created in the step of a booking is not counted, because the booking is counted.
    """
    await archive_events(archive, [create_quote(1, "q1", 0), create_quote(2, "q2", 1_000)])
    more = [
        create_quote(3, "q3", 2_000),
        create_quote(4, "q4", 3_000, customer="c2"),
        create_quote(5, "q5", 600_000),
        create_quote(6, "q6", 1_200_000, used_by="job_main_x"),
        book_quote(7, "q6", 1_200_000),
    ]
    await archive_events(archive, more, before=2)
    counts = await read_counts(archive)
    assert counts["cell", CELL] == counts["postal_code", "10178"] == [1, 3, 0, 0]


@pytest.mark.parametrize("batches", [1, 2, 3])
async def test_a_quote_that_is_booked_counts_as_a_booking_alone(archive: Archive, batches: int) -> None:
    """A booking or an edit with a quote subtracts the quote's count once, even if the events are in different
    batches.
    """
    events = [
        create_quote(1, "q1", 0),
        create_quote(2, "q2", 700_000),
        book_quote(3, "q1", 800_000),
        book_quote(4, "q2", 900_000, "job.updated"),
        book_quote(5, "q1", 1_000_000, "job.updated"),
        create_demand_event(6, "job.updated"),
    ]
    size = len(events) // batches
    for start in range(0, len(events), size):
        await archive_events(archive, events[start : start + size], before=start)
    counts = await read_counts(archive)
    assert counts["cell", CELL] == counts["postal_code", "10178"] == [1, 0, 0, 0]
