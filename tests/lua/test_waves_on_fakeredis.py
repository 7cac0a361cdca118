"""Waves on fakeredis: what the scripts lean on (SMISMEMBER, ZADD LT, GEO, cjson) is what every server has."""

from __future__ import annotations

from typing import Any

import fakeredis
import orjson
import pytest

from engine.blueprint import catalogue, compiler
from engine.store import keys
from engine.types import JobId, ServiceId, TechnicianId, UserId
from tests.lua.evaluated import ALL, Z, open_zone, run

JOB, SERVES, CARLA = JobId("job_main_1"), ServiceId("s1"), UserId("carla")
LIMITS = "1 5000 0 2 0 5 0"
"""One of a wave has a head start of 5 s; at most two open offers each."""


@pytest.fixture
def client() -> fakeredis.FakeRedis:
    """An open zone with a job on offer and three technicians, the second of them blocked."""
    client = fakeredis.FakeRedis(version=(7, 2))
    open_zone(client)
    for n, name in enumerate(("a", "b", "c")):
        fit = {"id": name, "complete": 1, "kyc": "approved", "account": "approved", "online": 1, "capacity": 1}
        where = {"load": 0, "services": SERVES, "lat": 40.75 + n / 1000, "lon": -73.99, "fix_at": 9e12, "name": '"x"'}
        client.hset(keys.technician(Z, TechnicianId(UserId(name))), mapping={**fit, **where, "phone": "null"})
        client.geoadd(keys.technician_supply(Z, SERVES), (-73.99, 40.75 + n / 1000, name))
    client.sadd(keys.user_blocks(Z, CARLA), "b")
    return client


def on_offer(client: fakeredis.FakeRedis, status: str, mode: str) -> None:
    """The job's record, as creation leaves it."""
    texts = {"id": JOB, "status": status, "phase": "open", "mode": mode, "customer": CARLA, "service": SERVES}
    place = {"lat": 40.75, "lon": -73.99, "full": '"id":"x"', "pub": '"id":"x"', "amount": 5000, "bp": "any@1"}
    numbers = {"version": 1, "updated": 1, "expires": 0, "wave": 0}
    empty = dict.fromkeys(("holder", "card", "at", "last", "claimed", "frozen", "preferred"), "")
    client.hset(keys.job(Z, JOB), mapping={**texts, **place, **empty, **numbers})


def look(client: fakeredis.FakeRedis, script: str, **args: str | int | bytes) -> Any:
    """Evaluate one of the scripts that look for a technician."""
    place = {
        "meta": keys.zone_meta(Z),
        "job": keys.job(Z, JOB),
        "offers": keys.job_offers(Z, JOB),
        "waves": keys.job_waves(Z, JOB),
        "supply": keys.technician_supply(Z, SERVES),
        "due": keys.due_tasks(Z),
        "log": keys.log(Z),
    }
    return run(client, script, {name: place[name] for name in ALL[script].keys}, args)


def told(client: fakeredis.FakeRedis, kind: str) -> list[str]:
    """To whom the events of a type went, in order."""
    return [f[b"to"].decode() for _, f in client.xrange(keys.log(Z)) if f[b"type"] == kind.encode()]


def test_a_wave_leaves_out_who_is_blocked_and_opens_to_the_others_later(client: fakeredis.FakeRedis) -> None:
    """Two are asked, one of them hears of it, and the other when the due work of his opening is done."""
    on_offer(client, "broadcasted", "broadcast")
    wave: dict[str, str | int] = {
        "entry": f"wave:{JOB}:1",
        "wave": 1,
        "size": 10,
        "radius_m": 3000,
        "interval_ms": 10_000,
    }
    wave |= {"offer_ms": 60_000, "walks": 0, "weights": "1 0 0 0 0", "limits": LIMITS}
    assert look(client, "wave_open", **wave, audience="customer", unfilled_audience="")[4:] == [2, b"0"]
    assert told(client, "offer.created") == ["user:a"]
    (entry,) = [e.decode() for e in client.zrange(keys.due_tasks(Z), 0, -1) if e.startswith(b"opens:")]
    _, _, wave_number, opens = entry.split(":")
    assert look(client, "offer_open", entry=entry, wave=wave_number, opens=opens)[4] == 1
    assert look(client, "offer_open", entry=entry, wave=wave_number, opens=opens)[4] == 0
    assert told(client, "offer.created") == ["user:a", "user:c"]
    record = orjson.loads(client.lindex(keys.job_waves(Z, JOB), 0) or b"")
    assert record["in"]["technicians"] == ["a", "c"] and record["out"]["blocked"]["technicians"] == ["b"]


def test_the_engine_gives_the_job_to_the_best(client: fakeredis.FakeRedis) -> None:
    """The nearest who fits holds it, and the record has each part of his score."""
    managed = catalogue.load_blueprints("home_service", catalogue.shipped_folder()).by_name["managed"]
    plan = compiler.PlanCache().of(managed, "assign")
    assert plan is not None
    on_offer(client, "requested", "allocate")
    how: dict[str, str | int | bytes] = {
        "radius_m": 0,
        "repeat_ms": 60_000,
        "weights": "1 0 0 0 5",
        "plan": plan.body,
        "unfilled_audience": "ops",
    }
    given = look(client, "allocate_open", entry=f"allocate:{JOB}:1", round=1, **how)
    assert given[4:] == [b"a", b"0"]
    assert client.hget(keys.job(Z, JOB), "status") == b"assigned" and told(client, "job.assigned")
    record = orjson.loads(client.lindex(keys.job_waves(Z, JOB), 0) or b"")
    assert [s["technician"] for s in record["scores"]] == ["a", "c"]
