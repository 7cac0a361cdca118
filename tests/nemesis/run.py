"""One run of the fault suite: users act, a fault begins and ends, the users continue, and the checker judges what they
recorded.
"""

from __future__ import annotations

import asyncio
import importlib.util
import itertools
import random
import time
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import msgspec
from redis.asyncio import Redis
from redis.exceptions import RedisError

from engine.store import keys
from engine.store.connection import create_client
from engine.types import DEFAULT_ZONE
from tests.nemesis.checker import LOSS, Report, check
from tests.nemesis.end_state import read_end
from tests.nemesis.history import End, Fault, Flaw, History
from tests.nemesis.nemeses import Nemesis
from tests.nemesis.rebuild_check import rebuild_flaws
from tests.nemesis.users import create_workload
from tests.nemesis.workload import Workload
from tests.nemesis.world import World, open_world

RECOVERY_TIMEOUT_S, CLOSED_TIMEOUT_S = 40.0, 8.0
HAS_REBUILD = importlib.util.find_spec("engine.rebuild.rebuilder") is not None
"""Whether this version rebuilds a zone from SQL. Without that, a zone whose Redis lost data stays closed."""
NS_PER_S = 1_000_000_000


class Result(msgspec.Struct):
    """The result of one run. ``unavailable_s``: the longest time without a success that overlaps the fault.
    ``recovery_s``: from the end of the fault to the first successful claim; None if there was none. ``may_lose``: the
    level does not promise to survive the fault. ``closed``: the zone stayed closed, because nothing rebuilds it.
    """

    nemesis: str
    level: str
    seed: int
    report: Report
    unavailable_s: float
    recovery_s: float | None
    history: History
    may_lose: bool = False
    closed: bool = False

    @property
    def failed(self) -> bool:
        """Return whether the run shows something that its level does not allow."""
        return any(not (self.may_lose and flaw.kind == LOSS) for flaw in self.report.flaws)


class Times(msgspec.Struct):
    """How long the users act before the fault, and after it (seconds)."""

    before_s: float = 2.0
    after_s: float = 2.0


async def run_once(nemesis: Nemesis, level: str, seed: int, folder: Path, database: Path, times: Times) -> Result:
    """Run one fault against new servers and stores, and return the checker's judgement."""
    history, draw = History(), random.Random(f"{nemesis.name} {level} {seed}")
    may_lose, may_close = level not in nemesis.survives, nemesis.needs_rebuild and not HAS_REBUILD
    world = World(folder, database, level, nemesis.needs, nemesis.options, nemesis.settings)
    async with open_world(world):
        workload = await create_workload(world.url_of("first"), world.folder, history, seed, to=world.url)
        workload.start()
        try:
            async with asyncio.timeout(20):
                await asyncio.gather(*(client.is_connected.wait() for client in workload.clients))
            await asyncio.sleep(times.before_s * draw.uniform(0.7, 1.3))
            began, ended = await _strike(history, nemesis, nemesis.strike(world, draw), draw)
            recovered = await _wait_for_success(history, ended, CLOSED_TIMEOUT_S if may_close else RECOVERY_TIMEOUT_S)
            closed = recovered is None and may_close
            await asyncio.sleep(times.after_s)
            await workload.stop()
            history.add(End(await wait_until_delivered(world.redis_url, workload, 2 if closed else 15)))
        finally:
            await workload.disconnect()
        await world.kill_servers()
        history.add(*await read_end("" if closed else world.redis_url, world.checker_settings()))
        if not closed:
            history.add(*await rebuild_flaws(world.checker_settings()))
    if recovered is None and not closed:
        history.add(Flaw("no_recovery", f"no claim succeeded within {RECOVERY_TIMEOUT_S:g} s"))
    report, gap_s = check(history, loses=may_lose, closed=closed), _longest_gap_s(history, began, ended)
    return Result(nemesis.name, level, seed, report, gap_s, recovered, history, may_lose, closed)


async def _strike(
    history: History, nemesis: Nemesis, strike: AbstractAsyncContextManager[None], draw: random.Random
) -> tuple[int, int]:
    """Cause the fault for its duration. Return the times at which it began and ended."""
    began = time.monotonic_ns()
    history.add(Fault(nemesis.name, True, began))
    async with strike:
        await asyncio.sleep(nemesis.lasts_s * draw.uniform(0.6, 1.4))
    ended = time.monotonic_ns()
    history.add(Fault(nemesis.name, False, ended))
    return began, ended


async def _wait_for_success(history: History, ended: int, within_s: float) -> float | None:
    """Wait for the first claim that began after the fault and succeeded: then bookings, waves and claims work again.
    Return the seconds since the fault.
    """
    place = 0
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        while place < len(history.operations):
            op, place = history.operations[place], place + 1
            if op.out == "ok" and op.cmd == "claim" and op.t1 and op.t0 > ended:
                return (op.t1 - ended) / NS_PER_S
        await asyncio.sleep(0.02)
    return None


def _longest_gap_s(history: History, began: int, ended: int) -> float:
    """Return the longest time between two successes that overlaps the fault."""
    successes = sorted(op.t1 for op in history.operations if op.out == "ok" and op.t1)
    gaps = [(b - a) / NS_PER_S for a, b in itertools.pairwise(successes) if b > began and a < ended + 5 * NS_PER_S]
    return max(gaps, default=0.0)


async def wait_until_delivered(redis_url: str, workload: Workload, within_s: float = 15) -> int:
    """Wait until SQL has the whole log, and until each connected user has received the last event that is addressed to
    them. Continue after ``within_s`` seconds in any case: the checker reports what is missing. Return the head until
    which everything must have been delivered.
    """
    head = 0
    deadline = time.monotonic() + within_s
    async with create_client(redis_url) as client:
        while time.monotonic() < deadline:
            await asyncio.sleep(0.1)
            try:
                archived, seq = await client.hmget(keys.zone_meta(DEFAULT_ZONE), "archived", "seq")  # type: ignore[misc]
                head = int(seq or 0)
                tasks = await client.zrange(keys.due_tasks(DEFAULT_ZONE), 0, -1)
                if archived is None or int(archived) < head or any(task.startswith(b"read:") for task in tasks):
                    continue  # a read mark of the last second is sent soon
                if await _all_delivered(client, workload, head):
                    return head
            except RedisError:
                continue
    return head


async def _all_delivered(client: Redis, workload: Workload, head: int) -> bool:
    entries = await client.xrevrange(keys.log(DEFAULT_ZONE), f"{head}-0", count=200)
    for user in workload.clients:
        channel = f"user:{user.id}".encode()
        last = next((int(n.split(b"-")[0]) for n, fields in entries if channel in fields[b"to"].split()), 0)
        if user.end_code is None and (not user.is_connected.is_set() or user.seq < last):
            return False
    return True
