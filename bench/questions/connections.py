"""How much memory does an idle authenticated connection use, and how many can be opened a second?

Each connection has done its handshake, its ``connect`` with the reply, and one ping. Memory is read from the kernel for
the server's process (RSS and PSS), before and after. The time to open includes everything from the TCP connection to
the reply, with a token and an account for each connection. The peers' idle sockets are not authenticated; the note of
each peer says what else the peer does not do.
"""

from __future__ import annotations

import argparse
import asyncio
import functools
import gc
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from urllib.parse import urlsplit

import msgspec
import uvloop

from bench.load import idle_servers, swarm
from bench.load.idle_servers import IdleServer
from bench.load.seed import gather_in_batches, open_seeded_zone
from bench.load.swarm import Client
from bench.peers.catalogue import PEERS
from bench.report import Figure, Report, ratio, round_order
from bench.rig import LOAD_CORE, BenchError, Child, PeerUnavailable, Rig, pin_to_core, print_progress
from engine.process.signer import Signer, sign_token
from engine.types import UserId

SHARED_USERS = 30
"""The number of users who share all connections in the run where each user has many."""
WARMUP_CONNECTIONS = 16
"""The number of connections that are opened before memory is first read. The server then has allocated what it
allocates only once, which is not a cost of an idle connection.
"""
PING_S, PONG_S = 5, 4
PING_TIMEOUT_S = 60.0
OWN, SHARED = "Callout", "Callout, shared"
"""The two runs with Callout: each connection has its own user, or some tens of users share all connections."""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of this benchmark."""
    parser.add_argument("--connections", type=int, default=5_000, help="idle connections (default: 5000)")


def run(rig: Rig, arguments: argparse.Namespace) -> Report:
    """Measure each server in turn, round by round, each time in a new process."""
    if not Path("/proc/self/smaps_rollup").exists():
        raise BenchError("memory is read from /proc/PID/smaps_rollup: Linux only")
    return uvloop.run(_run(rig, arguments))


class ConnectionCost(msgspec.Struct):
    """The cost of one connection: KiB of memory (PSS, RSS), and the processor time of server and load to open it (µs).
    ``per_second`` is the rate of opening.
    """

    pss_kib: float
    rss_kib: float
    per_second: float
    cpu_us: float
    client_cpu_us: float


async def _run(rig: Rig, arguments: argparse.Namespace) -> Report:
    report, count = Report("connections", (__doc__ or "").split("\n", 1)[0]), arguments.connections
    url, _ = rig.start_redis()
    zone = await open_seeded_zone(url)
    report.versions["valkey"] = str((await zone.store.redis.info("server"))["valkey_version"])
    print_progress(f"{count} accounts")
    users = [UserId(f"user_idle{n}") for n in range(count + WARMUP_CONNECTIONS)]
    await gather_in_batches(zone.create_account(user, "customer") for user in users)
    await zone.close()
    servers: dict[str, Callable[[], IdleServer]] = {
        OWN: lambda: _start_callout(rig, url, users),
        SHARED: lambda: _start_callout(rig, url, [users[n % SHARED_USERS] for n in range(len(users))]),
    }
    for name, start in idle_servers.PEER_STARTERS.items() if arguments.peers else ():
        servers[name] = functools.partial(start, rig, len(users))
    costs: dict[str, list[ConnectionCost]] = {name: [] for name in servers}
    for number in range(arguments.rounds):
        for name in round_order(costs, number):
            print_progress(f"round {number + 1}: {count} connections, {name}")
            try:
                costs[name].append(await _measure(servers[name]()))
                report.add_version(name)
            except PeerUnavailable as missing:
                report.unavailable_peers.append(f"{name}: {missing}")
                del costs[name]
    _add_figures(report, costs)
    report.notes.append(
        f"{count} connections, {SHARED_USERS} users where they are shared; the gateway pings every {PING_S} s"
    )
    report.notes.append(
        "the kernel's memory for the sockets is not in it, for nobody; peers have neither token nor account"
    )
    return report


def _start_callout(rig: Rig, url: str, users: Sequence[UserId]) -> IdleServer:
    """Start a gateway, and return it with the handshake of each user, with a token."""
    at, child = rig.start_callout(
        url, roles="gateway", env={"CALLOUT_PING_S": str(PING_S), "CALLOUT_PONG_S": str(PONG_S)}
    )
    port = urlsplit(at).port or 0
    signer = Signer.load_or_create(rig.folder / "data" / "signing.key")
    tokens = [sign_token(signer, user, "customer", name=user) for user in users]
    return IdleServer(child, port, [swarm.callout_handshake(port, token) for token in tokens], pings=True)


async def _measure(server: IdleServer) -> ConnectionCost:
    """Open all connections, wait for a ping if the server sends pings, and return the cost of a connection. The server
    is stopped afterwards.
    """
    with pin_to_core(LOAD_CORE):
        child, count = server.child, len(server.handshakes) - WARMUP_CONNECTIONS
        clients = await swarm.open_clients(server.port, server.handshakes[:WARMUP_CONNECTIONS])
        await child.wait_until_idle()
        before, cpu = _memory_kib(child), child.cpu_s()
        gc.collect()
        began, load = time.perf_counter(), time.process_time()
        clients += await swarm.open_clients(server.port, server.handshakes[WARMUP_CONNECTIONS:])
        elapsed, load = time.perf_counter() - began, time.process_time() - load
        cpu = child.cpu_s() - cpu
        if server.pings:
            await _wait_for_pings(clients)
        await child.wait_until_idle()
        after = _memory_kib(child)
        if lost := sum(client.is_closed for client in clients):
            raise BenchError(f"{lost} connections were lost")
    for client in clients:
        client.abort()
    await asyncio.to_thread(child.stop)
    pss, rss = ((after[kind] - before[kind]) / count for kind in ("Pss", "Rss"))
    return ConnectionCost(pss, rss, count / elapsed, cpu / count * 1e6, load / count * 1e6)


async def _wait_for_pings(clients: Sequence[Client]) -> None:
    """Wait until each client has received a ping after this call. Raise BenchError after ``PING_TIMEOUT_S``."""
    pings_before = [client.pings for client in clients]
    until = time.monotonic() + PING_TIMEOUT_S
    while any(client.pings == before for client, before in zip(clients, pings_before, strict=True)):
        if time.monotonic() > until:
            raise BenchError("not everybody was pinged")
        await asyncio.sleep(0.1)


def _memory_kib(child: Child) -> dict[str, int]:
    """Return the process's memory in KiB, by the names that the kernel uses: ``Rss`` counts all of its memory, ``Pss``
    divides shared memory among the processes that share it.
    """
    lines = Path(f"/proc/{child.pid}/smaps_rollup").read_text().splitlines()[1:]
    return {name: int(rest.split()[0]) for name, _, rest in (line.partition(":") for line in lines)}


def _add_figures(report: Report, costs: dict[str, list[ConnectionCost]]) -> None:
    def values(name: str, field: str) -> list[float]:
        return [getattr(cost, field) for cost in costs[name]]

    report.add(
        Figure("Callout, each its own user", "KiB each", values(OWN, "rss_kib"), goal=24, better="less"),
        Figure("Callout, each its own user: PSS", "KiB each", values(OWN, "pss_kib")),
        Figure("Callout, some tens of users sharing", "KiB each", values(SHARED, "rss_kib")),
        Figure("Callout: opened", "connections/s", values(OWN, "per_second")),
        Figure("Callout, shared: opened", "connections/s", values(SHARED, "per_second")),
        Figure("Callout: gateway CPU", "µs each", values(OWN, "cpu_us"), goal=200, better="less"),
        Figure("Callout: load CPU", "µs each", values(OWN, "client_cpu_us"), note="its core is shared with Redis"),
    )
    for name in (name for name in costs if name not in (OWN, SHARED)):
        report.add(Figure(f"{name}, idle", "KiB each", values(name, "rss_kib"), note=PEERS[name].omits))
        report.add(ratio(f"Callout ÷ {name}: memory", values(OWN, "rss_kib"), values(name, "rss_kib"), better="less"))
        report.add(Figure(f"{name}: opened", "connections/s", values(name, "per_second")))
        report.add(ratio(f"Callout ÷ {name}: opened", values(OWN, "per_second"), values(name, "per_second")))
        report.add(Figure(f"{name}: server CPU", "µs each", values(name, "cpu_us")))
        report.add(ratio(f"Callout ÷ {name}: CPU", values(OWN, "cpu_us"), values(name, "cpu_us"), better="less"))
