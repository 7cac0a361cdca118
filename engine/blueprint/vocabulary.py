"""What the engine says by itself, and to whom: the words that a blueprint may use beside its own.

The events that only a blueprint's commands give rise to (``job.accepted``, ``job.started``, …) are not here: their
names are the blueprint's to choose, within ``job.``.
"""

from __future__ import annotations

from collections.abc import Iterator

from engine.blueprint.compiler import captures
from engine.blueprint.schema import GIVES, Blueprint, Command, State
from engine.rules import job_document

OUTCOMES = frozenset({"resume", "cancel", "complete"})
"""How a dispute may end."""

CLOSINGS = frozenset({"taken", "cancelled", "expired", "withdrawn", "reassigned"})
"""The reasons of ``offer.closed``."""

ROUTES = frozenset({"respond", "commands", "bids", "payments", "ratings", "disputes"})
"""What ``POST /v1/jobs/{id}/…`` means something else by than a command."""

STEPS = {
    "offer.declined": "refuse",
    "bid.created": "bid",
    "bid.closed": "withdraw",
    "payment.received": "capture",
    "job.updated": "reissue",
}
"""The events that are the engine's but for one thing that commands do."""

_JOB = job_document.IN_EVENTS
_CARD = frozenset({"id", "name", "rating"})
_ID = frozenset({"id"})
_ANY: frozenset[str] = frozenset()

Members = dict[str, frozenset[str]]
"""The members of an event's data, each with its own; none stands for a plain value or for whatever was given."""

_PARTY: Members = {"customer": frozenset({"id", "name"}), "technician": _CARD}
_STEP: Members = {
    **dict.fromkeys(("from", "to", "command", "reason", "occurred_at"), _ANY),
    "job": _JOB,
    "actor": frozenset({"id", "role"}),
}
_LATE: Members = {"job": _ID, "since": _ANY, "step": _ANY}
_OFFER: Members = {"offer": frozenset({"job", "status", "wave", "offered_at", "expires_at"})}
_BID: Members = {"bid": _ANY, "job": _ID}
_PRICE: Members = {"proposal": _ANY, "job": _JOB}
_PAYMENT: Members = {"payment": _ANY, "job": _JOB}
_CODE: Members = {"job": _ID, "technician": _ID, "purpose": _ANY}
_ROOM: Members = {"room": _ANY, "user": _ANY, "n": _ANY}

CHAT: dict[str, Members] = {
    **dict.fromkeys(("room.opened", "room.joined", "room.left", "room.closed", "room.read"), _ROOM),
    "mediator.invited": _ROOM,
    "message.created": {"message": _ANY},
}
"""What rooms will say: a blueprint can name it already, since a name given later would need another version."""

ENGINE: dict[str, Members] = {
    "job.created": {"job": _JOB, "changed": _ANY},
    "job.updated": {"job": _JOB, "changed": _ANY},
    "job.searching": {"job": _ID, **dict.fromkeys(("wave", "asked", "declined", "radius_m", "next_at"), _ANY)},
    **dict.fromkeys(("job.late", "job.stalled", "job.dark", "job.unfilled"), _LATE),
    **dict.fromkeys(("offer.created", "offer.updated"), _OFFER),
    "offer.closed": {"job": _ID, "reason": _ANY, "message": _ANY},
    **dict.fromkeys(("bid.created", "bid.accepted", "bid.closed"), _BID),
    **dict.fromkeys(("price.proposed", "price.changed", "price.rejected"), _PRICE),
    **dict.fromkeys(("payment.requested", "payment.received", "payment.refunded", "payment.failed"), _PAYMENT),
    "payment.partial": _PAYMENT,
    "payment.unexpected": {**_PAYMENT, "why": _ANY},
    **dict.fromkeys(("code.failed", "code.locked"), _CODE),
    **CHAT,
    "technician.reviewed": {"technician": _ID, **dict.fromkeys(("kyc", "account", "reason"), _ANY)},
    "technician.status": {"technician": _ID, "online": _ANY, "reason": _ANY, "job": _ID},
    "notification": dict.fromkeys(("id", "kind", "title", "body", "job"), _ANY),
    "position": dict.fromkeys(("job", "lat", "lon", "at", "age_s", "stale", "heading", "accuracy", "jump"), _ANY),
}
"""The events that come without a command of the blueprint, and what they hold (PROTOCOL §5)."""


ADDRESSED = frozenset(
    (
        *("offer.created", "offer.updated", "offer.closed", "code.failed", "code.locked", "technician.status"),
        *("payment.requested", "payment.received", "payment.partial", "payment.unexpected", "payment.refunded"),
        *("payment.failed", "job.unfilled", "job.stalled"),
    )
)
"""What may come of any job and is told also where its blueprint does not name it: the engine knows whom it concerns."""


def sources(blueprint: Blueprint) -> Iterator[tuple[str, str]]:
    """Every event that a job of this blueprint may give rise to, with the place in the blueprint that does; "" for
    those of ``ADDRESSED``, which need no word of it.
    """
    yield from ((f"command {name}", command.event) for name, command in blueprint.commands.items())
    yield from _beside(blueprint)
    yield from (("", event) for event in sorted(ADDRESSED))


def _beside(blueprint: Blueprint) -> Iterator[tuple[str, str]]:
    """What comes beside the commands' own events."""
    yield "booking", "job.created"
    for name, command in blueprint.commands.items():
        yield from ((f"command {name}", event) for event in _besides(blueprint, command))
    for name, state in blueprint.states.items():
        yield from ((f"state {name}", event) for event in _by_itself(state))
    if blueprint.edit:
        yield "edit", "job.updated"
    if blueprint.price.propose:
        yield from (("price", f"price.{what}") for what in ("proposed", "changed", "rejected"))


def _besides(blueprint: Blueprint, command: Command) -> Iterator[str]:
    """What a command gives rise to beside its own event."""
    bills = command.event == "payment.requested"
    if (command.charges or command.refunds) and not bills:
        yield "payment.requested"
    # Where all is paid already nothing is asked for, and a payment captured earlier is taken with the step that makes
    # it possible: both are told as steps (lua/lib/apply_step.lua).
    if (command.charges and bills) or captures(blueprint, command):
        yield "job.status"
    if command.does == "award":
        yield "bid.accepted"
    if command.does == "assign" and not _held(blueprint).isdisjoint(command.from_):
        yield "job.unassigned"


def _held(blueprint: Blueprint) -> set[str]:
    """The states in which somebody may have the job."""
    gives = [command for command in blueprint.commands.values() if command.does in GIVES]
    ends = {state for command in gives for state in ([command.to] if command.to else command.from_)}
    return ends | {name for name, state in blueprint.states.items() if state.phase in ("assigned", "active")}


def _by_itself(state: State) -> Iterator[str]:
    """What a state gives rise to while a job is in it, or leaves it."""
    if state.then:
        yield "job.status"
    if state.seeks in ("broadcast", "bids"):
        yield "job.searching"
    if state.seeks == "bids":
        yield "bid.closed"
    if any(timer.warn for timer in state.timers):
        yield "job.late"
    if state.watch is not None and state.watch.dark_s:
        yield "job.dark"
    if state.watch is not None and (state.watch.still_s or state.watch.away_m):
        yield "job.stalled"


def members(blueprint: Blueprint, event: str) -> Members | None:
    """What an event of this blueprint holds; None where it never comes. What only some of the commands that it tells
    of bring with them is left out.
    """
    if event in ENGINE:
        return ENGINE[event]
    does = {command.does for command in blueprint.commands.values() if command.event == event}
    if event == "offer.declined" and does:
        return {"job": _JOB, "technician": _ID, "reason": _ANY}
    if event in {name for _, name in _beside(blueprint)}:
        return _STEP
    if not does:
        return None
    return {**_STEP, "technician": _CARD} if does <= {"take", "assign", "award"} else _STEP


def holds(found: Members, path: str) -> bool:
    """Whether ``job.customer.name`` and the like leads to something in such an event."""
    head, *rest = path.split(".")
    if head not in found:
        return False
    if not rest or not found[head]:
        return True
    if rest[0] not in found[head]:
        return False
    inner = _PARTY.get(rest[0]) if head == "job" else None
    return len(rest) == 1 or (inner is not None and rest[1] in inner) or rest[0] in ("at", "metadata")


def whole_job(found: Members) -> bool:
    """Whether such an event holds all of its job, as notices need it."""
    return found.get("job") == _JOB
