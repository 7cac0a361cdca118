"""The position feed: fixes of technicians arrive by the zones' pub/sub, and each fix is sent as a position to those
sessions that may see the position of the job's technician.

A published fix may be lost, so nothing here is stored for replay: the next fix replaces a lost one. But three things
must never happen:

- A marker moves back. The script publishes no fix that is older than the latest known one.
- A position is sent for a job that is over or has another technician by now. Pub/sub and log are two connections, so
  the events since the fix are checked before the position is sent.
- A client gets more positions than a person can use. For each job only the latest position is sent, at most once in
  ``MIN_INTERVAL_S``. A client that has unsent events gets no positions.

A person who looks at a map that does not change must see that the marker is old. So a position without a successor is
sent once more when it becomes stale.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from time import monotonic

import msgspec
import structlog

from engine.blueprint import audience
from engine.blueprint.schema import Blueprint
from engine.clock import now_ms
from engine.domain import positions
from engine.domain.positions import ENDED_PHASES, PublishedFix, WatchedJob
from engine.events import Event
from engine.process.loops import not_cancelled
from engine.rules import job_document
from engine.rules.job_document import EventJob, Party
from engine.runtime import Engine
from engine.types import Zone
from server.gateway import entitlements
from server.gateway.counters import Counters
from server.gateway.frames import PayloadEncoder
from server.gateway.hub import Hub
from server.gateway.session import Session
from server.gateway.zone_stream import ZoneStream

POSITION_TYPE = "position"
MIN_INTERVAL_S = 0.2
"""The shortest time between two positions of one job. Fixes arrive every 10 s, but in bursts from a device that was
offline.
"""
RESEND_EVERY_S = 1.0
MAX_EVENTS_CHECKED = 100
"""The most events of the customer and the technician that are checked after a fix. With more, the fix is not sent."""

log = structlog.get_logger(__name__)


class _TechnicianStatus(msgspec.Struct):
    technician: Party
    online: bool = True


class Track(msgspec.Struct):
    """The latest position of one job. ``sent_at`` is the monotonic time of the last send. ``timer`` sends a position
    that arrived less than ``MIN_INTERVAL_S`` after that.
    """

    zone: Zone
    fix: PublishedFix
    watched: WatchedJob
    sent_at: float = 0.0
    timer: asyncio.TimerHandle | None = None


class PositionFeed:
    """The position feed of one gateway, for the sessions of all its hubs."""

    def __init__(
        self,
        engine: Engine,
        hubs: Sequence[Hub],
        tails: Mapping[Zone, ZoneStream],
        payloads: PayloadEncoder,
        counters: Counters,
    ) -> None:
        self._engine = engine
        self._hubs = hubs
        self._tails = tails
        self._payloads = payloads
        self._counters = counters
        self._tracks: dict[str, Track] = {}

    def handle_fix(self, zone: Zone, fix: PublishedFix) -> None:
        """Send the fix as a position of each of the technician's jobs, or after ``MIN_INTERVAL_S``."""
        for watched in fix.jobs:
            if self._recipients(zone, watched, fix):
                self._update_track(zone, fix, watched)

    # sending

    def _update_track(self, zone: Zone, fix: PublishedFix, watched: WatchedJob) -> None:
        track = self._tracks.get(watched.id)
        if track is None:
            track = self._tracks[watched.id] = Track(zone, fix, watched)
        track.fix, track.watched = fix, watched
        wait_s = track.sent_at + MIN_INTERVAL_S - monotonic()
        if wait_s <= 0 and track.timer is None:  # a timer that is late would send this fix a second time
            self._send_position(track)
        elif track.timer is None:
            track.timer = asyncio.get_running_loop().call_later(wait_s, self._send_position, track)

    def _send_position(self, track: Track) -> None:
        """Send the latest position of the track's job, unless the job no longer shares it."""
        track.timer, track.sent_at = None, monotonic()
        fix, watched = track.fix, track.watched
        recipients = self._recipients(track.zone, watched, fix)
        if not recipients or self._is_track_over(track):
            self._tracks.pop(watched.id, None)
            return
        more = {"heading": fix.heading, "accuracy": fix.accuracy, "jump": fix.jump}
        position = positions.position_of_fix(watched.id, fix.lat, fix.lon, fix.at, fix.every_s, **more)
        blueprint = self._blueprint_of(watched)
        if blueprint is not None and watched.lat is not None and watched.lon is not None:
            place = (watched.lat, watched.lon)
            position = positions.with_arrival(
                self._engine, position, blueprint, track.zone, watched.status, place, arrived=watched.arrived
            )
        payload = self._payloads.encode_live_push(POSITION_TYPE, now_ms(), position, watched.bp)
        frames: dict[str, bytes] = {}
        for session in recipients:
            encoding = session.hub.frames
            frame = frames.get(encoding.subprotocol)
            if frame is None:
                frame = frames[encoding.subprotocol] = encoding.frame(payload)
            session.push_lossy(POSITION_TYPE, frame)
        self._counters.sent_positions += 1
        if position.stale:
            self._tracks.pop(watched.id, None)

    def _recipients(self, zone: Zone, watched: WatchedJob, fix: PublishedFix) -> set[Session]:
        """Return the sessions that may receive this position: those of the customer and ops (or of the audience that
        the job's blueprint names instead), and those that subscribed to the job. Technicians in general are never
        included.
        """
        blueprint = self._blueprint_of(watched)
        if blueprint is None:  # this node does not have this version yet, so the audience is unknown
            return set()
        channels = audience.whole_job_channels(
            blueprint.audience(POSITION_TYPE).split(), watched.customer, fix.technician
        )
        hubs = self._hubs
        relay_is_current = self._tails[zone].cursor >= fix.seq
        subscribers = {session for hub in hubs for session in hub.members(f"job:{watched.id}")}
        recipients = {session for hub in hubs for channel in channels for session in hub.members(channel)}
        recipients |= {
            session
            for session in subscribers
            if entitlements.may_see_position(session, fix.technician, relay_is_current=relay_is_current)
        }
        if positions.is_shared_with_customer(blueprint, watched.status, watched.scheduled, fix.at):
            return recipients
        return {session for session in recipients if session.caller.is_ops or session.caller.id == fix.technician}

    def _blueprint_of(self, watched: WatchedJob) -> Blueprint | None:
        return self._engine.blueprints.find_exact(watched.bp)

    def _is_track_over(self, track: Track) -> bool:
        """Return whether the job no longer shares this technician's position: after the fix, an event in the log ended
        the job, gave it to another technician, put it in a state without tracking, or took the technician offline.
        """
        tail, fix = self._tails[track.zone], track.fix
        if tail.cursor <= fix.seq:
            return False
        parties = (f"user:{track.watched.customer}", f"user:{fix.technician}")
        since = tail.buffer.find_events(fix.seq, parties, MAX_EVENTS_CHECKED)
        if len(since) > MAX_EVENTS_CHECKED:
            return True
        events = [chunk.events[index] for chunk, index in since]
        if any(_went_offline(event, fix.technician) for event in events):
            return True
        states = [job for event in events if (job := _job_of_event(event, track.watched.id))]
        if not states:
            return False
        last, blueprint = states[-1], self._blueprint_of(track.watched)
        if last.phase in ENDED_PHASES or last.technician is None or last.technician.id != fix.technician:
            return True
        was_tracked = blueprint is None or blueprint.is_tracked(track.watched.status)
        return blueprint is None or (was_tracked and not blueprint.is_tracked(last.status))

    # stale positions

    async def resend_stale_positions_forever(self) -> None:
        """Once a second, send again the positions that have become stale."""
        while not_cancelled():
            await asyncio.sleep(RESEND_EVERY_S)
            try:
                self.resend_stale_positions()
            except Exception:  # the task's boundary
                log.exception("live_failed")

    def resend_stale_positions(self) -> None:
        """Send each position that has become stale without a successor once more, marked as stale, and drop its
        track.
        """
        now, tracks = now_ms(), list(self._tracks.values())
        for track in tracks:
            if track.timer is None and now - track.fix.at > positions.stale_after_s(track.fix.every_s) * 1000:
                self._send_position(track)

    def drop_tracks(self) -> None:
        """Drop all tracks. Call this when the relay reads another history: earlier positions cannot be compared with
        it.
        """
        for timer in [track.timer for track in self._tracks.values() if track.timer is not None]:
            timer.cancel()
        self._tracks.clear()


def _went_offline(event: Event, technician: str) -> bool:
    if event.type != "technician.status":
        return False
    status = msgspec.json.decode(event.data, type=_TechnicianStatus)
    return status.technician.id == technician and not status.online


def _job_of_event(event: Event, job_id: str) -> EventJob | None:
    """Return the job ``job_id`` from the payload of ``event``; None if the payload does not contain the job's state."""
    if job_id.encode() not in event.data:
        return None
    try:
        job = job_document.decode_event_job(event.data)
    except msgspec.DecodeError:
        return None
    return job if job.id == job_id and job.phase else None
