"""Tile38, a geo index with Redis' protocol: built by ``go install``, filled with the same technicians.

It does not know who is suitable: its result is what Callout's index alone would give.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from bench.built import go
from bench.load.callers import Callers, command
from bench.rig import LOAD_CORE, Rig, free_port, wait_for_port

MODULE = "github.com/tidwall/tile38/cmd/tile38-server@latest"


class Tile38:
    """A running server; one fleet a city."""

    def __init__(self, callers: Callers) -> None:
        self.callers = callers

    async def fill(self, fleet: str, people: Sequence[tuple[str, float, float]]) -> None:
        """Put everybody (id, latitude, longitude) into a fleet."""
        await self.callers.all(command("SET", fleet, who, "POINT", lat, lon) for who, lat, lon in people)

    async def version(self) -> str:
        """What it calls itself."""
        told = await self.callers.one(command("SERVER"))
        return str(dict(zip(told[::2], told[1::2], strict=True)).get(b"version", b"?").decode())


def names(reply: list[Any]) -> list[str]:
    """Whom an answer names."""
    return [name.decode() for name in reply[1]]


def nearest(fleet: str, lat: float, lon: float, *, count: int, radius_m: int) -> bytes:
    """The question that is timed; its reply is a cursor and the ids."""
    return command("NEARBY", fleet, "LIMIT", count, "IDS", "POINT", lat, lon, radius_m)


def started(rig: Rig) -> Tile38:
    """The server on the core that Valkey has, without its file of appended commands. Raises Missing without it."""
    program = go("tile38-server", MODULE)
    port, data = free_port(), rig.folder / "tile38"
    data.mkdir()
    words = [str(program), "-h", "127.0.0.1", "-p", str(port), "-d", str(data), "-q", "--appendonly", "no"]
    server = rig.spawn("tile38", words, core=LOAD_CORE, env={"GOMAXPROCS": "1"})
    wait_for_port(server, port)
    return Tile38(Callers(server, port))
