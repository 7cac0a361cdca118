"""The map of a zone for ops: who and what is on it, and who may read it."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from engine.domain import edits, jobs, zone_map
from engine.domain.commands import CommandInput
from engine.errors import Forbidden, NotFound, Unavailable
from engine.rules.boxes import Layer, MapBox
from engine.rules.fixes import Fix
from engine.runtime import Engine
from engine.store import keys
from engine.technicians import live
from engine.technicians.live import Coordinates
from engine.types import DEFAULT_ZONE, ROLES, Principal, UserId, Zone
from engine.types import OPS as OPS_ROLES
from server.schemas.maps import MapCluster, MapJob, MapPerson
from tests.support import people
from tests.support.clock import advance

OPS = Principal(UserId("cli_ops"), "ops_manager")
TOWN = MapBox(-74.2, 40.6, -73.8, 40.9)
BOTH_LAYERS: tuple[Layer, ...] = ("people", "jobs")


async def read_layer(engine: Engine, layer: Layer, box: MapBox = TOWN) -> dict[str, Any]:
    """Return one layer of the map by id, decoded as the type that documents it."""
    kind: Any = MapPerson if layer == "people" else MapJob
    found = await zone_map.read_map(engine, OPS, DEFAULT_ZONE, box, (layer,))
    assert set(found.entries) == {layer} and found.clusters == []
    entries = [msgspec.json.decode(each, type=kind) for each in found.entries[layer]]
    return {each.id: each for each in entries}


async def test_only_ops_read_the_map(engine: Engine) -> None:
    """Nobody but ops may read where people are."""
    for role in set(ROLES) - OPS_ROLES:
        with pytest.raises(Forbidden):
            await zone_map.read_map(engine, Principal(UserId("u"), role), DEFAULT_ZONE, TOWN, BOTH_LAYERS)


async def test_an_unknown_and_a_closed_zone_are_refused(engine: Engine) -> None:
    """A zone that is not served here is `not_found`; a closed zone is `unavailable`, and not an empty map."""
    with pytest.raises(NotFound):
        await zone_map.read_map(engine, OPS, Zone("north"), TOWN, BOTH_LAYERS)
    engine.store.close_zone(DEFAULT_ZONE, "a test")
    with pytest.raises(Unavailable):
        await zone_map.read_map(engine, OPS, DEFAULT_ZONE, TOWN, BOTH_LAYERS)


async def test_people_are_free_busy_or_offline(engine: Engine) -> None:
    """The map shows every technician with a position, also those without work or offline, and how many jobs each has. A
    technician without a position is not shown.
    """
    service = await people.service(engine)
    for name in ("idle", "works", "gone"):
        await people.technician(engine, name, service)
    await people.technician(engine, "nowhere", service, at=None)
    job = await people.offered_job(engine, await people.customer(engine), service)
    await jobs.claim(engine, people.technician_without_account("works"), job)
    await live.set_availability(engine, people.technician_without_account("gone"), "gone", online=False)
    found = await read_layer(engine, "people")
    assert {name: (one.state, one.jobs) for name, one in found.items()} == {
        "idle": ("free", 0),
        "works": ("busy", 1),
        "gone": ("offline", 0),
    }
    one = found["idle"]
    assert (one.name, one.lat, one.lon) == ("T idle", people.HERE.lat, people.HERE.lon) and 0 <= one.age_s < 60


async def test_the_map_has_the_position_of_the_record(engine: Engine) -> None:
    """A fix of a few metres, which does not change the index, is on the map at once; the box is compared with it."""
    tom = await people.technician(engine, "tom", await people.service(engine), at=Coordinates(40.7012, -74.0012))
    index = await engine.store.redis.zrange(keys.map_people(DEFAULT_ZONE), 0, -1, withscores=True)
    await live.store_fixes(engine, tom, "tom", [Fix(lat=40.7015, lon=-74.0015)])
    assert await engine.store.redis.zrange(keys.map_people(DEFAULT_ZONE), 0, -1, withscores=True) == index
    assert (await read_layer(engine, "people"))["tom"].lat == 40.7015
    assert "tom" in await read_layer(engine, "people", MapBox(-74.0016, 40.7014, -74.0014, 40.7016))
    assert await read_layer(engine, "people", MapBox(-74.0013, 40.7011, -74.0011, 40.7013)) == {}


async def test_a_position_older_than_an_hour_is_on_no_map(engine: Engine) -> None:
    """A person who has sent no position for an hour is removed from the map and the index, and is added again with the
    next fix, also from the same place.
    """
    tom = await people.technician(engine, "tom", await people.service(engine))
    await advance(engine, 3599)
    assert "tom" in await read_layer(engine, "people")
    await advance(engine, 2)
    assert await read_layer(engine, "people") == {}
    assert await engine.store.redis.zcard(keys.map_people(DEFAULT_ZONE)) == 0
    await live.store_fixes(engine, tom, "tom", [Fix(lat=people.HERE.lat, lon=people.HERE.lon)])
    assert "tom" in await read_layer(engine, "people")


async def test_who_leaves_the_zone_leaves_the_map(engine: Engine) -> None:
    """A technician who changes to another zone is not on this zone's map."""
    tom = await people.technician(engine, "tom", await people.service(engine))
    await live.set_availability(engine, tom, "tom", online=False)
    await live.remove_from_zone(engine, DEFAULT_ZONE, live.TechnicianId(tom.id))
    assert await engine.store.redis.zcard(keys.map_people(DEFAULT_ZONE)) == 0


async def test_jobs_come_with_the_booking_and_go_with_their_end(engine: Engine) -> None:
    """A job is on the map from its booking, with its holder from the claim on, until it is over."""
    service, customer = await people.service(engine), await people.customer(engine)
    tom = await people.technician(engine, "tom", service)
    job = await people.offered_job(engine, customer, service)
    found = (await read_layer(engine, "jobs"))[job]
    assert (found.status, found.phase, found.technician) == ("broadcasted", "open", None)
    assert (found.lat, found.lon) == (people.HERE.lat, people.HERE.lon)
    await jobs.claim(engine, tom, job)
    found = (await read_layer(engine, "jobs"))[job]
    assert (found.status, found.phase, found.technician) == ("accepted", "assigned", "tom")
    await jobs.run_command(engine, customer, job, CommandInput(command="cancel"))
    assert await read_layer(engine, "jobs") == {}
    assert await engine.store.redis.zcard(keys.map_places(DEFAULT_ZONE)) == 0


async def test_an_edited_place_moves_the_job(engine: Engine) -> None:
    """A job whose place was changed is on the map at the new place."""
    service, customer = await people.service(engine), await people.customer(engine)
    job = people.id_of(await people.job(engine, customer, service, blueprint="marketplace"))
    await edits.edit_job(engine, customer, job, {"lat": 40.62, "lon": -74.15})
    assert job in await read_layer(engine, "jobs", MapBox(-74.16, 40.61, -74.14, 40.63))


async def test_a_crowd_is_counted_by_cell(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """A layer with more entries than the map shows one by one is empty, and its clusters count all of them, each in the
    cell that contains it. The other layer stays as it is.
    """
    monkeypatch.setattr(zone_map, "MAX_ENTRIES", 3)
    service = await people.service(engine)
    for number in range(4):
        await people.technician(engine, f"t{number}", service, at=Coordinates(40.65 + number // 2 * 0.2, -74.0))
    job = people.id_of(await people.job(engine, await people.customer(engine), service))
    found = await zone_map.read_map(engine, OPS, DEFAULT_ZONE, TOWN, BOTH_LAYERS)
    assert found.entries["people"] == [] and job.encode() in found.entries["jobs"][0]
    clusters = [msgspec.json.decode(each, type=MapCluster) for each in found.clusters]
    assert sorted((each.people, each.jobs) for each in clusters) == [(2, 0), (2, 0)]
    assert sorted(round(each.lat, 1) for each in clusters) == [40.6, 40.9] or len({c.cell for c in clusters}) == 2
