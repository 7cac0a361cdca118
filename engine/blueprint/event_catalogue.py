"""The catalogue of events: each type with its payload, its audience and the effect that emits it.

This table is the source of the events that the linter accepts (vocabulary.py, event_linter.py), the default audiences
(audience.py), ``/asyncapi.json`` (server/schemas/payloads.py), the table in docs/protocol.md (server/api/reference.py)
and the tests. To add an event, add one row here and the script that emits it. The header of each script names the types
that the script emits, and tests/server/http/test_asyncapi.py compares the headers with this table.
"""

from __future__ import annotations

from typing import NamedTuple

from engine.rules import job_document

PayloadMembers = dict[str, frozenset[str]]
"""The members of a payload, each with the names of its own members. An empty set means that the member is a plain value
or an object of any form.
"""

NO_MEMBERS: frozenset[str] = frozenset()
ID_ONLY = frozenset({"id"})
CARD_MEMBERS = frozenset({"id", "name", "rating"})
JOB_MEMBERS = job_document.EVENT_MEMBERS
PUBLIC_JOB_MEMBERS = JOB_MEMBERS & {member.name for member in job_document.MEMBERS if member.public}
OFFER_MEMBERS = frozenset({"job", "status", "wave", "offered_at", "expires_at"})
PARTY_MEMBERS: PayloadMembers = {"customer": frozenset({"id", "name"}), "technician": CARD_MEMBERS}
"""The members of a job that are objects with members of their own."""


class Payload(NamedTuple):
    """The form of an event's ``data``. ``name`` is the Struct in server/schemas/payloads.py that documents the form; ""
    means an object of any form. ``members`` are the members that a blueprint may use in texts and fields. Members that
    only some commands add are left out: a text that uses such a member would have a gap in the other events.
    """

    name: str
    members: PayloadMembers


class EventType(NamedTuple):
    """A type of event, as one row of the event catalogue."""

    type: str
    payload: Payload
    audience: str = ""
    """The words of the audience if the blueprint declares none; "" means nobody."""
    recipients: str = ""
    """The receivers that the engine always addresses, in the words of docs/protocol.md. Blueprints can only add others.
    """
    effect: str = ""
    """The effect (``does``) of a command that emits this event. No other command may have it as its event."""
    is_declarable: bool = True
    """Whether a blueprint may declare its audience, fields and notices although no command of the blueprint emits it.
    No command may choose a declarable event as its own, except by ``effect``.
    """
    is_of_any_job: bool = False
    """Whether a job of any blueprint may emit this event. A blueprint need not declare it, because this table has its
    receivers.
    """


def _scalar_members(*names: str) -> PayloadMembers:
    """Return payload members with these names. Each is a plain value: a text, a number or a boolean."""
    return dict.fromkeys(names, NO_MEMBERS)


JOB_CHANGED_PAYLOAD = Payload("JobChanged", {"job": JOB_MEMBERS, "changed": NO_MEMBERS})
JOB_SEARCHING_PAYLOAD = Payload(
    "JobSearching", {"job": ID_ONLY, **_scalar_members("wave", "asked", "declined", "radius_m", "next_at")}
)
JOB_LATE_PAYLOAD = Payload("JobLate", {"job": ID_ONLY, "since": NO_MEMBERS, "step": NO_MEMBERS})
JOB_STEP_PAYLOAD = Payload(
    "JobStep",
    {
        "job": JOB_MEMBERS,
        "actor": frozenset({"id", "role"}),
        **_scalar_members("from", "to", "command", "reason", "forced", "occurred_at", "offers_closing"),
    },
)
JOB_TAKEN_PAYLOAD = Payload("JobTaken", {**JOB_STEP_PAYLOAD.members, "technician": CARD_MEMBERS})
JOB_SIGNED_PAYLOAD = Payload("JobSigned", JOB_STEP_PAYLOAD.members)
JOB_ENDED_PAYLOAD = Payload("JobEnded", JOB_STEP_PAYLOAD.members)
OFFER_MADE_PAYLOAD = Payload("OfferMade", {"offer": OFFER_MEMBERS})
OFFER_CLOSED_PAYLOAD = Payload("OfferClosed", {"job": ID_ONLY, "reason": NO_MEMBERS, "message": NO_MEMBERS})
OFFER_DECLINED_PAYLOAD = Payload(
    "OfferDeclined", {"job": PUBLIC_JOB_MEMBERS, "technician": ID_ONLY, "reason": NO_MEMBERS}
)
FILE_PAYLOAD = Payload("FileEventData", {"file": NO_MEMBERS, "job": JOB_MEMBERS})
BID_PAYLOAD = Payload("BidEventData", {"bid": NO_MEMBERS, "job": ID_ONLY})
PRICE_PAYLOAD = Payload("PriceEventData", {"proposal": NO_MEMBERS, "job": JOB_MEMBERS})
PRICE_CHANGED_PAYLOAD = Payload("PriceChanged", {**PRICE_PAYLOAD.members, "payment_requested": NO_MEMBERS})
QUOTE_PAYLOAD = Payload("QuoteEventData", _scalar_members("quote"))
PAYMENT_PAYLOAD = Payload("PaymentEventData", {"payment": NO_MEMBERS, "job": JOB_MEMBERS})
PAYMENT_REQUESTED_PAYLOAD = Payload("PaymentEventData", {**PAYMENT_PAYLOAD.members, "command": NO_MEMBERS})
"""Only a request by a step has ``command`` and needs a notification. A report of the payment service has none."""
PAYMENT_UNEXPECTED_PAYLOAD = Payload(
    "PaymentUnexpected", {"payment": NO_MEMBERS, "job": JOB_MEMBERS, "why": NO_MEMBERS}
)
PAYOUT_PAYLOAD = Payload("PayoutEventData", _scalar_members("payout"))
SHARE_PAYLOAD = Payload("ShareEventData", {"share": NO_MEMBERS, "job": ID_ONLY})
CODE_FAILED_PAYLOAD = Payload("CodeFailed", {"job": ID_ONLY, "technician": ID_ONLY, "purpose": NO_MEMBERS})
REVIEW_PAYLOAD = Payload("TechnicianReviewed", {"technician": ID_ONLY, **_scalar_members("kyc", "account", "reason")})
TECHNICIAN_STATUS_PAYLOAD = Payload(
    "TechnicianStatus", {"technician": ID_ONLY, "online": NO_MEMBERS, "reason": NO_MEMBERS, "job": ID_ONLY}
)
NOTIFICATION_PAYLOAD = Payload("NotificationEventData", _scalar_members("id", "kind", "title", "body", "job"))
POSITION_PAYLOAD = Payload(
    "Position", _scalar_members("job", "lat", "lon", "at", "age_s", "stale", "heading", "accuracy", "jump")
)
"""The members that every position has. Only some positions also have those of the estimated arrival."""
ARRIVAL_PAYLOAD = Payload("TechnicianArrival", {"job": ID_ONLY, **_scalar_members("eta_s", "distance_m", "at")})
PRESENCE_PAYLOAD = Payload("Presence", _scalar_members("user", "online", "last_seen"))
TOKEN_EXPIRING_PAYLOAD = Payload("TokenExpiring", _scalar_members("in_s"))
FIX_RATE_PAYLOAD = Payload("FixRate", _scalar_members("every_s", "distance_m"))
MAP_SNAPSHOT_PAYLOAD = Payload(
    "MapSnapshot", _scalar_members("zone", "k", "bbox", "people", "jobs", "demand", "clusters")
)
DEMAND_PAYLOAD = Payload("DemandChanged", _scalar_members("zone", "by", "items", "as_of"))
MAP_DELTA_PAYLOAD = Payload(
    "MapDelta", _scalar_members("zone", "k", "entered", "moved", "left", "demand", "demand_left")
)
ROOM_PAYLOAD = Payload("RoomEventData", _scalar_members("room", "user", "n"))
TYPING_PAYLOAD = Payload("TypingNotice", _scalar_members("room", "user", "on"))
MESSAGE_PAYLOAD = Payload("MessageEventData", _scalar_members("message"))
MEDIATION_PAYLOAD = Payload("MediationEventData", _scalar_members("dispute", "room", "user"))
EMPTY_PAYLOAD = Payload("", {})

_PARTIES_AND_OPS = "customer holder ops"
_PARTIES_OPS_AND_SERVICE = f"{_PARTIES_AND_OPS} service"
_BIDDER = "the bidder"
_PAYOUT_RECIPIENTS = "the technician, ops, service"
_MAP_SUBSCRIBERS = "ops who subscribed `map:<zone>`"
_ROOM_MEMBERS = "the members of the room"
_ROOM_MEMBERS_AND_STAFF = f"{_ROOM_MEMBERS}, mediators, ops"
_INVITED_TECHNICIAN = "the technician who is offered the job, once they may claim it"

LOGGED_EVENTS = (
    EventType("job.created", JOB_CHANGED_PAYLOAD),
    EventType("job.updated", JOB_CHANGED_PAYLOAD, _PARTIES_AND_OPS, effect="reissue"),
    EventType("job.searching", JOB_SEARCHING_PAYLOAD),
    EventType("job.accepted", JOB_TAKEN_PAYLOAD, is_declarable=False),
    EventType("job.assigned", JOB_TAKEN_PAYLOAD, is_declarable=False),
    EventType("job.status", JOB_STEP_PAYLOAD, _PARTIES_AND_OPS, is_declarable=False),
    EventType("job.started", JOB_STEP_PAYLOAD, is_declarable=False),
    EventType("job.completed", JOB_STEP_PAYLOAD, is_declarable=False),
    EventType("job.unassigned", JOB_STEP_PAYLOAD, is_declarable=False),
    EventType("job.signed", JOB_SIGNED_PAYLOAD, is_declarable=False),
    EventType("job.cancelled", JOB_ENDED_PAYLOAD, is_declarable=False),
    EventType("job.expired", JOB_ENDED_PAYLOAD, is_declarable=False),
    EventType("job.late", JOB_LATE_PAYLOAD, "ops", is_of_any_job=True),
    EventType("job.stalled", JOB_LATE_PAYLOAD, "ops", is_of_any_job=True),
    EventType("job.dark", JOB_LATE_PAYLOAD),
    EventType("job.unfilled", JOB_LATE_PAYLOAD, "ops", is_of_any_job=True),
    EventType("job.*", JOB_STEP_PAYLOAD, is_declarable=False),
    EventType("offer.created", OFFER_MADE_PAYLOAD, recipients=_INVITED_TECHNICIAN, is_of_any_job=True),
    EventType("offer.updated", OFFER_MADE_PAYLOAD, recipients="who holds an open offer of the job", is_of_any_job=True),
    EventType("offer.closed", OFFER_CLOSED_PAYLOAD, recipients="who held an open offer of the job", is_of_any_job=True),
    EventType("offer.declined", OFFER_DECLINED_PAYLOAD, effect="refuse", is_declarable=False),
    EventType("bid.created", BID_PAYLOAD, recipients=_BIDDER, effect="bid"),
    EventType("bid.accepted", BID_PAYLOAD, recipients=_BIDDER),
    EventType("bid.closed", BID_PAYLOAD, recipients=_BIDDER, effect="withdraw"),
    EventType("price.proposed", PRICE_PAYLOAD, _PARTIES_AND_OPS),
    EventType("price.changed", PRICE_CHANGED_PAYLOAD, _PARTIES_AND_OPS),
    EventType("price.rejected", PRICE_PAYLOAD, _PARTIES_AND_OPS),
    EventType("file.added", FILE_PAYLOAD, _PARTIES_AND_OPS, is_of_any_job=True),
    EventType("quote.created", QUOTE_PAYLOAD, recipients="ops", is_declarable=False),
    EventType("payment.requested", PAYMENT_REQUESTED_PAYLOAD, _PARTIES_OPS_AND_SERVICE, is_of_any_job=True),
    EventType("payment.authorized", PAYMENT_PAYLOAD, _PARTIES_OPS_AND_SERVICE, is_of_any_job=True),
    EventType("payment.released", PAYMENT_PAYLOAD, _PARTIES_OPS_AND_SERVICE, is_of_any_job=True),
    EventType("payment.received", PAYMENT_PAYLOAD, _PARTIES_OPS_AND_SERVICE, effect="capture", is_of_any_job=True),
    EventType("payment.refunded", PAYMENT_PAYLOAD, _PARTIES_OPS_AND_SERVICE, is_of_any_job=True),
    EventType("payment.failed", PAYMENT_PAYLOAD, _PARTIES_OPS_AND_SERVICE, is_of_any_job=True),
    EventType("payment.partial", PAYMENT_PAYLOAD, _PARTIES_OPS_AND_SERVICE, is_of_any_job=True),
    EventType("payment.unexpected", PAYMENT_UNEXPECTED_PAYLOAD, "ops service", is_of_any_job=True),
    EventType("payout.requested", PAYOUT_PAYLOAD, recipients=_PAYOUT_RECIPIENTS, is_declarable=False),
    EventType("payout.paid", PAYOUT_PAYLOAD, recipients=_PAYOUT_RECIPIENTS, is_declarable=False),
    EventType("payout.failed", PAYOUT_PAYLOAD, recipients=_PAYOUT_RECIPIENTS, is_declarable=False),
    EventType("share.created", SHARE_PAYLOAD, recipients="customer, ops", is_of_any_job=True, is_declarable=False),
    EventType("share.closed", SHARE_PAYLOAD, recipients="customer, ops", is_of_any_job=True, is_declarable=False),
    EventType("code.failed", CODE_FAILED_PAYLOAD, recipients="ops", is_of_any_job=True),
    EventType("code.locked", CODE_FAILED_PAYLOAD, recipients="customer, ops", is_of_any_job=True),
    EventType("technician.reviewed", REVIEW_PAYLOAD, recipients="the technician, managers"),
    EventType(
        "technician.status",
        TECHNICIAN_STATUS_PAYLOAD,
        "ops",
        recipients="ops; the technician too where they went on- or offline",
        is_of_any_job=True,
    ),
    EventType(
        "room.opened", ROOM_PAYLOAD, recipients=f"{_ROOM_MEMBERS}; later the new member alone", is_of_any_job=True
    ),
    EventType("room.joined", ROOM_PAYLOAD, recipients=_ROOM_MEMBERS, is_of_any_job=True),
    EventType("room.left", ROOM_PAYLOAD, recipients=f"{_ROOM_MEMBERS} and who left", is_of_any_job=True),
    EventType("room.closed", ROOM_PAYLOAD, recipients=_ROOM_MEMBERS, is_of_any_job=True),
    EventType("room.read", ROOM_PAYLOAD, recipients=_ROOM_MEMBERS, is_of_any_job=True),
    EventType("message.created", MESSAGE_PAYLOAD, recipients=_ROOM_MEMBERS, is_of_any_job=True),
    EventType("mediator.invited", MEDIATION_PAYLOAD, recipients=_ROOM_MEMBERS_AND_STAFF, is_of_any_job=True),
    EventType("mediator.taken", MEDIATION_PAYLOAD, recipients=_ROOM_MEMBERS_AND_STAFF, is_of_any_job=True),
    EventType("technician.near", ARRIVAL_PAYLOAD, _PARTIES_AND_OPS, is_of_any_job=True),
    EventType("technician.arrived", ARRIVAL_PAYLOAD, _PARTIES_AND_OPS, is_of_any_job=True),
    EventType("notification", NOTIFICATION_PAYLOAD, recipients="one user"),
    EventType("announcement.*", EMPTY_PAYLOAD, recipients="the roles that it names", is_declarable=False),
)
"""The events of the log that clients receive. ``job.*`` stands for types that a blueprint names for its steps."""

LIVE_EVENTS = (
    EventType(
        "presence",
        PRESENCE_PAYLOAD,
        recipients="who watches the user, and shares a live job or an open room with them; ops",
        is_declarable=False,
    ),
    EventType("token.expiring", TOKEN_EXPIRING_PAYLOAD, recipients="its session", is_declarable=False),
    EventType("fix", FIX_RATE_PAYLOAD, recipients="the technician, when the rate changes", is_declarable=False),
    EventType(
        "position",
        POSITION_PAYLOAD,
        "customer ops",
        recipients="customer, ops, and who subscribed `job:<id>`, while it is shared",
    ),
    EventType(
        "typing",
        TYPING_PAYLOAD,
        recipients="the other members of the room whose connection joined it",
        is_declarable=False,
    ),
    EventType("map.snapshot", MAP_SNAPSHOT_PAYLOAD, recipients=_MAP_SUBSCRIBERS, is_declarable=False),
    EventType("map.delta", MAP_DELTA_PAYLOAD, recipients=_MAP_SUBSCRIBERS, is_declarable=False),
    EventType("demand", DEMAND_PAYLOAD, recipients="ops who subscribed `zone:<name>`", is_declarable=False),
)
"""The events that are not in a log: they are sent once, without zone and seq, and are never replayed."""

PLANNED_EVENTS: tuple[EventType, ...] = ()
"""The events that no code emits yet. Blueprints may name them already, because naming them later would need a new
version of the blueprint.
"""

EVENT_TYPES = {event.type: event for event in (*LOGGED_EVENTS, *LIVE_EVENTS, *PLANNED_EVENTS)}
MEMBERS_OF_DECLARABLE_EVENTS: dict[str, PayloadMembers] = {
    event.type: event.payload.members for event in EVENT_TYPES.values() if event.is_declarable
}
"""The events that the engine emits by itself, not as the ``event`` of a command; their members (PROTOCOL §5)."""
EFFECT_OF_EVENT = {event.type: event.effect for event in EVENT_TYPES.values() if event.effect}
"""The events that only commands with a certain effect emit, each with that effect."""
EVENTS_OF_ANY_JOB = frozenset(event.type for event in EVENT_TYPES.values() if event.is_of_any_job)
"""The events that any job may emit, also if its blueprint does not name them."""
