"""Tests of waves on fakeredis: the commands that their scripts need (SMISMEMBER, ZADD LT, GEO, cjson) exist on every
server.
"""

from __future__ import annotations

from typing import Any

import fakeredis
import orjson
import pytest

from engine.blueprint import catalogue, compiler
from engine.store import keys
from engine.types import JobId, ServiceId, TechnicianId, UserId
from tests.lua.evaluated import SCHEDULE_RULE, SCRIPTS, ZONE, open_zone, run_script

JOB, SERVICE, CUSTOMER = JobId("job_main_1"), ServiceId("s1"), UserId("carla")
WAVE_LIMITS = "1 5000 0 2 0 5 0"
"""One technician of a wave has a head start of 5 s; each technician may have at most two open offers."""


@pytest.fixture
def client() -> fakeredis.FakeRedis:
    """Return a fakeredis with an open zone and three technicians, of whom the customer blocks the second."""
    client = fakeredis.FakeRedis(version=(7, 2))
    open_zone(client)
    for index, name in enumerate(("a", "b", "c")):
        fit = {"id": name, "complete": 1, "kyc": "approved", "account": "approved", "online": 1, "capacity": 1}
        where = {
            "load": 0,
            "services": SERVICE,
            "lat": 40.75 + index / 1000,
            "lon": -73.99,
            "fix_at": 9e12,
            "name": '"x"',
        }
        client.hset(keys.technician(ZONE, TechnicianId(UserId(name))), mapping={**fit, **where, "phone": "null"})
        client.geoadd(keys.technician_supply(ZONE, SERVICE), (-73.99, 40.75 + index / 1000, name))
    client.sadd(keys.user_blocks(ZONE, CUSTOMER), "b")
    return client


def write_job(client: fakeredis.FakeRedis, status: str, mode: str) -> None:
    """Write the job's record into Redis as its creation does, in this state and search mode."""
    texts = {"id": JOB, "status": status, "phase": "open", "mode": mode, "customer": CUSTOMER, "service": SERVICE}
    place = {"lat": 40.75, "lon": -73.99, "full": '"id":"x"', "pub": '"id":"x"', "amount": 5000, "bp": "any@1"}
    numbers = {"version": 1, "updated": 1, "expires": 0, "wave": 0}
    empty = dict.fromkeys(("holder", "card", "at", "last", "claimed", "frozen", "preferred"), "")
    client.hset(keys.job(ZONE, JOB), mapping={**texts, **place, **empty, **numbers})


def run_search(client: fakeredis.FakeRedis, script: str, **args: str | int | bytes) -> Any:
    """Evaluate one of the scripts that search for a technician, and return its reply."""
    place = {
        "meta": keys.zone_meta(ZONE),
        "job": keys.job(ZONE, JOB),
        "offers": keys.job_offers(ZONE, JOB),
        "waves": keys.job_waves(ZONE, JOB),
        "supply": keys.technician_supply(ZONE, SERVICE),
        "due": keys.due_tasks(ZONE),
        "log": keys.log(ZONE),
    }
    return run_script(client, script, {name: place[name] for name in SCRIPTS[script].keys}, args)


def read_channels(client: fakeredis.FakeRedis, event_type: str) -> list[str]:
    """Return the channels of each event of this type, in the order of the log."""
    return [f[b"to"].decode() for _, f in client.xrange(keys.log(ZONE)) if f[b"type"] == event_type.encode()]


def test_a_wave_excludes_blocked_technicians_and_opens_later_offers(client: fakeredis.FakeRedis) -> None:
    """A wave makes no offer to the blocked technician. With a head start of one the first technician receives the offer
    at once, the other when the scheduled task `opens` runs.
    """
    write_job(client, "broadcasted", "broadcast")
    wave: dict[str, str | int] = {
        "entry": f"wave:{JOB}:1",
        "wave": 1,
        "size": 10,
        "radius_m": 3000,
        "interval_ms": 10_000,
    }
    wave |= {"offer_ms": 60_000, "whole_zone": 0, "weights": "1 0 0 0 0", "limits": WAVE_LIMITS}
    wave |= {"audience": "customer", "unfilled_audience": "", "schedule": SCHEDULE_RULE}
    assert run_search(client, "wave_open", **wave)[4:] == [2, b"0"]
    assert read_channels(client, "offer.created") == ["user:a"]
    (entry,) = [e.decode() for e in client.zrange(keys.due_tasks(ZONE), 0, -1) if e.startswith(b"opens:")]
    _, _, wave_number, opens = entry.split(":")
    assert run_search(client, "offer_open", entry=entry, wave=wave_number, opens=opens)[4] == 1
    assert run_search(client, "offer_open", entry=entry, wave=wave_number, opens=opens)[4] == 0
    assert read_channels(client, "offer.created") == ["user:a", "user:c"]
    record = orjson.loads(client.lindex(keys.job_waves(ZONE, JOB), 0) or b"")
    assert record["in"]["technicians"] == ["a", "c"] and record["out"]["blocked"]["technicians"] == ["b"]


def test_the_engine_assigns_the_job_to_the_best_technician(client: fakeredis.FakeRedis) -> None:
    """`allocate_open` assigns the job to the nearest eligible technician, and the wave's record has the score of each
    candidate.
    """
    managed = catalogue.load_blueprints("home_service", catalogue.shipped_folder()).by_name["managed"]
    plan = compiler.PlanCache().find_plan(managed, "assign")
    assert plan is not None
    write_job(client, "requested", "allocate")
    how: dict[str, str | int | bytes] = {
        "radius_m": 0,
        "repeat_ms": 60_000,
        "weights": "1 0 0 0 5",
        "plan": plan.plan_json,
        "unfilled_audience": "ops",
        "schedule": SCHEDULE_RULE,
    }
    reply = run_search(client, "allocate_open", entry=f"allocate:{JOB}:1", round=1, **how)
    assert reply[4:] == [b"a", b"0"]
    assert client.hget(keys.job(ZONE, JOB), "status") == b"assigned" and read_channels(client, "job.assigned")
    record = orjson.loads(client.lindex(keys.job_waves(ZONE, JOB), 0) or b"")
    assert [s["technician"] for s in record["scores"]] == ["a", "c"]
