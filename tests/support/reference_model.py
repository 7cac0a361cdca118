"""The reference model (test oracle) of commands. It computes which code a command must return, from the blueprint and
the facts of the job alone: a second implementation of PROTOCOL §3 and DESIGN §5. Tests compare the engine with it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from engine.blueprint.schema import Blueprint, Command
from engine.types import Principal, Role

EFFECTS_WITH_OWN_ROUTES = ("bid", "withdraw", "award", "capture")
"""The effects of commands that have a route of their own. The route for commands refuses such a command
with `invalid`.
"""


@dataclass(frozen=True)
class Facts:
    """The facts that decide about a command. ``holder``: "" if the job has none. ``offer``: the status of the caller's
    offer, "" if they have none. ``at``: the states and marks that the job has had. ``frozen``: a dispute freezes the
    job. ``at_capacity``: the caller may hold no further job. ``early``: it is too early to begin the work. ``files``:
    the number of the job's files of each kind. ``signed``: the customer has signed the job.
    """

    status: str
    holder: str
    customer: str
    offer: str = ""
    at: frozenset[str] = field(default_factory=frozenset)
    frozen: bool = False
    at_capacity: bool = False
    early: bool = False
    files: Mapping[str, int] = field(default_factory=dict)
    signed: bool = False


def relations_of(role: Role) -> set[str]:
    """Return the relations that a user with this role can have to a job."""
    if role in ("ops_manager", "admin"):
        return {"ops"}
    if role == "technician":
        return {"offered", "holder", "technician"}
    return {role} if role in ("customer", "service", "mediator") else set()


def has_relation(who: Principal, relation: str, facts: Facts) -> bool:
    """Return whether the caller has this relation to the job now."""
    return {
        "ops": who.role in ("ops_manager", "admin"),
        "service": who.role == "service",
        "customer": who.id == facts.customer,
        "holder": who.id == facts.holder,
        "mediator": who.role == "mediator" and facts.frozen,
    }.get(relation, False)


def expected_code(blueprint: Blueprint, who: Principal, command: str, facts: Facts) -> str:
    """Return the error code with which the engine must refuse ``command``; "" if the command must succeed."""
    spec = blueprint.commands.get(command) or blueprint.commands.get({"claim": "accept"}.get(command, ""))
    if spec is None or spec.by == ("engine",):
        return "not_found"
    if not relations_of(who.role) & set(spec.by):
        return "forbidden"
    if spec.effect in EFFECTS_WITH_OWN_ROUTES:
        return "invalid" if _may_know(blueprint, who, facts) else "not_found"
    if spec.effect in ("take", "refuse"):
        return _offer_reply_code(blueprint, spec, facts)
    relations = [r for r in spec.by if has_relation(who, r, facts)]
    if not relations:
        return "not_found"
    return refusal_code(blueprint, spec, relations, facts)


def _may_know(blueprint: Blueprint, who: Principal, facts: Facts) -> bool:
    """Return whether the caller may learn that the job exists."""
    if any(has_relation(who, relation, facts) for relation in ("ops", "service", "customer", "holder", "mediator")):
        return True
    bids = search_mode(blueprint, facts) == "bids"
    return who.role == "technician" and (bool(facts.offer) or bids)


def refusal_code(
    blueprint: Blueprint, spec: Command, relations: Sequence[str], facts: Facts, *, signature: bool = False
) -> str:
    """Return the error code for a caller with the relations ``relations``; "" if they may send the command. A command
    that signs is taken only with a ``signature``, and a job is signed once.
    """
    if facts.frozen and spec.effect != "thaw":
        return "frozen"
    if facts.status not in {state for relation in relations for state in spec.only.get(relation, spec.from_)}:  # type: ignore[call-overload]
        closes = spec.to and blueprint.states[spec.to].phase == "closed"
        return (closes and end_reason(blueprint, facts.status)) or "illegal_transition"
    if spec.effect == "release" and not facts.holder:
        return "illegal_transition"
    if not facts.at.issuperset(spec.needs) or not facts.at.isdisjoint(spec.unless):
        return "illegal_transition"
    if spec.signs and not signature:
        return "unsigned"
    if signature and facts.signed:
        return "illegal_transition"
    begins = spec.effect in ("move", "take", "assign", "award") and spec.to and has_begun(blueprint, spec.to)
    waits = not has_begun(blueprint, facts.status) and blueprint.states[facts.status].phase != "closed"
    if facts.early and begins and waits and list(relations) != ["engine"]:
        return "too_early"
    has_files = all(facts.files.get(kind, 0) >= number for kind, number in spec.needs_files.items())
    return "" if has_files else "files_missing"


def has_begun(blueprint: Blueprint, state: str) -> bool:
    """Return whether the phase of this state is `active` or `done`."""
    return blueprint.states[state].phase in ("active", "done")


def end_reason(blueprint: Blueprint, status: str) -> str:
    """Return the error code for a job that is in this closed state: `expired` or `cancelled`. "" if the state is not
    closed, or only the refusal of a technician leads to it.
    """
    ways = [c for c in blueprint.commands.values() if c.to and _final_state(blueprint, c.to) == status]
    if blueprint.states[status].phase != "closed":
        return ""
    if any(c.event == "job.expired" for c in ways):
        return "expired"
    return "cancelled" if any(c.effect != "refuse" for c in ways) else ""


def _final_state(blueprint: Blueprint, state: str) -> str:
    """Return the state that follows ``state`` through all its ``then``."""
    following = blueprint.states[state].next_state
    return _final_state(blueprint, following) if following else state


def search_mode(blueprint: Blueprint, facts: Facts) -> str:
    """Return how the engine searches for a technician now (``seeks`` of the state): "none" if it does not."""
    return "none" if facts.holder else blueprint.states[facts.status].search_mode


def _offer_reply_code(blueprint: Blueprint, spec: Command, facts: Facts) -> str:
    """Return the error code for a technician who accepts or declines an offer; "" if they may do so."""
    moves = spec.effect == "refuse" and spec.to != ""
    if moves and not facts.offer:
        return "not_found"
    if spec.effect == "refuse" and facts.offer == "rejected":
        return ""
    if over := end_reason(blueprint, facts.status):
        return over
    if facts.holder and not moves:
        return "taken"
    code = refusal_code(blueprint, spec, ["offered"], facts)
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
    return "at_capacity" if spec.effect == "take" and facts.at_capacity else ""
