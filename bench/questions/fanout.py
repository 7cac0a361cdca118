"""How many deliveries a second when one event goes to 1,000 sockets of one gateway?

The measurement is end to end: from the log in Redis over relay and hub to the bytes read by the client. One reader, in
C, counts for all sockets. It requests the next event (or the next 16 at once) when every socket has received the last.
The peers send the same bytes: a C loop of write(), which is the limit without joining writes; Node's `ws` in a loop;
and, in their own envelopes, socket.io, python-socketio and Centrifugo, alone and with a Redis.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from importlib.metadata import version

import msgspec
import uvloop

from bench import built
from bench.load import audience as audiences
from bench.load import centrifugo
from bench.load.audience import Audience, Heard
from bench.report import Figure, Report, ratio
from bench.rig import Missing, Rig, say

BURST = 16


class Peer(msgspec.Struct):
    """How one is started, and what Callout's rate over its own should be (DESIGN §9)."""

    start: Callable[[Rig, bytes, int], Audience]
    goal: float | None = None
    note: str = ""
    version: Callable[[], str] | None = None


PEERS = {
    "C write()": Peer(audiences.writes, 0.7, "the limit: one system call per delivery"),
    "Node ws": Peer(audiences.node_ws, 1.3, version=lambda: built.npm_version("ws", "ws")),
    "socket.io": Peer(audiences.node_socketio, version=lambda: built.npm_version("socketio", "socket.io")),
    "python-socketio": Peer(audiences.python_socketio, 8.0, version=lambda: version("python-socketio")),
    "Centrifugo": Peer(centrifugo.memory, 1.0, "history in its memory", centrifugo.version),
    "Centrifugo on Redis": Peer(centrifugo.redis, 1.0, "history in Redis, as Callout's log is"),
}


def options(parser: argparse.ArgumentParser) -> None:
    """What only this benchmark is told."""
    parser.add_argument("--sockets", type=int, default=1_000, help="listeners of one gateway (default: 1000)")
    parser.add_argument("--role", default="gateway", help="roles of the server under test (default: gateway)")


def run(rig: Rig, asked: argparse.Namespace) -> Report:
    """Measure, round by round, each server in turn."""
    report = Report("fanout", (__doc__ or "").split("\n", 1)[0])
    say("starting Callout and its listeners")
    audience = uvloop.run(audiences.callout(rig, asked.sockets, roles=asked.role))
    payload = audiences.a_frame(audience)
    servers = {"Callout": audience}
    for name, peer in PEERS.items() if asked.peers else ():
        say(f"starting {name}")
        try:
            servers[name] = peer.start(rig, payload, asked.sockets)
        except Missing as missing:
            report.missing.append(f"{name}: {missing}")
            continue
        if peer.version is not None:
            report.versions[name] = peer.version()
    report.notes.append(f"one event is {len(payload)} bytes; {asked.sockets} sockets; server roles: {asked.role}")
    report.notes.append("socket.io and Centrifugo put the same bytes into envelopes of their own")
    heard: dict[tuple[str, int], list[Heard]] = {(name, burst): [] for burst in (1, BURST) for name in servers}
    for number in range(asked.rounds):
        for (name, burst), rounds in heard.items():
            say(f"round {number + 1}: {name}, {burst} at once")
            rounds.append(audiences.listen(rig, servers[name], burst=burst, seconds=asked.seconds))
    _figures(report, heard, list(servers))
    return report


def _figures(report: Report, heard: dict[tuple[str, int], list[Heard]], servers: list[str]) -> None:
    single, burst = heard["Callout", 1], heard["Callout", BURST]
    rates, bursts = [h.per_second for h in single], [h.per_second for h in burst]
    report.add(Figure("Callout, one event", "deliveries/s", rates))
    report.add(Figure("Callout, one event: to the last of all", "ms p50", [h.p50_ms for h in single]))
    report.add(Figure("Callout, one event: gateway CPU", "µs each", [h.cpu_us for h in single]))
    report.add(Figure(f"Callout, bursts of {BURST}", "deliveries/s", bursts, goal=1_000_000))
    for name in servers[1:]:
        one, many = ([h.per_second for h in heard[name, count]] for count in (1, BURST))
        report.add(Figure(f"{name}, one event", "deliveries/s", one, note=PEERS[name].note))
        report.add(ratio(f"Callout ÷ {name}", rates, one, goal=PEERS[name].goal))
        report.add(Figure(f"{name}, one event: server CPU", "µs each", [h.cpu_us for h in heard[name, 1]]))
        report.add(Figure(f"{name}, bursts of {BURST}", "deliveries/s", many))
        report.add(ratio(f"Callout ÷ {name}, bursts", bursts, many))
