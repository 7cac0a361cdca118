"""What does a console (a page of staff with a zone's live map) cost a gateway, and how late is a fix on it?

All technicians of a city drive, and each sends a fix every ten seconds. The load calls the engine's own script to store
them, so that the gateway only serves consoles. Three kinds of consoles follow the map over real WebSockets. One shows
the whole city, where technicians are joined into clusters. One shows a district of some thousands of technicians. One
shows a quiet corner, where a few technicians move. The gateway is measured without consoles and then with all of them.

Two delays are measured, both until a console has read the frame. The whole delay begins with the time that the script
gave the fix. A console gets at most one frame in ``--every`` seconds, so where all technicians move, a fix waits for
the next frame, on average half of ``--every``. The own delay does not contain this wait: it begins when the console's
next frame is allowed, if that is later than the fix.

With ``--watchers N``, also N customers follow a technician's position, and technicians send their fixes over WebSockets
of their own, as many as the limit of open files allows. A fix then has the time at which it was sent. At the end, the
last position that each watcher received, and the record of each technician, must be those of the technician's last fix.
"""

from __future__ import annotations

import argparse
import math
import random
import time
from typing import NamedTuple
from urllib.parse import urlsplit

import msgspec
import uvloop

from bench.load import swarm
from bench.load.consoles import DEGREE_M, Console, Driver, Traffic, connect_drivers, require_stored, select_connectable
from bench.load.seed import SeededZone, gather_in_batches, open_seeded_zone
from bench.load.sockets import text_frame
from bench.load.swarm import HandshakeStep
from bench.load.watchers import WatchedTechnician, Watcher, open_watchers, wait_until_last
from bench.questions.slow import rss_mib
from bench.report import Figure, Report, RoundValues
from bench.rig import LOAD_CORE, BenchError, Child, Rig, pin_to_core, print_progress
from engine.process.signer import Signer, sign_token
from engine.types import UserId

CENTRE = (52.5, 13.4)
QUIET_MOVERS = 5
SPARE_FILES = 500
"""How many open files the gateway may need for anything but the sockets of technicians and watchers."""
GOALS_MS = {"corner: fix to frame p99": 200.0, "district: own delay p99": 200.0, "watcher: fix to socket p99": 1_000.0}
"""The goals of docs/design.md, chapter 9. The goal for watchers says that a customer's map moves within a second."""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of this benchmark."""
    parser.add_argument("--technicians", type=int, default=20_000, help="technicians who move (default: 20000)")
    parser.add_argument("--consoles", type=int, default=20, help="consoles (default: 20)")
    parser.add_argument("--whole", type=int, default=4, help="of these, who see the whole city (default: 4)")
    parser.add_argument("--every", type=float, default=0.5, help="seconds between two frames (default: 0.5)")
    parser.add_argument("--city-km", type=float, default=30.0, help="side of the city (default: 30)")
    parser.add_argument("--interval", type=float, default=10.0, help="seconds between two fixes of one (default: 10)")
    parser.add_argument("--watchers", type=int, default=0, help="customers who follow a technician (default: 0)")
    parser.add_argument("--warm", type=float, default=5.0, help="seconds before what is measured (default: 5)")
    parser.set_defaults(seconds=20.0)


def run(rig: Rig, arguments: argparse.Namespace) -> Report:
    """Measure the gateway without consoles and with them, round by round."""
    return uvloop.run(_run(rig, arguments))


def city_box(draw: random.Random, city_km: float, share: float) -> list[float]:
    """Return a box at a random place in the city. Its sides are this share of the city's sides."""
    lat_side, lon_side = city_degrees(city_km)
    south = CENTRE[0] - lat_side / 2 + draw.uniform(0, 1 - share) * lat_side
    west = CENTRE[1] - lon_side / 2 + draw.uniform(0, 1 - share) * lon_side
    return [round(each, 5) for each in (west, south, west + share * lon_side, south + share * lat_side)]


def city_degrees(city_km: float) -> tuple[float, float]:
    """Return the height and the width of the city in degrees."""
    lat = city_km * 1000 / DEGREE_M
    return lat, lat / math.cos(math.radians(CENTRE[0]))


class CoreShares(NamedTuple):
    """The percentage of a core that the gateway, Redis and the load used while fixes were sent, and the number of fixes
    a second.
    """

    gateway: float
    redis: float
    load: float
    fixes: float


class MapTest:
    """A gateway, the drivers, and the consoles by kind."""

    def __init__(self, zone: SeededZone, port: int, signer: Signer, arguments: argparse.Namespace) -> None:
        self.zone, self.port, self.arguments = zone, port, arguments
        self.draw = random.Random(7)
        lat_side, lon_side = city_degrees(arguments.city_km)
        spots = (
            (CENTRE[0] + self.draw.uniform(-0.5, 0.5) * lat_side, CENTRE[1] + self.draw.uniform(-0.5, 0.5) * lon_side)
            for _ in range(arguments.technicians)
        )
        self.drivers = [Driver(f"user_d{number}", *spot, self.draw) for number, spot in enumerate(spots)]
        self.quiet = [Driver(f"user_q{n}", CENTRE[0] + 1, CENTRE[1] + n / 100, self.draw) for n in range(QUIET_MOVERS)]
        self.traffic = Traffic(zone, self.drivers, self.quiet, arguments.interval)
        self.consoles: dict[str, list[Console]] = {"city": [], "district": [], "corner": []}
        self.watchers: list[Watcher] = []
        self._token = sign_token(signer, UserId("cli_admin"), "admin", expires_s=7200)

    async def open_consoles(self) -> None:
        """Connect all consoles, each with its box of the map."""
        arguments = self.arguments
        for number in range(arguments.consoles):
            kind = "corner" if number == 0 else "city" if number <= arguments.whole else "district"
            share = 1.0 if kind == "city" else 0.4
            box = city_box(self.draw, arguments.city_km, share)
            if kind == "corner":
                box = [CENTRE[1] - 0.1, CENTRE[0] + 0.9, CENTRE[1] + 0.2, CENTRE[0] + 1.1]
            handshake = swarm.callout_handshake(self.port, self._token)
            view = {"id": 2, "op": "subscribe", "channel": "map:main", "bbox": box, "every_s": arguments.every}
            subscribe = HandshakeStep(text_frame(msgspec.json.encode(view)), b'{"id":2,"ok"')
            console = Console(handshake._replace(steps=(*handshake.steps, subscribe)), arguments.every)
            self.consoles[kind].append(await swarm.open_client(self.port, console))

    async def open_watchers(self, signer: Signer) -> int:
        """Connect customers who follow some of the technicians, and then technicians, as many as the limit of open
        files allows. Return the number of the connected technicians.
        """
        count = self.arguments.watchers
        connected = select_connectable(self.drivers, SPARE_FILES + count)
        if count > len(connected):
            raise BenchError(f"only {len(connected)} technicians can have a WebSocket: the limit of open files is low")
        # The jobs come first: their offers need positions that are younger than two minutes.
        followed = [WatchedTechnician(each.name, *each.position) for each in self.draw.sample(connected, count)]
        self.watchers = await open_watchers(self.zone, self.port, signer, followed, Watcher)
        await connect_drivers(self.zone, self.port, signer, connected)
        return len(connected)

    async def close_consoles(self) -> None:
        """Disconnect all consoles."""
        for console in self.all_consoles:
            console.abort()
        for consoles in self.consoles.values():
            consoles.clear()

    @property
    def all_consoles(self) -> list[Console]:
        return [console for consoles in self.consoles.values() for console in consoles]

    async def measure(self, gateway: Child, redis: Child) -> CoreShares:
        """Let the technicians drive for ``--seconds``, and return what each process used. The first ``--warm`` seconds
        do not count: in them the consoles get their snapshots, which cost more than later frames.
        """
        await self.traffic.drive(time.monotonic() + self.arguments.warm)
        for console in self.all_consoles:
            console.is_measured = True
        for watcher in self.watchers:
            watcher.is_measured = True
            watcher.delays_ms.clear()
        began, cpu = time.monotonic(), (gateway.cpu_s(), redis.cpu_s(), time.process_time())
        fixes = await self.traffic.drive(began + self.arguments.seconds)
        elapsed, after = time.monotonic() - began, (gateway.cpu_s(), redis.cpu_s(), time.process_time())
        gateway_used, redis_used, load = ((end - start) / elapsed * 100 for start, end in zip(cpu, after, strict=True))
        shares = CoreShares(gateway_used, redis_used, load, fixes / elapsed)
        print_progress(", ".join(f"{name} {value:.0f}" for name, value in shares._asdict().items()))
        return shares


async def _run(rig: Rig, arguments: argparse.Namespace) -> Report:
    report = Report("map", (__doc__ or "").split("\n", 1)[0])
    url, valkey = rig.start_redis()
    at, gateway = rig.start_callout(url, roles="gateway")
    zone = await open_seeded_zone(url)
    report.versions["valkey"] = str((await zone.store.redis.info("server"))["valkey_version"])
    signer = Signer.load_or_create(rig.folder / "data" / "signing.key")
    test, figures = MapTest(zone, urlsplit(at).port or 0, signer, arguments), RoundValues()
    with pin_to_core(LOAD_CORE):
        print_progress(f"{arguments.technicians} technicians come online")
        everybody = [*test.drivers, *test.quiet]
        await gather_in_batches(zone.create_technician(each.name, each.lat, each.lon) for each in everybody)
        if arguments.watchers:
            print_progress(f"the technicians and {arguments.watchers} watchers connect")
            connected = await test.open_watchers(signer)
            report.notes.append(
                f"{connected} technicians have a WebSocket, {arguments.watchers} customers follow one each"
            )
        await gateway.wait_until_idle()
        for number in range(arguments.rounds):
            print_progress(f"round {number + 1}: without consoles, then with {arguments.consoles}")
            idle = await test.measure(gateway, valkey)
            before = rss_mib(gateway)
            await test.open_consoles()
            busy = await test.measure(gateway, valkey)
            figures.add("fixes", busy.fixes)
            figures.add("gateway without consoles", idle.gateway)
            figures.add("gateway with consoles", busy.gateway)
            figures.add("a console", (busy.gateway - idle.gateway) / arguments.consoles)
            figures.add("Redis without consoles", idle.redis)
            figures.add("Redis with consoles", busy.redis)
            figures.add("load with consoles", busy.load)
            figures.add("memory", rss_mib(gateway) - before)
            figures.add("whole memory", rss_mib(gateway))
            for kind in ("district", "corner"):
                figures.add_delays(f"{kind}: fix to frame", (each.whole_ms for each in test.consoles[kind]))
                figures.add_delays(f"{kind}: own delay", (each.own_ms for each in test.consoles[kind]))
            if test.watchers:
                figures.add("positions", sum(len(each.delays_ms) for each in test.watchers) / arguments.seconds)
                figures.add_delays("watcher: fix to socket", (each.delays_ms for each in test.watchers))
            for kind, consoles in test.consoles.items():
                seconds = arguments.seconds * len(consoles)
                figures.add(f"{kind}: frames", sum(each.frames for each in consoles) / seconds)
                figures.add(f"{kind}: bytes", sum(each.bytes for each in consoles) / 1024 / seconds)
            await test.close_consoles()
            await wait_until_last(test.watchers, {each.name: each.position for each in test.drivers})
            await require_stored(zone, [*test.drivers, *test.quiet])
    await zone.close()
    _add_figures(report, figures.values, arguments)
    return report


def _add_figures(report: Report, values: dict[str, list[float]], arguments: argparse.Namespace) -> None:
    rate = arguments.technicians / arguments.interval
    report.add(
        Figure("fixes stored while the consoles look", "a second", values["fixes"], goal=0.95 * rate),
        Figure("gateway CPU without consoles", "% of a core", values["gateway without consoles"]),
        Figure(f"gateway CPU with {arguments.consoles} consoles", "% of a core", values["gateway with consoles"]),
        Figure("gateway CPU a console", "% of a core", values["a console"], goal=1.0, better="less"),
        Figure("Redis CPU without consoles", "% of a core", values["Redis without consoles"]),
        Figure("Redis CPU with consoles", "% of a core", values["Redis with consoles"]),
        Figure(
            "load CPU with consoles", "% of a core", values["load with consoles"], note="its core is shared with Redis"
        ),
        Figure("gateway memory for the consoles", "MiB", values["memory"]),
        Figure("gateway memory", "MiB", values["whole memory"]),
    )
    if "positions" in values:
        report.add(Figure("positions received by the watchers", "a second", values["positions"]))
    for name, rounds in values.items():
        if " p50" in name or " p99" in name:
            report.add(Figure(name, "ms", rounds, goal=GOALS_MS.get(name), better="less"))
        elif name.endswith(": frames"):
            report.add(Figure(name, "a second and console", rounds))
        elif name.endswith(": bytes"):
            report.add(Figure(name, "KiB/s a console", rounds))
    report.notes.append(
        f"{arguments.technicians} technicians in {arguments.city_km:g} × {arguments.city_km:g} km, a fix each every"
        f" {arguments.interval:g} s; {arguments.whole} consoles see the whole city, one a corner, the others a"
        f" district of a sixth of it; a frame in {arguments.every:g} s at most"
    )
