"""Declare for each route and each socket op what it names, and which relation a caller needs to that thing. Tests call
every route and op as every kind of user and compare the results with these declarations (tests/server/sweep). The
engine enforces access; these declarations do not.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from engine.blueprint.relation import Relation

ObjectKind = Literal[
    "nothing",
    "job",
    "bid",
    "proposal",
    "quote",
    "dispute",
    "room",
    "technician",
    "user",
    "account",
    "notification",
    "login",
    "device",
    "request",
    "service",
    "blueprint",
    "code",
    "zone",
    "town",
    "payment_adapter",
    "audit_tree",
    "audit_entry",
    "plan",
    "receipt",
    "payout",
    "file",
    "file_target",
    "share",
    "share_token",
]
"""The kind of object that a route or op names. ``nothing``: the request is about the caller's own data, or returns only
what the caller may see. ``account`` is a person with everything about them.
"""
CallerRelation = (
    Relation | Literal["asked", "self", "admin", "managers", "booker", "bidder", "other_side", "member", "uploader"]
)
"""The relation of a caller to an object. The relations to a job are those of its blueprint, and also:

- ``booker``: the service that booked the job;
- ``asked``: the technician who was chosen and has not accepted yet.

``offered`` means that the job was offered to the technician at some time. The others:

- ``bidder`` made the bid;
- ``member`` belongs to the room;
- ``other_side`` of a proposed price is the party to whom the price was proposed;
- ``other_side`` of a user: the caller is a customer and the user a technician, or the reverse.
"""


class Policy(msgspec.Struct, frozen=True):
    """Who may use a route or op, among the callers with the right role. ``object_kind`` is the kind of the object that
    the route or op names. If ``relations`` is None, all of them may use it. Otherwise only those with one of the
    relations to the object may. If ``by_blueprint`` is true, the job's blueprint decides who may take the step.
    """

    object_kind: ObjectKind
    relations: frozenset[CallerRelation] | None = None
    by_blueprint: bool = False


def _policy(object_kind: ObjectKind, *relations: CallerRelation) -> Policy:
    return Policy(object_kind, frozenset(relations))


OWN_DATA = Policy("nothing")
STEP_OF_JOB = Policy("job", by_blueprint=True)
READ_JOB = _policy("job", "customer", "holder", "asked", "offered", "technician", "ops", "service", "mediator")
"""For callers who may read at least the job's public part."""
READ_FULL_JOB = _policy("job", "customer", "holder", "ops", "service", "mediator")
READ_RECORD = _policy("job", "customer", "holder", "ops")
READ_RECEIPT = _policy("receipt", "customer", "holder", "ops")
SIDES_OF_JOB = _policy("job", "customer", "holder")
PROPOSE_PRICE = _policy("job", "customer", "holder", "asked")
EDIT_JOB = _policy("job", "customer", "ops", "booker")
RECORD_PAYMENT = _policy("job", "service", "ops")
ADD_PHOTO = _policy("job", "customer", "holder", "asked")
ADD_FILE = _policy("file_target", "customer", "holder", "member", "self")
READ_FILE = _policy("file", "customer", "holder", "ops", "mediator", "member", "self", "managers", "uploader")
READ_WAVES = _policy("job", "ops")
BID_ON_JOB = _policy("job", "technician")
ACCEPT_BID = _policy("bid", "customer")
WITHDRAW_BID = _policy("bid", "bidder")
ANSWER_PROPOSAL = _policy("proposal", "other_side")
MEDIATE_DISPUTE = _policy("dispute", "mediator", "ops")
EDIT_TECHNICIAN = _policy("technician", "self", "managers")
REVIEW_TECHNICIAN = _policy("technician", "managers")
OWN_TECHNICIAN = _policy("technician", "self")
EXPLAIN_OFFERS = _policy("technician", "self", "ops")
SCHEDULE_OF_TECHNICIAN = EARNINGS_OF_TECHNICIAN = _policy("technician", "self", "ops")
READ_ROOM = _policy("room", "member", "ops")
MEMBER_OF_ROOM = _policy("room", "member")
STAFF_OF_ROOM = _policy("room", "ops")
BLOCK_USER = _policy("user", "other_side")
MANAGE_ACCOUNT = _policy("account", "self", "admin")
OWN_NOTIFICATION = _policy("notification", "self")
OWN_LOGIN = _policy("login", "self")
OWN_DEVICE = _policy("device", "self")
OWN_REQUEST = _policy("request", "self")
READ_MAP = READ_ZONE = EDIT_ZONE = Policy("zone")
SHARE_JOB, OWN_SHARE = _policy("job", "customer", "ops"), _policy("share", "customer", "ops")
ANY_SHARE_TOKEN = Policy("share_token")
"""For anybody who has the token of a sharing link. No account is needed."""
READ_QUOTE = _policy("quote", "customer", "ops", "service")
ANY_TECHNICIAN, ANY_USER = Policy("technician"), Policy("user")
ANY_SERVICE, ANY_BLUEPRINT, ANY_CODE = Policy("service"), Policy("blueprint"), Policy("code")
ANY_TOWN = Policy("town")
SIGNED_BY_PROVIDER = _policy("payment_adapter")
"""The identity of the caller does not matter: the signature of the body is the permission."""
ANY_RECEIPT = Policy("receipt")
ANY_AUDIT_TREE, ANY_AUDIT_ENTRY = Policy("audit_tree"), Policy("audit_entry")
ANY_PLAN = Policy("plan")
ANY_PAYOUT = Policy("payout")
