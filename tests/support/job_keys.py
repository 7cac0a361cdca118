"""Compare the keys of jobs in Redis with those that a rebuild computes from the log or from SQL."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from engine.archive import projection
from engine.events import Event, parse_log_entry
from engine.rebuild import ephemeral
from engine.rebuild.contents import Contents, KeyContent, merge
from engine.rebuild.job_contents import JobRows, job_contents
from engine.rebuild.job_dealings import BidRow
from engine.runtime import Engine
from engine.store import keys
from engine.types import DEFAULT_ZONE, JobId, Zone

ZONE = DEFAULT_ZONE
TAKEN_MS = 10_000
"""For how long a scheduled task that a scheduler has taken is hidden (``Backlog.TAKEN_MS`` in lua/lib/backlog.lua)."""
JOB_TASKS = ("wave", "allocate", "expire", "offers", "opens", "close", "timer", "promise", "begin", "track")
"""The classes of scheduled tasks of a job."""
POSTPONED_TASKS = ("allocate", "expire", "timer", "promise", "track")
"""The classes whose scripts may postpone a task without an event."""
SHARED_KEYS = re.compile(
    r"\{\w+\}:(due|jobs|disputes|places|user:[^:]+:jobs|tech:[^:]+:(jobs|tracked|offers)|(demand|wide|open):[^:]+)$"
)
"""The keys to which jobs contribute members."""


async def read_events(engine: Engine, after: int = 0) -> list[Event]:
    """Return the events of the log with their state."""
    rows: Any = await engine.store.redis.xrange(keys.log(ZONE), f"({after}-0", "+")
    return [parse_log_entry(ZONE, entry, fields, with_state=True) for entry, fields in rows]


def rows_of_events(events: Iterable[Event], zone: Zone = ZONE) -> list[JobRows]:
    """Return what SQL would have of the jobs of ``events`` after the archiver has archived them."""
    events = list(events)
    batch = projection.fold_events(events)
    events_of: dict[str, list[Event]] = defaultdict(list)
    for event, stored in zip(events, batch.events, strict=True):
        if stored["job"] and (event.cause or event.type.startswith("payment.")):
            events_of[stored["job"]].append(event)
    states: dict[str, list[tuple[int, str]]] = defaultdict(list)
    for each in batch.job_states:
        states[each["job"]].append((each["seq"], each["state"]))
    found = []
    for job, row in batch.jobs.items():
        bids = [bid for bid in batch.bids.values() if bid["job"] == job]
        found.append(
            JobRows(
                zone=zone,
                id=JobId(job),
                document=row["doc"].encode(),
                states=states[job],
                bids=[BidRow(b["technician"], b["created_at"], b["updated_at"], b["doc"].encode()) for b in bids],
                events=events_of[job],
            )
        )
    return found


async def check_jobs(engine: Engine, rows: Sequence[JobRows]) -> int:
    """Assert that the keys of the jobs ``rows`` in Redis are those that a rebuild would write (``job_contents``).
    Return how many jobs were compared: those that Redis still has, and whose keys do not expire.
    """
    redis = engine.store.redis
    now = int(await redis.hget(keys.zone_meta(ZONE), "now") or 0)  # type: ignore[misc]
    if not rows:
        return 0
    pipe = redis.pipeline(transaction=False)
    for each in rows:
        pipe.pttl(keys.job(ZONE, each.id))
    live = [each for each, ttl in zip(rows, await pipe.execute(), strict=True) if ttl == -1]
    expected: Contents = {}
    for each in live:
        parts = job_contents(each, now)
        assert parts.is_exact, each.id
        merge(expected, parts.contents)
    ids = {each.id for each in live}
    found = await _read_contents(engine, ids, expected)
    records = {job: found.get(keys.job(ZONE, job)) for job in ids}
    _normalise(found, ids, records)
    _normalise(expected, ids, records)
    _drop_allowed_differences(found, expected, now)
    await _replace_places(engine, expected)
    for key in sorted(found.keys() | expected.keys()):
        assert found.get(key) == expected.get(key), f"{key}\n in Redis {found.get(key)}\n rebuilt  {expected.get(key)}"
    return len(live)


async def _read_contents(engine: Engine, ids: set[JobId], expected: Contents) -> Contents:
    """Read the keys of the jobs ``ids``, and the keys that jobs share."""
    redis = engine.store.redis
    names = {name.decode() async for name in redis.scan_iter(match=f"{{{ZONE}}}:*", count=1000)}
    own = {name for name in names if (parts := name.split(":"))[1] == "job" and parts[2] in ids}
    chosen = sorted(own | {name for name in names if SHARED_KEYS.match(name)} | (names & expected.keys()))
    pipe = redis.pipeline(transaction=False)
    for name in chosen:
        pipe.type(name).pexpiretime(name)
    facts = await pipe.execute()
    kinds = [kind.decode() for kind in facts[::2]]
    for name, kind in zip(chosen, kinds, strict=True):
        READ_COMMANDS[kind](pipe, name)
    values = await pipe.execute()
    found: Contents = {}
    for name, kind, ttl, reply in zip(chosen, kinds, facts[1::2], values, strict=True):
        value = _decode_reply(kind, reply)
        if name.split(":")[1] == "ref":
            value = {reference: job for reference, job in value.items() if job.split()[0] in ids}
        found[name] = KeyContent(kind, value, None if ttl < 0 else ttl)  # type: ignore[arg-type]
    return found


READ_COMMANDS: dict[str, Callable[[Any, str], Any]] = {
    "hash": lambda redis, name: redis.hgetall(name),
    "zset": lambda redis, name: redis.zrange(name, 0, -1, withscores=True),
    "set": lambda redis, name: redis.smembers(name),
    "list": lambda redis, name: redis.lrange(name, 0, -1),
    "string": lambda redis, name: redis.get(name),
}
"""The commands that read a whole key, by the kind of key."""


def _decode_reply(kind: str, reply: Any) -> Any:
    """Return the reply to one of ``READ_COMMANDS`` as the value of a ``KeyContent``."""
    match kind:
        case "hash":
            return {name.decode(): text.decode() for name, text in reply.items()}
        case "zset":
            return {member.decode(): f"{score:.0f}" for member, score in reply}
        case "set":
            return frozenset(member.decode() for member in reply)
        case "list":
            return tuple(element.decode() for element in reply)
        case _:
            return reply.decode()


def _normalise(contents: Contents, ids: set[JobId], records: Mapping[JobId, KeyContent | None]) -> None:
    """Remove what has no effect and may differ: empty fields, entries of other jobs, scheduled tasks that would do
    nothing, and closed offers in the list of a technician.
    """
    for key, content in list(contents.items()):
        value: Any = content.value
        match key.split(":")[1:]:
            case ["job", _]:
                value = _comparable_fields(value)
            case ["due"]:
                value = {task: at for task, at in value.items() if _has_effect(task, records)}
            case ["tech", technician, "offers"]:
                value = {job: at for job, at in value.items() if _is_open(contents, records, job, technician)}
            case _ if SHARED_KEYS.match(key):
                chosen = {member for member in value if member in ids}
                value = frozenset(chosen) if content.kind == "set" else {m: value[m] for m in chosen}
        if value:
            # A TTL is of the server's clock, which tests do not move: only whether there is one is compared.
            contents[key] = content._replace(value=value, expires_at=content.expires_at and 0)
        else:
            del contents[key]


def _comparable_fields(fields: Mapping[str, str]) -> dict[str, str]:
    """Return the fields without those that are empty or that a rebuild does not restore exactly."""
    return {name: text for name, text in fields.items() if text and name not in ephemeral.JOB_FIELDS}


def _has_effect(task: str, records: Mapping[JobId, KeyContent | None]) -> bool:
    """Return whether a scheduled task belongs to one of the jobs and still has an effect when it runs."""
    kind, _, rest = task.partition(":")
    job, *parts = rest.split(":")
    record: Any = getattr(records.get(JobId(job)), "value", None)
    if kind not in JOB_TASKS or record is None:
        return False
    searches = record["mode"] != "none" and not record["holder"]
    match kind:
        case "wave" | "allocate":
            return searches and int(parts[0]) == int(record["wave"]) + 1
        case "timer":
            return bool(record["entered"] == parts[0])
        case "expire":
            return searches and record.get("expires", "0") != "0"
        case "offers" | "opens":
            return searches
        case "begin":
            return "ahead" in record
        case "close":
            return bool(record.get("closing"))
        case _:
            shared = record.get("shared_at") or record.get("freed") or not record["holder"]
            return record.get("tracks", "").split(" ")[0] == record["status"] and not shared


def _is_open(contents: Contents, records: Mapping[JobId, KeyContent | None], job: str, technician: str) -> bool:
    """Return whether a technician's offer of a job is open."""
    record: Any = getattr(records.get(JobId(job)), "value", None)
    if record is None or record["mode"] == "none" or record["holder"]:
        return False
    offers: Any = contents[keys.job_offers(ZONE, JobId(record["id"]))].value
    return bool(offers.get(technician, "").startswith("sent "))


def _drop_allowed_differences(found: Contents, expected: Contents, now: int) -> None:
    """Remove allowed differences between the scheduled tasks in Redis and the rebuilt ones: a task that is due gets the
    same time on both sides. A scheduler that has taken a task hides it for a while. The scripts of ``POSTPONED_TASKS``
    postpone their tasks without an event: in a grace period, while the job is frozen, and until the watchdog's next
    check. The task ``offers`` in Redis is due at the first end of all offers, the rebuilt one at the first end of those
    still open.
    """
    key = keys.due_tasks(ZONE)
    live: Any = found[key].value if key in found else {}
    rebuilt: Any = expected[key].value if key in expected else {}
    same = dict(rebuilt)
    for task, at in rebuilt.items():
        is_due, kind = int(at) <= now + TAKEN_MS, task.partition(":")[0]
        is_taken = is_due and int(live.get(task, 0)) <= now + TAKEN_MS
        if task in live and (is_taken or (is_due and kind in POSTPONED_TASKS) or kind == "offers"):
            same[task] = live[task]
    # No offer of this wave is open any more: it would find nothing.
    gone = {task for task in live if task.startswith(("offers:", "opens:")) and task not in rebuilt}
    for contents, tasks in ((found, {t: at for t, at in live.items() if t not in gone}), (expected, same)):
        if tasks:
            contents[key] = KeyContent("zset", tasks)
        else:
            contents.pop(key, None)


async def _replace_places(engine: Engine, expected: Contents) -> None:
    """Replace each position in a geo index by the score that this Redis server computes from it."""
    scratch, redis = f"{{{ZONE}}}:scratch", engine.store.redis
    for key, content in expected.items():
        if content.kind == "geo":
            places: Any = content.value
            await redis.geoadd(scratch, [each for m, at in places.items() for each in (at.lon, at.lat, m)])  # type: ignore[list-item]
            value = _decode_reply("zset", await READ_COMMANDS["zset"](redis, scratch))
            await redis.delete(scratch)
            expected[key] = KeyContent("zset", value)
