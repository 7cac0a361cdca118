"""The catalogue of events: each type with its payload, its audience and the effect that emits it.

This table is the source of the events that the linter accepts (vocabulary.py, event_linter.py), the default audiences
(audience.py), ``/asyncapi.json`` (server/schemas/payloads.py), the table in docs/protocol.md (server/api/reference.py)
and the tests. To add an event, add one row here and the script that emits it. The header of each script names the types
that the script emits, and tests/server/http/test_asyncapi.py compares the headers with this table.
"""

from __future__ import annotations

from typing import NamedTuple

from engine.rules import job_document

Members = dict[str, frozenset[str]]
"""The members of a payload, each with the names of its own members. An empty set means that the member is a plain value
or an object of any form.
"""

VALUE: frozenset[str] = frozenset()
ID = frozenset({"id"})
CARD = frozenset({"id", "name", "rating"})
JOB = job_document.IN_EVENTS
PUBLIC_JOB = JOB & {member.name for member in job_document.MEMBERS if member.public}
OFFER = frozenset({"job", "status", "wave", "offered_at", "expires_at"})
PARTIES: Members = {"customer": frozenset({"id", "name"}), "technician": CARD}
"""The members of a job that are objects with members of their own."""


class Payload(NamedTuple):
    """The form of an event's ``data``. ``name`` is the Struct in server/schemas/payloads.py that documents the form; ""
    means an object of any form. ``members`` are those that a blueprint may use in texts and fields. Members that only
    some commands add are left out: a text that uses such a member would have a gap in the other events.
    """

    name: str
    members: Members


class EventType(NamedTuple):
    """One row of the catalogue."""

    type: str
    payload: Payload
    audience: str = ""
    """The words of the audience if the blueprint declares none; "" means nobody."""
    recipients: str = ""
    """The receivers that the engine always addresses, in the words of docs/protocol.md. Blueprints can only add others.
    """
    effect: str = ""
    """The effect (``does``) of a command that emits this event. No other command may have it as its event."""
    declarable: bool = True
    """Whether a blueprint may declare its audience, fields and notices although no command of the blueprint emits it.
    No command may choose a declarable event as its own, except by ``effect``.
    """
    any_job: bool = False
    """Whether a job of any blueprint may emit this event. A blueprint need not declare it, because this table has its
    receivers.
    """


def _values(*names: str) -> Members:
    """Return members that are plain values."""
    return dict.fromkeys(names, VALUE)


JOB_CHANGED = Payload("JobChanged", {"job": JOB, "changed": VALUE})
JOB_SEARCHING = Payload("JobSearching", {"job": ID, **_values("wave", "asked", "declined", "radius_m", "next_at")})
JOB_LATE = Payload("JobLate", {"job": ID, "since": VALUE, "step": VALUE})
JOB_STEP = Payload(
    "JobStep",
    {"job": JOB, "actor": frozenset({"id", "role"}), **_values("from", "to", "command", "reason", "occurred_at")},
)
JOB_TAKEN = Payload("JobTaken", {**JOB_STEP.members, "technician": CARD})
JOB_ENDED = Payload("JobEnded", JOB_STEP.members)
OFFER_MADE = Payload("OfferMade", {"offer": OFFER})
OFFER_CLOSED = Payload("OfferClosed", {"job": ID, "reason": VALUE, "message": VALUE})
OFFER_DECLINED = Payload("OfferDeclined", {"job": PUBLIC_JOB, "technician": ID, "reason": VALUE})
BID = Payload("BidTold", {"bid": VALUE, "job": ID})
PRICE = Payload("PriceTold", {"proposal": VALUE, "job": JOB})
PAYMENT = Payload("PaymentTold", {"payment": VALUE, "job": JOB})
PAYMENT_UNEXPECTED = Payload("PaymentUnexpected", {"payment": VALUE, "job": JOB, "why": VALUE})
CODE = Payload("CodeFailed", {"job": ID, "technician": ID, "purpose": VALUE})
REVIEW = Payload("TechnicianReviewed", {"technician": ID, **_values("kyc", "account", "reason")})
STATUS = Payload("TechnicianStatus", {"technician": ID, "online": VALUE, "reason": VALUE, "job": ID})
NOTIFICATION = Payload("Notified", _values("id", "kind", "title", "body", "job"))
POSITION = Payload("Position", _values("job", "lat", "lon", "at", "age_s", "stale", "heading", "accuracy", "jump"))
TOKEN = Payload("TokenExpiring", _values("in_s"))
ROOM = Payload("", _values("room", "user", "n"))
MESSAGE = Payload("", _values("message"))
ANYTHING = Payload("", {})

_SIDES = "customer holder ops"
_PAYERS = f"{_SIDES} service"
_BIDDER = "the bidder"
_ASKED = "the technician who is offered the job, once they may claim it"

LOGGED = (
    EventType("job.created", JOB_CHANGED),
    EventType("job.updated", JOB_CHANGED, _SIDES, effect="reissue"),
    EventType("job.searching", JOB_SEARCHING),
    EventType("job.accepted", JOB_TAKEN, declarable=False),
    EventType("job.assigned", JOB_TAKEN, declarable=False),
    EventType("job.status", JOB_STEP, _SIDES, declarable=False),
    EventType("job.started", JOB_STEP, declarable=False),
    EventType("job.completed", JOB_STEP, declarable=False),
    EventType("job.unassigned", JOB_STEP, declarable=False),
    EventType("job.cancelled", JOB_ENDED, declarable=False),
    EventType("job.expired", JOB_ENDED, declarable=False),
    EventType("job.late", JOB_LATE),
    EventType("job.stalled", JOB_LATE, "ops", any_job=True),
    EventType("job.dark", JOB_LATE),
    EventType("job.unfilled", JOB_LATE, "ops", any_job=True),
    EventType("job.*", JOB_STEP, declarable=False),
    EventType("offer.created", OFFER_MADE, recipients=_ASKED, any_job=True),
    EventType("offer.updated", OFFER_MADE, recipients="who holds an open offer of the job", any_job=True),
    EventType("offer.closed", OFFER_CLOSED, recipients="who held an open offer of the job", any_job=True),
    EventType("offer.declined", OFFER_DECLINED, effect="refuse", declarable=False),
    EventType("bid.created", BID, recipients=_BIDDER, effect="bid"),
    EventType("bid.accepted", BID, recipients=_BIDDER),
    EventType("bid.closed", BID, recipients=_BIDDER, effect="withdraw"),
    EventType("price.proposed", PRICE, _SIDES),
    EventType("price.changed", PRICE, _SIDES),
    EventType("price.rejected", PRICE, _SIDES),
    EventType("payment.requested", PAYMENT, _PAYERS, any_job=True),
    EventType("payment.received", PAYMENT, _PAYERS, effect="capture", any_job=True),
    EventType("payment.refunded", PAYMENT, _PAYERS, any_job=True),
    EventType("payment.failed", PAYMENT, _PAYERS, any_job=True),
    EventType("payment.partial", PAYMENT, _PAYERS, any_job=True),
    EventType("payment.unexpected", PAYMENT_UNEXPECTED, "ops service", any_job=True),
    EventType("code.failed", CODE, recipients="ops", any_job=True),
    EventType("code.locked", CODE, recipients="customer, ops", any_job=True),
    EventType("technician.reviewed", REVIEW, recipients="the technician, managers"),
    EventType(
        "technician.status",
        STATUS,
        "ops",
        recipients="ops; the technician too where they went on- or offline",
        any_job=True,
    ),
    EventType("notification", NOTIFICATION, recipients="one user"),
    EventType("announcement.*", ANYTHING, recipients="the roles that it names", declarable=False),
)
"""The events of the log that clients receive. ``job.*`` are the steps to which a blueprint gives types of its own."""

LIVE = (
    EventType("token.expiring", TOKEN, recipients="its session", declarable=False),
    EventType(
        "position",
        POSITION,
        "customer ops",
        recipients="customer, ops, and who subscribed `job:<id>`, while it is shared",
    ),
)
"""The events that are in no log: they are sent once, without zone and seq, and never replayed."""

PLANNED = (
    EventType("room.opened", ROOM),
    EventType("room.joined", ROOM),
    EventType("room.left", ROOM),
    EventType("room.closed", ROOM),
    EventType("room.read", ROOM),
    EventType("mediator.invited", ROOM),
    EventType("message.created", MESSAGE),
)
"""The events of chat rooms, which nothing emits yet. Blueprints may name them already, because a name that is given
later needs another version of the blueprint.
"""

BY_TYPE = {event.type: event for event in (*LOGGED, *LIVE, *PLANNED)}
DECLARABLE: dict[str, Members] = {event.type: event.payload.members for event in BY_TYPE.values() if event.declarable}
"""The events that the engine emits without a command that chose them, and their members (PROTOCOL §5)."""
EFFECTS = {event.type: event.effect for event in BY_TYPE.values() if event.effect}
"""The events of the engine that only commands with one effect emit, and that effect."""
ANY_JOB = frozenset(event.type for event in BY_TYPE.values() if event.any_job)
"""The events that any job may emit, also if its blueprint does not name them."""
