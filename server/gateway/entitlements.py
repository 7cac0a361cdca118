"""What a session may hear beyond its own channels, and for how long.

`work:<service>` belongs to a technician who may take such work now (reviewed, with the service, in the zone), from the
seq at which that began: the script that changes it appends ``session.work``, which moves the sessions in and out. In a
hub the channel carries its zone, since a technician works in one zone and every hub hears all of them.

`job:<id>` belongs to a watcher as long as the job is theirs to read. Each event with the whole job says whose it is
now, so the subscriptions of all others end with it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping

import msgspec

from engine.events import Event
from engine.rules import job_document
from engine.rules.job_document import EventJob
from engine.runtime import Engine
from engine.technicians import live
from engine.types import Principal, Zone, zone_of
from server.gateway.hub import Hub, located
from server.gateway.session import Session
from server.gateway.zone_stream import ZoneStream

WORK = "session.work"
OPENING = b'{"job":{"id":"'
"""How the data of an event that holds a job begins."""
MOST = 1_000

Tails = Mapping[Zone, ZoneStream]
Floors = dict[Zone, dict[str, int]]
"""By zone, each channel that is heard from some seq on, and that seq."""


class _Work(msgspec.Struct):
    works: dict[str, int] = {}


async def work_of(engine: Engine, zones: Iterable[Zone], caller: Principal) -> Floors:
    """The work that the caller may take now, in each zone, and since when."""
    if caller.role != "technician":
        return {}
    return {zone: _channels(await live.read_open_work(engine, zone, caller.id)) for zone in zones}


def work_since(tails: Tails, caller: Principal, floors: Floors, seen: Mapping[Zone, int]) -> Floors:
    """``floors`` with what has changed since ``seen``, while no hub knew of the session."""
    if caller.role != "technician":
        return floors
    for zone, seq in seen.items():
        for segment, place in tails[zone].memory.find(seq, [f"user:{caller.id}"], MOST):
            event = segment.events[place]
            if event.type == WORK:
                floors = {**floors, zone: _told(event)}
    return floors


def names(floors: Floors) -> tuple[str, ...]:
    """The channels as hubs know them."""
    return tuple(located(channel, zone) for zone, channels in floors.items() for channel in channels)


def take_work(event: Event, sessions_of: Callable[[str], list[Session]]) -> None:
    """A technician may take other work from now on."""
    wanted = [located(channel, event.zone) for channel in _told(event)]
    for channel in event.to:
        for session in sessions_of(channel.removeprefix("user:")):
            had = [c for c in session.channels if c.startswith("work:") and c.endswith(f"@{event.zone}")]
            for name in set(had).difference(wanted):
                session.unsubscribe(name)
            for name in wanted:
                session.subscribe(name)


def lost_since(tails: Tails, caller: Principal, wanted: Collection[str], seen: Mapping[Zone, int]) -> list[str]:
    """Those of the subscriptions that the log has taken away since ``seen``, while no hub knew of the session."""
    lost: list[str] = []
    for channel in (name for name in wanted if name.startswith("job:")):
        zone = zone_of(channel.removeprefix("job:"))
        assert zone is not None
        found = tails[zone].memory.find(seen[zone], [channel], MOST)
        events = [segment.events[place] for segment, place in found]
        told = [job_document.event_job(each.data) for each in events if each.data.startswith(OPENING)]
        whole = [job for job in told if job.customer is not None]
        if whole and not may_watch(caller, whole[-1]):
            lost.append(channel)
    return lost


def replayable(caller: Principal, hears: Collection[str]) -> Callable[[Event], bool] | None:
    """Which of the events that ``hears`` brings the caller may be sent again, None for all: what comes by a
    subscription to a job alone needs the right to that job as it was then.
    """
    if caller.is_ops or caller.role == "service" or not any(name.startswith("job:") for name in hears):
        return None
    own = frozenset(caller.channels)

    def allowed(event: Event) -> bool:
        if not own.isdisjoint(event.to) or event.to[0].startswith("work:"):
            return True
        return event.data.startswith(OPENING) and may_watch(caller, job_document.event_job(event.data))

    return allowed


def end_subscriptions(event: Event, hubs: Iterable[Hub]) -> None:
    """Take `job:<id>` from those who may not read the job any more, as ``event`` tells whose it is."""
    if not event.data.startswith(OPENING):
        return
    name = event.data[len(OPENING) :].partition(b'"')[0]
    channel = f"job:{name.decode()}"
    watching = [session for hub in hubs for session in hub.members(channel)]
    if not watching:
        return
    job = job_document.event_job(event.data)
    for session in watching if job.customer is not None else ():
        if not may_watch(session.caller, job):
            session.unsubscribe(channel)


def may_watch(caller: Principal, job: EventJob) -> bool:
    """Whether the caller may follow a job that stands so."""
    if caller.is_ops or caller.role == "service":
        return True
    if caller.role == "technician":
        return job.holder_id == caller.id and not job.asked
    if caller.role == "mediator":
        return job.frozen
    return job.customer_id == caller.id


def may_see_position(session: Session, holder: str, *, certain: bool) -> bool:
    """Whether a subscriber to a job may be sent a position of its ``holder``. A technician follows nobody else; a
    mediator is not sent one that is newer than what the log has told here, since the dispute may be over by then.
    """
    caller = session.caller
    if caller.role == "technician":
        return caller.id == holder
    return certain or caller.role != "mediator"


def _told(event: Event) -> dict[str, int]:
    return _channels(msgspec.json.decode(event.data, type=_Work).works)


def _channels(works: Mapping[str, int]) -> dict[str, int]:
    return {f"work:{service}": since for service, since in works.items()}
