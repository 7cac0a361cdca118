"""The events that a blueprint may cause, their members, and other words for the linter.

event_catalogue.py lists the types of the engine's own events. A blueprint may choose further types for its commands,
within ``job.``.
"""

from __future__ import annotations

from collections.abc import Iterator

from engine.blueprint.compiler import capture_commands
from engine.blueprint.event_catalogue import (
    EVENTS_OF_ANY_JOB,
    JOB_MEMBERS,
    JOB_STEP_PAYLOAD,
    JOB_TAKEN_PAYLOAD,
    MEMBERS_OF_DECLARABLE_EVENTS,
    OFFER_DECLINED_PAYLOAD,
    PARTY_MEMBERS,
    PayloadMembers,
)
from engine.blueprint.schema import HOLDER_EFFECTS, Blueprint, Command, State

DISPUTE_OUTCOMES = frozenset({"resume", "cancel", "complete"})
"""How a dispute may end."""

OFFER_CLOSE_REASONS = frozenset({"taken", "cancelled", "expired", "withdrawn", "reassigned"})
"""The reasons that ``offer.closed`` may have."""

RESERVED_ROUTE_WORDS = frozenset({"respond", "commands", "bids", "payments", "ratings", "disputes", "photos", "shares"})
"""The last segments of ``POST /v1/jobs/{id}/…`` that are routes of their own. No command can have such a name."""

SIGNING_ROUTE_WORD = "sign"
"""The last segment of the route of every command that signs. Only such a command can have it as its name."""


def event_sources(blueprint: Blueprint) -> Iterator[tuple[str, str]]:
    """Yield every event that a job of this blueprint may emit, with the place in the blueprint that causes it.

    The place is "" for the events of ``EVENTS_OF_ANY_JOB``, which a blueprint may omit.
    """
    yield from ((f"command {name}", command.event) for name, command in blueprint.commands.items())
    yield from _other_events(blueprint)
    yield from (("", event) for event in sorted(EVENTS_OF_ANY_JOB))


def _other_events(blueprint: Blueprint) -> Iterator[tuple[str, str]]:
    """Yield the events that no command names as its ``event``, each with the place in the blueprint that causes it."""
    yield "booking", "job.created"
    for name, command in blueprint.commands.items():
        yield from ((f"command {name}", event) for event in _side_events(blueprint, command))
    for name, state in blueprint.states.items():
        yield from ((f"state {name}", event) for event in _state_events(state))
    if blueprint.edit:
        yield "edit", "job.updated"
    if blueprint.price.propose:
        yield from (("price", f"price.{what}") for what in ("proposed", "changed", "rejected"))


def _side_events(blueprint: Blueprint, command: Command) -> Iterator[str]:
    """Yield the events that a command causes besides its own."""
    bills = command.event == "payment.requested"
    if (command.charges or command.refunds or command.holds) and not bills:
        yield "payment.requested"
    # If everything is paid already, the step requests no payment. If a payment was captured earlier, the first step
    # that accepts a capture moves the job on. In both cases lua/lib/apply_step.lua emits ``job.status``.
    if (command.charges and bills) or capture_commands(blueprint, command):
        yield "job.status"
    if command.effect == "award":
        yield "bid.accepted"
    if command.effect == "assign" and not _states_with_holder(blueprint).isdisjoint(command.from_):
        yield "job.unassigned"


def _states_with_holder(blueprint: Blueprint) -> set[str]:
    """Return the states in which a job may have a holder."""
    gives = [command for command in blueprint.commands.values() if command.effect in HOLDER_EFFECTS]
    ends = {state for command in gives for state in ([command.to] if command.to else command.from_)}
    return ends | {name for name, state in blueprint.states.items() if state.phase in ("assigned", "active")}


def _state_events(state: State) -> Iterator[str]:
    """Yield the events that a state causes while a job is in the state or when the job leaves the state."""
    if state.next_state:
        yield "job.status"
    if state.search_mode in ("broadcast", "bids"):
        yield "job.searching"
    if state.search_mode == "bids":
        yield "bid.closed"
    if any(timer.warn for timer in state.timers):
        yield "job.late"
    if state.watch is not None and state.watch.dark_s:
        yield "job.dark"
    if state.watch is not None and (state.watch.still_s or state.watch.away_m):
        yield "job.stalled"


def event_payload_members(blueprint: Blueprint, event: str) -> PayloadMembers | None:
    """Return the members of the payload of an event of this blueprint, or None if no job emits the event.

    Members that only some of the event's commands add are left out.
    """
    if event in MEMBERS_OF_DECLARABLE_EVENTS:
        return MEMBERS_OF_DECLARABLE_EVENTS[event]
    effects = {command.effect for command in blueprint.commands.values() if command.event == event}
    if event == "offer.declined" and effects:
        return OFFER_DECLINED_PAYLOAD.members
    if event in {name for _, name in _other_events(blueprint)}:
        return JOB_STEP_PAYLOAD.members
    if not effects:
        return None
    return (JOB_TAKEN_PAYLOAD if effects <= HOLDER_EFFECTS else JOB_STEP_PAYLOAD).members


def has_member(members: PayloadMembers, path: str) -> bool:
    """Return whether a path such as ``job.customer.name`` names a member of an event with the members ``members``."""
    head, *rest = path.split(".")
    if head not in members:
        return False
    if not rest or not members[head]:
        return True
    if rest[0] not in members[head]:
        return False
    inner = PARTY_MEMBERS.get(rest[0]) if head == "job" else None
    return len(rest) == 1 or (inner is not None and rest[1] in inner) or rest[0] in ("at", "metadata")


def has_whole_job(members: PayloadMembers) -> bool:
    """Return whether an event with these members contains the whole job. Notices need the whole job."""
    return members.get("job") == JOB_MEMBERS
