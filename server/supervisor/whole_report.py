"""The state of the whole server, gathered by the parent from its children when one of them asks.

A child that does not answer within ``REPORT_TIMEOUT_S`` (its event loop hangs, or it is stopped) is named; the answer
does not wait for it any longer.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field
from time import monotonic

from engine.process.metric_sums import Family, MetricSums
from server.supervisor.child_process import ChildProcess
from server.supervisor.messages import Answer, Question, Report, ReportRequest

REPORT_TIMEOUT_S = 1.0
RESTARTS_METRIC = "callout_process_restarts"


@dataclass(slots=True)
class _PendingAnswer:
    """One question of a child about the whole server, and the children's reports that have arrived for it."""

    asker: ChildProcess
    question: Question
    missing: set[str]
    answer_by: float
    problems: dict[str, list[str]] = field(default_factory=dict)


class WholeReports:
    """The questions of the children that are not answered yet."""

    def __init__(self, children: Sequence[ChildProcess]) -> None:
        self._children = children
        self._ids = itertools.count(1)
        self._pending_answers: dict[int, _PendingAnswer] = {}
        self._sums = MetricSums()
        self._restarts: dict[str, int] = {}

    @property
    def next_timeout(self) -> float | None:
        """The time (``monotonic``) at which the next question is answered in any case."""
        return min((pending.answer_by for pending in self._pending_answers.values()), default=None)

    def begin(self, asker: ChildProcess, question: Question) -> None:
        """Ask every child, to answer ``question`` when all have reported."""
        number = next(self._ids)
        running = [child for child in self._children if child.pid]
        problems = {child.name: ["has ended and is started again"] for child in self._children if child not in running}
        self._pending_answers[number] = _PendingAnswer(
            asker, question, {child.name for child in running}, monotonic() + REPORT_TIMEOUT_S, problems
        )
        for child in running:
            child.send(ReportRequest(number, question.subject))

    def note_report(self, child: ChildProcess, report: Report) -> None:
        """Note the report of one child. If it is the last one, answer the question."""
        pending = self._pending_answers.get(report.id)
        if pending and pending.question.subject == "metrics":
            child.families = report.families
        if pending is None:
            return
        pending.missing.discard(child.name)
        pending.problems[child.name] = report.problems
        if not pending.missing:
            self._answer(report.id)

    def note_end(self, child: ChildProcess) -> None:
        """Note that a child has ended: its report is no longer awaited, and its counters are added to the sums."""
        self._sums.note_ended(child.families)
        child.families = []
        self._restarts[child.name] = self._restarts.get(child.name, 0) + 1
        for number, pending in list(self._pending_answers.items()):
            if child is pending.asker:
                del self._pending_answers[number]
            elif child.name in pending.missing:
                self.note_report(child, Report(number, ["has ended and is started again"]))

    def answer_late(self) -> None:
        """Answer the questions that are older than ``REPORT_TIMEOUT_S``, without the missing reports."""
        now = monotonic()
        for number, pending in list(self._pending_answers.items()):
            if pending.answer_by <= now:
                pending.problems |= {name: ["does not answer"] for name in pending.missing}
                self._answer(number)

    def _answer(self, number: int) -> None:
        pending = self._pending_answers.pop(number)
        question = pending.question
        if question.subject == "metrics":
            families = [child.families for child in self._children]
            answer = Answer(question.id, metrics=self._sums.render([*families, [self._restart_family()]]))
        else:
            names = [child.name for child in self._children]
            problems = [f"{name}: {problem}" for name in names for problem in pending.problems.get(name, ())]
            answer = Answer(question.id, problems)
        pending.asker.send(answer)

    def _restart_family(self) -> Family:
        samples = [
            (f"{RESTARTS_METRIC}_total", {"process": child.name}, float(self._restarts.get(child.name, 0)))
            for child in self._children
        ]
        return Family(RESTARTS_METRIC, "counter", "Ends of a process before the server's end", "sum", samples)
