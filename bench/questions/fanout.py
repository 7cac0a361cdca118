"""How many deliveries a second when one event goes to 1,000 sockets of one gateway?

The measurement is end to end: from the log in Redis through the gateway to the bytes that the client reads. One reader,
in C, counts for all sockets. It requests the next event (or the next 16 at once) when every socket has received the
last. The peers send the same bytes: a C loop of write(), which is the limit for one system call per event; Node's `ws`
in a loop; and, in their own envelopes, socket.io, python-socketio, NATS and Centrifugo (with its default settings, with
a history in its memory, and with one in a Redis). A note of each peer says what it does not do.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import NamedTuple

import uvloop

from bench.load import centrifugo, fanout_target, nats
from bench.load.fanout_target import FanoutResult, FanoutTarget
from bench.peers.catalogue import PEERS
from bench.report import Figure, Report, ratio, round_order
from bench.rig import BenchError, PeerUnavailable, Rig, print_progress
from server.gateway.broadcast_send import load_send, send_by_transports

BURST_EVENTS = 16
"""The number of events that are requested at once in the run with bursts."""


class Contender(NamedTuple):
    """How a peer is started, and the goal for Callout's rate divided by the peer's rate (DESIGN §9)."""

    start: Callable[[Rig, bytes, int], FanoutTarget]
    goal: float | None = None


CONTENDERS = {
    "C write()": Contender(fanout_target.start_c_writer, 0.9),
    "Node ws": Contender(fanout_target.start_node_ws, 1.3),
    "socket.io": Contender(fanout_target.start_node_socketio),
    "python-socketio": Contender(fanout_target.start_python_socketio, 8.0),
    "Centrifugo": Contender(centrifugo.start_with_defaults, 1.0),
    "Centrifugo with history": Contender(centrifugo.start_with_memory, 1.0),
    "Centrifugo on Redis": Contender(centrifugo.start_with_redis, 1.0),
    "NATS": Contender(nats.start),
}


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of this benchmark."""
    parser.add_argument("--sockets", type=int, default=1_000, help="listeners of one gateway (default: 1000)")
    parser.add_argument("--role", default="gateway", help="roles of the server under test (default: gateway)")


def run(rig: Rig, arguments: argparse.Namespace) -> Report:
    """Measure the servers in turn, once in each round."""
    report = Report("fanout", (__doc__ or "").split("\n", 1)[0])
    print_progress("starting Callout and its listeners")
    callout = uvloop.run(fanout_target.start_callout(rig, arguments.sockets, roles=arguments.role))
    payload = fanout_target.read_event_payload(callout)
    servers = {"Callout": callout}
    for name, peer in CONTENDERS.items() if arguments.peers else ():
        print_progress(f"starting {name}")
        try:
            server = peer.start(rig, payload, arguments.sockets)
            report.add_version(name)
        except PeerUnavailable as missing:
            report.unavailable_peers.append(f"{name}: {missing}")
        else:
            servers[name] = server
    report.notes.append(
        f"one event is {len(payload)} bytes; {arguments.sockets} sockets; server roles: {arguments.role}"
    )
    way = "Python" if load_send() is send_by_transports else "the compiled module"
    report.notes.append(f"Callout's single events are sent by {way}")
    report.notes.append("socket.io, Centrifugo and NATS put the same bytes into envelopes of their own")
    report.notes.append("Centrifugo publishes the events of a burst in parallel, and does not keep their order")
    results: dict[tuple[str, int], list[FanoutResult]] = {
        (name, burst): [] for burst in (1, BURST_EVENTS) for name in servers
    }
    for number in range(arguments.rounds):
        for (name, burst), rounds in round_order(results.items(), number):
            if name not in servers:
                continue
            print_progress(f"round {number + 1}: {name}, {burst} at once")
            try:
                rounds.append(fanout_target.measure_fanout(rig, servers[name], burst=burst, seconds=arguments.seconds))
            except (BenchError, OSError) as error:  # the peer has closed a socket, or has ended
                if name == "Callout":
                    raise
                report.unavailable_peers.append(f"{name}: left out, it failed in round {number + 1}: {error}")
                servers.pop(name).close()
    _add_figures(report, results, list(servers))
    for server in servers.values():
        server.close()
    return report


def _add_figures(report: Report, results: dict[tuple[str, int], list[FanoutResult]], servers: list[str]) -> None:
    single, burst = results["Callout", 1], results["Callout", BURST_EVENTS]
    rates, bursts = [h.per_second for h in single], [h.per_second for h in burst]
    report.add(Figure("Callout, one event", "deliveries/s", rates))
    report.add(Figure("Callout, one event: to the last of all", "ms p50", [h.p50_ms for h in single]))
    report.add(Figure("Callout, one event: gateway CPU", "µs each", [h.cpu_us for h in single]))
    report.add(Figure(f"Callout, bursts of {BURST_EVENTS}", "deliveries/s", bursts, goal=1_000_000))
    for name in servers[1:]:
        one, many = ([h.per_second for h in results[name, count]] for count in (1, BURST_EVENTS))
        report.add(Figure(f"{name}, one event", "deliveries/s", one, note=PEERS[name].omits))
        report.add(ratio(f"Callout ÷ {name}", rates, one, goal=CONTENDERS[name].goal))
        cpu, peer_cpu = ([h.cpu_us for h in results[server, 1]] for server in ("Callout", name))
        report.add(Figure(f"{name}, one event: server CPU", "µs each", peer_cpu))
        report.add(ratio(f"Callout ÷ {name}: server CPU", cpu, peer_cpu, better="less"))
        report.add(Figure(f"{name}, bursts of {BURST_EVENTS}", "deliveries/s", many))
        report.add(ratio(f"Callout ÷ {name}, bursts", bursts, many))
