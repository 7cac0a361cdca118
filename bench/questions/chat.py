"""How many chat messages a second are said and delivered, and how late are they at the other members?

Members of rooms say messages over WebSockets, and every member of the room receives them. A message is complete when it
was answered and every member has it, the sender included. For the rate, each member says the next message when the last
one is complete. For the delay, messages are said at fixed times, and are timed from then until another member receives
them. A program in C reads the sockets of a large room. There the delay counts from the moment at which a message is
sent.

The peers relay messages through Redis pub/sub: Node's ``ws`` with a channel for each room, and socket.io with its Redis
adapter. Both store nothing and check nothing: a message that was said while a member was away is lost for this member.
"""

from __future__ import annotations

import argparse
import asyncio
import socket
from collections.abc import Awaitable, Mapping, Sequence
from typing import Any, NamedTuple

import uvloop

from bench.load import chat_servers
from bench.load.chat_rooms import OpenRoom, open_rooms
from bench.load.chat_servers import ChatServer
from bench.load.chat_talk import Member, Talk, TalkTimes
from bench.load.openloop import percentile
from bench.load.seed import open_seeded_zone
from bench.load.sink import compile_sink, start_sink, stop_sink
from bench.peers.catalogue import PEERS
from bench.report import Figure, Report, ratio, round_order
from bench.rig import LOAD_CORE, BenchError, PeerUnavailable, Rig, pin_to_core, print_progress

GOAL_PER_S, GOAL_P99_MS, GOAL_RATE = 8_000, 20.0, 1_000
"""The goals for rooms of two members (docs/design.md, chapter 9): messages a second, and the 99th percentile of the
delay (ms) at a rate of messages a second.
"""
SMALL_SIZES = (2, 3)
SINK_PAUSE_S = 0.5
"""How long the benchmark waits for the last deliveries in a large room."""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of this benchmark."""
    parser.add_argument("--rooms", type=int, default=64, help="rooms of two, and as many of three (default: 64)")
    parser.add_argument("--rate", type=int, default=GOAL_RATE, help="messages/s for the delay (default: 1000)")
    parser.add_argument("--large", type=int, default=1_000, help="members of the large room; 0: none (default: 1000)")
    parser.add_argument("--large-rate", type=int, default=10, help="messages/s for its delay (default: 10)")


def run(rig: Rig, arguments: argparse.Namespace) -> Report:
    """Measure Callout and its peers (servers that also relay chat) in turn, once in each round."""
    with pin_to_core(LOAD_CORE):
        return uvloop.run(_run(rig, arguments))


class TalkCosts(NamedTuple):
    """One measured talk: its times, the percentiles 50 and 99 of the delay, and the microseconds that each process
    needed for a message.
    """

    times: TalkTimes
    delays_ms: tuple[float, float]
    server_us: float
    redis_us: float
    load_us: float


class MeasuredServer:
    """A server with its connected chat members, and the costs of all measurements so far, grouped by the kind
    of talk.
    """

    def __init__(self, rig: Rig, server: ChatServer) -> None:
        self._rig, self._server = rig, server
        self._rooms: dict[int, list[list[Member]]] = {}
        self._speaker: list[Member] = []
        self._listeners: list[socket.socket] = []
        self.costs: dict[str, list[TalkCosts]] = {}

    async def connect(self, rooms: Sequence[OpenRoom], large: OpenRoom | None, warmup_s: float) -> None:
        """Connect the members of all rooms, and let those of the small rooms talk for ``warmup_s`` seconds, because
        Node runs faster after it has compiled its code.
        """
        for size in SMALL_SIZES:
            self._rooms[size] = await self._server.connect_rooms([room for room in rooms if len(room.members) == size])
        if large is not None:
            self._speaker = [await self._server.connect_member(large, large.members[0])]
            self._listeners = self._server.connect_listeners(large)
        for rooms_of_size in self._rooms.values():
            await Talk(rooms_of_size, warmup_s).run()

    async def measure(self, arguments: argparse.Namespace) -> None:
        """Measure each kind of talk once."""
        for size, rooms in self._rooms.items():
            await self._measure_talk(f"rooms of {size}", rooms, arguments.seconds)
            await self._measure_talk(f"rooms of {size}, at a rate", rooms, arguments.seconds, arguments.rate)
        if self._listeners:
            await self._measure_large("large room", arguments.seconds)
            await self._measure_large("large room, at a rate", arguments.seconds, arguments.large_rate)

    async def _measure_talk(
        self, name: str, rooms: Sequence[Sequence[Member]], seconds: float, rate: int | None = None
    ) -> None:
        async def talk() -> tuple[TalkTimes, tuple[float, float]]:
            times = await Talk(rooms, seconds, rate).run()
            return times, (percentile(times.delivered_ms, 0.5), percentile(times.delivered_ms, 0.99))

        await self._measure(name, talk())

    async def _measure_large(self, name: str, seconds: float, rate: int | None = None) -> None:
        """Let one member send messages while the program in C reads the sockets of all others. Raise BenchError if one
        of them misses a message.
        """

        async def talk() -> tuple[TalkTimes, tuple[float, float]]:
            sink = start_sink(self._rig, self._server.dialect.delivery, "text", self._listeners)
            times = await Talk([self._speaker], seconds, rate).run()
            await asyncio.sleep(SINK_PAUSE_S)
            times.load_s += sink.cpu_s()
            ages = await stop_sink(sink)
            if ages.received != times.messages * len(self._listeners):
                raise BenchError(f"{ages.received} deliveries of {times.messages} messages to {len(self._listeners)}")
            return times, (ages.p50_ms, ages.p99_ms)

        await self._measure(name, talk())

    async def _measure(self, name: str, talk: Awaitable[tuple[TalkTimes, tuple[float, float]]]) -> None:
        server, redis = self._server.server, self._server.redis
        await asyncio.gather(server.wait_until_idle(), redis.wait_until_idle())
        before = server.cpu_s(), redis.cpu_s()
        times, delays_ms = await talk
        spent = server.cpu_s() - before[0], redis.cpu_s() - before[1], times.load_s
        each_us = (seconds / times.messages * 1e6 for seconds in spent)
        self.costs.setdefault(name, []).append(TalkCosts(times, delays_ms, *each_us))


async def _run(rig: Rig, arguments: argparse.Namespace) -> Report:
    report = Report("chat", (__doc__ or "").split("\n", 1)[0])
    url, valkey = rig.start_redis()
    callout = chat_servers.start_callout(rig, url, valkey)
    zone = await open_seeded_zone(url)
    report.versions["valkey"] = str((await zone.store.redis.info("server"))["valkey_version"])
    print_progress(f"rooms open: {arguments.rooms} of two, as many of three, one of {arguments.large}")
    sizes = [size for size in SMALL_SIZES for _ in range(arguments.rooms)]
    rooms = await open_rooms(zone, [*sizes, *([arguments.large] if arguments.large else [])])
    await zone.close()
    sides = {"Callout": MeasuredServer(rig, callout)}
    for name, start in chat_servers.PEER_STARTERS.items() if arguments.peers else ():
        try:
            sides[name] = MeasuredServer(rig, start(rig))
            report.add_version(name)
        except PeerUnavailable as missing:
            report.unavailable_peers.append(f"{name}: {missing}")
    large = _large_room(rig, report, rooms, arguments)
    for name, side in sides.items():
        print_progress(f"the members connect: {name}")
        await side.connect(rooms[: len(sizes)], large, arguments.seconds)
    for number in range(arguments.rounds):
        for name in round_order(sides, number):
            print_progress(f"round {number + 1}: {name}")
            await sides[name].measure(arguments)
    _add_figures(report, sides, arguments)
    return report


def _large_room(rig: Rig, report: Report, rooms: Sequence[OpenRoom], arguments: argparse.Namespace) -> OpenRoom | None:
    """Return the large room, None if there is none or its reader cannot be compiled."""
    if not arguments.large:
        return None
    try:
        compile_sink(rig)
    except PeerUnavailable as missing:
        report.unavailable_peers.append(f"the room of {arguments.large}: {missing}")
        return None
    return rooms[-1]


def _add_figures(report: Report, sides: Mapping[str, MeasuredServer], arguments: argparse.Namespace) -> None:
    for kind in sides["Callout"].costs:
        is_timed = kind.endswith("at a rate")
        rate = arguments.large_rate if kind.startswith("large") else arguments.rate
        title = kind.replace("at a rate", f"{rate}/s").replace("large room", f"a room of {arguments.large}")
        for name, side in sides.items():
            add, with_goal = _add_delays if is_timed else _add_rates, name == "Callout" and "rooms of 2" in kind
            add(report, f"{title}: {name}", side.costs[kind], with_goal=with_goal)
        if not is_timed:
            _add_ratios(report, title, {name: side.costs[kind] for name, side in sides.items()})
    report.notes.append(f"{arguments.rooms} rooms of two, as many of three: every member has one message under way")
    report.notes.append(f"in the room of {arguments.large} one member speaks, one message at a time")
    report.notes.append("Valkey with AOF, everysec, on the load's core; each server has its own")
    report.notes += [f"{name}: {PEERS[name].omits}" for name in sides if name in PEERS]


def _add_rates(report: Report, title: str, costs: Sequence[TalkCosts], *, with_goal: bool) -> None:
    goal: Any = GOAL_PER_S if with_goal else None
    report.add(
        Figure(title, "messages/s", [each.times.per_second for each in costs], goal=goal),
        Figure(f"{title}: server CPU", "µs/message", [each.server_us for each in costs]),
        Figure(f"{title}: Redis CPU", "µs/message", [each.redis_us for each in costs]),
        Figure(f"{title}: load CPU", "µs/message", [each.load_us for each in costs]),
    )


def _add_delays(report: Report, title: str, costs: Sequence[TalkCosts], *, with_goal: bool) -> None:
    goal: Any = GOAL_P99_MS if with_goal else None
    answered = [each.times.answered_ms for each in costs]
    report.add(
        Figure(f"{title}: delay", "ms p50", [each.delays_ms[0] for each in costs]),
        Figure(f"{title}: delay", "ms p99", [each.delays_ms[1] for each in costs], goal=goal, better="less"),
        Figure(f"{title}: answered", "ms p99", [percentile(each, 0.99) for each in answered]),
        Figure(f"{title}: server busy", "% core", [each.server_us * each.times.per_second / 1e4 for each in costs]),
    )


def _add_ratios(report: Report, title: str, costs: Mapping[str, Sequence[TalkCosts]]) -> None:
    ours = costs["Callout"]
    for name, theirs in costs.items():
        if name == "Callout":
            continue
        for what, better in (("messages/s", "more"), ("server CPU", "less"), ("Redis CPU", "less")):
            pair = [[_named_value(each, what) for each in side] for side in (ours, theirs)]
            report.add(ratio(f"{title}: Callout ÷ {name}, {what}", *pair, better=better))


def _named_value(costs: TalkCosts, what: str) -> float:
    return {"messages/s": costs.times.per_second, "server CPU": costs.server_us, "Redis CPU": costs.redis_us}[what]
