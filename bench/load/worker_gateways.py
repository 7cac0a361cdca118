"""Start ``callout serve`` with several gateways on one port, and measure the claims of its clients in several zones."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import Iterator, Sequence
from contextlib import AsyncExitStack
from pathlib import Path

import msgspec

from bench.load import claimants, fanout_target
from bench.load.claimants import Claimant
from bench.load.redis_nodes import start_nodes
from bench.load.seed import SeededZone, bring_squads_online, gather_in_batches, member_id, open_seeded_zones
from bench.rig import LOAD_CORE, Child, Rig, cpu_s_from_stat, pin_to_core

ZONES = 2
SQUADS_PER_ZONE = 32


class WorkerGateways(msgspec.Struct):
    """A server with some workers, its claimants by zone, and the figures of all rounds so far."""

    workers: int
    zones: list[SeededZone]
    server: Child
    claimants: list[list[Claimant]]
    per_s: list[float] = []
    cpu_us: list[float] = []
    p99_ms: list[float] = []

    @property
    def name(self) -> str:
        return f"WebSocket, {self.workers} worker{'s' if self.workers > 1 else ''}"

    async def measure(self, count: int) -> None:
        """Measure one round: ``count`` claims over WebSocket, the same number in each zone, with one in flight for each
        claimant.
        """
        frames: list[list[bytes]] = []
        for index, (zone, connected) in enumerate(zip(self.zones, self.claimants, strict=True)):
            first = index * SQUADS_PER_ZONE
            await bring_squads_online(zone, SQUADS_PER_ZONE, first=first)
            turns = [number % len(connected) for number in range(count // len(self.zones))]
            jobs = await gather_in_batches(zone.create_offered_job(first + turn) for turn in turns)
            own: list[list[bytes]] = [[] for _ in connected]
            for number, (job, turn) in enumerate(zip(jobs, turns, strict=True)):
                own[turn].append(claimants.claim_frame(number + 2, job, str(uuid.uuid4())))
            frames += own
        await self.server.wait_until_idle()
        before = _cpu_s_of_tree(self.server.pid)
        with pin_to_core(LOAD_CORE):
            times = await claimants.run_claims([one for group in self.claimants for one in group], frames)
        await asyncio.sleep(0.5)  # wait until the gateways have also sent the events of the last claims
        self.per_s.append(times.per_second)
        self.p99_ms.append(times.percentile(0.99) if times.claims else 0.0)
        self.cpu_us.append((_cpu_s_of_tree(self.server.pid) - before) / times.claims * 1e6)


async def start_gateways(rig: Rig, stack: AsyncExitStack, workers: int, sockets: int) -> WorkerGateways:
    """Start ``callout serve`` with ``workers`` gateways, and connect ``sockets`` claimants, the same number in each
    zone.
    """
    nodes = await start_nodes(rig, 1, ZONES)
    folder = f"gateways-{workers}"
    env, cwd = {"CALLOUT_WORKERS": str(workers)}, declare_zones(rig.folder / f"{folder}-settings", nodes.zones)
    server, child = rig.start_callout(nodes.url, roles="gateway", env=env, folder=folder, cwd=cwd)
    zones = await open_seeded_zones(nodes.url, nodes.zones)
    stack.push_async_callback(zones[0].close)
    connected = []
    for index, zone in enumerate(zones):
        await bring_squads_online(zone, SQUADS_PER_ZONE, first=index * SQUADS_PER_ZONE)
        users = [member_id(index * SQUADS_PER_ZONE + squad) for squad in range(min(SQUADS_PER_ZONE, sockets // ZONES))]
        opened = await fanout_target.connect_technicians(rig, zone, server, users, folder=folder)
        connected.append(await claimants.create_claimants(opened))
    return WorkerGateways(workers, zones, child, connected)


def declare_zones(directory: Path, zones: Sequence[str]) -> Path:
    """Write a ``callout.toml`` that declares the zones next to the zone ``main``, each a square on the map. Return its
    directory.
    """
    directory.mkdir()
    tables = []
    for west, zone in enumerate(each for each in zones if each != "main"):
        ring = [[west, 60], [west + 1, 60], [west + 1, 61], [west, 61], [west, 60]]
        (directory / f"{zone}.geojson").write_text(json.dumps({"type": "Polygon", "coordinates": [ring]}))
        tables.append(f'[zones.{zone}]\npolygon = "{zone}.geojson"\ntimezone = "UTC"\n')
    (directory / "callout.toml").write_text("".join(tables))
    return directory


def _cpu_s_of_tree(pid: int) -> float:
    """Return the processor seconds of a process and of all that it started and that still run."""
    return sum(cpu_s_from_stat(each) for each in _process_tree(pid))


def _process_tree(pid: int) -> Iterator[int]:
    yield pid
    for children in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in children.read_text().split():
            yield from _process_tree(int(child))
