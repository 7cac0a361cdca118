"""Read the keys of a zone from Redis, and compare those that a rebuild restores (see engine/rebuild/ephemeral.py)."""

from __future__ import annotations

from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import Any

import msgspec
from sqlalchemy import insert, select

from engine.identity.log_append import OUTBOX_PRINCIPAL
from engine.rebuild import ephemeral, rebuilder, room_contents
from engine.rebuild.job_record import FIELDS_OF_EVERY_JOB
from engine.runtime import Engine
from engine.sql.schema import events, services, technician_services, technicians, users
from engine.store import keys
from engine.types import DEFAULT_ZONE, JobId, room_of
from engine.workers import archiver

Snapshot = dict[str, Any]
"""The contents of each key, by the key's name without its hash tag."""
KEY_PREFIX = keys.zone_pattern(DEFAULT_ZONE).removesuffix("*")


async def read_snapshot(engine: Engine) -> Snapshot:
    """Return the keys of the zone that a rebuild restores, with their contents."""
    redis: Any = engine.store.redis
    found: Snapshot = {}
    async for raw in redis.scan_iter(match=keys.zone_pattern(DEFAULT_ZONE), count=1000):
        name = raw.decode()
        key = name.removeprefix(KEY_PREFIX)
        expires = await redis.pttl(name) > 0
        if any(fnmatchcase(key, pattern) for pattern in ephemeral.KEYS if pattern not in KEYS_COMPARED_BY_MEMBERS):
            continue
        if expires and not key.startswith(("req:", "quote:")):  # finished and archived: the job is read from SQL
            continue
        value = await _read_value(redis, name)
        if value and (compared := _compared_part(key, value)):
            found[key] = compared
    _drop_idle_entries(found)
    return found


def _drop_idle_entries(found: Snapshot) -> None:
    """Drop scheduled tasks that would do nothing, and offers in the lists of technicians that are closed because
    somebody has the job: a rebuild leaves them out."""
    jobs = {
        key.removeprefix("job:"): record for key, record in found.items() if key.count(":") == 1 and key[:4] == "job:"
    }
    for key in [key for key in found if key == "due" or (key.endswith(":offers") and key.startswith("tech:"))]:
        keep = _has_effect if key == "due" else _is_open
        technician = key.split(":")[1] if key != "due" else ""
        kept = {name: at for name, at in found[key].items() if keep(found, jobs, name, technician)}
        if kept:
            found[key] = kept
        else:
            del found[key]


def _has_effect(found: Snapshot, jobs: Mapping[str, Any], task: str, _: str) -> bool:
    kind, subject, *parts = task.split(":")
    # The task of a closed room is not compared: the window of the log may already be added to its time.
    if kind == "room":
        room = found.get(f"room:{subject}")
        return room is not None and room["state"] == "open" and "ended" in room
    if kind == "window":
        return f"open:{subject}" in found
    job = jobs.get(subject)
    if kind not in JOB_TASKS:
        return True
    if job is None:
        return False
    searches = job.get("mode", "none") != "none" and not job.get("holder")
    match kind:
        case "wave" | "allocate":
            return searches and int(parts[0]) == int(job.get("wave", 0)) + 1
        case "timer":
            return bool(job["entered"] == parts[0])
        case "offers" | "opens":
            sent = [text.split(" ") for text in found.get(f"job:{subject}:offers", {}).values()]
            return searches and any(text[0] == "sent" and text[1] == parts[0] for text in sent)
        case "expire":
            return searches and "expires" in job
        case "begin":
            return "ahead" in job
        case "close":
            return "closing" in job
        case _:
            shared = "shared_at" in job or "freed" in job or not job.get("holder")
            return job.get("tracks", "").split(" ")[0] == job["status"] and not shared


def _is_open(found: Snapshot, jobs: Mapping[str, Any], job: str, technician: str) -> bool:
    record = jobs.get(job)
    if record is None or record.get("mode", "none") == "none" or record.get("holder"):
        return False
    return str(found.get(f"job:{job}:offers", {}).get(technician, "")).startswith("sent ")


TAKEN_MS = 10_000
"""For how long a scheduled task that a scheduler has taken is hidden (``Backlog.TAKEN_MS`` in lua/lib/backlog.lua)."""
JOB_TASKS = ("wave", "allocate", "expire", "offers", "opens", "close", "timer", "begin", "track")
"""The classes of scheduled tasks of a job."""
KEYS_COMPARED_BY_MEMBERS = ("supply:*", "people")
"""Keys of Redis that have positions on the map. Only their members are compared."""


async def _read_value(redis: Any, name: str) -> Any:
    match (await redis.type(name)).decode():
        case "hash":
            return {k.decode(): v.decode() for k, v in (await redis.hgetall(name)).items()}
        case "zset":
            return {k.decode(): f"{v:.17g}" for k, v in await redis.zrange(name, 0, -1, withscores=True)}
        case "set":
            return {each.decode() for each in await redis.smembers(name)}
        case "list":
            return [each.decode() for each in await redis.lrange(name, 0, -1)]
        case "stream":
            return [(entry.decode(), [part.decode() for part in fields]) for entry, fields in await redis.xrange(name)]
        case _:
            text = await redis.get(name)
            return text and text.decode()  # None: it has expired since it was found


def _compared_part(key: str, value: Any) -> Any:
    """Return the part of a key's content that is compared. An empty field counts as a missing one."""
    match key.split(":"):
        case ["tech", _]:
            return _drop_fields(value, ephemeral.TECHNICIAN_FIELDS, drop_empty=True)
        case ["summaries"]:
            return {member: text.split(" ")[4:] for member, text in value.items()}
        case ["due"]:
            return {task: at for task, at in value.items() if not task.startswith(tuple(ephemeral.DUE_ENTRIES))}
        case ["room", _, "read"]:
            return {name: n for name, n in value.items() if not name.startswith(tuple(ephemeral.ROOM_READ_FIELDS))}
        case ["room", _]:
            return _drop_fields(value, ephemeral.ROOM_FIELDS, drop_empty=True)
        case ["room", _, "messages"]:
            return value[-room_contents.KEPT_MESSAGES :]  # Redis has more until the archive has them
        case ["job", _]:
            always = {name: value.get(name) for name in FIELDS_OF_EVERY_JOB if not value.get(name)}
            return _drop_fields(value, ephemeral.JOB_FIELDS, drop_empty=True) | always
        case ["req", *_]:
            word, _, seq, *_ = value.split(" ")
            return value if word == "OK" and seq != "0" else None
        case ["supply", _] | ["people"]:
            return set(value)
        case _:
            return value


def _drop_fields(fields: Mapping[str, str], dropped: Mapping[str, str], *, drop_empty: bool) -> dict[str, str]:
    return {
        name: text for name, text in fields.items() if name not in dropped and not (drop_empty and text in ("", "0"))
    }


def assert_same(before: Snapshot, after: Snapshot) -> None:
    """Assert that a rebuilt zone has the same keys and contents as before."""
    different = {
        key: _difference(before.get(key), after.get(key))
        for key in sorted(before.keys() | after.keys())
        if before.get(key) != after.get(key)
    }
    assert not different, "\n".join(f"{key}\n  had     {had}\n  rebuilt {has}" for key, (had, has) in different.items())


def _difference(had: Any, has: Any) -> tuple[Any, Any]:
    """Return both contents of a key. If they are hashes, return only the fields that differ."""
    if not isinstance(had, dict) or not isinstance(has, dict):
        return had, has
    names = {name for name in had.keys() | has.keys() if had.get(name) != has.get(name)}
    return {n: had[n] for n in names if n in had}, {n: has[n] for n in names if n in has}


async def check_rebuild(engine: Engine, *, only_job: str = "") -> Snapshot:
    """Archive everything, empty Redis, rebuild the zone, and assert that its contents are the same as before. Return
    those contents. If ``only_job`` is given, the scheduled tasks, rooms and index entries of other jobs are not
    compared, because the test has deleted their tasks.
    """
    await adopt_technicians(engine)
    await archiver.run_once(engine)
    before = await read_snapshot(engine)
    await _drop_repeats(engine, before)
    online = {key.split(":")[1] for key, record in before.items() if key.startswith("tech:") and "online" in record}
    before["people"] = before.get("people", set()) & online  # SQL has the positions of those who are online
    seq = engine.store.zones[DEFAULT_ZONE].seq
    now = int(await engine.store.command("HGET", keys.zone_meta(DEFAULT_ZONE), "now"))
    _drop_old_rooms(before, now - round(engine.settings.log_window_s * 1000))
    await engine.store.redis.flushall()
    await engine.store.reopen(DEFAULT_ZONE, stale=engine.store.zones[DEFAULT_ZONE].epoch)
    assert len(await rebuilder.run_once(engine)) == 1
    assert engine.store.zones[DEFAULT_ZONE].open
    after = await read_snapshot(engine)
    if not any(key.startswith("req:") for key in before):
        after = {key: value for key, value in after.items() if not key.startswith("req:")}
    before["epochs"] = begun_epochs(before["epochs"], seq)
    after["epochs"] = begun_epochs(after["epochs"], seq)
    after["people"] = after.get("people", set()) & before["people"]
    _equalise_due_times(before, after, now)
    for found in (before, after) if only_job else ():
        _drop_other_jobs(found, only_job)
    assert_same(before, after)
    return before


def _equalise_due_times(before: Snapshot, after: Snapshot, now: int) -> None:
    """Give each task that is due the same time before and after the rebuild. The times may differ: a scheduler that
    takes a task hides it for a while, and the task ``offers`` is due at the end of the first offer ever made or, after
    a rebuild, of the first that is still open.
    """
    had, rebuilt = before.get("due", {}), after.get("due", {})
    for task, at in rebuilt.items():
        if task in had and (int(at) <= now + TAKEN_MS or task.startswith("offers:")):
            rebuilt[task] = had[task]


def _drop_old_rooms(found: Snapshot, closed_before: int) -> None:
    """Drop the rooms that were closed before the log's window and that no task has removed yet."""
    rooms = {key for key in found if fnmatchcase(key, "room:room_*") and key.count(":") == 1}
    old = {room.partition(":")[2] for room in rooms if 0 < int(found[room].get("closed", 0)) < closed_before}
    for key in [key for key in found if key.startswith("room:") and key.split(":")[1] in old]:
        del found[key]
    for key in [key for key in found if fnmatchcase(key, "user:*:rooms")]:
        found[key] = {room: n for room, n in found[key].items() if room not in old}
        if not found[key]:
            del found[key]


def _drop_other_jobs(found: Snapshot, job: str) -> None:
    room = room_of(JobId(job))
    indexes = ("demand:", "wide:", "open:")
    shared = [key for key in found if key == "due" or key.startswith(indexes) or key.endswith(":rooms")]
    for key in [*shared, *(key for key in found if fnmatchcase(key, "tech:*:offers"))]:
        found[key] = {name: at for name, at in found[key].items() if not {job, room}.isdisjoint(name.split(":"))}
    for key in [key for key in found if not found[key] or (key.startswith("room:") and key.split(":")[1] != room)]:
        del found[key]


async def _drop_repeats(engine: Engine, found: Snapshot) -> None:
    """Drop the idempotency records that no event contains: those of repeats under another key. If the zone's clock was
    moved or corrected, drop all, because Redis deletes them by its own clock."""
    moved = await engine.store.command("HMGET", keys.zone_meta(DEFAULT_ZONE), "skew", "offset")
    is_moved = any(int(ms or 0) >= 1_000 for ms in moved)
    async with engine.archive.begin_read() as conn:
        rows = (await conn.execute(select(events.c.cause, events.c.actor).where(events.c.cause != ""))).all()
    done = {f"req:{row.actor.partition(':')[2]}:{row.cause.partition(':')[0]}" for row in rows}
    done |= {f"req:{OUTBOX_PRINCIPAL}:{row.cause.partition(':')[0]}" for row in rows}
    for key in [key for key in found if key.startswith("req:") and (is_moved or key not in done)]:
        del found[key]


def begun_epochs(epochs: Mapping[str, str], seq: int) -> dict[str, str]:
    """Return the epochs that began at or below ``seq``."""
    return {epoch: first for epoch, first in epochs.items() if int(first) <= seq}


async def adopt_technicians(engine: Engine) -> None:
    """Write a row in SQL for each technician who has only a record in Redis, as in many tests."""
    redis: Any = engine.store.redis
    async with engine.archive.begin_write() as conn:
        known = set((await conn.execute(select(technicians.c.id))).scalars())
        known_services = set((await conn.execute(select(services.c.id))).scalars())
        async for name in redis.scan_iter(match=keys.technician(DEFAULT_ZONE, "*"), count=1000):  # type: ignore[arg-type]
            if name.count(b":") != 2:
                continue
            row = {k.decode(): v.decode() for k, v in (await redis.hgetall(name)).items()}
            if "id" not in row or row["id"] in known:
                continue
            user = {"id": row["id"], "email": f"{row['id']}@example.org", "role": "technician", "active": True}
            user |= {"name": msgspec.json.decode(row["name"]), "phone": msgspec.json.decode(row["phone"])}
            await conn.execute(insert(users).values(**user, password_hash="", version=1, created_at=1))
            rated = int(row["rated"])
            profile = {"kyc": row["kyc"], "account": row["account"], "capacity": int(row["capacity"])}
            profile |= {"version": int(row["profile"]), "rated": rated, "zone": DEFAULT_ZONE}
            await conn.execute(insert(technicians).values(id=row["id"], stars=0, **profile))
            for service in row["services"].split():
                if service not in known_services:
                    new = {"name": service, "category": "c", "base_amount": 1, "currency": "USD", "pricing": "flat"}
                    await conn.execute(insert(services).values(id=service, **new, duration_min=1, active=True))
                    known_services.add(service)
                await conn.execute(insert(technician_services).values(technician=row["id"], service=service))
