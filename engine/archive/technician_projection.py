"""Fold events into the state of technicians (a pure function); engine/archive/technician_rows.py writes it.

A technician gets a job by an event in which they are the holder, if the job had another holder or none before. The
earlier holder may stand only in SQL.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import msgspec

from engine.events import Event


class HolderChange(NamedTuple):
    """An event after which ``technician`` holds the job. ``is_new`` says whether they got the job by this event. None:
    that depends on who held the job before the batch of events."""

    job: str
    technician: str
    at: int
    is_new: bool | None


@dataclass(slots=True)
class TechnicianChange:
    """What the events of a batch change for one technician. ``online`` and ``works`` are None if the events do not
    change them.
    """

    online: bool | None = None
    works: str | None = None
    accepted: int = 0
    asked: int = 0
    free_at: int = 0


@dataclass(slots=True)
class TechnicianChanges:
    """What a sequence of events changes for technicians, by id. ``holders`` are the present holders of jobs, and
    ``unsettled`` the changes for which the reader must know who held the job before the batch."""

    by_id: dict[str, TechnicianChange] = field(default_factory=dict)
    holders: dict[str, str | None] = field(default_factory=dict)
    unsettled: list[HolderChange] = field(default_factory=list)

    def find_or_add(self, technician: str) -> TechnicianChange:
        """Return the changes of one technician. The caller adds to them."""
        if (known := self.by_id.get(technician)) is None:
            known = self.by_id[technician] = TechnicianChange()
        return known

    def settle(self, holders_before: Mapping[str, str | None]) -> None:
        """Count each job that a technician got by the unsettled changes. ``holders_before`` has the jobs' holders
        before the batch.
        """
        for change in self.unsettled:
            if holders_before.get(change.job) != change.technician:
                self._count_job(change)
        self.unsettled.clear()

    def note_holder(self, job: str, technician: str | None, at: int, *, former: str | None) -> None:
        """Note the holder of ``job`` after an event. ``former`` is the one from whom the event took it."""
        if former:
            self._note_free(former, at)
        if technician:
            is_new = bool(former) or (None if job not in self.holders else self.holders[job] != technician)
            change = HolderChange(job, technician, at, is_new)
            if is_new is None:
                self.unsettled.append(change)
            elif is_new:
                self._count_job(change)
        self.holders[job] = technician

    def note_released(self, technician: str, at: int) -> None:
        """Note that a technician became free at ``at``."""
        self._note_free(technician, at)

    def _count_job(self, change: HolderChange) -> None:
        self.find_or_add(change.technician).accepted += 1
        self._note_free(change.technician, change.at)

    def _note_free(self, technician: str, at: int) -> None:
        known = self.find_or_add(technician)
        known.free_at = max(known.free_at, at)


class _Technician(msgspec.Struct):
    id: str


class _StatusData(msgspec.Struct):
    technician: _Technician
    online: bool
    job: msgspec.Raw = msgspec.Raw(b"")


class _WorkData(msgspec.Struct):
    works: dict[str, int]


class _ChangedFields(msgspec.Struct, frozen=True):
    track: str = ""


class _JobChange(msgspec.Struct):
    fields: _ChangedFields = _ChangedFields()


_state_decoder = msgspec.json.Decoder(dict[str, _JobChange])
_status_decoder = msgspec.json.Decoder(_StatusData)
_work_decoder = msgspec.json.Decoder(_WorkData)


def fold_technician_event(changes: TechnicianChanges, event: Event) -> None:
    """Add to ``changes`` what an event changes for a technician: they went online or offline, may receive other kinds
    of open jobs, or became free of a job. Raises ValueError if the event's data is malformed.
    """
    if event.state and b'"track"' in event.state:
        for change in _state_decoder.decode(event.state).values():
            if change.fields.track:
                technician, *_, ended_at, _status = change.fields.track.split(" ")
                changes.note_released(technician, int(ended_at))
    if event.type == "technician.status":
        _fold_status(changes, event)
    elif event.type == "session.work":
        works = _work_decoder.decode(event.data).works
        for technician in _user_ids(event.to):
            changes.find_or_add(technician).works = " ".join(f"{service}:{seq}" for service, seq in works.items())


def count_offers(changes: TechnicianChanges, technicians: Iterable[str]) -> None:
    """Count an offer that opened for each of ``technicians``."""
    for technician in technicians:
        changes.find_or_add(technician).asked += 1


def _fold_status(changes: TechnicianChanges, event: Event) -> None:
    data = _status_decoder.decode(event.data)
    # The status changed because the technician got a job or finished one; they are as online as before.
    if bytes(data.job):
        return
    change = changes.find_or_add(data.technician.id)
    change.online = data.online
    if data.online:
        change.free_at = max(change.free_at, event.at)


def _user_ids(channels: Iterable[str]) -> list[str]:
    return [channel.removeprefix("user:") for channel in channels if channel.startswith("user:")]
