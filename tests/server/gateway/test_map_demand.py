"""The layer of demand on the map of a zone over a socket: cells with the snapshot, and then those that change."""

from __future__ import annotations

import pytest

from engine.domain.demand_pulse import encode_pulse, store_pulses
from engine.rules.pulse import AreaPulse, cell_at, cell_ring
from engine.store import keys
from engine.types import DEFAULT_ZONE
from server.gateway import map_demand, map_reader
from tests.server.gateway.conftest import Node
from tests.server.gateway.map_console import TOWN_BOX, Console
from tests.support import people

TIMES_SQUARE, EAST_RIVER, FAR_AWAY = cell_at(40.758, -73.985), cell_at(40.75, -73.96), cell_at(52.5, 13.4)


async def store_demand(node: Node, as_of: int, **waiting: int) -> None:
    """Store a pulse with ``waiting`` jobs in each of these cells. Cells of earlier pulses do not change."""
    pulses = {cell: encode_pulse(AreaPulse(waiting=count, sample=40)) for cell, count in waiting.items()}
    await store_pulses(node.engine, DEFAULT_ZONE, "cell", pulses, as_of)


async def test_demand_comes_with_the_snapshot_and_then_what_changes(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A session that names the layer gets the cells of the box with the snapshot, and then the changed cells; cells
    without demand are removed. A session that does not name the layer gets none.
    """
    monkeypatch.setattr(map_reader, "SEARCH_EVERY_S", 0.1)
    await store_demand(node, 1_000, **{TIMES_SQUARE: 2, EAST_RIVER: 1, FAR_AWAY: 5})
    async with node.connect("boss", "admin") as client, node.connect("chief", "admin") as other:
        console, plain = Console(client), Console(other)
        await plain.look(TOWN_BOX)
        assert "demand" not in (await console.look(TOWN_BOX, layers=["demand"])) and not console.things
        assert {name: each["waiting"] for name, each in console.areas.items()} == {TIMES_SQUARE: 2, EAST_RIVER: 1}
        assert len(console.areas[TIMES_SQUARE]["polygon"]["coordinates"][0]) == 7
        await store_demand(node, 61_000, **{TIMES_SQUARE: 3})
        delta = await console.next_frame()
        assert [each["area"] for each in delta["demand"]] == [TIMES_SQUARE] and "demand_left" not in delta
        assert console.areas[TIMES_SQUARE]["waiting"] == 3
        await node.engine.store.redis.hdel(keys.demand_pulse(DEFAULT_ZONE, "cell"), EAST_RIVER)
        await store_demand(node, 121_000)
        assert (await console.next_frame())["demand_left"] == [EAST_RIVER]
        await people.technician(node.engine, "tom", await people.service(node.engine))
        await plain.until(lambda things: "tom" in things)
        assert plain.areas == {} and set(console.areas) == {TIMES_SQUARE}


async def test_demand_is_bounded(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    """A box with more cells than the limit has those with the highest scores. Cells that do not fit into one frame
    follow immediately. A view that moves starts with a new snapshot.
    """
    monkeypatch.setattr(map_demand, "MAX_ENTRIES", 3)
    monkeypatch.setattr(map_demand, "MAX_FRAME_CELLS", 2)
    around = [TIMES_SQUARE, *cell_ring(TIMES_SQUARE)]
    pulses = {cell: encode_pulse(AreaPulse(score=float(rank), sample=40)) for rank, cell in enumerate(around)}
    await store_pulses(node.engine, DEFAULT_ZONE, "cell", pulses, 1_000)
    async with node.connect("boss", "ops_manager") as client:
        console = Console(client)
        await console.look(TOWN_BOX, layers=["people", "demand"], every_s=60)
        assert len(console.areas) == 2
        await console.until(lambda _: set(console.areas) == set(around[-3:]))
        await console.look([0, 0, 1, 1], layers=["demand"])
        assert console.areas == {}
