"""The idempotency records of a job's last changes, from the events of those changes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import NamedTuple

import msgspec

from engine.events import Event
from engine.store import keys
from engine.types import JobId, UserId

MAX_CAUSES = 16
"""How many records a job has (``Idempotency.MAX_CAUSES`` in lua/lib/idempotency.lua)."""
UNRECORDED_TYPES = frozenset({"job.created", "bid.created", "bid.closed", "offer.closed"})
"""The types of the first event of commands that are not in the list of a job: a booking, a bid and its withdrawal, and
the end of a technician's offers when they go offline."""


class Verdict(NamedTuple):
    """A command that was done. ``request`` is the request key with its principal, as the name of a Redis key; ``seq``
    and ``version`` are of the event from which a repeat is answered, and of the job after the command."""

    request: str
    fingerprint: str
    seq: int
    version: int
    seqs: frozenset[int] = frozenset()
    """The seqs of all its events."""

    def record(self, job: JobId) -> str:
        """Return the record in the format of lua/lib/idempotency.lua."""
        return f"{self.request} OK {self.fingerprint} {self.seq} {self.version} {job}"


class _EventJob(msgspec.Struct):
    version: int = 0


class _StepData(msgspec.Struct):
    """The members of an event's data by which its command is known."""

    job: _EventJob | str | None = None
    command: str | None = None


_data_decoder = msgspec.json.Decoder(_StepData)


def job_verdicts(events: Iterable[Event]) -> list[Verdict]:
    """Return the commands of a job that its list of changes has, in order. ``events`` are those of the job that have a
    cause, in order. A refused code has a cause too, and changes nothing.
    """
    found, version = [], 0
    for (cause, actor), group in groupby(events, lambda event: (event.cause, event.actor)):
        of_command = [event for event in group if cause and not event.type.startswith("code.")]
        if not of_command:
            continue
        data = [_data_decoder.decode(event.data) for event in of_command]
        version = max(version, *(each.job.version for each in data if isinstance(each.job, _EventJob)), 0)
        if _is_recorded(of_command):
            key, _, fingerprint = cause.partition(":")
            request = keys.idempotency_record(of_command[0].zone, UserId(actor.partition(":")[2]), key)
            seqs = frozenset(event.seq for event in of_command)
            found.append(Verdict(request, fingerprint, _answering_seq(of_command, data), version, seqs))
    return found


def _is_recorded(events: Sequence[Event]) -> bool:
    """Return whether the command of these events is in the list of its job."""
    first = events[0].type
    if first.startswith("room."):  # somebody took a dispute, or a member came or left
        return any(event.type == "mediator.taken" for event in events)
    return first not in UNRECORDED_TYPES


def _answering_seq(events: Sequence[Event], data: Sequence[_StepData]) -> int:
    """Return the seq of the event from which a repeat is answered: the first one, or that of the command which was
    taken in the same step because the job was paid before.
    """
    commands = [(event.seq, each.command) for event, each in zip(events, data, strict=True) if each.command]
    other = [seq for seq, command in commands if command != commands[0][1]]
    return other[0] if other else events[0].seq
