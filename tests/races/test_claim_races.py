"""Many technicians claim the same job at once: one claim succeeds, all technicians are informed, and nobody is informed
twice.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest

from engine.domain import jobs
from engine.domain.jobs import CommandInput
from engine.errors import CalloutError
from engine.process.settings import Settings
from engine.runtime import Engine
from engine.store import keys
from engine.types import DEFAULT_ZONE, Principal
from engine.workers import scheduled_tasks
from server.serve import RunningServer, run_server
from tests.support import blueprints, event_log, people
from tests.support.clock import advance
from tests.support.sizes import choose_size
from tests.support.socket_client import SocketClient, token
from tests.support.wait import wait_until

TECHNICIANS, ROUNDS = 64, choose_size(30, 100)
"""A round is decided by the order in which 64 claims reach Redis, so 30 rounds are 1,890 claims that lose."""
ROUNDS_OF_FOUR = choose_size(50, 150)


@pytest.fixture
def settings(settings: Settings, tmp_path: Path) -> Settings:
    """Return settings with a blueprint whose first wave is large enough for all technicians."""
    text = blueprints.edited_toml("home_service", {"size = 10,": f"size = {TECHNICIANS},"})
    return blueprints.settings_with_blueprints(settings, tmp_path / "blueprints", home_service=text)


@pytest.fixture
async def server(settings: Settings) -> AsyncIterator[RunningServer]:
    """Yield a server with that blueprint; its scheduler opens the waves."""
    async with run_server(msgspec.structs.replace(settings, port=0)) as claim_server:
        yield claim_server


async def test_64_connected_technicians_claim_the_same_job_many_times(server: RunningServer) -> None:
    """In each round one of 64 claims succeeds and 63 are refused with `taken`; each losing technician receives
    `job_taken` once, and the customer receives `job_accepted` once.
    """
    engine = server.engine
    service, carla = await people.service(engine), await people.customer(engine)
    crowd = [await people.technician(engine, f"t{i}", service, capacity=1000) for i in range(TECHNICIANS)]
    sockets = [await SocketClient(server.ws_url, await token(engine, who)).open() for who in crowd]
    follower = await SocketClient(server.ws_url, await token(engine, carla)).open()
    wins: Counter[str] = Counter()
    names: list[str] = []
    for _ in range(ROUNDS):
        job = people.id_of(await people.job(engine, carla, service))
        names.append(job)
        await asyncio.gather(*(socket.wait_for("new_job_broadcast", job) for socket in sockets))
        replies = await asyncio.gather(*(socket.claim(job) for socket in sockets))
        winners = [who.id for who, reply in zip(crowd, replies, strict=True) if "ok" in reply]
        codes = Counter(reply["error"]["code"] for reply in replies if "error" in reply)
        assert len(winners) == 1 and codes == {"taken": TECHNICIANS - 1}
        wins[winners[0]] += 1
    await asyncio.gather(*(follower.wait_for("job_accepted", job) for job in names))
    last = names[-1]
    await wait_until(lambda: all(w.received("job_taken", last) or w.received("job_accepted", last) for w in sockets))
    accepted = Counter(p["data"]["job"]["id"] for p in follower.received("job_accepted"))
    assert accepted == dict.fromkeys(names, 1)
    for who, socket in zip(crowd, sockets, strict=True):
        taken_jobs = Counter(p["data"]["job"]["id"] for p in socket.received("job_taken"))
        accepted_jobs = Counter(p["data"]["job"]["id"] for p in socket.received("job_accepted"))
        assert taken_jobs + accepted_jobs == dict.fromkeys(names, 1)
        assert len(accepted_jobs) == wins[who.id]
    for socket in (*sockets, follower):
        await socket.close()


async def assert_one_outcome(engine: Engine, job: str, crowd: list[Principal]) -> str:
    """Assert that the job, the holder's record, the indexes and the events agree. Return the types of the events that
    ended the race, separated by spaces.
    """
    row = await engine.store.redis.hgetall(keys.job(DEFAULT_ZONE, job))  # type: ignore[arg-type]
    status, holder = row[b"status"].decode(), row[b"holder"].decode()
    ends = [
        e for e in await event_log.events(engine, job=job) if e.type in ("job.accepted", "job.cancelled", "job.expired")
    ]
    for who in crowd:
        is_listed = await engine.store.redis.sismember(keys.technician_jobs(DEFAULT_ZONE, who.id), job)  # type: ignore[arg-type]
        assert bool(is_listed) == (status == "accepted" and holder == who.id)
    assert await engine.store.redis.zscore(keys.job_demand(DEFAULT_ZONE, row[b"service"].decode()), job) is None
    types = [e.type for e in ends]
    assert types in (["job.accepted"], ["job.cancelled"], ["job.expired"], ["job.accepted", "job.cancelled"])
    versions = [event_log.payload(e)["job"]["version"] for e in ends]
    assert versions == sorted(set(versions))
    closed = Counter(to for e in await event_log.events(engine, "offer.closed", job) for to in e.to)
    assert all(n == 1 for n in closed.values())
    return " ".join(types)


@pytest.mark.parametrize("other", ["cancel", "expire"])
async def test_cancel_and_expiry_racing_claims_have_one_outcome(engine: Engine, other: str) -> None:
    """In each round three claims run at the same time as a cancel or the expiry: the job has one outcome, and
    all events agree with it.
    """
    service, carla = await people.service(engine), await people.customer(engine)
    crowd = [await people.technician(engine, f"t{i}", service, capacity=1000) for i in range(3)]
    draw, ends = random.Random(11), Counter[str]()

    async def try_command(who: Principal, job: str, command: str) -> bool:
        try:
            await jobs.run_command(engine, who, job, CommandInput(command=command))
            return True
        except CalloutError as error:
            assert error.code in ("taken", "cancelled", "expired", "illegal_transition")
            return False

    async def expire(job: str) -> bool:
        while await engine.store.redis.hget(keys.job(DEFAULT_ZONE, job), "status") == b"broadcasted":
            await scheduled_tasks.run_task(engine, DEFAULT_ZONE, f"expire:{job}")
        return True

    for _ in range(ROUNDS_OF_FOUR):
        job = await people.offered_job(engine, carla, service)
        if other == "expire":
            expires_ms = await engine.store.redis.hget(keys.job(DEFAULT_ZONE, job), "expires")
            at = int(expires_ms or 0) - 900_000 + draw.randrange(0, 7)  # the job expires in the middle of the race
            await engine.store.redis.hset(keys.job(DEFAULT_ZONE, job), "expires", at)
        acts = [try_command(who, job, "claim") for who in crowd]
        acts.append(try_command(carla, job, "cancel") if other == "cancel" else expire(job))
        draw.shuffle(acts)
        results = await asyncio.gather(*acts)
        assert sum(results) >= 1
        ends[await assert_one_outcome(engine, job, crowd)] += 1
        await event_log.clear(engine)
    first = "job.accepted job.cancelled" if other == "cancel" else "job.accepted"
    assert set(ends) == {first, "job.cancelled" if other == "cancel" else "job.expired"}


async def test_an_expiry_that_lost_to_a_claim_leaves_it_alone(engine: Engine) -> None:
    """An expiry task after a claim does not change the job, and a claim after the expiry is refused with `expired`."""
    service, carla = await people.service(engine), await people.customer(engine)
    tom = await people.technician(engine, "t1", service, capacity=2)
    won, lost = await people.offered_job(engine, carla, service), await people.offered_job(engine, carla, service)
    await jobs.claim(engine, tom, won)
    await advance(engine, 901)
    for job in (won, lost):
        await scheduled_tasks.run_task(engine, DEFAULT_ZONE, f"expire:{job}")
    assert await assert_one_outcome(engine, won, [tom]) == "job.accepted"
    assert await assert_one_outcome(engine, lost, [tom]) == "job.expired"
    with pytest.raises(CalloutError, match="expired"):
        await jobs.claim(engine, tom, lost)
