"""The reference model (test oracle) of commands: which code a command must return, from the blueprint's TOML and the
job's facts alone. It implements PROTOCOL §3 and DESIGN §5 a second time, and tests compare the engine with it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from engine.blueprint.schema import Blueprint, Command
from engine.types import Principal, Role

OWN_ROUTES = ("bid", "withdraw", "award", "capture")
"""Effects that have a route of their own; the route for commands refuses them."""


@dataclass(frozen=True)
class Facts:
    """The facts that decide about a command: the job's status, holder and customer, the caller's offer, the names of
    the timestamps that are set (``at``), and whether a dispute freezes the job.
    """

    status: str
    holder: str
    customer: str
    offer: str = ""
    at: frozenset[str] = field(default_factory=frozenset)
    frozen: bool = False
    at_capacity: bool = False
    early: bool = False


def relations_of(role: Role) -> set[str]:
    """Return the relations that a user of this role can have to some job."""
    if role in ("ops_manager", "admin"):
        return {"ops"}
    if role == "technician":
        return {"offered", "holder", "technician"}
    return {role} if role in ("customer", "service", "mediator") else set()


def holds(who: Principal, relation: str, facts: Facts) -> bool:
    """Return whether the caller has this relation to the job now."""
    return {
        "ops": who.role in ("ops_manager", "admin"),
        "service": who.role == "service",
        "customer": who.id == facts.customer,
        "holder": who.id == facts.holder,
        "mediator": who.role == "mediator" and facts.frozen,
    }.get(relation, False)


def expected_code(blueprint: Blueprint, who: Principal, name: str, facts: Facts) -> str:
    """Return the error code that the command must get; "" if it must succeed."""
    spec = blueprint.commands.get(name) or blueprint.commands.get({"claim": "accept"}.get(name, ""))
    if spec is None or spec.by == ("engine",):
        return "not_found"
    if not relations_of(who.role) & set(spec.by):
        return "forbidden"
    if spec.does in OWN_ROUTES:
        return "invalid" if _may_know(blueprint, who, facts) else "not_found"
    if spec.does in ("take", "refuse"):
        return _offer_reply_code(blueprint, spec, facts)
    mine = [r for r in spec.by if holds(who, r, facts)]
    if not mine:
        return "not_found"
    return refusal(blueprint, spec, mine, facts)


def _may_know(blueprint: Blueprint, who: Principal, facts: Facts) -> bool:
    """Return whether the caller may know that the job exists."""
    if any(holds(who, relation, facts) for relation in ("ops", "service", "customer", "holder", "mediator")):
        return True
    bids = search_mode(blueprint, facts) == "bids"
    return who.role == "technician" and (bool(facts.offer) or bids)


def refusal(blueprint: Blueprint, spec: Command, mine: Sequence[str], facts: Facts) -> str:
    """Return the code with which a caller with the relations ``mine`` is refused; "" if they may give the command."""
    if facts.frozen and spec.does != "thaw":
        return "frozen"
    if facts.status not in {state for relation in mine for state in spec.only.get(relation, spec.from_)}:  # type: ignore[call-overload]
        closes = spec.to and blueprint.states[spec.to].phase == "closed"
        return (closes and end_reason(blueprint, facts.status)) or "illegal_transition"
    if spec.does == "release" and not facts.holder:
        return "illegal_transition"
    if not facts.at.issuperset(spec.needs) or not facts.at.isdisjoint(spec.unless):
        return "illegal_transition"
    begins = spec.does in ("move", "take", "assign", "award") and spec.to and has_begun(blueprint, spec.to)
    waits = not has_begun(blueprint, facts.status) and blueprint.states[facts.status].phase != "closed"
    return "too_early" if facts.early and begins and waits and list(mine) != ["engine"] else ""


def has_begun(blueprint: Blueprint, state: str) -> bool:
    """Return whether work has begun in this state."""
    return blueprint.states[state].phase in ("active", "done")


def end_reason(blueprint: Blueprint, status: str) -> str:
    """Return how a job in this state was closed without work; "" if it is not closed, or a technician refused it."""
    ways = [c for c in blueprint.commands.values() if c.to and _last(blueprint, c.to) == status]
    if blueprint.states[status].phase != "closed":
        return ""
    if any(c.event == "job.expired" for c in ways):
        return "expired"
    return "cancelled" if any(c.does != "refuse" for c in ways) else ""


def _last(blueprint: Blueprint, state: str) -> str:
    following = blueprint.states[state].then
    return _last(blueprint, following) if following else state


def search_mode(blueprint: Blueprint, facts: Facts) -> str:
    """Return how the engine searches for a technician now; "none" if it does not search."""
    return "none" if facts.holder else blueprint.states[facts.status].seeks


def _offer_reply_code(blueprint: Blueprint, spec: Command, facts: Facts) -> str:
    moves = spec.does == "refuse" and spec.to != ""
    if moves and not facts.offer:
        return "not_found"
    if spec.does == "refuse" and facts.offer == "rejected":
        return ""
    if over := end_reason(blueprint, facts.status):
        return over
    if facts.holder and not moves:
        return "taken"
    code = refusal(blueprint, spec, ["offered"], facts)
    if code and code != "too_early":
        return code
    if facts.holder:
        return "taken"
    if facts.offer == "expired" and not moves and search_mode(blueprint, facts) != "none":
        return "expired"
    if facts.offer != "sent" or search_mode(blueprint, facts) == "none":
        return "not_offered"
    if code:
        return code
    return "at_capacity" if spec.does == "take" and facts.at_capacity else ""
