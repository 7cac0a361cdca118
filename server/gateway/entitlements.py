"""What a session may receive beyond its own channels, and until when.

A technician who may take work of a service now (reviewed, with the service, in the zone) receives `work:<service>` from
the seq at which that right began. The script that changes the right appends ``session.work``, and this event adds the
channel to the technician's sessions or removes it. In a hub the channel's name includes its zone, because a technician
works in one zone and every hub gets the events of all zones.

A session that subscribed to `job:<id>` receives this channel as long as its user may read the job. Each event with the
whole job shows who may read it now, and ends the subscriptions of all others.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterable, Mapping

import msgspec

from engine.blueprint.relation import relations
from engine.events import Event
from engine.roles import ALL_JOBS_READER_ROLES
from engine.rules import job_document
from engine.rules.job_document import EventJob
from engine.runtime import Engine
from engine.technicians import live
from engine.types import Principal, Zone, zone_of
from server.gateway.hub import Hub, name_in_hub
from server.gateway.session import Session
from server.gateway.zone_stream import ZoneStream

WORK_CHANGED_EVENT = "session.work"
JOB_PREFIX = b'{"job":{"id":"'
"""The first bytes of the data of an event that contains a job."""
MAX_EVENTS_SEARCHED = 1_000

ZoneStreams = Mapping[Zone, ZoneStream]
Floors = dict[Zone, dict[str, int]]
"""By zone: each channel that is received from a certain seq on, and that seq."""


class _WorkData(msgspec.Struct):
    works: dict[str, int] = {}


async def read_work_floors(engine: Engine, zones: Iterable[Zone], caller: Principal) -> Floors:
    """Return, for each zone, the `work:` channels of the services for which the caller may take jobs now, each with its
    floor: the seq from which the caller receives its events.
    """
    if caller.role != "technician":
        return {}
    served = list(zones)
    works = await asyncio.gather(*(live.read_open_work(engine, zone, caller.id) for zone in served))
    return {zone: _work_floors(each) for zone, each in zip(served, works, strict=True)}


def updated_floors(tails: ZoneStreams, caller: Principal, floors: Floors, seen_seqs: Mapping[Zone, int]) -> Floors:
    """Return ``floors`` with the changes that events above ``seen_seqs`` have made to the caller's `work:` channels.
    The session was in no hub when these events came, so it has not received them.
    """
    if caller.role != "technician":
        return floors
    for zone, seq in seen_seqs.items():
        for chunk, index in tails[zone].buffer.find_events(seq, [f"user:{caller.id}"], MAX_EVENTS_SEARCHED):
            event = chunk.events[index]
            if event.type == WORK_CHANGED_EVENT:
                floors = {**floors, zone: _work_channels_in(event)}
    return floors


def work_channels(floors: Floors) -> tuple[str, ...]:
    """Return the names of the channels in ``floors`` as a hub uses them, which include the zone."""
    return tuple(name_in_hub(channel, zone) for zone, channels in floors.items() for channel in channels)


def apply_work_change(event: Event, sessions_of: Callable[[str], list[Session]]) -> None:
    """Change the `work:` channels of a technician's sessions as ``event`` (``session.work``) specifies."""
    wanted = [name_in_hub(channel, event.zone) for channel in _work_channels_in(event)]
    for channel in event.to:
        for session in sessions_of(channel.removeprefix("user:")):
            had = [c for c in session.channels if c.startswith("work:") and c.endswith(f"@{event.zone}")]
            for name in set(had).difference(wanted):
                session.unsubscribe(name)
            for name in wanted:
                session.subscribe(name)


def ended_job_channels(
    tails: ZoneStreams, caller: Principal, wanted: Collection[str], seen_seqs: Mapping[Zone, int]
) -> list[str]:
    """Return those subscriptions in ``wanted`` (to jobs) that the caller lost by an event above ``seen_seqs``. The
    session was in no hub when these events came, so it has not received them.
    """
    ended: list[str] = []
    for channel in (name for name in wanted if name.startswith("job:")):
        zone = zone_of(channel.removeprefix("job:"))
        assert zone is not None
        found = tails[zone].buffer.find_events(seen_seqs[zone], [channel], MAX_EVENTS_SEARCHED)
        events = [chunk.events[index] for chunk, index in found]
        jobs = [job_document.decode_event_job(each.data) for each in events if each.data.startswith(JOB_PREFIX)]
        whole = [job for job in jobs if job.customer is not None]
        if whole and not may_watch(caller, whole[-1]):
            ended.append(channel)
    return ended


def replay_filter(caller: Principal, channels: Collection[str]) -> Callable[[Event], bool] | None:
    """Return a function that decides whether an event is replayed on ``channels``, None if all events are. An event
    that the caller receives only by a subscription to a job is replayed only if the caller had the right to that job
    when the event happened.
    """
    if caller.role in ALL_JOBS_READER_ROLES or not any(name.startswith("job:") for name in channels):
        return None
    own = frozenset(caller.channels)

    def is_allowed(event: Event) -> bool:
        if not own.isdisjoint(event.to) or event.to[0].startswith("work:"):
            return True
        return event.data.startswith(JOB_PREFIX) and may_watch(caller, job_document.decode_event_job(event.data))

    return is_allowed


def end_subscriptions(event: Event, hubs: Iterable[Hub]) -> None:
    """Unsubscribe from `job:<id>` the sessions that may not read the job any more, judged by the job in ``event``."""
    if not event.data.startswith(JOB_PREFIX):
        return
    name = event.data[len(JOB_PREFIX) :].partition(b'"')[0]
    channel = f"job:{name.decode()}"
    watching = [session for hub in hubs for session in hub.members(channel)]
    if not watching:
        return
    job = job_document.decode_event_job(event.data)
    for session in watching if job.customer is not None else ():
        if not may_watch(session.caller, job):
            session.unsubscribe(channel)


def may_watch(caller: Principal, job: EventJob) -> bool:
    """Return whether the caller may subscribe to the events of ``job`` in its present state."""
    if caller.role == "technician" and job.asked:
        return False
    return bool(relations(caller, job))


def may_see_position(session: Session, holder: str, *, relay_is_current: bool) -> bool:
    """Return whether ``session``, which subscribed to a job, may be sent a position of the job's ``holder``. A
    technician may receive only their own position. A mediator receives a position only if the relay has read the events
    up to it (``relay_is_current``), because otherwise the dispute may be over already.
    """
    caller = session.caller
    if caller.role == "technician":
        return caller.id == holder
    return relay_is_current or caller.role != "mediator"


def _work_channels_in(event: Event) -> dict[str, int]:
    """Return the `work:` channels in ``event`` (``session.work``), each with the seq from which it is received."""
    return _work_floors(msgspec.json.decode(event.data, type=_WorkData).works)


def _work_floors(works: Mapping[str, int]) -> dict[str, int]:
    """Return the `work:` channel of each service, with the seq from which the channel is received."""
    return {f"work:{service}": since for service, since in works.items()}
