"""How much memory does an idle authenticated connection use, and how many can be opened a second?

Each connection has done its handshake, its ``connect`` with the reply, and one ping. Memory is that of the server's
process (RSS, and PSS beside it), before and after. The time to open includes everything from the TCP connection to the
reply, with a token and an account for each connection. The peers' idle sockets are not authenticated.
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

from bench.load import idlers, swarm
from bench.load.idlers import Idle
from bench.load.seed import in_batches, open_town
from bench.load.swarm import Client
from bench.report import Figure, Report, ratio
from bench.rig import LOAD_CORE, BenchError, Child, Missing, Rig, pinned, say
from engine.process.signer import Signer, sign_token
from engine.types import UserId

SHARING = 30
"""Users who share the connections where each has many."""
WARMUP = 16
"""Connections before the first look: what a process allocates once is not an idle connection's."""
PING_S, PONG_S = 5, 4
PINGED_S = 60.0
OWN, SHARED = "Callout", "Callout, shared"


def options(parser: argparse.ArgumentParser) -> None:
    """What only this benchmark is told."""
    parser.add_argument("--connections", type=int, default=5_000, help="idle connections (default: 5000)")


def run(rig: Rig, asked: argparse.Namespace) -> Report:
    """Measure, round by round, each server in turn, each time a fresh process."""
    if not Path("/proc/self/smaps_rollup").exists():
        raise BenchError("memory is read from /proc/PID/smaps_rollup: Linux only")
    return uvloop.run(_run(rig, asked))


class Held(msgspec.Struct):
    """For each connection: KiB of memory (PSS, RSS), and the processor time of server and load to open it (µs)."""

    pss_kib: float
    rss_kib: float
    per_second: float
    cpu_us: float
    load_us: float


async def _run(rig: Rig, asked: argparse.Namespace) -> Report:
    report, count = Report("connections", (__doc__ or "").split("\n", 1)[0]), asked.connections
    url, _ = rig.redis()
    town = await open_town(url)
    report.versions["valkey"] = str((await town.store.redis.info("server"))["valkey_version"])
    say(f"{count} accounts")
    users = [UserId(f"user_idle{n}") for n in range(count + WARMUP)]
    await in_batches(town.account(user, "customer") for user in users)
    await town.close()
    servers: dict[str, Callable[[], Idle]] = {
        OWN: lambda: _callout(rig, url, users),
        SHARED: lambda: _callout(rig, url, [users[n % SHARING] for n in range(len(users))]),
    }
    for name, start in idlers.PEERS.items() if asked.peers else ():
        servers[name] = functools.partial(start, rig, len(users))
    found: dict[str, list[Held]] = {name: [] for name in servers}
    for number in range(asked.rounds):
        for name in list(found):
            say(f"round {number + 1}: {count} connections, {name}")
            try:
                found[name].append(await _measured(servers[name]()))
            except Missing as missing:
                report.missing.append(str(missing))
                del found[name]
    _figures(report, found)
    report.notes.append(
        f"{count} connections, {SHARING} users where they are shared; the gateway pings every {PING_S} s"
    )
    report.notes.append(
        "the kernel's memory for the sockets is not in it, for nobody; peers have neither token nor account"
    )
    return report


def _callout(rig: Rig, url: str, users: Sequence[UserId]) -> Idle:
    """A gateway, and a token for each of ``users``."""
    at, child = rig.callout(url, roles="gateway", env={"CALLOUT_PING_S": str(PING_S), "CALLOUT_PONG_S": str(PONG_S)})
    port = urlsplit(at).port or 0
    signer = Signer.load_or_create(rig.folder / "data" / "signing.key")
    tokens = [sign_token(signer, user, "customer", name=user) for user in users]
    return Idle(child, port, [swarm.callout_opening(port, token) for token in tokens], pings=True)


async def _measured(server: Idle) -> Held:
    """Open all, let them live through a ping, and compare; the server is gone afterwards."""
    with pinned(LOAD_CORE):
        child, count = server.child, len(server.openings) - WARMUP
        clients = await swarm.all_entered(server.port, server.openings[:WARMUP])
        await child.settled()
        before, cpu = _memory(child), child.cpu_s()
        gc.collect()
        began, load = time.perf_counter(), time.process_time()
        clients += await swarm.all_entered(server.port, server.openings[WARMUP:])
        elapsed, load = time.perf_counter() - began, time.process_time() - load
        cpu = child.cpu_s() - cpu
        if server.pings:
            await _pinged(clients)
        await child.settled()
        after = _memory(child)
        if lost := sum(client.gone for client in clients):
            raise BenchError(f"{lost} connections were lost")
    for client in clients:
        client.cut()
    await asyncio.to_thread(child.stop)
    pss, rss = ((after[kind] - before[kind]) / count for kind in ("Pss", "Rss"))
    return Held(pss, rss, count / elapsed, cpu / count * 1e6, load / count * 1e6)


async def _pinged(clients: Sequence[Client]) -> None:
    """Return when each has been pinged since it was let in."""
    seen = [client.pings for client in clients]
    until = time.monotonic() + PINGED_S
    while any(client.pings == was for client, was in zip(clients, seen, strict=True)):
        if time.monotonic() > until:
            raise BenchError("not everybody was pinged")
        await asyncio.sleep(0.1)


def _memory(child: Child) -> dict[str, int]:
    """KiB by the names of the kernel: ``Pss`` is ``Rss`` with what is shared divided among the sharers."""
    lines = Path(f"/proc/{child.pid}/smaps_rollup").read_text().splitlines()[1:]
    return {name: int(rest.split()[0]) for name, _, rest in (line.partition(":") for line in lines)}


def _figures(report: Report, found: dict[str, list[Held]]) -> None:
    def column(name: str, field: str) -> list[float]:
        return [getattr(held, field) for held in found[name]]

    report.add(
        Figure("Callout, each its own user", "KiB each", column(OWN, "rss_kib"), goal=24, better="less"),
        Figure("Callout, each its own user: PSS", "KiB each", column(OWN, "pss_kib")),
        Figure("Callout, some tens of users sharing", "KiB each", column(SHARED, "rss_kib")),
        Figure("Callout: opened", "connections/s", column(OWN, "per_second")),
        Figure("Callout, shared: opened", "connections/s", column(SHARED, "per_second"), note="tokens seen before"),
        Figure("Callout: gateway CPU", "µs each", column(OWN, "cpu_us")),
        Figure("Callout: load CPU", "µs each", column(OWN, "load_us"), note="its core is shared with Redis"),
    )
    for name in (name for name in found if name not in (OWN, SHARED)):
        report.add(Figure(f"{name}, idle", "KiB each", column(name, "rss_kib")))
        report.add(ratio(f"Callout ÷ {name}: memory", column(OWN, "rss_kib"), column(name, "rss_kib"), better="less"))
        report.add(Figure(f"{name}: opened", "connections/s", column(name, "per_second"), note="nobody authenticated"))
        report.versions |= idlers.version(name)
