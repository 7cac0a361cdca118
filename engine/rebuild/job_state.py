"""Compute a job's state from the field ``state`` of its events (lua/lib/job_state.lua), which has what each changed."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import msgspec

MAX_WAVES = 64
"""How many records of waves a job has (``Wave.MAX_RECORDS`` in lua/lib/wave.lua)."""


class _Change(msgspec.Struct):
    """The state of a job in one event."""

    fields: dict[str, str] = {}
    offers: dict[str, str] = {}
    waves: list[msgspec.Raw] = []
    next: int | None = None


@dataclass(slots=True)
class JobState:
    """The state of a job after some of its events. ``fields`` are those of its hash that are not empty, without most
    of those that the job's document contains; ``offers`` has the record of each technician, ``waves`` has JSON, the
    oldest first. ``next_at`` is when the search continues (ms), or None. ``is_complete``: no event of an older release
    changed the job before the first of these, ``first_seq``.
    """

    fields: dict[str, str] = field(default_factory=dict)
    offers: dict[str, str] = field(default_factory=dict)
    waves: list[str] = field(default_factory=list)
    next_at: int | None = None
    is_complete: bool = False
    first_seq: int = 0


_change_decoder = msgspec.json.Decoder(_Change)


def fold_states(states: Iterable[tuple[int, str]]) -> JobState:
    """Return the state after ``states``, the seqs and texts of the rows of one job, in order."""
    state = JobState()
    for seq, text in states:
        change = _change_decoder.decode(text)
        # this event has all fields: it is the first of the job, or the first after a gap
        if change.fields.get("recorded"):
            state = JobState(is_complete=True, first_seq=seq)
        state.fields |= change.fields
        state.offers |= change.offers
        state.waves += [bytes(record).decode() for record in change.waves]
        state.next_at = change.next
    state.fields = {name: text for name, text in state.fields.items() if text}
    state.waves = state.waves[-MAX_WAVES:]
    return state
