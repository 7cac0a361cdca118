"""The idempotency records of a job's last changes, from the events of those changes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import groupby
from operator import attrgetter
from typing import NamedTuple

import msgspec

from engine.events import Event
from engine.store import keys
from engine.types import JobId, UserId

MAX_CAUSES = 16
"""How many records a job has (``Idempotency.MAX_CAUSES`` in lua/lib/idempotency.lua)."""
UNRECORDED_TYPES = frozenset(
    {"job.created", "bid.created", "bid.closed", "offer.closed", "share.created", "share.closed"}
)
"""The types of the first event of commands that are not in the list of a job: a booking, a bid and its withdrawal, the
end of a technician's offers when they go offline, and links to the job, which change nothing of it."""


class Verdict(NamedTuple):
    """The outcome of a command on a job. ``request`` is the request key with its principal, as the name of a Redis key.
    ``seq`` is that of the event from which a repeat is answered, ``version`` the job's version after the command."""

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
    found: list[Verdict] = []
    before: list[Event] = []
    version = 0
    for (cause, actor), group in groupby(events, attrgetter("cause", "actor")):
        of_command = [event for event in group if cause and not event.type.startswith("code.")]
        if not of_command:
            continue
        if not is_recorded(of_command):
            before += of_command
            continue
        seq, own_version = seq_and_version(of_command)
        version = own_version or version_after(before) or version
        before = []
        key, _, fingerprint = cause.partition(":")
        request = keys.idempotency_record(of_command[0].zone, UserId(actor.partition(":")[2]), key)
        seqs = frozenset([event.seq for event in of_command])
        found.append(Verdict(request, fingerprint, seq, version, seqs))
    return found


def is_recorded(events: Sequence[Event]) -> bool:
    """Return whether the command of these events is in the list of its job."""
    first = events[0].type
    if first.startswith("room."):  # somebody took a dispute, or a member came or left
        return any(event.type == "mediator.taken" for event in events)
    return first not in UNRECORDED_TYPES


def version_after(events: Sequence[Event]) -> int:
    """Return the version of the job in the last of ``events`` that contains it; 0 if none does."""
    for event in reversed(events):
        job = _data_decoder.decode(event.data).job
        if isinstance(job, _EventJob) and job.version:
            return job.version
    return 0


def seq_and_version(events: Sequence[Event]) -> tuple[int, int]:
    """Return the reply to a repeat of the command that wrote ``events``: a seq, and the job's version after the command
    (0 if no event has it). The seq is that of the first event; if the same step also ran a second command, because the
    job was paid before, it is that of the second command's event.
    """
    seq, version, command = events[0].seq, 0, ""
    for event in events:
        data = _data_decoder.decode(event.data)
        if isinstance(data.job, _EventJob) and data.job.version > version:
            version = data.job.version
        if data.command and not command:
            command = data.command
        elif data.command and data.command != command and seq == events[0].seq:
            seq = event.seq
    return seq, version
