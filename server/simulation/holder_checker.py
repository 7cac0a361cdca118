"""Find jobs with two holders, by what clients received: the replies to claims, and the jobs in events.

A job has a ``version``, which rises with each change. There are two proofs of two holders. First: two clients received
the same version with different holders. Second: two technicians got the reply that they hold the job, and no client
received a version between the two claims in which the first technician no longer held it. The second proof waits
``SETTLE_S`` seconds for such a version, because its event may still arrive.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Any, NamedTuple

SETTLE_S = 15.0
MAX_JOBS = 5_000
WHOLE_JOB = ("customer", "technician", "version")
"""An object with these members is a whole job. Candidates see a public part, whose ``technician`` may be left out."""


class _Suspicion(NamedTuple):
    job: str
    first_version: int
    second_version: int
    due_s: float


@dataclass(slots=True)
class _Versions:
    """What clients learned about one job: its holder in each version that they received ("" for nobody), and, for each
    version that a successful claim returned, the technician who made the claim.
    """

    holders: dict[int, str] = field(default_factory=dict)
    claims: dict[int, str] = field(default_factory=dict)
    is_doubled: bool = False


class HolderChecker:
    """The comparison for one run. ``claims`` counts the claims that the server acknowledged."""

    def __init__(self) -> None:
        self.claims = self.two_holders = 0
        self._jobs: OrderedDict[str, _Versions] = OrderedDict()
        self._suspicions: list[_Suspicion] = []

    def record_job(self, job: dict[str, Any]) -> None:
        """Record a job that a client received. Ignore a public part."""
        if all(name in job for name in WHOLE_JOB):
            self._add(self._versions(job["id"]), job)

    def record_claim(self, job: dict[str, Any], technician: str, now_s: float) -> None:
        """Record the job in the reply that made ``technician`` its holder. ``now_s`` is monotonic."""
        self.claims += 1
        versions = self._versions(job["id"])
        self._add(versions, job)
        # a repeated reply: the technician has lost the job meanwhile
        if (job.get("technician") or {}).get("id") != technician:
            return
        version = job["version"]
        earlier = max((v for v in versions.claims if v < version), default=None)
        if earlier is not None and versions.claims[earlier] != technician:
            self._suspicions.append(_Suspicion(job["id"], earlier, version, now_s + SETTLE_S))
        versions.claims[version] = technician

    def settle(self, now_s: float) -> None:
        """Decide the suspicions that have waited long enough."""
        due = [each for each in self._suspicions if each.due_s <= now_s]
        self._suspicions = [each for each in self._suspicions if each.due_s > now_s]
        for suspicion in due:
            versions = self._jobs.get(suspicion.job)
            if versions and not _was_given_up(versions, suspicion):
                self._count(versions)

    def _add(self, versions: _Versions, job: dict[str, Any]) -> None:
        holder = (job.get("technician") or {}).get("id", "")
        if versions.holders.setdefault(job["version"], holder) != holder:
            self._count(versions)

    def _count(self, versions: _Versions) -> None:
        self.two_holders += not versions.is_doubled
        versions.is_doubled = True

    def _versions(self, job: str) -> _Versions:
        versions = self._jobs.setdefault(job, _Versions())
        self._jobs.move_to_end(job)
        if len(self._jobs) > MAX_JOBS:
            self._jobs.popitem(last=False)
        return versions


def _was_given_up(versions: _Versions, suspicion: _Suspicion) -> bool:
    """Return whether a version between the two claims has another holder than the first claim's."""
    first = versions.claims[suspicion.first_version]
    between = range(suspicion.first_version + 1, suspicion.second_version)
    return any(versions.holders.get(version, first) != first for version in between)
