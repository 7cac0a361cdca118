"""Store the learnt state of forecasts, so that a restart does not have to learn from years of counts again. The state
is a cache: learning from all counts since the first hour would give exactly the same numbers.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import NamedTuple

import msgspec
from sqlalchemy import delete, select

from engine.rules.demand_state import FORMAT, AreaState, ZoneState
from engine.sql.database import Archive
from engine.sql.demand_tables import demand_models
from engine.sql.insert import insert_into, upsert_rows
from engine.types import Zone

WHOLE_ZONE = ""

_zone_decoder = msgspec.json.Decoder(ZoneState)
_area_decoder = msgspec.json.Decoder(AreaState)


class StoredModel(NamedTuple):
    """The stored states of a forecast: one for the whole zone, and one for each area."""

    zone: ZoneState
    areas: dict[str, AreaState]


async def load(archive: Archive, zone: Zone, kind: str, timezone: str) -> StoredModel | None:
    """Return the stored state of a forecast. Return None if nothing is stored, or in another format or for another time
    zone: then the caller learns all counts again. Raises Unavailable.
    """
    columns = demand_models.c
    query = select(columns.area, columns.state).where(columns.zone == zone, columns.kind == kind)
    async with archive.begin_read() as conn:
        states = {row.area: row.state for row in await conn.execute(query)}
    whole = _decode_zone(states.pop(WHOLE_ZONE, ""), timezone)
    if whole is None:
        return None
    return StoredModel(whole, {area: _area_decoder.decode(state) for area, state in states.items()})


async def load_zone(archive: Archive, zone: Zone, kind: str, timezone: str) -> ZoneState | None:
    """Return the stored state of the whole zone, under the same conditions as ``load``."""
    columns = demand_models.c
    here = (columns.zone == zone, columns.kind == kind, columns.area == WHOLE_ZONE)
    async with archive.begin_read() as conn:
        state = (await conn.execute(select(columns.state).where(*here))).scalar()
    return _decode_zone(state, timezone) if state else None


def _decode_zone(state: str, timezone: str) -> ZoneState | None:
    try:
        whole = _zone_decoder.decode(state)
    except msgspec.DecodeError:
        return None
    return whole if (whole.format, whole.timezone) == (FORMAT, timezone) else None


async def store(
    archive: Archive, zone: Zone, kind: str, whole: ZoneState, areas: Iterable[tuple[str, AreaState]]
) -> bool:
    """Store a state, unless one of the same or a later hour is stored. Return whether it was stored. Raises the same
    errors as ``Archive.begin_write``.
    """
    states = [(WHOLE_ZONE, msgspec.json.encode(whole)), *((area, msgspec.json.encode(each)) for area, each in areas)]
    same = {"zone": zone, "kind": kind, "hour": whole.hour}
    rows = [{**same, "area": area, "state": state.decode()} for area, state in states]
    columns = demand_models.c
    here = (columns.zone == zone) & (columns.kind == kind)
    async with archive.begin_write() as conn:
        query = select(columns.hour).where(here, columns.area == WHOLE_ZONE).with_for_update()
        hour = (await conn.execute(query)).scalar()
        if hour is not None and hour >= whole.hour:
            return False
        await conn.execute(delete(demand_models).where(here))
        await upsert_rows(conn, partial(insert_into, archive), demand_models, rows)
    return True
