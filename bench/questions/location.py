"""How many fixes a second does a gateway accept, how much of Redis do they use, and how late do customers see them?

Technicians drive through a city in which many others are online, and send their positions as fast as they are stored.
The peer takes the same frames from the same sockets and writes each fix into Redis by a GEOADD for each service of the
technician: every program for this task would store at least that. The peer checks nothing and stores no times. It can
find technicians only by their place.

Beside this, at a modest rate: the delay from a fix at the socket of a technician, who is on the way, to its position at
the socket of their customer.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import socket
from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit

import msgspec
import uvloop

from bench import peer_programs
from bench.load import fanout_target, sockets
from bench.load.movers import FixPasses, FixTimes, Mover
from bench.load.openloop import percentile
from bench.load.seed import ZONE, SeededZone, gather_in_batches, open_seeded_zone
from bench.load.tracked_jobs import TrackedJobs
from bench.peers.catalogue import PEERS
from bench.report import Figure, Report, ratio, round_order
from bench.rig import LOAD_CORE, SERVER_CORE, BenchError, Child, PeerUnavailable, Rig, pin_to_core, print_progress
from engine.store import keys
from engine.types import TechnicianId, UserId

PEER = "Node ws, GEOADD"
GOAL_PER_SECOND = 40_000
METRES_A_FIX = 60.0
"""How far apart two fixes are: a technician drives this in ten seconds at the mean speed of a city. Every second fix
changes the index.
"""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of this benchmark."""
    parser.add_argument("--sockets", type=int, default=1_000, help="technicians who send (default: 1000)")
    parser.add_argument("--technicians", type=int, default=20_000, help="technicians online (default: 20000)")
    parser.add_argument("--passes", type=int, default=60, help="fixes of each in a round (default: 60)")
    parser.add_argument("--services", type=int, default=3, help="services of each, at most 3 (default: 3)")
    parser.add_argument("--tracked", type=int, default=100, help="customers who follow a technician (default: 100)")
    parser.add_argument("--tracked-rate", type=float, default=100, help="fixes/s of these technicians (default: 100)")
    parser.add_argument("--city-km", type=float, default=30.0, help="side of the city (default: 30)")
    parser.set_defaults(seconds=5.0)


def run(rig: Rig, arguments: argparse.Namespace) -> Report:
    """Measure Callout and its peer in turn, round by round."""
    return uvloop.run(_run(rig, arguments))


class MeasuredServer(msgspec.Struct):
    """A server that takes fixes, its Redis, the sockets to it, and the figures of its rounds so far."""

    server: Child
    redis: Child
    listeners: list[socket.socket]
    rates: list[float] = []
    server_us: list[float] = []
    redis_us: list[float] = []
    redis_share: list[float] = []
    load_us: list[float] = []

    async def measure(self, passes: FixPasses) -> None:
        """Send the passes, and add the figures of this round."""
        for child in (self.server, self.redis):
            await child.wait_until_idle()
        server, redis = self.server.cpu_s(), self.redis.cpu_s()
        with pin_to_core(LOAD_CORE):
            times: FixTimes = await asyncio.to_thread(passes.run, self.listeners)
        self.rates.append(times.per_second)
        redis_s = self.redis.cpu_s() - redis
        self.redis_share.append(redis_s / times.elapsed_s)
        for values, seconds in ((self.server_us, self.server.cpu_s() - server), (self.redis_us, redis_s)):
            values.append(seconds / times.fixes * 1e6)
        self.load_us.append(times.load_s / times.fixes * 1e6)


class DelayFigures:
    """The delays from a fix to the position at the customer, grouped by round."""

    def __init__(self) -> None:
        self._rounds: list[Sequence[float]] = []

    def add(self, delays_ms: Sequence[float]) -> None:
        """Add the delays that one round measured."""
        self._rounds.append(delays_ms)

    def figures(self, rate: float) -> list[Figure]:
        """Return the median and the 99th percentile of the delays."""
        name = f"Callout: fix to the customer's position, {rate:g}/s"
        return [
            Figure(name, f"ms p{share * 100:.0f}", [percentile(each, share) for each in self._rounds])
            for share in (0.5, 0.99)
        ]


async def _run(rig: Rig, arguments: argparse.Namespace) -> Report:
    report = Report("location", (__doc__ or "").split("\n", 1)[0])
    draw = random.Random(5)
    side_m = arguments.city_km * 1_000
    movers = [Mover(f"user_d{number}", draw, side_m, METRES_A_FIX) for number in range(arguments.sockets)]
    url, valkey = rig.start_redis()
    at, gateway = rig.start_callout(url, roles="gateway")
    zone = await open_seeded_zone(url)
    report.versions["valkey"] = str((await zone.store.redis.info("server"))["valkey_version"])
    print_progress(f"{arguments.technicians} technicians come online, {len(movers)} of them over WebSocket")
    others = [Mover(f"user_o{n}", draw, side_m, 0) for n in range(arguments.technicians - len(movers))]
    services = " ".join(f"svc_01m8p28a3v504jxndvsb98w4{number}" for number in range(arguments.services))
    spots = ((one.name, *one.advance()) for one in (*movers, *others))
    await gather_in_batches(zone.create_technician(*spot, services=services) for spot in spots)
    connected = await fanout_target.connect_technicians(rig, zone, at, [one.name for one in movers])
    tracked, delays = TrackedJobs(), DelayFigures()
    await tracked.connect(rig, zone, urlsplit(at).port or 0, arguments.tracked)
    sides = {"Callout": MeasuredServer(gateway, valkey, connected)}
    if arguments.peers:
        try:
            sides[PEER] = _start_peer(rig, movers, arguments.services)
        except PeerUnavailable as missing:
            report.unavailable_peers.append(str(missing))
    fixes_per_call: list[float] = []
    for number in range(arguments.rounds):
        await asyncio.gather(gateway.wait_until_idle(), valkey.wait_until_idle())
        with pin_to_core(LOAD_CORE):
            delays.add(await tracked.measure(arguments.tracked_rate, arguments.seconds))
        for name in round_order(sides, number):
            print_progress(f"round {number + 1}: {name}")
            passes = FixPasses(movers, arguments.passes, 2 + number * arguments.passes)
            await zone.store.redis.config_resetstat()
            await sides[name].measure(passes)
            if name == "Callout":
                stats = await zone.store.redis.info("commandstats")
                fixes_per_call.append(len(movers) * arguments.passes / stats["cmdstat_fcall"]["calls"])
                await _require_stored(zone, passes)
    await zone.close()
    _add_figures(report, sides)
    report.add(*delays.figures(arguments.tracked_rate))
    report.add(Figure("Callout: fixes in one call of Redis", "fixes", fixes_per_call, note="at most 64"))
    report.notes.append(
        f"{len(movers)} of {arguments.technicians} technicians online send, {arguments.services} services each;"
        f" {METRES_A_FIX:.0f} m between two fixes"
    )
    report.notes.append("Valkey with AOF, everysec, on the load's core")
    return report


def _start_peer(rig: Rig, movers: Sequence[Mover], services: int) -> MeasuredServer:
    """Start the peer with a Valkey of its own. Raise PeerUnavailable without node or npm."""
    program = peer_programs.install_npm_server("ws_location")
    url, valkey = rig.start_redis()
    command = ["node", str(program), str(urlsplit(url).port), str(services)]
    server = rig.spawn("node", command, core=SERVER_CORE)
    port = int(server.read_first_line()["port"])
    return MeasuredServer(server, valkey, [_connect_to_peer(port, mover.name) for mover in movers])


def _connect_to_peer(port: int, name: str) -> socket.socket:
    sock = sockets.open_websocket(port, "/")
    sock.sendall(sockets.text_frame(msgspec.json.encode({"id": 1, "op": "connect", "token": name})))
    if sockets.read_payload(sock) != b'{"id":1,"ok":{}}':
        raise BenchError("the peer refused a socket")
    return sock


async def _require_stored(zone: SeededZone, passes: FixPasses) -> None:
    """Raise BenchError unless the last fix of every technician is in their record."""
    for mover, frame in zip(passes.movers, passes.frames[-1], strict=True):
        record = keys.technician(ZONE, TechnicianId(UserId(mover.name)))
        lat: Any = await zone.store.redis.hget(record, "lat")
        if b'"lat":' + (lat or b"") + b"," not in frame:
            raise BenchError(f"{mover.name}: the last fix is not stored: {lat!r}")


def _add_figures(report: Report, sides: dict[str, MeasuredServer]) -> None:
    ours = sides["Callout"]
    at_goal = [each * GOAL_PER_SECOND / 1e6 for each in ours.redis_us]
    report.add(
        Figure("Callout", "fixes/s", ours.rates, goal=GOAL_PER_SECOND),
        Figure("Callout: gateway CPU", "µs/fix", ours.server_us, goal=1e6 / GOAL_PER_SECOND, better="less"),
        Figure("Callout: Redis CPU", "µs/fix", ours.redis_us, note="script, network, AOF"),
        Figure("Callout: Redis, at the measured rate", "of a core", ours.redis_share),
        Figure(f"Callout: Redis, at {GOAL_PER_SECOND} fixes/s", "of a core", at_goal, goal=0.5, better="less"),
        Figure("Callout: load CPU", "µs/fix", ours.load_us, note="its core is shared with Redis"),
    )
    if PEER in sides:
        peer = sides[PEER]
        report.add(
            Figure(PEER, "fixes/s", peer.rates, note=PEERS[PEER].omits),
            Figure(f"{PEER}: server CPU", "µs/fix", peer.server_us),
            Figure(f"{PEER}: Redis CPU", "µs/fix", peer.redis_us),
            ratio(f"Callout ÷ {PEER}", ours.rates, peer.rates),
            ratio(f"Callout ÷ {PEER}: server CPU", ours.server_us, peer.server_us, better="less"),
            ratio(f"Callout ÷ {PEER}: Redis CPU", ours.redis_us, peer.redis_us, better="less"),
        )
