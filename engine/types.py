"""The shared types: ids, roles and the caller. All layers import this module; this module imports no other module of
Callout.

A job's id contains the job's zone: the job ``job_<zone>_<ulid>`` never leaves that zone, so that a job is found without
an index.
"""

from __future__ import annotations

import os
import re
import threading
import time
from typing import Literal, NewType, get_args

import msgspec

Zone = NewType("Zone", str)
UserId = NewType("UserId", str)
TechnicianId = NewType("TechnicianId", UserId)
"""A technician's id is the id of their user: every technician is a user."""
JobId = NewType("JobId", str)
RoomId = NewType("RoomId", str)
ServiceId = NewType("ServiceId", str)
Epoch = NewType("Epoch", str)
IdempotencyKey = NewType("IdempotencyKey", str)

DEFAULT_ZONE = Zone("main")
NEWEST_FORMAT = 1
"""The newest format of zones that this release knows (engine/zone/upgrade.py)."""

Role = Literal["customer", "technician", "mediator", "onboarding_manager", "ops_manager", "admin", "service"]
ROLES: tuple[Role, ...] = get_args(Role)
OPS: frozenset[Role] = frozenset({"ops_manager", "admin"})
MANAGERS: frozenset[Role] = OPS | {"onboarding_manager"}
Phase = Literal["open", "assigned", "active", "done", "closed"]

_EPOCH_PATTERN = re.compile(r"e([0-9]{1,15})(-[0-9A-Za-z]{1,40})?")
_ZONE_PATTERN = re.compile(r"[a-z0-9-]{1,32}")
_ID_PATTERN = re.compile(r"[A-Za-z0-9_-]{1,64}")
_JOB_ID_PATTERN = re.compile(r"job_([a-z0-9-]{1,32})_([0-9a-z]{26})")
_ROOM_ID_PATTERN = re.compile(r"room_([a-z0-9-]{1,32})_([0-9a-z]{26})")
_QUOTE_ID_PATTERN = re.compile(r"quo_([a-z0-9-]{1,32})_([0-9a-z]{26})")
_DISPUTE_ID_PATTERN = re.compile(r"dsp_([a-z0-9-]{1,32})_([0-9a-z]{26})")
_DAY_PLAN_ID_PATTERN = re.compile(r"plan_([a-z0-9-]{1,32})_([0-9a-z]{26})")


class Principal(msgspec.Struct, frozen=True):
    """The authenticated caller: their id and role. ``expires`` is the end of their token's validity in Unix seconds.
    ``family`` is the id of the login that the token belongs to; "" = the token belongs to no login.
    """

    id: UserId
    role: Role
    name: str = ""
    expires: float = 0.0
    family: str = ""
    generation: int = 0
    """The number of the refresh, within the login, that issued the token."""

    @property
    def is_ops(self) -> bool:
        """Return whether the caller counts as ops for routes and channels: ops_manager or admin."""
        return self.role in OPS

    @property
    def channels(self) -> list[str]:
        """Return the channels that the caller may receive by their id and role (``role:ops`` and ``role:managers`` are
        aliases).
        """
        own = [f"user:{self.id}", f"role:{self.role}"]
        if self.role in OPS:
            own.append("role:ops")
        if self.role in MANAGERS:
            own.append("role:managers")
        return own


class Cursor(msgspec.Struct, frozen=True):
    """A position in one zone's log: the ``seq`` of the last event that was handled, in the epoch ``epoch``."""

    epoch: Epoch
    seq: int


def epoch_number(epoch: str) -> int:
    """Return the number in an epoch's name, counted from 1; 0 if ``epoch`` is not the name of an epoch. Before version
    0.1, names had no suffix.
    """
    match = _EPOCH_PATTERN.fullmatch(epoch)
    return int(match[1]) if match else 0


def is_zone(text: str) -> bool:
    """Return whether ``text`` is a valid zone name: lower-case letters, digits and dashes, so that a job id can be
    split in only one way.
    """
    return _ZONE_PATTERN.fullmatch(text) is not None


def is_id(text: str) -> bool:
    """Return whether ``text`` is a valid id for a Redis key: letters, digits, ``_`` and ``-``, at most 64
    characters.
    """
    return _ID_PATTERN.fullmatch(text) is not None


def is_path_segment(text: str) -> bool:
    """Return whether ``text`` is a valid segment of a URL path: an id, or a blueprint's ``name@version``."""
    name, at, version = text.partition("@")
    return is_id(name) and (not at or (version.isascii() and version.isdecimal() and len(version) <= 9))


_BASE32 = "0123456789abcdefghjkmnpqrstvwxyz"
_BASE32_PAIRS = tuple(high + low for high in _BASE32 for low in _BASE32)
"""The two characters of each number of ten bits."""


class UlidGenerator:
    """A generator of ULIDs (https://github.com/ulid/spec) in lower case: 48 bits of time in ms, then 80 random bits, in
    base 32. Within one ms the random bits count up, so that ids sort by the order of their creation.

    (Rejected: ``str(ULID())`` of python-ulid. It was a tenth of the gateway's instructions for a chat message.)
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._ms = self._random = 0
        self._time_text = ""

    def new(self) -> str:
        """Return a new ULID."""
        pairs = _BASE32_PAIRS
        with self._lock:
            ms = time.time_ns() // 1_000_000
            if ms != self._ms or self._random + 1 == 1 << 80:
                self._ms, self._random = ms, int.from_bytes(os.urandom(10), "big") - 1
                self._time_text = "".join([pairs[ms >> bits & 1023] for bits in (40, 30, 20, 10, 0)])
            self._random += 1
            high, low = divmod(self._random, 1 << 40)
            text = self._time_text
        return (
            f"{text}{pairs[high >> 30]}{pairs[high >> 20 & 1023]}{pairs[high >> 10 & 1023]}{pairs[high & 1023]}"
            f"{pairs[low >> 30]}{pairs[low >> 20 & 1023]}{pairs[low >> 10 & 1023]}{pairs[low & 1023]}"
        )


_ulids = UlidGenerator()


def new_id(kind: str) -> str:
    """Return a new id ``<kind>_<ulid>``. Ids sort by the time of their creation."""
    return f"{kind}_{_ulids.new()}"


def new_job_id(zone: Zone) -> JobId:
    """Return a new job id ``job_<zone>_<ulid>``."""
    return JobId(f"job_{zone}_{_ulids.new()}")


def zone_of(job: str) -> Zone | None:
    """Return the zone in a job's id; None if ``job`` is not a valid job id, so that no such job can exist."""
    match = _JOB_ID_PATTERN.fullmatch(job)
    return Zone(match[1]) if match else None


def room_of(job: JobId) -> RoomId:
    """Return the id of a job's room: ``room_<zone>_<ulid>`` with the ulid of the job (as `Room.id_of` in Lua does)."""
    return RoomId(f"room_{job.removeprefix('job_')}")


def job_of_room(room: RoomId) -> JobId:
    """Return the id of the job to which a room belongs."""
    return JobId(f"job_{room.removeprefix('room_')}")


def zone_of_room(room: str) -> Zone | None:
    """Return the zone in a room's id; None if ``room`` is not a valid room id."""
    match = _ROOM_ID_PATTERN.fullmatch(room)
    return Zone(match[1]) if match else None


def new_dispute_id(zone: Zone) -> str:
    """Return a new id ``dsp_<zone>_<ulid>``."""
    return f"dsp_{zone}_{_ulids.new()}"


def zone_of_dispute(dispute: str) -> Zone | None:
    """Return the zone in a dispute's id; None if ``dispute`` is not a valid dispute id."""
    match = _DISPUTE_ID_PATTERN.fullmatch(dispute)
    return Zone(match[1]) if match else None


def new_quote_id(zone: Zone) -> str:
    """Return a new id ``quo_<zone>_<ulid>``."""
    return f"quo_{zone}_{_ulids.new()}"


def zone_of_quote(quote: str) -> Zone | None:
    """Return the zone in a quote's id; None if ``quote`` is not a valid quote id."""
    match = _QUOTE_ID_PATTERN.fullmatch(quote)
    return Zone(match[1]) if match else None


def new_day_plan_id(zone: Zone) -> str:
    """Return a new id ``plan_<zone>_<ulid>``."""
    return f"plan_{zone}_{_ulids.new()}"


def zone_of_day_plan(plan: str) -> Zone | None:
    """Return the zone in a day plan's id; None if ``plan`` is not a valid id of a day plan."""
    match = _DAY_PLAN_ID_PATTERN.fullmatch(plan)
    return Zone(match[1]) if match else None
