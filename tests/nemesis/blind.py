"""The blind check: for each job, there is a legal order of commands that explains what the clients saw. This check does
not read the log.

Each job is checked alone, because jobs are independent of each other. Where a fault may take acknowledged changes away,
each new epoch may remove the newest changes of a job. The cost of a job is the least number of removed changes that
explains what the clients saw.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterator

import msgspec

from tests.nemesis import chat
from tests.nemesis.history import NOT_DONE, UNKNOWN, Fault, Heard, History, Operation
from tests.nemesis.job_model import CUT, EXPIRE, OFFER, JobModel, JobState
from tests.nemesis.linearizability import Interval, Search, find_order

OFFER_LIFE_NS = 50_000_000_000
"""An offer of `home_service` lasts a minute. An offer that took longer than this may have ended."""
MAX_CUT = 40
NEUTRAL_CODES = frozenset({NOT_DONE, "in_flight", "rate_limited", "paused"})
"""The codes after which nothing was done, in any state."""


class Verdict(msgspec.Struct):
    """The result for one job. ``cost``: how many commands the faults took away at least; None if no order is legal."""

    job: str
    cost: int | None
    is_complete: bool
    text: str = ""
    configurations: int = 0


class LinearizabilityCheck:
    """The check of all jobs of a history. ``cuts``: faults may take acknowledged changes away."""

    def __init__(self, history: History, *, cuts: bool = False) -> None:
        self._history, self._cuts = history, cuts
        self._by_job: dict[str, list[Operation]] = defaultdict(list)
        self._offers: dict[str, list[Heard]] = defaultdict(list)
        # An attempt to book that had no answer does not know the job: a later attempt with its key does.
        booked = {(op.actor, op.key): op.job for op in history.operations if op.cmd == "book" and op.job}
        # An attempt that was never answered is the one that the log names, if the job exists.
        booked |= {(entry.actor, entry.key): entry.job for entry in history.entries if entry.type == "job.created"}
        for op in history.operations:
            job = op.job or booked.get((op.actor, op.key), "")
            if job and op.out not in NEUTRAL_CODES and op.cmd not in chat.OPS:
                self._by_job[job].append(op)
        for heard in history.heard:
            if heard.type == "offer.created":
                self._offers[heard.job].append(heard)
        self._actors = {joined.p: joined.actor for joined in history.joined}
        self._clock_moved = any("clock" in fault.name for fault in history.faults)
        epoch_starts = list(_epoch_starts(history))
        self._epoch_starts = epoch_starts if cuts else []
        self._rewritten_from = min((began for began, _ in epoch_starts), default=math.inf)

    def verdicts(self) -> Iterator[Verdict]:
        """Yield the verdict on each job that was booked."""
        for job in self._by_job:
            yield self._check(job)

    def _check(self, job: str) -> Verdict:
        ops = self._by_job[job]
        booking = min((op for op in ops if op.cmd == "book"), key=lambda op: op.t0, default=None)
        if booking is None:
            return Verdict(job, None, True, f"{job}: nobody booked it")
        keys = Counter(op.key for op in ops if op.key)
        repeated = frozenset(key for key, times in keys.items() if times > 1)
        lapses = self._clock_moved or max(op.t1 or op.t0 for op in ops) - booking.t0 > OFFER_LIFE_NS
        model = JobModel(
            booking.actor.partition(":")[2],
            repeated,
            lapses=lapses,
            cuts=bool(self._epoch_starts),
            rewritten_from=self._rewritten_from,
        )
        everything = [*ops, *self._engine_operations(job, booking, lapses)]
        # An attempt that may be absent, and whose key is not repeated, comes last: the search takes it only if needed.
        everything.sort(key=lambda op: (op.t0, op.end))
        intervals = [Interval(op.t0, math.inf if op.out == UNKNOWN else op.end) for op in everything]
        found = find_order(
            intervals, JobState(), lambda state, i: model.successors(state, everything[i]), max_cost=self._max_cost()
        )
        return Verdict(job, found.cost, found.is_complete, _failure_text(job, found, everything), found.configurations)

    def _max_cost(self) -> int:
        return MAX_CUT if self._epoch_starts else 0

    def _engine_operations(self, job: str, booking: Operation, lapses: bool) -> Iterator[Operation]:
        """Yield what the engine did or may have done: an offer to each technician who received one, and a possible
        offer to each of the others.
        """
        offers = sorted(self._offers[job], key=lambda each: each.t)
        for number, heard in enumerate(offers):
            yield Operation(heard.p, -number, booking.t0, heard.t, job, self._actors.get(heard.p, ""), OFFER)
        claimants = {op.actor for op in self._by_job[job] if op.cmd in ("claim", "decline")}
        for actor in sorted(claimants):
            yield Operation("engine", 0, booking.t0, None, job, actor, OFFER)
        if lapses:
            yield Operation("engine", 0, booking.t0, None, job, "engine:", EXPIRE)
        for began, known in self._epoch_starts:
            if known > booking.t0:
                yield Operation("engine", 0, began, known, job, "engine:", CUT)


def _epoch_starts(history: History) -> Iterator[tuple[int, int]]:
    """Yield for each new epoch two times: when the last fault before it began, and when the first client learned its
    name.
    """
    known: dict[str, int] = {}
    lines = [(j.epoch, j.t) for j in history.joined] + [(h.epoch, h.t) for h in history.heard]
    lines += [(op.epoch, op.t1) for op in history.operations if op.t1 is not None]
    for epoch, t in lines:
        if epoch:
            known[epoch] = min(t, known.get(epoch, t))
    for t in sorted(known.values())[1:]:
        faults = [fault for fault in history.faults if fault.on and fault.t <= t]
        yield (max(faults, key=_fault_time).t if faults else 0), t


def _fault_time(fault: Fault) -> int:
    return fault.t


def _failure_text(job: str, found: Search, ops: list[Operation]) -> str:
    """Return a sentence about why no order is legal; "" if one is."""
    if found.cost is not None:
        return ""
    stuck = [f"{ops[i].actor} {ops[i].cmd} -> {ops[i].out} v{ops[i].version}" for i in found.stuck]
    return f"{job}: no order explains {', '.join(stuck) or 'the history'}"
