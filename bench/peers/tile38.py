"""Tile38, a geo index with Redis' protocol: built by ``go install``, filled with the same technicians.

Tile38 does not know which technicians are suitable. Its result corresponds to that of Callout's geo index alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from bench.load.redis_clients import RedisClients, pack_command
from bench.peers.catalogue import TILE38
from bench.ports import free_port
from bench.rig import LOAD_CORE, Rig, wait_for_port


class Tile38:
    """A running Tile38 server, with one fleet (a named collection of positions) for each city."""

    def __init__(self, redis_clients: RedisClients) -> None:
        self.redis_clients = redis_clients

    async def fill(self, fleet: str, people: Sequence[tuple[str, float, float]]) -> None:
        """Store all of ``people`` (id, latitude, longitude) in a fleet."""
        await self.redis_clients.call_all(
            pack_command("SET", fleet, who, "POINT", lat, lon) for who, lat, lon in people
        )


def reply_names(reply: list[Any]) -> list[str]:
    """Return the technicians' ids in a reply to Tile38's command ``NEARBY``."""
    return [name.decode() for name in reply[1]]


def nearby_command(fleet: str, lat: float, lon: float, *, count: int, radius_m: int) -> bytes:
    """Return the packed ``NEARBY`` command that is timed. Its reply is a cursor and the ids."""
    return pack_command("NEARBY", fleet, "LIMIT", count, "IDS", "POINT", lat, lon, radius_m)


def start(rig: Rig) -> Tile38:
    """Start Tile38 on the CPU core that Valkey uses, without an append-only file. Raise PeerUnavailable if Tile38 is
    not installed and cannot be built."""
    program = TILE38.install()
    port, data = free_port(), rig.folder / "tile38"
    data.mkdir()
    words = [str(program), "-h", "127.0.0.1", "-p", str(port), "-d", str(data), "-q", "--appendonly", "no"]
    server = rig.spawn("tile38", words, core=LOAD_CORE, env={"GOMAXPROCS": "1"})
    wait_for_port(server, port)
    return Tile38(RedisClients(server, port))
