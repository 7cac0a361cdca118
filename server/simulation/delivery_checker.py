"""What the simulated people themselves received, to be held against the log.

A user's *coverage* is where he was entitled to hear: from the head at his first connect on, through every cut
that was ``recovered``; a connect that was not ends one stretch and begins another, for then he was told
plainly that there is a gap. Expected of him is each log entry within it that is addressed to one of his
channels; entries for gateways (``session.*``) are nobody's.
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
class Stretch:
    """A part of the log without a gap that was told of: ``after`` < seq ≤ ``until`` (None: it goes on)."""

    after: int
    until: int | None = None


@dataclass(slots=True)
class Hearer:
    """What one user heard: the seqs received and his coverage, by zone."""

    channels: frozenset[str]
    received: dict[str, set[int]] = field(default_factory=lambda: defaultdict(set))
    coverage: dict[str, list[Stretch]] = field(default_factory=lambda: defaultdict(list))
    duplicates: int = 0


@dataclass(slots=True)
class Course:
    """What became of one job, in monotonic seconds, and who was told that it is his."""

    booked: float | None = None
    accepted: float | None = None
    ended: str = ""
    expires: float = math.inf
    winners: set[str] = field(default_factory=set)

    @property
    def undecided(self) -> bool:
        """Whether its customer has heard neither of a holder nor of an end."""
        return self.booked is not None and self.accepted is None and not self.ended

    @property
    def counts(self) -> list[str]:
        """What it adds one to. A job that was not booked in this run adds to nothing."""
        if self.booked is None:
            return []
        claimed = ["claimed"] if self.accepted is not None else []
        doubled = ["doubled"] if len(self.winners) > 1 else []
        return ["booked", *claimed, *doubled, *([self.ended] if self.ended else [])]

    @property
    def claim_ms(self) -> list[float]:
        """Its time to claim, where it has one."""
        if self.booked is None or self.accepted is None:
            return []
        return [max(0.0, self.accepted - self.booked) * 1000]


class Logged:
    """The part of a log that a tally needs: which seqs each channel got, and who has held each job."""

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
    """Counts kept by the people while they live; one per run, on one loop.

    Everything is kept, to be held against a log at the end. A city that lives on gives ``recent``: then times
    are of the last so many, what was received is not kept, and ``forget`` keeps only counts of what is over.
    """

    def __init__(self, recent: int | None = None) -> None:
        self.hearers: dict[str, Hearer] = {}
        self.courses: dict[str, Course] = defaultdict(Course)
        self.attempts = 0
        self.refused: Counter[str] = Counter()
        self._recent = recent
        self._past: Counter[str] = Counter()
        self._claim_ms: deque[float] = deque(maxlen=recent)
        self._lag_ms: deque[float] = deque(maxlen=recent)

    def joined(self, ok: dict[str, Any]) -> None:
        """A connect reply: his coverage begins, or goes on where the zone is ``recovered``."""
        user = ok["user"]
        hearer = self.hearers.get(user["id"])
        if hearer is None:
            hearer = Hearer(frozenset(Principal(user["id"], user["role"]).channels))
            self.hearers[user["id"]] = hearer
        for zone, state in ok["zones"].items():
            stretches = hearer.coverage[zone]
            if state["recovered"] and stretches:
                continue
            if stretches:
                stretches[-1].until = max(hearer.received[zone], default=0)
            stretches.append(Stretch(state["seq"]))

    def received(self, user: str, event: dict[str, Any]) -> None:
        """A push that ``user`` handled; of those without ``seq`` no account is kept."""
        if "seq" not in event:
            return
        if self._recent is None:
            self.hearers[user].received[event["zone"]].add(event["seq"])
        self._lag_ms.append(time.time() * 1000 - ms_of(event["at"]))

    def repeated(self, user: str) -> None:
        """A logged push at or below his cursor: he dropped it."""
        self.hearers[user].duplicates += 1

    def booked(self, job: dict[str, Any], now: float) -> None:
        """A booking acknowledged to its customer at ``now`` (monotonic seconds)."""
        course = self.courses[job["id"]]
        course.booked = now
        if job.get("expires_at") and job.get("created_at"):
            course.expires = now + (ms_of(job["expires_at"]) - ms_of(job["created_at"])) / 1000

    def accepted(self, job: str, now: float) -> None:
        """The customer heard that his job has a holder."""
        course = self.courses[job]
        if course.accepted is None:
            course.accepted = now

    def ended(self, job: str, how: str) -> None:
        """The customer heard that his job is over: ``completed``, ``cancelled`` or ``expired``."""
        self.courses[job].ended = how

    def won(self, job: str, technician: str) -> None:
        """A claim acknowledged to ``technician``."""
        self.courses[job].winners.add(technician)

    def forget(self) -> None:
        """Keep of jobs that are over only what they add to the counts."""
        for job, course in [(job, course) for job, course in self.courses.items() if course.ended]:
            del self.courses[job]
            self._past.update(course.counts)
            self._claim_ms.extend(course.claim_ms)

    def undecided(self) -> list[tuple[str, Course]]:
        """Booked jobs of which the customer has heard neither a holder nor an end."""
        return [(job, course) for job, course in self.courses.items() if course.undecided]

    def count(self, what: str) -> int:
        """How many jobs were ``booked``, ``claimed``, or ended ``completed``, ``cancelled`` or
        ``expired``.
        """
        return self._past[what] + sum(what in course.counts for course in self.courses.values())

    def duplicate_events(self) -> int:
        """Logged events that came to the same user more than once."""
        return sum(hearer.duplicates for hearer in self.hearers.values())

    def lost_events(self, log: Logged, zone: str, until: int | None = None) -> int:
        """Log entries that were for a user, within his coverage, and have not come to him.

        Counted are those up to the seq ``until``: where others go on, something is always on its way.
        """
        until = log.last if until is None else until
        return sum(len(_due(h, log, zone, until) - h.received[zone]) for h in self.hearers.values())

    def strange_events(self, log: Logged, zone: str) -> int:
        """Events that came to a user and were addressed to none of his channels, or stand in no log."""
        return sum(
            len({seq for seq in h.received[zone] if seq <= log.last} - log.addressed(h.channels))
            for h in self.hearers.values()
        )

    def double_claims(self, log: Logged | None) -> int:
        """Winners too many: holders that the log gave a job which had one, and technicians who were told that
        a job is theirs without the log knowing of it. Without a log: more than one technician told so of one
        job.
        """
        if log is None:
            return self.count("doubled")
        told = sum(len(course.winners - log.held[job]) for job, course in self.courses.items())
        return log.doubled + told

    def time_to_claim_ms(self) -> dict[str, float | None]:
        """From booking acknowledged to holder heard of; nought where the news came first."""
        return percentiles([*self._claim_ms, *(ms for c in self.courses.values() for ms in c.claim_ms)])

    def event_lag_ms(self) -> dict[str, float | None]:
        """From an event's ``at`` (Redis' clock) to its receipt (this machine's)."""
        return percentiles(self._lag_ms)


def _due(hearer: Hearer, log: Logged, zone: str, until: int) -> set[int]:
    due: set[int] = set()
    addressed = log.addressed(hearer.channels)
    for stretch in hearer.coverage[zone]:
        end = until if stretch.until is None else min(until, stretch.until)
        due |= {seq for seq in addressed if stretch.after < seq <= end}
    return due


def percentiles(values: Iterable[float]) -> dict[str, float | None]:
    """``{"p50", "p99"}`` by nearest rank, rounded to 0.1; null where there are no values."""
    ranked = sorted(values)
    if not ranked:
        return {"p50": None, "p99": None}
    return {f"p{p}": round(ranked[math.ceil(p / 100 * len(ranked)) - 1], 1) for p in (50, 99)}
