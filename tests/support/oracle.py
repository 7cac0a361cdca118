"""How a step must be answered, by the blueprint's TOML and the job's facts alone: PROTOCOL §3 and DESIGN §5,
written down a second time, for tests to hold the engine against.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from engine.blueprint.schema import Blueprint, Command
from engine.types import Principal, Role

ELSEWHERE = ("bid", "withdraw", "award", "capture")
"""What such a command does is asked for by a route of its own."""


@dataclass(frozen=True)
class Facts:
    """What decides: where the job is, who has it, what the caller was offered, what is marked, and a dispute."""

    status: str
    holder: str
    customer: str
    offer: str = ""
    at: frozenset[str] = field(default_factory=frozenset)
    frozen: bool = False
    at_capacity: bool = False
    early: bool = False


def relations_of(role: Role) -> set[str]:
    """In what relations somebody of a role can stand to some job."""
    if role in ("ops_manager", "admin"):
        return {"ops"}
    if role == "technician":
        return {"offered", "holder", "technician"}
    return {role} if role in ("customer", "service", "mediator") else set()


def holds(who: Principal, relation: str, facts: Facts) -> bool:
    """Whether the caller stands so to this job, as it is."""
    return {
        "ops": who.role in ("ops_manager", "admin"),
        "service": who.role == "service",
        "customer": who.id == facts.customer,
        "holder": who.id == facts.holder,
        "mediator": who.role == "mediator" and facts.frozen,
    }.get(relation, False)


def right(blueprint: Blueprint, who: Principal, name: str, facts: Facts) -> str:
    """The code with which the command must be answered; "" for done."""
    spec = blueprint.commands.get(name) or blueprint.commands.get({"claim": "accept"}.get(name, ""))
    if spec is None or spec.by == ("engine",):
        return "not_found"
    if not relations_of(who.role) & set(spec.by):
        return "forbidden"
    if spec.does in ELSEWHERE:
        return "invalid" if _knows(blueprint, who, facts) else "not_found"
    if spec.does in ("take", "refuse"):
        return _answer_to_an_offer(blueprint, spec, facts)
    mine = [r for r in spec.by if holds(who, r, facts)]
    if not mine:
        return "not_found"
    return refused(blueprint, spec, mine, facts)


def _knows(blueprint: Blueprint, who: Principal, facts: Facts) -> bool:
    """Whether the caller may know that there is such a job."""
    if any(holds(who, relation, facts) for relation in ("ops", "service", "customer", "holder", "mediator")):
        return True
    bids = sought(blueprint, facts) == "bids"
    return who.role == "technician" and (bool(facts.offer) or bids)


def refused(blueprint: Blueprint, spec: Command, mine: Sequence[str], facts: Facts) -> str:
    """Why somebody who stands so to the job may not give the command now, of whatever kind it is; "" where they may."""
    if facts.frozen and spec.does != "thaw":
        return "frozen"
    if facts.status not in {state for relation in mine for state in spec.only.get(relation, spec.from_)}:  # type: ignore[call-overload]
        closes = spec.to and blueprint.states[spec.to].phase == "closed"
        return (closes and ended(blueprint, facts.status)) or "illegal_transition"
    if spec.does == "release" and not facts.holder:
        return "illegal_transition"
    if not facts.at.issuperset(spec.needs) or not facts.at.isdisjoint(spec.unless):
        return "illegal_transition"
    begins = spec.does in ("move", "take", "assign", "award") and spec.to and works(blueprint, spec.to)
    waits = not works(blueprint, facts.status) and blueprint.states[facts.status].phase != "closed"
    return "too_early" if facts.early and begins and waits and list(mine) != ["engine"] else ""


def works(blueprint: Blueprint, state: str) -> bool:
    """Whether work has begun in this state."""
    return blueprint.states[state].phase in ("active", "done")


def ended(blueprint: Blueprint, status: str) -> str:
    """How a job in this state came to its end without the work: "" for one that has not, or was refused."""
    ways = [c for c in blueprint.commands.values() if c.to and _last(blueprint, c.to) == status]
    if blueprint.states[status].phase != "closed":
        return ""
    if any(c.event == "job.expired" for c in ways):
        return "expired"
    return "cancelled" if any(c.does != "refuse" for c in ways) else ""


def _last(blueprint: Blueprint, state: str) -> str:
    following = blueprint.states[state].then
    return _last(blueprint, following) if following else state


def sought(blueprint: Blueprint, facts: Facts) -> str:
    """In which way somebody is looked for now; "none" where nobody is."""
    return "none" if facts.holder else blueprint.states[facts.status].seeks


def _answer_to_an_offer(blueprint: Blueprint, spec: Command, facts: Facts) -> str:
    moves = spec.does == "refuse" and spec.to != ""
    if moves and not facts.offer:
        return "not_found"
    if spec.does == "refuse" and facts.offer == "rejected":
        return ""
    if over := ended(blueprint, facts.status):
        return over
    if facts.holder and not moves:
        return "taken"
    why = refused(blueprint, spec, ["offered"], facts)
    if why and why != "too_early":
        return why
    if facts.holder:
        return "taken"
    if facts.offer == "expired" and not moves and sought(blueprint, facts) != "none":
        return "expired"
    if facts.offer != "sent" or sought(blueprint, facts) == "none":
        return "not_offered"
    if why:
        return why
    return "at_capacity" if spec.does == "take" and facts.at_capacity else ""
