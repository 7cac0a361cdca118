"""The shared words: ids, roles and the caller. The most imported file; it imports nothing of ours.

Ids say where they live: ``job_<zone>_<ulid>`` names its zone for life, so a job is found without an index.
"""

from __future__ import annotations

import re
from typing import Literal, NewType

import msgspec
from ulid import ULID

Zone = NewType("Zone", str)
UserId = NewType("UserId", str)
TechnicianId = NewType("TechnicianId", UserId)
"""A technician's id is his user's: every technician is a user."""
JobId = NewType("JobId", str)
ServiceId = NewType("ServiceId", str)
Epoch = NewType("Epoch", str)
IdempotencyKey = NewType("IdempotencyKey", str)

DEFAULT_ZONE = Zone("main")

Role = Literal["customer", "technician", "mediator", "onboarding_manager", "ops_manager", "admin", "service"]
ROLES: tuple[Role, ...] = (
    "customer",
    "technician",
    "mediator",
    "onboarding_manager",
    "ops_manager",
    "admin",
    "service",
)
OPS: frozenset[Role] = frozenset({"ops_manager", "admin"})
MANAGERS: frozenset[Role] = OPS | {"onboarding_manager"}
Phase = Literal["open", "assigned", "active", "done", "closed"]

_EPOCH = re.compile(r"e([0-9]{1,15})(-[0-9A-Za-z]{1,40})?")
_ZONE = re.compile(r"[a-z][a-z0-9-]{0,31}")
_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
_JOB = re.compile(r"job_([a-z][a-z0-9-]{0,31})_([0-9a-z]{26})")
_DISPUTE = re.compile(r"dsp_([a-z][a-z0-9-]{0,31})_([0-9a-z]{26})")


class Principal(msgspec.Struct, frozen=True):
    """The authenticated caller: who, in which role, and until when the proof is good (Unix seconds). ``family`` is the
    session (the login) that the proof comes from, "" for one that nobody signed in for.
    """

    id: UserId
    role: Role
    name: str = ""
    expires: float = 0.0
    family: str = ""
    generation: int = 0
    """Which of the login's refreshes the proof comes from."""

    @property
    def is_ops(self) -> bool:
        """Whether he is ops in the sense of routes and channels: ops_manager or admin."""
        return self.role in OPS

    @property
    def channels(self) -> list[str]:
        """The channels that are his by being who he is (``role:ops`` and ``role:managers`` are aliases)."""
        own = [f"user:{self.id}", f"role:{self.role}"]
        if self.role in OPS:
            own.append("role:ops")
        if self.role in MANAGERS:
            own.append("role:managers")
        return own


class Cursor(msgspec.Struct, frozen=True):
    """A place in one zone's log: the highest ``seq`` handled, in the life of the log called ``epoch``."""

    epoch: Epoch
    seq: int


def number_of(epoch: str) -> int:
    """Which of its log's lives an epoch is, counted from 1; 0 for what names none. Before 0.1 names had no suffix."""
    match = _EPOCH.fullmatch(epoch)
    return int(match[1]) if match else 0


def is_zone(text: str) -> bool:
    """Whether ``text`` may name a zone: lower case, digits and dashes, so that a job id splits one way only."""
    return _ZONE.fullmatch(text) is not None


def is_id(text: str) -> bool:
    """Whether ``text`` may stand in a Redis key as an id: letters, digits, ``_`` and ``-``, at most 64."""
    return _ID.fullmatch(text) is not None


def is_key(text: str) -> bool:
    """Whether ``text`` may stand in a path of ours: an id, or a blueprint's ``name@version``."""
    name, at, version = text.partition("@")
    return is_id(name) and (not at or (version.isascii() and version.isdecimal() and len(version) <= 9))


def new_id(kind: str) -> str:
    """A fresh id ``<kind>_<ulid>``, sortable by time of making."""
    return f"{kind}_{str(ULID()).lower()}"


def new_job_id(zone: Zone) -> JobId:
    """A fresh job id ``job_<zone>_<ulid>``."""
    return JobId(f"job_{zone}_{str(ULID()).lower()}")


def zone_of(job: str) -> Zone | None:
    """The zone that a job's id names, or None where ``job`` is no job id: such a job cannot exist."""
    match = _JOB.fullmatch(job)
    return Zone(match[1]) if match else None


def new_dispute_id(zone: Zone) -> str:
    """A fresh id ``dsp_<zone>_<ulid>``."""
    return f"dsp_{zone}_{str(ULID()).lower()}"


def zone_of_dispute(dispute: str) -> Zone | None:
    """The zone that a dispute's id names, or None where ``dispute`` is none."""
    match = _DISPUTE.fullmatch(dispute)
    return Zone(match[1]) if match else None
