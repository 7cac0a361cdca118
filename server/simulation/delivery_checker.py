"""Compare what the simulated users received with the log.

The *coverage* of a user is the part of the log in which they must receive every event: from the head at their first
connect, through every lost connection that was ``recovered``. A connect that was not recovered ends one range and
begins another, because the server said that there is a gap. Expected is each log entry within the coverage that is
addressed to one of the user's channels. Entries for gateways (``session.*``) are expected by nobody.
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


@dataclass(slots=True)
class SeqRange:
    """A part of the log without a reported gap: ``after`` < seq ≤ ``until`` (None: it has no end yet)."""

    after: int
    until: int | None = None


@dataclass(slots=True)
class Receipts:
    """What one user received: the seqs and their coverage, by zone."""

    channels: frozenset[str]
    received: dict[str, set[int]] = field(default_factory=lambda: defaultdict(set))
    coverage: dict[str, list[SeqRange]] = field(default_factory=lambda: defaultdict(list))
    duplicates: int = 0


@dataclass(slots=True)
class JobOutcome:
    """The course of one job, in monotonic seconds, and the technicians whose claim of it was acknowledged."""

    booked: float | None = None
    accepted: float | None = None
    ended: str = ""
    expires: float = math.inf
    winners: set[str] = field(default_factory=set)

    @property
    def undecided(self) -> bool:
        """Whether its customer has received neither a holder nor an end."""
        return self.booked is not None and self.accepted is None and not self.ended

    @property
    def counts(self) -> list[str]:
        """The counters to which it adds one. A job that was not booked in this run adds to none."""
        if self.booked is None:
            return []
        claimed = ["claimed"] if self.accepted is not None else []
        doubled = ["doubled"] if len(self.winners) > 1 else []
        return ["booked", *claimed, *doubled, *([self.ended] if self.ended else [])]

    @property
    def claim_ms(self) -> list[float]:
        """Its time to claim in milliseconds, or nothing."""
        if self.booked is None or self.accepted is None:
            return []
        return [max(0.0, self.accepted - self.booked) * 1000]


class LogIndex:
    """What the checker needs of a log: the seqs of each channel, and the holders of each job."""

    def __init__(self) -> None:
        self.by_channel: dict[str, set[int]] = defaultdict(set)
        self.held: dict[str, set[str]] = defaultdict(set)
        self.doubled = 0
        self.last = 0
        self._holder: dict[str, str] = {}

    def add(self, seq: int, kind: str, to: Iterable[str], data: dict[str, Any]) -> None:
        """One entry, in order. A second holder counts as doubled unless the first was unassigned before."""
        self.last = seq
        if kind.startswith("session."):
            return
        for channel in to:
            self.by_channel[channel].add(seq)
        if kind in ("job.accepted", "job.assigned"):
            self._hold(data["job"]["id"], data["technician"]["id"])
        elif kind == "job.unassigned":
            self._holder.pop(data["job"]["id"], None)

    def _hold(self, job: str, technician: str) -> None:
        self.doubled += job in self._holder
        self._holder[job] = technician
        self.held[job].add(technician)

    def addressed(self, channels: Collection[str]) -> set[int]:
        """The seqs of all entries to one of ``channels``."""
        return set().union(*(self.by_channel.get(channel, ()) for channel in channels))


class DeliveryChecker:
    """What all simulated users of a run received. One object for each run, used on one event loop.

    Without ``recent`` everything is stored, to compare it with a log at the end. A run without an end gives ``recent``:
    then only the last ``recent`` times are stored, received seqs are not stored, and ``forget`` reduces finished jobs
    to counts.
    """

    def __init__(self, recent: int | None = None) -> None:
        self.receipts: dict[str, Receipts] = {}
        self.outcomes: dict[str, JobOutcome] = defaultdict(JobOutcome)
        self.attempts = 0
        self.refused: Counter[str] = Counter()
        self._recent = recent
        self._past: Counter[str] = Counter()
        self._claim_ms: deque[float] = deque(maxlen=recent)
        self._lag_ms: deque[float] = deque(maxlen=recent)

    def joined(self, ok: dict[str, Any]) -> None:
        """A connect reply: the user's coverage begins, or continues if the zone is ``recovered``."""
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

    def received(self, user: str, event: dict[str, Any]) -> None:
        """A push that ``user`` handled. Pushes without ``seq`` are not counted."""
        if "seq" not in event:
            return
        if self._recent is None:
            self.receipts[user].received[event["zone"]].add(event["seq"])
        self._lag_ms.append(time.time() * 1000 - ms_of(event["at"]))

    def repeated(self, user: str) -> None:
        """A push with a seq at or below the user's cursor: the client dropped it."""
        self.receipts[user].duplicates += 1

    def booked(self, job: dict[str, Any], now: float) -> None:
        """A booking acknowledged to its customer at ``now`` (monotonic seconds)."""
        outcome = self.outcomes[job["id"]]
        outcome.booked = now
        if job.get("expires_at") and job.get("created_at"):
            outcome.expires = now + (ms_of(job["expires_at"]) - ms_of(job["created_at"])) / 1000

    def accepted(self, job: str, now: float) -> None:
        """The customer received the event that their job has a holder."""
        outcome = self.outcomes[job]
        if outcome.accepted is None:
            outcome.accepted = now

    def ended(self, job: str, how: str) -> None:
        """The customer received the end of their job: ``completed``, ``cancelled`` or ``expired``."""
        self.outcomes[job].ended = how

    def won(self, job: str, technician: str) -> None:
        """A claim acknowledged to ``technician``."""
        self.outcomes[job].winners.add(technician)

    def forget(self) -> None:
        """Drop finished jobs; their counts remain."""
        for job, outcome in [(job, outcome) for job, outcome in self.outcomes.items() if outcome.ended]:
            del self.outcomes[job]
            self._past.update(outcome.counts)
            self._claim_ms.extend(outcome.claim_ms)

    def undecided(self) -> list[tuple[str, JobOutcome]]:
        """Booked jobs whose customer has received neither a holder nor an end."""
        return [(job, outcome) for job, outcome in self.outcomes.items() if outcome.undecided]

    def count(self, what: str) -> int:
        """How many jobs were ``booked``, ``claimed``, or ended ``completed``, ``cancelled`` or
        ``expired``.
        """
        return self._past[what] + sum(what in outcome.counts for outcome in self.outcomes.values())

    def duplicate_events(self) -> int:
        """Events of the log that the same user received more than once."""
        return sum(receipt.duplicates for receipt in self.receipts.values())

    def lost_events(self, log: LogIndex, zone: str, until: int | None = None) -> int:
        """Log entries within a user's coverage, addressed to that user, that they have not received.

        Only entries up to the seq ``until`` count: while other users continue, some event is always on the way.
        """
        until = log.last if until is None else until
        return sum(len(_expected(h, log, zone, until) - h.received[zone]) for h in self.receipts.values())

    def unexpected_events(self, log: LogIndex, zone: str) -> int:
        """Events that a user received although the log does not address them to the user, or does not have them."""
        return sum(
            len({seq for seq in h.received[zone] if seq <= log.last} - log.addressed(h.channels))
            for h in self.receipts.values()
        )

    def double_claims(self, log: LogIndex | None) -> int:
        """Claims that must not exist: a second holder in the log of a job that had one, and acknowledged claims of
        which the log has no entry. Without a log: jobs with more than one acknowledged claim.
        """
        if log is None:
            return self.count("doubled")
        unknown = sum(len(outcome.winners - log.held[job]) for job, outcome in self.outcomes.items())
        return log.doubled + unknown

    def time_to_claim_ms(self) -> dict[str, float | None]:
        """From the acknowledged booking to the event with the holder; 0 if the event came first."""
        return percentiles([*self._claim_ms, *(ms for c in self.outcomes.values() for ms in c.claim_ms)])

    def event_lag_ms(self) -> dict[str, float | None]:
        """From an event's ``at`` (Redis' clock) to its receipt (this machine's clock)."""
        return percentiles(self._lag_ms)


def _expected(receipt: Receipts, log: LogIndex, zone: str, until: int) -> set[int]:
    expected: set[int] = set()
    addressed = log.addressed(receipt.channels)
    for range_ in receipt.coverage[zone]:
        end = until if range_.until is None else min(until, range_.until)
        expected |= {seq for seq in addressed if range_.after < seq <= end}
    return expected


def percentiles(values: Iterable[float]) -> dict[str, float | None]:
    """``{"p50", "p99"}`` by nearest rank, rounded to 0.1; null where there are no values."""
    ranked = sorted(values)
    if not ranked:
        return {"p50": None, "p99": None}
    return {f"p{p}": round(ranked[math.ceil(p / 100 * len(ranked)) - 1], 1) for p in (50, 99)}
