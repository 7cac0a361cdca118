"""The keys of a job, from what SQL has of it: a pure function.

Keys that several jobs share (``due``, ``jobs``, the sets of a technician, the geo indexes) get the part of this job.
A field whose text is empty is left out, except for those that every job has: for all others it is the same for every
reader as a field that is missing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from engine.events import Event, ms_of
from engine.rebuild.contents import Contents, GeoPoint, KeyContent
from engine.rebuild.job_causes import MAX_CAUSES, job_verdicts
from engine.rebuild.job_dealings import BidRow, bid_records, payment_hash
from engine.rebuild.job_record import job_fields
from engine.rebuild.job_state import JobState, fold_states
from engine.store import keys
from engine.types import JobId, ServiceId, TechnicianId, UserId, Zone

RESOLVED_DISPUTE_MS = 86_400_000
"""How long the key of a resolved dispute stays (``Dispute.RESOLVED_MS`` in lua/lib/dispute.lua)."""


class JobRows(msgspec.Struct, frozen=True, kw_only=True):
    """What SQL has of a job that Redis has, or should have.

    ``document`` is the job as JSON. ``states`` are the seqs and texts of its rows of ``job_states``, ``events`` its
    events that have a cause or report a payment, both in the order of their seqs. ``search_mode`` is how the
    blueprint's state searches for a technician: for a job of an older release, which has no state.
    """

    zone: Zone
    id: JobId
    document: bytes
    states: Sequence[tuple[int, str]] = ()
    bids: Sequence[BidRow] = ()
    events: Sequence[Event] = ()
    search_mode: str = "none"
    blueprint_key: str = ""


class JobParts(msgspec.Struct, frozen=True):
    """The contents of a job's keys in Redis. ``holder`` is the technician in whose list of jobs it is ("" if none).
    ``counts``: the job counts in their load now; ``is_ahead``: it will count later. ``is_exact`` is false if an older
    release changed the job and recorded no state: then the keys contain only what the job's document has.
    """

    contents: Contents
    holder: str
    counts: bool
    is_ahead: bool
    is_exact: bool


def job_contents(rows: JobRows, now_ms: int) -> JobParts:
    """Return the contents of the keys of a job at the zone's time ``now_ms``."""
    state = fold_states(rows.states)
    if not state.is_complete:
        _guess_state(rows, state)
    return _JobKeys(rows, state, now_ms).build()


def _guess_state(rows: JobRows, state: JobState) -> None:
    """Fill ``state`` for a job that an older release has created: the search starts again, at once."""
    plain: dict[str, Any] = msgspec.json.decode(rows.document)
    created = [event for event in rows.events if event.type == "job.created"]
    guessed = {
        "bp": rows.blueprint_key,
        "owner": created[0].actor if created else "",
        "mode": rows.search_mode,
        "entered": str(plain["version"]),
        "wave": "0",
        "expires": str(ms_of(plain["expires_at"])) if plain.get("expires_at") else "0",
        "freed": "1" if plain["technician"] and plain["phase"] in ("done", "closed") else "",
    }
    state.fields = {name: text for name, text in {**guessed, **state.fields}.items() if text}


class _JobKeys:
    """The keys of one job while they are computed."""

    def __init__(self, rows: JobRows, state: JobState, now_ms: int) -> None:
        self._rows = rows
        self._state = state
        self._now = now_ms
        self._record = job_fields(rows.document, state)
        self._contents: Contents = {}
        self._tasks: dict[str, str] = {}

    def build(self) -> JobParts:
        record, state, zone, job = self._record, self._state, self._rows.zone, self._rows.id
        self._add(keys.job(zone, job), "hash", record)
        self._add(keys.job_offers(zone, job), "hash", state.offers)
        self._add(keys.job_waves(zone, job), "list", tuple(reversed(state.waves)))
        self._add(keys.job_bids(zone, job), "hash", bid_records(self._rows.bids) if self._rows.bids else {})
        self._add(keys.job_payments(zone, job), "hash", payment_hash(self._rows.events))
        # A job that was finished and archived has dropped its list; it has those since it changed again.
        causes_since = (event for event in self._rows.events if event.cause and event.seq >= state.first_seq)
        verdicts = job_verdicts(causes_since)
        causes = [each.record(job) for each in reversed(verdicts[-MAX_CAUSES:])]
        self._add(keys.job_causes(zone, job), "list", tuple(causes))
        self._add_lists()
        self._add_dispute()
        holder = self._add_holder()
        if self._get("mode", "none") != "none" and not self._get("holder"):
            self._add_search()
        self._add_timers()
        self._add(keys.due_tasks(zone), "zset", self._tasks)
        is_ahead = bool(holder) and self._get("ahead") == "1"
        # A server of an older release may have run the last command beside one of this release.
        has_last = not verdicts or not verdicts[-1].seqs.isdisjoint(seq for seq, _ in self._rows.states)
        is_exact = state.is_complete and has_last
        return JobParts(self._contents, holder, bool(holder) and not is_ahead, is_ahead, is_exact)

    def _get(self, name: str, default: str = "") -> str:
        return self._record.get(name, default)

    def _add(self, key: str, kind: Any, value: Any, expires_at: int | None = None) -> None:
        """Add a key; a key without members does not exist."""
        if value:
            self._contents[key] = KeyContent(kind, value, expires_at)

    def _add_due(self, entry: str, at: int | str) -> None:
        self._tasks[entry] = str(at)

    @property
    def _geo_point(self) -> dict[str, GeoPoint]:
        return {self._rows.id: GeoPoint(self._get("lat"), self._get("lon"))}

    def _add_lists(self) -> None:
        """Add the job to the lists of the zone, its customer and its holder, to the live map, and to the references."""
        zone, job, created = self._rows.zone, self._rows.id, self._get("created")
        for key in (keys.jobs(zone), keys.user_jobs(zone, UserId(self._get("customer")))):
            self._add(key, "zset", {job: created})
        if self._get("holder"):
            self._add(keys.user_jobs(zone, UserId(self._get("holder"))), "zset", {job: created})
        if self._get("phase") in ("open", "assigned", "active"):
            self._add(keys.map_places(zone), "geo", self._geo_point)
        if self._get("reference"):
            owner = UserId(self._get("owner").partition(":")[2])
            causes = [event.cause for event in self._rows.events if event.type == "job.created"]
            fingerprint = causes[0].partition(":")[2] if causes else ""
            known = f"{job} {fingerprint}" if fingerprint else job
            self._add(keys.booking_references(zone, owner), "hash", {self._get("reference"): known})

    def _add_dispute(self) -> None:
        """Add the keys of the last dispute: the text in the record has its id, and when it was opened and resolved."""
        if not (text := self._get("dispute")):
            return
        zone, job = self._rows.zone, self._rows.id
        dispute: dict[str, str] = msgspec.json.decode("{" + text + "}")
        if self._get("frozen"):
            self._add(keys.disputes(zone), "zset", {job: str(ms_of(dispute["opened_at"]))})
            self._add(keys.dispute(zone, dispute["id"]), "string", str(job))
        elif (ends := ms_of(dispute["resolved_at"]) + RESOLVED_DISPUTE_MS) > self._now:
            self._add(keys.dispute(zone, dispute["id"]), "string", str(job), ends)

    def _add_holder(self) -> str:
        """Add the job to its holder's sets, and return who that is; "" if it is in none."""
        holder = self._get("holder")
        if not holder or self._get("freed"):
            return ""
        zone, job, technician = self._rows.zone, self._rows.id, TechnicianId(UserId(holder))
        self._add(keys.technician_jobs(zone, technician), "set", frozenset({job}))
        if self._get("visit"):
            start, end, place = self._get("visit").split(" ", 2)
            self._add(keys.technician_schedule(zone, technician), "zset", {f"{end} {job} {place}": start})
        if self._get("ahead") == "1":
            self._add_due(f"begin:{job}", self._get("begins"))
        status, _, lead = self._get("tracks").partition(" ")
        if status == self._get("status"):
            if self._get("shared_at"):
                self._add(keys.technician_tracked(zone, technician), "set", frozenset({job}))
            else:
                self._add_due(f"track:{job}", max(self._now, int(self._get("scheduled", "0")) - int(lead)))
        return holder

    def _add_search(self) -> None:
        """Add the keys of a job that searches for a technician: its entries in the indexes, and its scheduled tasks."""
        zone, job, mode, wave = self._rows.zone, self._rows.id, self._get("mode"), int(self._get("wave", "0"))
        service = ServiceId(self._get("service"))
        if mode in ("broadcast", "bids"):
            self._add(keys.job_demand(zone, service), "geo", self._geo_point)
            if wave > 0 and self._get("radius") == "0":
                self._add(keys.wide_jobs(zone, service), "geo", self._geo_point)
        next_at = self._state.next_at or self._now
        if mode == "allocate" and self._get("window") and (wave > 0 or int(next_at) > int(self._get("release", "0"))):
            self._add(keys.waiting_jobs(zone, service), "geo", self._geo_point)
            self._add_due(f"window:{service}", self._now)
        if mode != "direct":
            task = "allocate" if mode == "allocate" else "wave"
            self._add_due(f"{task}:{job}:{wave + 1}", next_at)
        if self._get("expires", "0") != "0":
            self._add_due(f"expire:{job}", self._get("expires"))
        self._add_offers()

    def _add_offers(self) -> None:
        """Add the open offers: to the technicians' lists, and the tasks that open and end them."""
        zone, job = self._rows.zone, self._rows.id
        grace = int((self._get("limits") or "0").rpartition(" ")[2])
        ends: dict[str, int] = {}
        opens: set[tuple[str, str]] = set()
        for technician, text in self._state.offers.items():
            status, wave, opens_at, expires, _ = text.split(" ", 4)
            if status != "sent":
                continue
            self._add(keys.technician_offers(zone, TechnicianId(UserId(technician))), "zset", {job: expires})
            opens.add((wave, opens_at))
            if wave != "0":
                ends[wave] = min(ends.get(wave, int(expires) + grace), int(expires) + grace)
        for wave, at in ends.items():
            self._add_due(f"offers:{job}:{wave}", at)
        held = [tuple(entry.split(":")) for entry in self._get("held").split()]
        waiting = sorted((int(at), wave) for wave, at in held if (wave, at) in opens)
        is_open = any(int(at) <= self._now for wave, at in opens if (wave, at) not in held)
        for position, (at, wave) in enumerate(waiting):
            # without an open offer the first delayed offers open now (lua/lib/wave_advance.lua)
            due = at if is_open or position > 0 else min(at, self._now)
            self._add_due(f"opens:{job}:{wave}:{at}", due)

    def _add_timers(self) -> None:
        """Add the timers of the job's state that have not run, the end of its offers if postponed, and its promise."""
        job = self._rows.id
        entered, *timers = self._get("timers").split() or [""]
        for timer in timers if entered == self._get("entered") else ():
            name, _, at = timer.partition("/")
            self._add_due(f"timer:{job}:{entered}:{name}", at)
        if closing := self._get("closing"):
            self._add_due(f"close:{job}", closing.partition(" ")[0])
        promise, _, watch = self._get("promise").partition(" ")
        if watch and promise != "-":
            self._add_due(f"promise:{job}", promise)
