"""Declare for each route and each socket op what it names, and which relation a caller needs to that thing. Tests call
every route and op as every kind of user and compare the results with these declarations (tests/server/sweep). The
engine enforces access; these declarations do not.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from engine.blueprint.schema import Relation

Thing = Literal[
    "nothing",
    "job",
    "bid",
    "proposal",
    "dispute",
    "technician",
    "user",
    "notification",
    "login",
    "request",
    "service",
    "blueprint",
    "code",
]
"""The kind of thing that a route or op names. ``nothing``: the request is about the caller's own data, or returns only
what the caller may see.
"""
Tie = Relation | Literal["asked", "self", "managers", "booker", "bidder", "other_side"]
"""The relation of a caller to a thing. The relations to a job are those of its blueprint (``offered``: the job was ever
offered to them), and also ``booker``, the service that booked the job, and ``asked``, the technician who was chosen and
has not accepted yet. ``bidder`` made the bid. ``other_side`` is the party to whom a price was proposed; for users it is
a technician for a customer, and a customer for a technician.
"""


class Policy(msgspec.Struct, frozen=True):
    """The declaration of who may use a route or op, of all callers with the right role. ``of`` is the kind of thing
    that it names. All may use it if ``may`` is None, else those in one of the relations ``may``; with ``by_blueprint``,
    those whom the job's blueprint allows the step.
    """

    of: Thing
    may: frozenset[Tie] | None = None
    by_blueprint: bool = False


def _of(thing: Thing, *may: Tie) -> Policy:
    return Policy(thing, frozenset(may))


OWN = Policy("nothing")
STEP = Policy("job", by_blueprint=True)
KNOWN = _of("job", "customer", "holder", "asked", "offered", "technician", "ops", "service", "mediator")
"""For callers who may read at least the job's public part."""
WHOLE = _of("job", "customer", "holder", "ops", "service", "mediator")
SIDES = _of("job", "customer", "holder")
TALKED_OF = _of("job", "customer", "holder", "asked")
EDITED = _of("job", "customer", "ops", "booker")
PAID = _of("job", "service", "ops")
LOOKED = _of("job", "ops")
BID_FOR = _of("job", "technician")
AWARDED = _of("bid", "customer")
WITHDRAWN = _of("bid", "bidder")
PROPOSED = _of("proposal", "other_side")
SETTLED = _of("dispute", "mediator")
PROFILE = _of("technician", "self", "managers")
REVIEWED = _of("technician", "managers")
THEMSELVES = _of("technician", "self")
BLOCKED = _of("user", "other_side")
NOTICE = _of("notification", "self")
LOGIN = _of("login", "self")
VERDICT = _of("request", "self")
ANY_TECHNICIAN, ANY_USER = Policy("technician"), Policy("user")
ANY_SERVICE, ANY_BLUEPRINT, ANY_CODE = Policy("service"), Policy("blueprint"), Policy("code")
