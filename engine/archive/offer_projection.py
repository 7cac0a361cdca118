"""Fold the events of offers into rows of SQL (a pure function). ``OfferRows.rows`` are complete rows of new offers;
``answers`` are updates of offers that earlier batches stored.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from engine.events import Event, ms_of
from engine.rules.event_payloads import EventOffer

Answer = tuple[str, str | None, int]
"""The status and the reason of an answered offer, and the time of the answer (ms)."""
Row = dict[str, Any]


@dataclass(slots=True)
class OfferRows:
    """The rows of offers that a sequence of events adds or changes, by the ids of job and technician."""

    rows: dict[tuple[str, str], Row] = field(default_factory=dict)
    answers: dict[tuple[str, str], Answer] = field(default_factory=dict)

    def add(self, event: Event, technicians: Iterable[str], offer: EventOffer) -> None:
        """Store an offer to each of ``technicians``."""
        job, zone, status, wave = offer.job.id, event.zone, offer.status, offer.wave
        offered_at, expires_at = ms_of(offer.offered_at), ms_of(offer.expires_at)
        for technician in technicians:
            if self.answers:
                self.answers.pop((job, technician), None)
            self.rows[job, technician] = {
                "job": job,
                "technician": technician,
                "zone": zone,
                "status": status,
                "reason": None,
                "wave": wave,
                "offered_at": offered_at,
                "expires_at": expires_at,
                "answered_at": None,
            }

    def answer(self, event: Event, job: str, technicians: Iterable[str], status: str, reason: str | None) -> None:
        """Store the same answer to the offers of a job to ``technicians``."""
        rows, answers, at = self.rows, self.answers, event.at
        for technician in technicians:
            if row := rows.get((job, technician)):
                row["status"], row["reason"], row["answered_at"] = status, reason, at
            else:
                answers[job, technician] = status, reason, at

    @property
    def answer_rows(self) -> list[tuple[str, str, str, str | None, int]]:
        """The answers to offers, each as job, technician, status, reason and time (ms)."""
        return [key + answer for key, answer in self.answers.items()]
