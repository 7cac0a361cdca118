"""How a step must be answered, by the blueprint's TOML and the job's facts alone: PROTOCOL §3 and DESIGN §5,
written down a second time, for tests to hold the engine against.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from engine.rules.lifecycle import Blueprint, Command
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
        return "invalid"
    if spec.does in ("take", "refuse"):
        return _answer_to_an_offer(blueprint, spec, facts)
    mine = [r for r in spec.by if holds(who, r, facts)]
    if not mine:
        return "not_found"
    if facts.frozen and spec.does != "thaw":
        return "frozen"
    if not any(facts.status in spec.only.get(relation, spec.from_) for relation in mine):
        closes = spec.to and blueprint.states[spec.to].phase == "closed"
        return facts.status if closes and facts.status in ("cancelled", "expired") else "illegal_transition"
    if spec.does == "release" and not facts.holder:
        return "illegal_transition"
    if not facts.at.issuperset(spec.needs) or not facts.at.isdisjoint(spec.unless):
        return "illegal_transition"
    return ""


def _answer_to_an_offer(blueprint: Blueprint, spec: Command, facts: Facts) -> str:
    seeks = blueprint.states[facts.status].seeks != "none" and not facts.holder
    if spec.does == "refuse" and spec.to:
        if not facts.offer:
            return "not_found"
        if facts.offer == "rejected":
            return ""
        if facts.status not in spec.from_:
            return (
                facts.status
                if blueprint.states[spec.to].phase == "closed" and facts.status in ("cancelled", "expired")
                else "illegal_transition"
            )
        return "" if facts.offer == "sent" else "not_offered"
    if spec.does == "refuse" and facts.offer == "rejected":
        return ""
    if facts.status in ("cancelled", "expired"):
        return facts.status
    if facts.holder:
        return "taken"
    if spec.does == "take" and facts.status not in spec.from_:
        return "illegal_transition"
    if facts.offer == "sent" and seeks:
        return "at_capacity" if spec.does == "take" and facts.at_capacity else ""
    return "expired" if facts.offer == "expired" else "not_offered"
