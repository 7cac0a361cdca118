"""The functions that run scheduled tasks: one for each kind. The entry of a task is the text ``<kind>:<rest>``.

Each function calls a script that removes or moves the entry in the same step. To add a kind, add a line in
``RUNNER_OF_KIND`` and its name in ``order`` of lua/due_take.lua."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

import structlog

from engine.blueprint.compiler import EXPIRED_EVENT
from engine.domain import booking_notes, chat_notifications, matching, rooms, waves
from engine.store import keys
from engine.store.scripts import Args
from engine.technicians.live import presence_lease_ms, status_audience
from engine.types import JobId, RoomId, ServiceId, TechnicianId, UserId, Zone
from engine.workers import timers

if TYPE_CHECKING:
    from engine.runtime import Engine

log = structlog.get_logger(__name__)


async def run_task(engine: Engine, zone: Zone, entry: str) -> None:
    """Run the task of one entry. An entry of an unknown kind stays due and is logged as an error."""
    kind, _, task_arguments = entry.partition(":")
    runner = RUNNER_OF_KIND.get(kind)
    if runner is None:
        log.error("due_unknown", zone=zone, entry=entry)
    else:
        await runner(engine, zone, entry, task_arguments)


async def _open_wave(engine: Engine, zone: Zone, _: str, task_arguments: str) -> None:
    job, number = task_arguments.split(":")
    await waves.open_wave(engine, zone, JobId(job), int(number))


async def _open_offers(engine: Engine, zone: Zone, entry: str, task_arguments: str) -> None:
    job, wave, opens = task_arguments.split(":")
    await waves.open_offers(engine, zone, entry, JobId(job), wave, opens)


async def _expire_offers(engine: Engine, zone: Zone, entry: str, task_arguments: str) -> None:
    job, wave = task_arguments.split(":")
    await waves.expire_offers(engine, zone, entry, JobId(job), wave)


async def _close_offers(engine: Engine, zone: Zone, entry: str, task_arguments: str) -> None:
    await engine.store.run(
        zone, "offer_close", keys=waves.task_script_keys(zone, JobId(task_arguments)), args={"entry": entry}
    )


async def _match_technician(engine: Engine, zone: Zone, entry: str, task_arguments: str) -> None:
    await waves.offer_open_jobs(engine, zone, entry, TechnicianId(UserId(task_arguments)))


async def _match_window(engine: Engine, zone: Zone, entry: str, task_arguments: str) -> None:
    await matching.run_window(engine, zone, entry, ServiceId(task_arguments))


async def _allocate_job(engine: Engine, zone: Zone, entry: str, task_arguments: str) -> None:
    job, number = task_arguments.split(":")
    await waves.allocate_job(engine, zone, entry, JobId(job), number)


async def _expire_job(engine: Engine, zone: Zone, entry: str, task_arguments: str) -> None:
    job = JobId(task_arguments)
    blueprint, _ = await waves.blueprint_and_service_of(engine, zone, job)
    plan = engine.plans.find_engine_plan(blueprint, await waves.read_status(engine, zone, job), event=EXPIRED_EVENT)
    args: Args = {
        "entry": entry,
        "bp": blueprint.key,
        "plan": plan.plan_json if plan else "",
        "grace_ms": round(blueprint.dispatch.grace_s * 1000),
        "lease_ms": presence_lease_ms(engine),
    }
    await engine.store.run(zone, "job_expire", keys=waves.task_script_keys(zone, job), args=args)


async def _end_presence(engine: Engine, zone: Zone, _: str, task_arguments: str) -> None:
    technician = TechnicianId(UserId(task_arguments))
    names = {
        "meta": keys.zone_meta(zone),
        "tech": keys.technician(zone, technician),
        "seen": keys.last_seen(zone),
        "log": keys.log(zone),
        "req": keys.idempotency_record(
            zone, technician, "lease"
        ),  # this key is never written, because an expired lease has no idempotency key
    }
    args: Args = {
        "id": technician,
        "actor": "engine",
        "key": "",
        "fingerprint": "",
        "reason": "lease",
        "lease_ms": presence_lease_ms(engine),
        "audience": status_audience(engine),
    }
    await engine.store.run(zone, "technician_offline", keys=names, args=args)


async def _forget_reference(engine: Engine, zone: Zone, entry: str, task_arguments: str) -> None:
    principal, _, reference = task_arguments.partition(":")
    await booking_notes.forget_reference(engine, UserId(principal), reference)
    names = {
        "meta": keys.zone_meta(zone),
        "ref": keys.booking_references(zone, UserId(principal)),
        "due": keys.due_tasks(zone),
    }
    await engine.store.run(zone, "reference_forget", keys=names, args={"entry": entry, "reference": reference})


async def _begin_job(engine: Engine, zone: Zone, entry: str, task_arguments: str) -> None:
    names = {"meta": keys.zone_meta(zone), "job": keys.job(zone, JobId(task_arguments)), "due": keys.due_tasks(zone)}
    await engine.store.run(zone, "job_begin", keys=names, args={"entry": entry})


async def _track_job(engine: Engine, zone: Zone, entry: str, rest: str) -> None:
    names = {"meta": keys.zone_meta(zone), "job": keys.job(zone, JobId(rest)), "due": keys.due_tasks(zone)}
    await engine.store.run(zone, "job_track", keys=names, args={"entry": entry})


async def _close_room(engine: Engine, zone: Zone, entry: str, rest: str) -> None:
    await rooms.close_room(engine, zone, entry, RoomId(rest))


async def _announce_read_mark(engine: Engine, zone: Zone, entry: str, rest: str) -> None:
    room, user = rest.split(":")
    await rooms.tell_read_mark(engine, zone, entry, RoomId(room), UserId(user))


async def _notify_members(engine: Engine, zone: Zone, entry: str, task_arguments: str) -> None:
    await chat_notifications.notify_absent_members(engine, zone, entry, RoomId(task_arguments))


TaskRunner = Callable[["Engine", Zone, str, str], Awaitable[None]]

RUNNER_OF_KIND: dict[str, TaskRunner] = {
    "wave": _open_wave,
    "opens": _open_offers,
    "close": _close_offers,
    "offers": _expire_offers,
    "match": _match_technician,
    "window": _match_window,
    "allocate": _allocate_job,
    "expire": _expire_job,
    "begin": _begin_job,
    "track": _track_job,
    "timer": timers.run_timer,
    "promise": timers.report_overdue_job,
    "lease": _end_presence,
    "forget": _forget_reference,
    "room": _close_room,
    "notify": _notify_members,
    "read": _announce_read_mark,
}
