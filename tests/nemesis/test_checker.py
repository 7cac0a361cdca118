"""The checker finds and names what is wrong in histories that were made by hand, and finds nothing in a good one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import msgspec
import pytest

from tests.nemesis.checker import KINDS, check
from tests.nemesis.histories import CARLA, E1, E2, JOB, OPS, TARA, TOM, entry, good_history, op_of, operation
from tests.nemesis.history import Entry, Fault, Flaw, Heard, History, Joined
from tests.nemesis.linearizability import Interval, find_order
from tests.nemesis.witness import Witness


def claim_twice(history: History) -> None:
    """Spoil the history: Tara's claim is acknowledged and logged too."""
    lost = op_of(history, TARA, "claim")
    lost.out, lost.seq, lost.version = "ok", 6, 4
    history.entries.append(entry(6, "job.accepted", lost, 4, "accepted", "tara"))


def lose_cancellation(history: History) -> None:
    """Spoil the history: a cancellation was acknowledged, and no store has it."""
    history.add(operation(100, 110, CARLA, "cancel", seq=6, version=4))


def act_twice(history: History) -> None:
    """Spoil the history: one idempotency key caused two steps of the job."""
    again = op_of(history, TOM, "depart")
    history.entries.append(entry(6, "job.status", again, 4, "reached", "tom"))


def answer_otherwise(history: History) -> None:
    """Spoil the history: the repeat of a booking returned another job."""
    book = op_of(history, CARLA, "book")
    history.add(operation(100, 110, CARLA, "book", key=book.key, job="job_main_2", seq=6, version=1))
    history.entries.append(Entry(6, E1, "job.created", "", CARLA, f"{book.key}:0", "job_main_2", 1, "broadcasted"))


def invent_command(history: History) -> None:
    """Spoil the history: the log has a step that nobody sent."""
    phantom = operation(100, 110, TOM, "arrive")
    history.entries.append(entry(6, "job.status", phantom, 4, "reached", "tom"))


def do_unavailable(history: History) -> None:
    """Spoil the history: the log has a command that was answered with `unavailable`."""
    op = operation(100, 110, TOM, "arrive", out="unavailable")
    history.add(op, entry(6, "job.status", op, 4, "reached", "tom"))


def do_refused(history: History) -> None:
    """Spoil the history: the log has a command that was refused."""
    op = operation(100, 110, TOM, "arrive", out="illegal_transition")
    history.add(op, entry(6, "job.status", op, 4, "reached", "tom"))


def swap_order(history: History) -> None:
    """Spoil the history: the log has the booking first, although the claim had ended before the booking began."""
    book, claim = op_of(history, CARLA, "book"), op_of(history, TOM, "claim")
    claim.t0, claim.t1, book.t0, book.t1 = 10, 12, 30, 40


def repeat_version(history: History) -> None:
    """Spoil the history: two steps have the same version."""
    history.entries[4].version = op_of(history, TOM, "depart").version = 2


def skip_version(history: History) -> None:
    """Spoil the history: a step raises the version by two."""
    history.entries[4].version = op_of(history, TOM, "depart").version = 4


def step_illegally(history: History) -> None:
    """Spoil the history: the technician who lost the job departs."""
    history.entries[4].actor = TARA


def remove_entry(history: History) -> None:
    """Spoil the history: an event is missing in the log."""
    del history.entries[3]


def change_record(history: History) -> None:
    """Spoil the history: the holder in SQL differs from the holder in the log."""
    history.records[1].holder = "tara"


def refuse_without_reason(history: History) -> None:
    """Spoil the history: a cancellation was refused without a reason."""
    history.add(operation(100, 110, CARLA, "cancel", out="illegal_transition"))


def refuse_too_late(history: History) -> None:
    """Spoil the history: a claim was refused with `taken` before anybody had claimed."""
    lost = op_of(history, TARA, "claim")
    lost.t0, lost.t1 = 25, 30


def win_by_stale_version(history: History) -> None:
    """Spoil the history: a claim succeeded although it required another version of the job."""
    op_of(history, TOM, "claim").args = {"version": 7}


def claim_unseen(history: History) -> None:
    """Spoil the history: both technicians got the reply that they hold the job; the log has only one claim."""
    lost = op_of(history, TARA, "claim")
    lost.out, lost.version = "ok", 2


def forget_event(history: History) -> None:
    """Spoil the history: an event was not delivered."""
    history.heard.remove(next(h for h in history.heard if (h.p, h.seq) == (CARLA, 3)))


def double_event(history: History) -> None:
    """Spoil the history: an event was delivered twice."""
    heard = next(h for h in history.heard if (h.p, h.seq) == (CARLA, 3))
    history.add(msgspec.structs.replace(heard, t=heard.t + 1))


def swap_events(history: History) -> None:
    """Spoil the history: two events were delivered in the wrong order."""
    third, fourth = (next(h for h in history.heard if (h.p, h.seq) == (CARLA, seq)) for seq in (3, 4))
    third.t, fourth.t = fourth.t, third.t


def deliver_lost_life(history: History) -> None:
    """Spoil the history: an event of the old epoch was delivered after the new epoch was named."""
    history.add(Entry(6, E2, "job.searching", "user:carla", job=JOB))
    history.add(Joined(CARLA, CARLA, "main", E2, 5, True, 200, after=5))
    history.add(Heard(CARLA, "main", E2, 6, "job.cancelled", 210, JOB))


def end_in_error(history: History) -> None:
    """Spoil the history: a command was answered with an internal error."""
    history.add(operation(100, 110, TOM, "arrive", out="internal"))


SPOILED: list[tuple[Callable[[History], None], str]] = [
    (claim_twice, "two_holders"),
    (claim_twice, "not_linearizable"),
    (lose_cancellation, "undone"),
    (act_twice, "done_twice"),
    (answer_otherwise, "done_twice"),
    (invent_command, "never_invoked"),
    (do_unavailable, "unavailable_but_done"),
    (do_refused, "refused_but_done"),
    (swap_order, "not_real_time"),
    (repeat_version, "version"),
    (skip_version, "version"),
    (step_illegally, "illegal_step"),
    (remove_entry, "hole"),
    (change_record, "stores_differ"),
    (refuse_without_reason, "not_linearizable"),
    (refuse_too_late, "not_linearizable"),
    (win_by_stale_version, "not_linearizable"),
    (claim_unseen, "not_linearizable"),
    (forget_event, "lost"),
    (double_event, "doubled"),
    (swap_events, "out_of_order"),
    (deliver_lost_life, "dead_life"),
    (end_in_error, "internal_error"),
]


def test_a_good_history_has_no_flaw() -> None:
    """A correct history, with a concurrent refusal and a repeated key, has no flaw."""
    report = check(good_history())
    assert [flaw.text for flaw in report.flaws] == []
    assert (report.jobs, report.acknowledged, report.undecided) == (1, 3, 0)


@pytest.mark.parametrize(("spoil", "kind"), SPOILED, ids=lambda each: getattr(each, "__name__", each))
def test_a_bad_history_is_found_and_named(spoil: Callable[[History], None], kind: str) -> None:
    """Each fault that was put into the good history is named by its kind."""
    history = good_history()
    spoil(history)
    assert kind in check(history).counts and kind in KINDS


def test_a_lost_suffix_is_measured_and_a_lost_middle_is_not_excused() -> None:
    """If a failover may lose changes, the check finds the least number of lost commands that explains the history; a
    change that was lost although a later one of the job was kept is never explained.
    """
    history = good_history()
    history.entries = history.entries[:2]
    history.records = []
    history.heard = [heard for heard in history.heard if heard.seq < 3]
    history.add(Fault("failover", True, 100), Fault("failover", False, 110))
    claim = operation(150, 160, TARA, "claim", seq=3, version=2, epoch=E2)
    history.add(claim, msgspec.structs.replace(entry(3, "job.accepted", claim, 2, "accepted", "tara"), epoch=E2))
    history.add(*(Joined(p, p, "main", E2, 3, False, 140, "epoch", 5) for p in (CARLA, TOM, TARA)))
    assert "not_linearizable" in check(history).counts
    report = check(history, loses=True)
    assert dict(report.counts) == {"undone": 2} and report.cut == 2
    op_of(history, TARA, "claim").version = 3
    assert "not_linearizable" in check(history, loses=True).counts


def test_a_finished_job_is_hidden_from_strangers_after_a_rebuild() -> None:
    """After a fault the zone may be rebuilt without its finished jobs: a technician without a relation to a cancelled
    job may then get `not_found`, and ops `illegal_transition`. Before the fault, or as an answer to the job's holder,
    `not_found` is a flaw.
    """

    def verdict(stranger: str, t0: int) -> bool:
        history = good_history()
        history.add(operation(100, 110, CARLA, "cancel", seq=6, version=4))
        history.add(Fault("failover", True, 120), Fault("failover", False, 130))
        history.add(*(Joined(p, p, "main", E2, 6, False, 140, "epoch", 5) for p in (CARLA, TOM, TARA)))
        history.add(operation(t0, t0 + 4, stranger, "claim", out="not_found"))
        history.add(operation(200, 205, OPS, "reassign", args={"technician": "tara"}, out="illegal_transition"))
        return "not_linearizable" in check(history).counts

    assert not verdict("technician:una", 150)
    assert verdict("technician:una", 112)
    assert verdict(TOM, 150)


def test_a_booking_that_was_lost_may_be_done_again() -> None:
    """A booking that a failover lost and that its repeat creates again counts as undone, not as done twice."""
    history = good_history()
    again = operation(100, 110, CARLA, "book", key=op_of(history, CARLA, "book").key, job="job_main_2", version=1)
    made = msgspec.structs.replace(entry(1, "job.created", again, 1, "broadcasted"), job="job_main_2", epoch=E2)
    history.entries, history.heard, history.records = [made], [], []
    kinds = Counter(flaw.kind for flaw in Witness(history).flaws())
    assert kinds == {"undone": 3}


def test_a_job_is_reassigned_twice_by_one_person() -> None:
    """A second reassignment by the same person is a step of its own: it may name another technician."""
    history = good_history()
    for number, taker in enumerate(("tara", "tom", "tara")):
        t0, seq = 100 + 10 * number, 6 + number
        moved = operation(t0, t0 + 5, OPS, "reassign", args={"technician": taker}, seq=seq, version=4 + number)
        history.add(moved, entry(seq, "job.assigned", moved, 4 + number, "accepted", taker))
    history.heard += [Heard(p, "main", E1, s, "job.assigned", 200 + s) for p in (CARLA, TOM, TARA) for s in (6, 7, 8)]
    history.records = []
    assert [flaw.text for flaw in check(history).flaws] == []


def test_what_a_run_saw_itself_is_reported(tmp_path: object) -> None:
    """An error that the run found at its end is in the report, also after the history was saved and read."""
    history = good_history()
    history.add(Flaw("no_ttl", "{main}:req:x"))
    path = tmp_path / "history.jsonl"  # type: ignore[operator]
    history.write(path)
    assert check(History.read(path)).counts == {"no_ttl": 1}


def test_the_search_knows_registers() -> None:
    """The search orders concurrent reads and writes of a register, and refuses a stale read (Lowe's example)."""

    def register(ops: list[tuple[str, int]]):  # type: ignore[no-untyped-def]
        def successors(state: int, i: int) -> list[tuple[int, int]]:
            kind, value = ops[i]
            return [(value, 0)] if kind == "write" else [(state, 0)] if state == value else []

        return successors

    overlapping = [Interval(0, 10), Interval(1, 5), Interval(6, 9)]
    ops = [("write", 1), ("read", 1), ("read", 1)]
    assert find_order(overlapping, 0, register(ops)).cost == 0
    assert find_order(overlapping, 0, register([("write", 1), ("read", 1), ("read", 0)])).cost is None
    unfinished = [Interval(0, float("inf")), Interval(5, 6), Interval(7, 8)]
    assert find_order(unfinished, 0, register([("write", 1), ("read", 0), ("read", 1)])).cost == 0
