"""Compare what the simulated users received with the log.

The *coverage* of a user is the part of the log in which the user must receive every event addressed to them. It begins
at the head of the log at the user's first connect. A reconnect that is ``recovered`` continues the present range of the
coverage. A reconnect that is not recovered ends this range and begins another, because the server reported a gap. A
user is expected to receive each log entry that is within the coverage and addressed to one of the user's channels. No
user is expected to receive entries for gateways (``session.*``).
"""

from __future__ import annotations

import math
import time
from collections import Counter, defaultdict, deque
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from typing import Any

from engine.events import ms_of
from engine.types import Principal
from server.simulation.job_outcome import JobOutcome


@dataclass(slots=True)
class SeqRange:
    """A part of the log without a reported gap: ``after`` < seq ≤ ``until`` (None: the part has no end yet)."""

    after: int
    until: int | None = None


@dataclass(slots=True)
class Receipts:
    """The events that one user received: the seqs and the user's coverage, by zone, and the number of duplicates."""

    channels: frozenset[str]
    received: dict[str, set[int]] = field(default_factory=lambda: defaultdict(set))
    coverage: dict[str, list[SeqRange]] = field(default_factory=lambda: defaultdict(list))
    duplicates: int = 0


class LogIndex:
    """An index of a log for the checker: the seqs of each channel, and the holders of each job.

    ``double_assignments`` counts assignments of a job that had a holder. ``last_seq`` is the last seq that was added.
    """

    def __init__(self) -> None:
        self.by_channel: dict[str, set[int]] = defaultdict(set)
        self.holders_by_job: dict[str, set[str]] = defaultdict(set)
        self.double_assignments = 0
        self.last_seq = 0
        self._holder: dict[str, str] = {}

    def add_entry(self, seq: int, event_type: str, channels: Iterable[str], data: dict[str, Any]) -> None:
        """Add the next entry of the log. A second holder counts as a double assignment, unless the first was unassigned
        before.
        """
        self.last_seq = seq
        if event_type.startswith("session."):
            return
        for channel in channels:
            self.by_channel[channel].add(seq)
        if event_type in ("job.accepted", "job.assigned"):
            self._add_holder(data["job"]["id"], data["technician"]["id"])
        elif event_type == "job.unassigned":
            self._holder.pop(data["job"]["id"], None)

    def _add_holder(self, job: str, technician: str) -> None:
        self.double_assignments += job in self._holder
        self._holder[job] = technician
        self.holders_by_job[job].add(technician)

    def seqs_to(self, channels: Collection[str]) -> set[int]:
        """Return the seqs of all entries that are addressed to at least one of ``channels``."""
        return set().union(*(self.by_channel.get(channel, ()) for channel in channels))


class DeliveryChecker:
    """A record of what all simulated users of a run received. Each run has one object, used on one event loop.

    ``max_recent`` None: everything is stored, to compare it with a log at the end of the run. A run without an end sets
    ``max_recent``. Then only the last ``max_recent`` durations are stored, received seqs are not stored, and
    ``drop_finished`` replaces finished jobs by counts.
    """

    def __init__(self, max_recent: int | None = None) -> None:
        self.receipts: dict[str, Receipts] = {}
        self.outcomes: dict[str, JobOutcome] = defaultdict(JobOutcome)
        self.claim_attempts = self.broken_prices = 0
        self.refusals: Counter[str] = Counter()
        """The claims that were refused, by code."""
        self.bid_refusals: Counter[str] = Counter()
        """The bids and the choices of a bid that were refused, by code."""
        self._max_recent = max_recent
        self._past_counts: Counter[str] = Counter()
        self._claim_ms: deque[float] = deque(maxlen=max_recent)
        self._lag_ms: deque[float] = deque(maxlen=max_recent)

    def record_join(self, ok: dict[str, Any]) -> None:
        """Call this with each connect reply. A recovered zone continues the present range of the coverage."""
        user = ok["user"]
        receipt = self.receipts.get(user["id"])
        if receipt is None:
            receipt = Receipts(frozenset(Principal(user["id"], user["role"]).channels))
            self.receipts[user["id"]] = receipt
        for zone, state in ok["zones"].items():
            ranges = receipt.coverage[zone]
            if state["recovered"] and ranges:
                continue
            if ranges:
                ranges[-1].until = max(receipt.received[zone], default=0)
            ranges.append(SeqRange(state["seq"]))

    def record_event(self, user: str, event: dict[str, Any]) -> None:
        """Call this with each push that ``user`` handled. Pushes without ``seq`` are not counted."""
        if "seq" not in event:
            return
        if self._max_recent is None:
            self.receipts[user].received[event["zone"]].add(event["seq"])
        self._lag_ms.append(time.time() * 1000 - ms_of(event["at"]))

    def record_duplicate(self, user: str) -> None:
        """Call this when a push has a seq at or below the user's cursor. The client has dropped the push."""
        self.receipts[user].duplicates += 1

    def record_booking(self, job: dict[str, Any], now: float) -> None:
        """Call this when a booking is acknowledged to its customer. ``now`` is in monotonic seconds."""
        outcome = self.outcomes[job["id"]]
        outcome.booked_at_s, outcome.is_ahead = now, bool(job.get("scheduled_for"))
        if job.get("expires_at") and job.get("created_at"):
            outcome.expires_at_s = now + (ms_of(job["expires_at"]) - ms_of(job["created_at"])) / 1000

    def record_holder(self, job: str, now: float) -> None:
        """Call this when the customer receives that their job has a holder. ``now`` is in monotonic seconds."""
        outcome = self.outcomes[job]
        if outcome.accepted_at_s is None:
            outcome.accepted_at_s = now

    def record_end(self, job: str, final_status: str) -> None:
        """Call this when the customer receives the end of their job: ``completed``, ``cancelled`` or ``expired``."""
        self.outcomes[job].final_status = final_status

    def record_winner(self, job: str, technician: str) -> None:
        """Call this when a claim is acknowledged to ``technician``."""
        self.outcomes[job].winners.add(technician)

    def record_release(self, job: str, technician: str) -> None:
        """Record that ``technician`` was notified that the job was taken from them, so that another technician may hold
        it now.
        """
        self.outcomes[job].winners.discard(technician)

    def drop_finished(self) -> None:
        """Delete the outcomes of finished jobs, after adding them to the counts."""
        for job, outcome in [(job, outcome) for job, outcome in self.outcomes.items() if outcome.final_status]:
            del self.outcomes[job]
            self._past_counts.update(outcome.counter_names)
            self._claim_ms.extend(outcome.claim_ms)

    def undecided(self) -> list[tuple[str, JobOutcome]]:
        """Return the booked jobs whose customer has received neither a holder nor an end."""
        return [(job, outcome) for job, outcome in self.outcomes.items() if outcome.is_undecided]

    def count_jobs(self, counter: str) -> int:
        """Return how many jobs were ``counter``: ``booked``, ``ahead`` (for a later time), ``claimed``, ``doubled``,
        ``completed``, ``cancelled`` or ``expired``.
        """
        return self._past_counts[counter] + sum(counter in outcome.counter_names for outcome in self.outcomes.values())

    def duplicate_events(self) -> int:
        """Return how many events of the log reached the same user more than once."""
        return sum(receipt.duplicates for receipt in self.receipts.values())

    def lost_events(self, log: LogIndex, zone: str, last_seq: int | None = None) -> int:
        """Return how many log entries within a user's coverage, addressed to the user, the user has not received.

        Only entries up to the seq ``last_seq`` count, because a newer entry may still be on its way to the user.
        """
        last_seq = log.last_seq if last_seq is None else last_seq
        return sum(len(_expected_seqs(h, log, zone, last_seq) - h.received[zone]) for h in self.receipts.values())

    def unexpected_events(self, log: LogIndex, zone: str) -> int:
        """Return how many received events are not in the log, or not addressed there to the user who received them."""
        return sum(
            len({seq for seq in h.received[zone] if seq <= log.last_seq} - log.seqs_to(h.channels))
            for h in self.receipts.values()
        )

    def double_claims(self, log: LogIndex | None) -> int:
        """Return how many claims must not exist: assignments in the log of a job that had a holder, plus acknowledged
        claims without an entry in the log. If ``log`` is None: the jobs with more than one acknowledged claim.
        """
        if log is None:
            return self.count_jobs("doubled")
        unknown = sum(len(outcome.winners - log.holders_by_job[job]) for job, outcome in self.outcomes.items())
        return log.double_assignments + unknown

    def time_to_claim_ms(self) -> dict[str, float | None]:
        """Return percentiles of the time from the acknowledged booking to the holder's event; 0 if that came first."""
        return percentiles([*self._claim_ms, *(ms for c in self.outcomes.values() for ms in c.claim_ms)])

    def event_lag_ms(self) -> dict[str, float | None]:
        """Return percentiles of the time from ``at`` of an event (Redis' clock) to its receipt (local clock)."""
        return percentiles(self._lag_ms)


def _expected_seqs(receipt: Receipts, log: LogIndex, zone: str, last_seq: int) -> set[int]:
    expected: set[int] = set()
    addressed = log.seqs_to(receipt.channels)
    for range_ in receipt.coverage[zone]:
        end = last_seq if range_.until is None else min(last_seq, range_.until)
        expected |= {seq for seq in addressed if range_.after < seq <= end}
    return expected


def percentiles(values: Iterable[float]) -> dict[str, float | None]:
    """Return ``{"p50", "p99"}`` by nearest rank, rounded to 0.1; both are None if there are no values."""
    ranked = sorted(values)
    if not ranked:
        return {"p50": None, "p99": None}
    return {f"p{p}": round(ranked[math.ceil(p / 100 * len(ranked)) - 1], 1) for p in (50, 99)}
