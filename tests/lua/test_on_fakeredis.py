"""Scripts on fakeredis too: what they lean on is what every server has, and times are right to the millisecond."""

from __future__ import annotations

import asyncio
import random
from datetime import UTC, datetime
from typing import Any

import fakeredis
import pytest

from engine.events import iso
from engine.store import keys, scripts
from engine.types import JobId, ServiceId, TechnicianId, UserId, Zone

Z = Zone("main")
ALL = scripts.load()


@pytest.fixture
def client() -> fakeredis.FakeRedis:
    """A fakeredis with an open zone."""
    client = fakeredis.FakeRedis(version=(7, 2))
    run(client, "zone_open", [keys.meta(Z), keys.epochs(Z)], "r1", "1", "0", "")
    return client


def run(client: fakeredis.FakeRedis, script: str, names: list[str], *args: Any) -> Any:
    """Evaluate one script."""
    return client.eval(ALL[script].source, len(names), *names, *args)


def test_times_are_rfc_3339_from_1970_to_2100() -> None:
    """lib/iso agrees with Python's calendar, leap years and ends of months included."""
    client = fakeredis.FakeRedis(version=(7, 2))
    source = (scripts.folder() / "lib" / "iso.lua").read_text() + "\nreturn iso(tonumber(ARGV[1]))"
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
    for ms in moments:
        assert client.eval(source, 0, ms) == f'"{iso(ms)}"'.encode()


def test_a_stale_epoch_is_refused_before_anything(client: fakeredis.FakeRedis) -> None:
    """Every script that takes an epoch refuses another one and leaves the keys as they were."""
    before = {k: client.dump(k) if client.type(k) != b"stream" else 0 for k in client.scan_iter()}
    for script in ALL.values():
        if script.name == "zone_open":
            continue
        names = [f"{{main}}:{name}" if name != "meta" else keys.meta(Z) for name in script.keys]
        reply = run(client, script.name, names, "e9", *["1"] * (len(script.argv) + 4))
        assert reply == [b"STALE_EPOCH"], script.name
    assert set(client.scan_iter()) == set(before)


def test_a_job_is_booked_offered_and_won(client: fakeredis.FakeRedis) -> None:
    """The spine of scenario A, without a server."""
    job, tech, serves, user = JobId("job_main_1"), TechnicianId(UserId("t1")), ServiceId("s1"), UserId("u1")
    run(
        client,
        "technician_put",
        [keys.meta(Z), keys.technician(Z, tech), keys.seen(Z), keys.log(Z)],
        *("e1", tech, 1, 1, "approved", "approved", 1, serves, '"T"', "null", "engine", "", "", "ops", "4.5", 0, "ops"),
    )
    run(
        client,
        "technician_online",
        [keys.meta(Z), keys.technician(Z, tech), keys.seen(Z), keys.log(Z), keys.request(Z, tech, "k0")],
        *("e1", tech, "k0", "f0", "40.75", "-73.99", "ops"),
    )
    names = [keys.meta(Z), keys.job(Z, job), keys.offers(Z, job), keys.log(Z), keys.request(Z, user, "k1")]
    names += [keys.reference(Z, user), keys.jobs(Z), keys.user_jobs(Z, user)]
    goal = "broadcasted open broadcast 900000 -"
    made = ("e1", job, "customer:u1", "k1", "f1", "", "", "home_service@1", goal, serves)
    place = (user, 40.75, -73.99, 5000, '"id":"x"', '"id":"x"', 0, "", "")
    booked = run(client, "job_create", names, *made, *place, "customer ops")
    assert booked[0] == b"OK"
    wave = [keys.meta(Z), keys.job(Z, job), keys.offers(Z, job), keys.waves(Z, job), keys.supply(Z, serves)]
    opened = run(
        client,
        "wave_open",
        [*wave, keys.due(Z), keys.log(Z)],
        *("e1", f"wave:{job}:1", 1, 10, 3000, 10_000, 60_000, 0, "1 0 0 0 0", "0 0 0 0 0 5 0", "customer", ""),
    )
    assert opened[4:] == [1, b"0"]
    claim = [keys.meta(Z), keys.job(Z, job), keys.offers(Z, job), keys.causes(Z, job), keys.technician(Z, tech)]
    won = run(
        client,
        "job_claim",
        [*claim, keys.log(Z), keys.request(Z, tech, "k2")],
        *("e1", tech, "k2", "f2", "", "", "home_service@1", "claim", " broadcasted ", "accepted assigned none 0 -"),
        *("job.accepted", "customer", "", 0, 90_000),
    )
    assert won[0] == b"OK" and b'"status":"accepted"' in won[5]


def test_an_announcement_is_made_once_for_each_key(client: fakeredis.FakeRedis) -> None:
    """It is one event to its channels; the same key again gives the same seq and no other event."""
    names = [keys.meta(Z), keys.log(Z), keys.request(Z, UserId("boss"), "k1")]
    args = ("e1", "admin:boss", "k1", "f1", "", "", "announcement.x", "role:customer role:ops", '{"n":1}')
    first, again = run(client, "event_append", names, *args), run(client, "event_append", names, *args)
    assert (first[0], first[1], again[1], first[2]) == (b"OK", b"0", b"1", int(again[2]))
    ((_, fields),) = client.xrange(keys.log(Z))
    assert (fields[b"type"], fields[b"to"], fields[b"data"]) == (
        b"announcement.x",
        b"role:customer role:ops",
        b'{"n":1}',
    )
    other = ("e1", "admin:boss", "k1", "f2", *args[4:])
    assert run(client, "event_append", names, *other)[0] == b"REUSED_KEY"


async def test_every_key_has_a_ttl_or_is_declared_permanent(client: fakeredis.FakeRedis) -> None:
    """Nothing is left behind for ever without being on the list of what stays."""
    await asyncio.to_thread(test_a_job_is_booked_offered_and_won, client)
    for name in client.scan_iter():
        kind = name.decode().partition("}:")[2]
        kept = any(kind == p or (p.endswith("*") and kind.startswith(p[:-1])) for p in keys.PERMANENT)
        assert kept or client.ttl(name) > 0, kind
