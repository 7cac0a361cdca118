"""The counts of a demo until now, as ``callout demo --json`` prints them."""

from __future__ import annotations

from typing import Any

from server.simulation.mediator import Mediator
from server.simulation.observer import AdminObserver
from server.simulation.person import Person, Simulation
from server.simulation.planner import DayPlanner


def count_all(simulation: Simulation, staff: list[Person]) -> dict[str, Any]:
    """Return the counts of what the users of a demo did and received."""
    checker, messages, proofs = simulation.checker, simulation.messages, simulation.proofs
    schedules = next(person.steps.checker for person in staff if isinstance(person, AdminObserver))
    return {
        "jobs": checker.count_jobs("booked"),
        "booked_ahead": checker.count_jobs("ahead"),
        "claimed": checker.count_jobs("claimed"),
        **{how: checker.count_jobs(how) for how in ("completed", "cancelled", "expired")},
        "claim_attempts": checker.claim_attempts,
        "refused": dict(sorted(checker.refusals.items())),
        "bids_refused": dict(sorted(checker.bid_refusals.items())),
        "double_claims": checker.double_claims(None),
        "overlapping": len(schedules.overlaps),
        "visits_compared": schedules.compared,
        "planned": sum(person.moved for person in staff if isinstance(person, DayPlanner)),
        "duplicate_events": checker.duplicate_events(),
        "messages_said": messages.said,
        "messages_received": messages.received,
        "messages_lost": messages.lost(),
        "messages_doubled": messages.doubled,
        "broken_prices": checker.broken_prices,
        "photos": proofs.photos,
        "signed": proofs.signed,
        "signatures_verified": proofs.verified,
        "paid": len(proofs.paid),
        "paid_amount": proofs.paid.total(),
        "earned_amount": proofs.earned,
        "fees_amount": proofs.fees,
        "unearned_amount": proofs.unearned,
        "ledger_problems": proofs.ledger_problems,
        "paid_out": proofs.paid_out,
        "paid_out_amount": proofs.paid_out_amount,
        "disputes_resolved": sum(person.resolved for person in staff if isinstance(person, Mediator)),
        "time_to_claim_ms": checker.time_to_claim_ms(),
        "event_lag_ms": checker.event_lag_ms(),
    }
