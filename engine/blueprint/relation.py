"""The relations of a caller to a job. A blueprint declares which relations may give a command.

lua/lib/relation.lua decides at the instant of a step. This module decides who may see a job, and which commands a
client may offer.
"""

from __future__ import annotations

from typing import Literal

from engine.rules.job_document import EventJob
from engine.types import OPS, ROLES, Principal, Role, UserId

Relation = Literal["offered", "holder", "customer", "ops", "service", "mediator", "technician", "engine"]


def relations(caller: Principal, job: EventJob, *, offered: bool = False, bids: bool = False) -> list[Relation]:
    """Return the relations of a caller to a job. A caller without any may not learn that the job exists. ``offered``:
    the caller has an offer or a bid. ``bids``: the job is open to bids and the caller provides its service.
    """
    role, user = caller.role, caller.id
    candidates: list[tuple[bool, Relation]] = [
        (role in OPS, "ops"),
        (role == "service", "service"),
        (role == "customer" and user == job.customer_id, "customer"),
        (role == "technician" and user == job.holder_id, "holder"),
        (role == "technician" and offered, "offered"),
        (role == "technician" and bids, "technician"),
        (role == "mediator" and job.frozen, "mediator"),
    ]
    return [name for applies, name in candidates if applies]


_JOB_WITH_EVERY_RELATION = EventJob(frozen=True)
"""A job of the user with the id "", who is its customer and holder, while a dispute is open."""
POSSIBLE_RELATIONS: dict[Role, frozenset[Relation]] = {
    role: frozenset(relations(Principal(UserId(""), role), _JOB_WITH_EVERY_RELATION, offered=True, bids=True))
    for role in ROLES
}
"""The relations to a job that each role can have."""


def possible_relations(role: Role) -> frozenset[Relation]:
    """Return the relations to a job that this role can have."""
    return POSSIBLE_RELATIONS.get(role, frozenset())
