"""Tests of scripts on fakeredis: they need only what every server has, and their times are exact to the millisecond."""

from __future__ import annotations

import asyncio
import random
from datetime import UTC, datetime

import fakeredis
import pytest

from engine.blueprint.catalogue import load_blueprints, shipped_folder
from engine.blueprint.compiler import compile_command
from engine.events import rfc3339_of
from engine.store import keys, scripts
from engine.types import JobId, ServiceId, TechnicianId, UserId
from tests.lua.evaluated import SCHEDULE_RULE, SCRIPTS, ZONE, open_zone, run_script


@pytest.fixture
def client() -> fakeredis.FakeRedis:
    """Return a fakeredis with an open zone."""
    client = fakeredis.FakeRedis(version=(7, 2))
    open_zone(client)
    return client


def test_times_are_rfc_3339_from_1970_to_2100() -> None:
    """`lib/iso` formats times from 1970 to 2100 exactly as Python does, with leap years and ends of months, also
    several times of one second and of the next.
    """
    client = fakeredis.FakeRedis(version=(7, 2))
    loop = "\nfor i, ms in ipairs(ARGV) do ARGV[i] = Iso.format(tonumber(ms)) end return ARGV"
    folder = scripts.scripts_folder() / "lib"
    source = "".join((folder / name).read_text() for name in ("memo.lua", "iso.lua")) + loop
    draw = random.Random(7)
    moments = [
        0,
        951_782_399_999,
        951_782_400_000,
        4_102_444_799_999,
        *(draw.randrange(4 * 10**12) for _ in range(300)),
    ]
    moments += [
        int(datetime(y, m, 1, tzinfo=UTC).timestamp()) * 1000 - 1 for y in (2000, 2024, 2100) for m in range(1, 13)
    ]
    moments = [ms + later for ms in moments for later in (0, 1, 400, 1_000)]
    assert client.eval(source, 0, *moments) == [f'"{rfc3339_of(ms)}"'.encode() for ms in moments]


def test_a_stale_epoch_is_refused_before_any_write(client: fakeredis.FakeRedis) -> None:
    """Every script that takes an epoch replies STALE_EPOCH to another one and creates no key."""
    before = {k: client.dump(k) if client.type(k) != b"stream" else 0 for k in client.scan_iter()}
    for script in SCRIPTS.values():
        if script.name == "zone_open" or "meta" not in script.keys:
            continue
        places = {name: f"{{main}}:{name}" if name != "meta" else keys.zone_meta(ZONE) for name in script.keys}
        reply = run_script(client, script.name, places, dict.fromkeys(script.argument_names, "1"), "e9")
        assert reply == [b"STALE_EPOCH"], script.name
    assert set(client.scan_iter()) == set(before)


def test_a_job_is_booked_offered_and_claimed(client: fakeredis.FakeRedis) -> None:
    """A job of `home_service` can be booked, offered in a wave and claimed on fakeredis, without a Redis server."""
    job, tech, service, user = JobId("job_main_1"), TechnicianId(UserId("t1")), ServiceId("s1"), UserId("u1")
    where = {
        "meta": keys.zone_meta(ZONE),
        "log": keys.log(ZONE),
        "tech": keys.technician(ZONE, tech),
        "seen": keys.last_seen(ZONE),
    }
    who: dict[str, str | int] = {"id": tech, "profile": 1, "complete": 1, "kyc": "approved", "account": "approved"}
    who |= {"capacity": 1, "services": service, "name": '"T"', "phone": "null", "actor": "engine"}
    who |= {"offline_reason": "ops", "rating": "4.5", "rated": 0, "audience": "ops"}
    who |= {"accepted": 0, "asked": 0, "free_at": 0}
    run_script(client, "technician_put", where, who)
    arguments = {"id": tech, "key": "k0", "fingerprint": "f0", "lat": "40.75", "lon": "-73.99", "audience": "ops"}
    run_script(client, "technician_online", {**where, "req": keys.idempotency_record(ZONE, tech, "k0")}, arguments)
    where = {
        "meta": keys.zone_meta(ZONE),
        "log": keys.log(ZONE),
        "job": keys.job(ZONE, job),
        "offers": keys.job_offers(ZONE, job),
    }
    index_keys = {
        "ref": keys.booking_references(ZONE, user),
        "jobs": keys.jobs(ZONE),
        "user_jobs": keys.user_jobs(ZONE, user),
    }
    args: dict[str, str | int | float] = {"id": job, "actor": "customer:u1", "key": "k1", "fingerprint": "f1"}
    args |= {"trace": "", "reference": "", "bp": "home_service@1", "state_entry": "broadcasted open broadcast 900000 -"}
    args |= {"service": service, "customer": user, "lat": 40.75, "lon": -73.99, "amount": 5000, "full": '"id":"x"'}
    args |= {
        "pub": '"id":"x"',
        "release": 0,
        "scheduled": 0,
        "named": "",
        "preferred": "",
        "audience": "customer ops",
        "contact": "null",
        "room": "",
        "reserve": "",
        "quote": "",
        "quoted": "",
        "quote_ms": 0,
    }
    reply = run_script(
        client, "job_create", {**where, **index_keys, "req": keys.idempotency_record(ZONE, user, "k1")}, args
    )
    assert reply[0] == b"OK"
    wave: dict[str, str | int] = {"entry": f"wave:{job}:1", "wave": 1, "size": 10, "radius_m": 3000, "whole_zone": 0}
    wave |= {"interval_ms": 10_000, "offer_ms": 60_000, "weights": "1 0 0 0 0", "limits": "0 0 0 0 0 5 0"}
    wave |= {"audience": "customer", "unfilled_audience": "", "schedule": SCHEDULE_RULE}
    looking = {
        "waves": keys.job_waves(ZONE, job),
        "supply": keys.technician_supply(ZONE, service),
        "due": keys.due_tasks(ZONE),
    }
    assert run_script(client, "wave_open", {**where, **looking}, wave)[4:] == [1, b"0"]
    claim: dict[str, str | int] = {"technician": tech, "key": "k2", "fingerprint": "f2", "trace": "", "if_version": ""}
    blueprint = load_blueprints("home_service", shipped_folder()).default
    plan = compile_command(blueprint, "claim", blueprint.commands["claim"]).plan_json.decode()
    claim |= {"bp": "home_service@1", "plan": plan, "grace_ms": 0}
    claim_keys = {
        "causes": keys.job_causes(ZONE, job),
        "tech": keys.technician(ZONE, tech),
        "req": keys.idempotency_record(ZONE, tech, "k2"),
    }
    claim |= {"lease_ms": 90_000, "schedule": SCHEDULE_RULE}
    claim_reply = run_script(client, "job_claim", {**where, **claim_keys}, claim)
    assert claim_reply[0] == b"OK" and b'"status":"accepted"' in claim_reply[5]


def test_an_announcement_is_made_once_for_each_key(client: fakeredis.FakeRedis) -> None:
    """An announcement appends one event to its channels; a repeat with the same key returns the same seq and appends
    nothing, and with other arguments it is refused with REUSED_KEY.
    """
    places = {
        "meta": keys.zone_meta(ZONE),
        "log": keys.log(ZONE),
        "req": keys.idempotency_record(ZONE, UserId("boss"), "k1"),
    }
    args = {"actor": "admin:boss", "key": "k1", "fingerprint": "f1", "trace": "", "bp": "", "kind": "announcement.x"}
    args |= {"channels": "role:customer role:ops", "data": '{"n":1}'}
    first, again = run_script(client, "event_append", places, args), run_script(client, "event_append", places, args)
    assert (first[0], first[1], again[1], first[2]) == (b"OK", b"0", b"1", int(again[2]))
    ((_, fields),) = client.xrange(keys.log(ZONE))
    assert (fields[b"type"], fields[b"to"], fields[b"data"]) == (
        b"announcement.x",
        b"role:customer role:ops",
        b'{"n":1}',
    )
    assert run_script(client, "event_append", places, {**args, "fingerprint": "f2"})[0] == b"REUSED_KEY"


async def test_every_key_has_a_ttl_or_is_declared_permanent(client: fakeredis.FakeRedis) -> None:
    """After the booking and the claim of a job every key in Redis has a TTL or is listed in `PERMANENT`."""
    await asyncio.to_thread(test_a_job_is_booked_offered_and_claimed, client)
    for name in client.scan_iter():
        kind = name.decode().partition("}:")[2]
        is_permanent = any(kind == p or (p.endswith("*") and kind.startswith(p[:-1])) for p in keys.PERMANENT)
        assert is_permanent or client.ttl(name) > 0, kind
