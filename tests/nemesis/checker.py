"""The checker judges the history of a run in three ways: by the log (witness.py), without the log (blind.py), and by
what the clients received (delivery.py).

``python -m tests.nemesis.checker FILE`` checks a saved history again.
"""

from __future__ import annotations

import sys
import time
from collections import Counter
from pathlib import Path

import msgspec

from tests.nemesis.blind import LinearizabilityCheck
from tests.nemesis.chat import ChatCheck
from tests.nemesis.delivery import Delivery
from tests.nemesis.history import UNKNOWN, Flaw, History
from tests.nemesis.witness import Witness

KINDS = {
    "undone": "an acknowledged command is not in the log",
    "two_holders": "two technicians held a job at once",
    "done_twice": "one idempotency key acted twice",
    "never_invoked": "the log has a command that nobody sent",
    "unavailable_but_done": "a command that was `unavailable` is in the log",
    "refused_but_done": "a refused command is in the log",
    "not_real_time": "a command precedes one that had ended before it began",
    "version": "the versions of a job do not rise by one with each step",
    "illegal_step": "a step that the blueprint does not declare for the actor",
    "hole": "the log has a hole",
    "stores_differ": "Redis or SQL differs from the log",
    "not_linearizable": "what the clients saw of a job has no legal order",
    "lost": "an event was not delivered",
    "doubled": "an event was delivered twice",
    "out_of_order": "an event was delivered after a later one",
    "dead_life": "an event of a life of the log that had ended was delivered",
    "message_numbers": "the numbers of a room's messages do not rise by one",
    "unseen_message": "who opened a room did not see a message that was acknowledged before",
    "internal_error": "a command ended in `internal`",
    "stuck": "an open job has no scheduled task, so nothing would happen to it",
    "no_ttl": "a key has no TTL and is not in the list of permanent keys",
    "rebuild_differs": "a rebuild from SQL differs from what was there",
    "no_recovery": "no claim succeeded after the fault",
}
"""The kinds of flaws."""

LOSS = "undone"
"""The kind that a fault may cause at a level that does not promise to survive it."""


class Report(msgspec.Struct):
    """The judgement of one history. ``cut``: how many acknowledged changes the blind check had to remove to find a
    legal order.
    """

    flaws: list[Flaw] = []
    acknowledged: int = 0
    indeterminate: int = 0
    jobs: int = 0
    undecided: int = 0
    cut: int = 0
    joins: int = 0
    unrecovered: int = 0
    seconds: float = 0.0

    @property
    def counts(self) -> Counter[str]:
        """Return the number of errors of each kind."""
        return Counter(flaw.kind for flaw in self.flaws)


def check(history: History, *, loses: bool = False, closed: bool = False) -> Report:
    """Return the judgement of a history. ``loses``: the fault may take acknowledged commands away, at this level.
    ``closed``: the zone is closed at the end, so the history ends with the archive.
    """
    began = time.perf_counter()
    witness, delivery = Witness(history), Delivery(history, closed=closed)
    report = Report(list(history.flaws))
    report.flaws += [*witness.flaws(), *delivery.flaws(), *ChatCheck(history, loses=loses).flaws()]
    for verdict in LinearizabilityCheck(history, cuts=loses).verdicts():
        report.jobs += 1
        report.undecided += not verdict.is_complete
        report.cut += verdict.cost or 0
        if verdict.cost is None and verdict.is_complete:
            report.flaws.append(Flaw("not_linearizable", verdict.text))
    report.acknowledged = sum(op.out == "ok" for op in history.operations)
    report.indeterminate = sum(op.out == UNKNOWN for op in history.operations)
    report.joins, report.unrecovered = delivery.joins, delivery.unrecovered
    report.seconds = time.perf_counter() - began
    return report


def main(paths: list[str]) -> int:
    """Check the files of saved histories, and print the errors. Return the exit code: 1 if there are any."""
    flawed = False
    for path in paths:
        report = check(History.read(Path(path)))
        flawed |= bool(report.flaws)
        print(f"{path}: {report.jobs} jobs, {report.acknowledged} acknowledged, {dict(report.counts) or 'no flaws'}")
        for flaw in report.flaws[:40]:
            print(f"  {flaw.kind}: {flaw.text}")
    return int(flawed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
