"""How many deliveries a second when one event goes to 1,000 sockets of one gateway?

End to end: from the log in Redis over relay and hub to the bytes read at the other end. One reader, in C, counts for
all; it asks for the next event (or the next 16 at once) when every socket has had the last. The peers send the same
bytes: a C loop of write(), which is the limit without joining; Node's `ws` in a loop; python-socketio.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable

import uvloop

from bench import audience as audiences
from bench.audience import Audience, Heard
from bench.report import Figure, Report, ratio
from bench.rig import Missing, Rig, say

BURST = 16
PEERS: dict[str, tuple[Callable[[Rig, bytes, int], Audience], float, str]] = {
    "C write()": (audiences.writes, 0.7, "the limit: one system call per delivery"),
    "Node ws": (audiences.node_ws, 1.3, ""),
    "python-socketio": (audiences.socketio, 8.0, ""),
}
"""How each is started, and what Callout's rate over its own should be (DESIGN §9)."""


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
    for name, (start, *_) in PEERS.items() if asked.peers else ():
        say(f"starting {name}")
        try:
            servers[name] = start(rig, payload, asked.sockets)
        except Missing as missing:
            report.missing.append(str(missing))
    report.notes.append(f"one event is {len(payload)} bytes; {asked.sockets} sockets; server roles: {asked.role}")
    report.notes.append("python-socketio adds its own envelope to the same bytes and is left out of the bursts")
    heard: dict[tuple[str, int], list[Heard]] = {(name, burst): [] for name in servers for burst in (1, BURST)}
    for number in range(asked.rounds):
        for (name, burst), rounds in heard.items():
            if name == "python-socketio" and burst > 1:
                continue
            say(f"round {number + 1}: {name}, {burst} at once")
            rounds.append(audiences.listen(rig, servers[name], burst=burst, seconds=asked.seconds))
    _figures(report, heard, list(servers))
    if "Node ws" in servers:
        report.versions["ws"] = audiences.ws_version()
    return report


def _figures(report: Report, heard: dict[tuple[str, int], list[Heard]], servers: list[str]) -> None:
    single, burst = heard["Callout", 1], heard["Callout", BURST]
    rates = [h.per_second for h in single]
    report.add(Figure("Callout, one event", "deliveries/s", rates))
    report.add(Figure("Callout, one event: to the last of all", "ms p50", [h.p50_ms for h in single]))
    report.add(Figure("Callout, one event: gateway CPU", "µs each", [h.cpu_us for h in single]))
    report.add(Figure(f"Callout, bursts of {BURST}", "deliveries/s", [h.per_second for h in burst], goal=1_000_000))
    for name in servers[1:]:
        peer = [h.per_second for h in heard[name, 1]]
        report.add(Figure(f"{name}, one event", "deliveries/s", peer, note=PEERS[name][2]))
        report.add(ratio(f"Callout ÷ {name}", rates, peer, goal=PEERS[name][1]))
        if heard[name, BURST]:
            report.add(Figure(f"{name}, bursts of {BURST}", "deliveries/s", [h.per_second for h in heard[name, BURST]]))
