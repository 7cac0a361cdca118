"""The map of a zone for ops: the people and the live jobs in a rectangle, or the number of them in each H3 cell (a
hexagon) if they are many.

Two geo indexes find candidates (lua/lib/map_index.lua); the positions are then read from their records. The index of
people has only approximate positions, so that most fixes do not write to it.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Collection, Iterable
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from engine.clock import now_ms
from engine.errors import NotFound, Unavailable
from engine.events import rfc3339_of
from engine.roles import OPS, require_role
from engine.rules import cells
from engine.rules.boxes import Layer, MapBox, merge_boxes
from engine.store import keys
from engine.types import Cursor, Principal, Zone
from engine.zone import log

if TYPE_CHECKING:
    from engine.runtime import Engine

Row = list[Any]
"""Fields of a record as Redis has them: bytes, or None where a field is missing."""
MAX_ENTRIES = 5_000
"""The most people, and the most jobs, that are shown one by one."""
MARGIN_DEGREES = 0.0026
"""How far a person can be from their entry in the index in each direction: half a cell (``CELL_DEGREES`` in
lua/lib/map_index.lua), and what rounding adds."""
ENTRIES_PER_READ, PARALLEL_READS = 200, 4
"""How many records are read in one call, so that a call takes Redis less than a millisecond, and how many calls and
searches wait for their replies at the same time."""


IDS_PER_SEARCH, SMALLEST_PART_M = 2_000, 100.0
"""A search that finds this many ids is repeated for the quarters of its box, down to this width. So no search takes
Redis more than some milliseconds, in which nobody else is served."""


class ZoneMapMarker:
    """A person or a job on the zone's map. ``row`` has the fields of the record as Redis has them; two markers
    with the same row look the same on a map.
    """

    __slots__ = ("_at", "_cells", "_json", "id", "lat", "layer", "lon", "row")

    def __init__(self, layer: Layer, entry_id: str, row: Row) -> None:
        self.layer = layer
        self.id = entry_id
        self.row = row
        lat, lon = (row[1], row[2]) if layer == "people" else (row[0], row[1])
        self.lat = float(lat or 0)
        self.lon = float(lon or 0)
        self._json = b""
        self._at = 0
        self._cells: dict[int, int] = {}

    def json(self, now: int) -> bytes:
        """Return the entry as JSON. The age of a person's position is that at ``now`` (ms)."""
        if not self._json:
            self._json = self._encode_person() if self.layer == "people" else self._encode_job()
        if self.layer == "jobs":
            return self._json
        return b'%b,"age_s":%.1f}' % (self._json, max(0, now - self._at) / 1000)

    def _encode_person(self) -> bytes:
        name, lat, lon, at, online, load, ahead = self.row
        self._at = int(at or 0)
        busy = int(load or 0)
        state = b"offline" if online != b"1" else b"busy" if busy > 0 else b"free"
        start = (self.id.encode(), name or b'""', lat, lon, rfc3339_of(self._at).encode())
        return b'{"id":"%b","name":%b,"lat":%b,"lon":%b,"at":"%b","state":"%b","jobs":%d' % (
            *start,
            state,
            busy + int(ahead or 0),
        )

    def _encode_job(self) -> bytes:
        lat, lon, status, phase, holder = self.row
        end = b',"technician":"%b"}' % holder if holder else b"}"
        return b'{"id":"%b","lat":%b,"lon":%b,"status":"%b","phase":"%b"%b' % (
            self.id.encode(),
            lat,
            lon,
            status,
            phase,
            end,
        )

    def cell(self, resolution: int) -> int:
        """Return the H3 cell of this resolution that contains the entry."""
        found = self._cells.get(resolution)
        if found is None:
            found = self._cells[resolution] = cells.cell_of(self.lat, self.lon, resolution)
        return found


class ZoneMap(NamedTuple):
    """The people and the jobs in a box of a zone's map. ``entries`` has the JSON of each one, for each layer (people,
    jobs) that was requested. A layer with too many is empty, and ``clusters`` has their number in each cell instead.
    ``as_of`` is the head of the zone's log before the map was read.
    """

    entries: dict[Layer, list[bytes]]
    clusters: list[bytes]
    as_of: Cursor


def require_map_reader(engine: Engine, caller: Principal, zone: Zone) -> None:
    """Raise Forbidden unless the caller is ops, NotFound for a zone that is not served here, and Unavailable if it is
    closed.
    """
    require_role(caller, OPS)
    state = engine.store.zones.get(zone)
    if state is None:
        raise NotFound("No such zone")
    if not state.open:
        raise Unavailable(f"zone {zone} is closed: {state.why}")


async def read_map(engine: Engine, caller: Principal, zone: Zone, box: MapBox, layers: Collection[Layer]) -> ZoneMap:
    """Return what ``box`` contains now. Raises the errors of ``require_map_reader``."""
    require_map_reader(engine, caller, zone)
    head = await log.read_head(engine.store.read_connection, zone)
    found: dict[Layer, list[ZoneMapMarker]] = {}
    for layer in layers:
        entries = await read_entries(engine, zone, layer, await find_ids(engine, zone, layer, [box]))
        found[layer] = [entry for entry in entries.values() if entry is not None and box.contains(entry.lat, entry.lon)]
    crowded = [entry for entries in found.values() if len(entries) > MAX_ENTRIES for entry in entries]
    if crowded:
        await load_cells()
    now = now_ms()
    return ZoneMap(
        {
            layer: [entry.json(now) for entry in entries] if len(entries) <= MAX_ENTRIES else []
            for layer, entries in found.items()
        },
        [encode_cluster(cell, *counts) for cell, counts in count_cells(crowded, cells.resolution_for(box)).items()]
        if crowded
        else [],
        head,
    )


async def load_cells() -> None:
    """Load the library of cells in a thread, so that other requests do not wait for it."""
    if "h3" not in sys.modules:
        await asyncio.to_thread(cells.load_library)


async def find_ids(engine: Engine, zone: Zone, layer: Layer, boxes: Iterable[MapBox]) -> set[str]:
    """Return the ids of all people or jobs in ``boxes``, and perhaps of some just outside. A person who moves during
    the search may be missing.
    """
    key = keys.map_people(zone) if layer == "people" else keys.map_places(zone)
    margin = MARGIN_DEGREES if layer == "people" else 0.0
    waiting, found = merge_boxes(box.widen(margin) for box in boxes), set[str]()
    while waiting:
        parts, waiting = waiting[:PARALLEL_READS], waiting[PARALLEL_READS:]
        answers = await asyncio.gather(*(_search_index(engine, key, part) for part in parts))
        for part, names in zip(parts, answers, strict=True):
            if names is None:
                waiting += part.quarters()
            else:
                found.update(name.decode() for name in names)
    return found


async def _search_index(engine: Engine, key: str, part: MapBox) -> list[bytes] | None:
    """Return the ids that the index has in the box ``part``. None if there are too many for one search: the caller then
    searches each quarter of the box.
    """
    area = part.search_area()
    if area is None:
        everything: list[bytes] = await engine.store.command("ZRANGE", key, 0, -1)
        return everything
    lon, lat, width, height = area
    limit = ("COUNT", IDS_PER_SEARCH, "ANY") if width > SMALLEST_PART_M else ()
    search = ("GEOSEARCH", key, "FROMLONLAT", lon, lat, "BYBOX", width, height, "m", *limit)
    names: list[bytes] = await engine.store.command(*search)
    return None if limit and len(names) == IDS_PER_SEARCH else names


async def read_entries(
    engine: Engine, zone: Zone, layer: Layer, ids: Collection[str]
) -> dict[str, ZoneMapMarker | None]:
    """Return the entries of these people or jobs. None for a person who has had no position for an hour, and for a job
    that is over.
    """
    found = await read_rows(engine, zone, layer, ids)
    return {name: None if row is None else ZoneMapMarker(layer, name, row) for name, row in found.items()}


async def read_rows(engine: Engine, zone: Zone, layer: Layer, ids: Collection[str]) -> dict[str, Row | None]:
    """Return the rows of these people or jobs (``ZoneMapMarker.row``), None as in ``read_entries``."""
    names, found = list(ids), dict[str, Row | None]()
    parts = [names[start : start + ENTRIES_PER_READ] for start in range(0, len(names), ENTRIES_PER_READ)]
    for start in range(0, len(parts), PARALLEL_READS):
        some = parts[start : start + PARALLEL_READS]
        replies = await asyncio.gather(*(_read_rows(engine, zone, layer, part) for part in some))
        for part, rows in zip(some, replies, strict=True):
            found.update(zip(part, rows, strict=True))
    return found


async def _read_rows(engine: Engine, zone: Zone, layer: Layer, ids: list[str]) -> list[Row | None]:
    meta, rows = keys.zone_meta(zone), list[Row | None]()
    if layer == "people":
        people = {"meta": meta, "people": keys.map_people(zone)}
        rows += (await engine.store.read(zone, "people_list", keys=people, args={"ids": ids})).values  # type: ignore[arg-type]
    else:
        places = {"meta": meta, "places": keys.map_places(zone)}
        rows += (await engine.store.read(zone, "place_list", keys=places, args={"ids": ids})).values  # type: ignore[arg-type]
    return rows


def count_cells(entries: Iterable[ZoneMapMarker], resolution: int) -> dict[int, tuple[int, int]]:
    """Return the number of people and of jobs in each H3 cell that is not empty."""
    counts: dict[int, tuple[int, int]] = {}
    for entry in entries:
        cell = entry.cell(resolution)
        people, jobs = counts.get(cell, (0, 0))
        counts[cell] = (people + 1, jobs) if entry.layer == "people" else (people, jobs + 1)
    return counts


def encode_cluster(cell: int, people: int, jobs: int) -> bytes:
    """Return a cell with the numbers of its people and jobs as JSON. Its position is the centre of the cell."""
    name, lat, lon = cells.cell_place(cell)
    return msgspec.json.encode({"cell": name, "lat": lat, "lon": lon, "people": people, "jobs": jobs})
