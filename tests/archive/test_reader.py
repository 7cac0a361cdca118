"""Tests of what is read from the archive: events by channel in their order, jobs by page, history, and references."""

from __future__ import annotations

import pytest

from engine.archive import apply, reader
from engine.archive.projection import fold_events
from engine.archive.reader import Checkpoint, JobFilter
from engine.errors import Invalid
from engine.events import Event, rfc3339_of
from engine.sql.database import Archive
from engine.types import DEFAULT_ZONE, Epoch, JobId, TechnicianId, UserId, Zone
from tests.archive.test_projection import JOB_ID, create_event, create_job_document

EPOCH_1 = Epoch("e1")


async def archive_events(archive: Archive, events: list[Event], *, before: int = 0) -> None:
    """Archive events as the archiver does; `before` is the seq of the present checkpoint, 0 for none."""
    last = Checkpoint(EPOCH_1, before) if before else None
    after = Checkpoint(EPOCH_1, events[-1].seq)
    await apply.apply_batch(archive, DEFAULT_ZONE, fold_events(events), before=last, after=after, in_redis={EPOCH_1: 1})


async def test_refuses_a_cursor_of_another_list(archive: Archive) -> None:
    """A cursor that no page of jobs returned is `invalid`."""
    for cursor in ("x", "bm90IGpzb24", "WzFd"):
        with pytest.raises(Invalid):
            await reader.jobs(archive, JobFilter(), 10, cursor)


async def test_an_empty_archive_returns_nothing(archive: Archive) -> None:
    """An empty archive returns None or an empty list for every read."""
    assert await reader.checkpoint(archive, DEFAULT_ZONE) is None
    assert await reader.first_seq(archive, DEFAULT_ZONE) is None
    assert await reader.event(archive, DEFAULT_ZONE, 1) is None
    assert await reader.job(archive, JobId(JOB_ID)) is None
    assert await reader.events(archive, DEFAULT_ZONE, 0, 9, [], 10) == []
    assert await reader.job_of_reference(archive, UserId("c1"), "ref-1") is None


async def test_events_are_read_by_channel_in_order_and_once(archive: Archive) -> None:
    """A read returns each event of the given channels once, in the order of the log, although it has several of the
    channels; events of other channels, seqs or zones are left out.
    """
    to = {1: ("user:a",), 2: ("user:b",), 3: ("role:ops", "user:a"), 4: ("user:a",), 5: ("user:a", "user:b")}
    events = [create_event(seq, "announcement.x", {"n": seq}, *channels) for seq, channels in to.items()]
    await archive_events(archive, events)

    async def read_seqs(after: int, last_seq: int, channels: list[str], limit: int = 10) -> list[int]:
        return [e.seq for e in await reader.events(archive, DEFAULT_ZONE, after, last_seq, channels, limit)]

    assert await read_seqs(0, 9, ["user:a", "role:ops"]) == [1, 3, 4, 5]
    assert await read_seqs(1, 4, ["user:a", "role:ops"]) == [3, 4]
    assert await read_seqs(0, 9, ["user:a", "user:b"], 3) == [1, 2, 3]
    assert await read_seqs(0, 9, [f"zone:{DEFAULT_ZONE}"], 4) == [1, 2, 3, 4]
    assert await read_seqs(0, 9, ["zone:north"]) == []
    assert await read_seqs(0, 9, [f"user:{n}" for n in range(120)] + ["user:b"]) == [2, 5]
    assert await reader.events(archive, Zone("north"), 0, 9, ["user:a"], 10) == []


async def test_an_event_is_read_as_it_was_written(archive: Archive) -> None:
    """An archived event is read with every field equal, and its data equal byte for byte."""
    first = create_event(1, "announcement.x", b'{"n": 1, "s":"\xc3\xa9"}', "user:a", "role:ops")
    await archive_events(archive, [first])
    assert await reader.event(archive, DEFAULT_ZONE, 1) == first
    assert await reader.events(archive, DEFAULT_ZONE, 0, 1, ["user:a"], 1) == [first]


async def test_jobs_are_found_by_page_and_filter(archive: Archive) -> None:
    """Pages of jobs have the newest job first and contain each job once; filters by customer, technician, phase,
    reference and time reduce the list.
    """
    events = []
    for number in range(1, 8):
        document = {
            **create_job_document(1, "broadcasted", "open"),
            "id": f"job_main_{number:026d}",
            "reference": f"r{number}",
        }
        document["customer"] = {"id": "c1" if number % 2 else "c2"}
        events.append(create_event(number, "job.created", {"job": document}))
    await archive_events(archive, events)
    pages, cursor = [], None
    while True:
        items, cursor = await reader.jobs(archive, JobFilter(), 3, cursor)
        pages += [item.decode() for item in items]
        if cursor is None:
            break
    ids = [f"job_main_{n:026d}" for n in range(7, 0, -1)]
    assert [next(i for i in ids if i in page) for page in pages] == ids
    open_jobs, _ = await reader.jobs(archive, JobFilter(customer=UserId("c2"), phase="open"), 10)
    assert len(open_jobs) == 3
    assert (await reader.jobs(archive, JobFilter(reference="r5"), 10))[0][0].count(b"0000005") == 1
    assert (await reader.jobs(archive, JobFilter(updated_after=10_000), 10))[0] == []
    assert (await reader.jobs(archive, JobFilter(technician=TechnicianId(UserId("t"))), 10))[0] == []
    row = await reader.job_of_reference(archive, UserId("c1"), "r3")
    assert row is not None and row.job == f"job_main_{3:026d}"


async def test_history_has_a_line_for_each_change_of_state(archive: Archive) -> None:
    """The history has one line for each event that changed the job, with actor, command, both states and the reason;
    `job.searching` has no line.
    """
    change = {
        "job": create_job_document(3, "on_the_way", "active", "t1"),
        "from": "accepted",
        "to": "on_the_way",
        "command": "depart",
    }
    await archive_events(
        archive,
        [
            create_event(1, "job.created", {"job": create_job_document(1, "broadcasted", "open")}),
            create_event(2, "job.searching", {"job": {"id": JOB_ID}, "wave": 1}),
            create_event(
                3,
                "job.accepted",
                {"job": create_job_document(2, "accepted", "assigned", "t1"), "technician": {"id": "t1"}},
            ),
            create_event(4, "job.status", change, actor="technician:t1"),
            create_event(
                5, "job.cancelled", {"job": create_job_document(4, "cancelled", "closed", "t1"), "reason": "rain"}
            ),
        ],
    )
    lines = await reader.history(archive, JobId(JOB_ID))
    assert [(i.seq, i.command, i.from_state, i.to, i.reason) for i in lines] == [
        (1, "create", None, "broadcasted", None),
        (3, "claim", None, "accepted", None),
        (4, "depart", "accepted", "on_the_way", None),
        (5, "cancel", None, "cancelled", "rain"),
    ]
    assert lines[2].actor == "technician:t1"


async def test_history_has_bids_codes_prices_payments_and_edits(archive: Archive) -> None:
    """Bids, codes, prices, payments and edits are lines of the history in log order, also where the job's state stays
    the same. Public copies of events, offers and `job.late` have no line.
    """
    scheduled, paid = (
        create_job_document(2, "scheduled", "assigned", "t1"),
        create_job_document(3, "paid", "done", "t1"),
    )
    public = {"id": JOB_ID, "status": "open", "version": 1}
    bid = {"id": "bid_1", "job": JOB_ID, "technician": {"id": "t1"}, "status": "open"}
    code = {"job": {"id": JOB_ID}, "technician": {"id": "t1"}, "purpose": "start"}
    payment = {"id": "pay_1", "status": "captured", "amount": 7, "currency": "EUR"}
    captured = {"job": paid, "payment": payment, "from": "scheduled", "to": "paid", "command": "capture"}
    await archive_events(
        archive,
        [
            create_event(1, "job.created", {"job": create_job_document(1, "open", "open")}),
            create_event(2, "job.created", {"job": public}, "role:technician"),
            create_event(3, "bid.created", {"bid": bid}, actor="technician:t1"),
            create_event(4, "offer.declined", {"job": public, "technician": {"id": "t2"}}, actor="technician:t2"),
            create_event(5, "job.updated", {"job": scheduled, "changed": ["notes"]}),
            create_event(
                6, "price.proposed", {"job": scheduled, "proposal": {"id": "p", "amount": 9, "reason": "more"}}
            ),
            create_event(7, "code.failed", code, actor="technician:t1"),
            create_event(
                8, "job.late", {"job": {"id": JOB_ID}, "since": rfc3339_of(1), "step": "warn"}, actor="engine"
            ),
            create_event(9, "payment.received", captured, actor="service:s"),
        ],
    )
    lines = await reader.history(archive, JobId(JOB_ID))
    assert [(i.seq, i.actor, i.command, i.from_state, i.to, i.reason) for i in lines] == [
        (1, "customer:c1", "create", None, "open", None),
        (3, "technician:t1", "bid", None, None, None),
        (5, "customer:c1", "edit", "scheduled", "scheduled", None),
        (6, "customer:c1", "propose_price", "scheduled", "scheduled", "more"),
        (7, "technician:t1", "enter_code", None, None, "start"),
        (9, "service:s", "capture", "scheduled", "paid", None),
    ]


async def test_epochs_and_checkpoint_are_those_of_the_last_batch(archive: Archive) -> None:
    """After a batch the checkpoint has its last seq and epoch. SQL has a later epoch only once an event of that epoch
    is archived.
    """
    await archive_events(archive, [create_event(1, "announcement.x", {})])
    later = [create_event(2, "announcement.x", {})]
    first_seqs = {EPOCH_1: 1, Epoch("e2"): 2, Epoch("e3"): 9}
    before, after = Checkpoint(EPOCH_1, 1), Checkpoint(Epoch("e2"), 2)
    await apply.apply_batch(archive, DEFAULT_ZONE, fold_events(later), before=before, after=after, in_redis=first_seqs)
    assert await reader.checkpoint(archive, DEFAULT_ZONE) == after
    assert await reader.epochs(archive, DEFAULT_ZONE) == {"e1": 1, "e2": 2}
    assert await reader.first_seq(archive, DEFAULT_ZONE) == 1
