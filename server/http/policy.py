"""What a route or a socket op names, and how somebody must stand to it: declared beside each, and held to the truth by
a sweep of all of them with everybody (tests/server/sweep). The engine is what refuses; this says what it must.
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
"""``nothing``: what is asked for is the caller's own, or narrowed to what they may see."""
Tie = Relation | Literal["asked", "self", "managers", "booker", "bidder", "other_side"]
"""How somebody stands to a thing. To a job as its blueprint says, and ``booker``: the service that booked it;
``offered`` is whoever was ever offered it, ``asked`` who was chosen and has not accepted yet. ``bidder`` made the bid.
``other_side`` is who a price was proposed to; of users, customers are technicians' and technicians customers'.
"""


class Policy(msgspec.Struct, frozen=True):
    """Who of those whose role passes may: all, those in one of the ties ``may``, or whom the job's blueprint lets take
    the step.
    """

    of: Thing
    may: frozenset[Tie] | None = None
    by_blueprint: bool = False


def _of(thing: Thing, *may: Tie) -> Policy:
    return Policy(thing, frozenset(may))


OWN = Policy("nothing")
STEP = Policy("job", by_blueprint=True)
KNOWN = _of("job", "customer", "holder", "asked", "offered", "technician", "ops", "service", "mediator")
"""Who may know of a job at all, if only its public part."""
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
