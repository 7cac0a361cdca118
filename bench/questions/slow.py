"""50 of 2,000 sockets never read: how much memory does that cost, and does anybody else lose an event?

A real ``callout serve --role gateway`` sends a steady broadcast to all sockets for a minute. The clients that read
answer pings and record each event. The others accept what fits into their sockets' buffers and never more. Each of them
must be closed as too slow (4001, by the server's own count), and each of the rest must receive every event, once and in
order. Resident memory is the kernel's figure for the gateway's process: a second before, during the run, and after.
"""

from __future__ import annotations

import argparse
import asyncio
import re
import socket
import time
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

import msgspec
import uvloop

from bench.load import swarm
from bench.load.seed import ZONE, SeededZone, gather_in_batches, open_seeded_zone
from bench.load.swarm import Client, Handshake
from bench.report import Figure, Report
from bench.rig import LOAD_CORE, BenchError, Child, Rig, pin_to_core, print_progress
from engine.process.signer import Signer, sign_token
from engine.store import keys
from engine.types import UserId

EVENT_TYPE = "announcement.bench"
RECEIVE_BUFFER_BYTES = 4_096
"""The receive buffer of a client that never reads: it is small, so that TCP soon blocks the server's writes."""
TIMEOUT_S = 60.0
_SEQ_FIELD = b'"seq":'
_PING_SETTINGS = {"CALLOUT_PING_S": "25", "CALLOUT_PONG_S": "10"}
_APPEND_SCRIPT = """
local seq, t = redis.call('HINCRBY', KEYS[1], 'seq', 1), redis.call('TIME')
local now = string.format('%.0f', t[1] * 1000 + math.floor(t[2] / 1000))
redis.call('XADD', KEYS[2], string.format('%.0f-0', seq), 'type', ARGV[1], 'to', 'role:customer', 'at', now,
  'actor', 'engine', 'bp', '', 'data', ARGV[2], 'cause', '')
return seq
"""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of this benchmark."""
    parser.add_argument("--sockets", type=int, default=2_000, help="sockets in all (default: 2000)")
    parser.add_argument("--stalled", type=int, default=50, help="of these, who never read (default: 50)")
    parser.add_argument("--rate", type=float, default=20.0, help="events a second, each to all (default: 20)")
    parser.add_argument("--size", type=int, default=1_000, help="bytes of an event's text (default: 1000)")
    parser.set_defaults(rounds=1, seconds=60.0)


def run(rig: Rig, arguments: argparse.Namespace) -> Report:
    """Send one broadcast of ``--seconds`` to all sockets."""
    return uvloop.run(_run(rig, arguments))


class ReadingClient(Client):
    """A client that reads all the time. ``seqs`` are the sequence numbers of its events, in the order of arrival."""

    def __init__(self, handshake: Handshake) -> None:
        super().__init__(handshake)
        self.seqs: list[int] = []

    def on_payload(self, data: bytes, start: int, end: int) -> None:
        """Record an event. Ignore the heads of the log."""
        if data.startswith(b'{"type"', start):
            at = data.find(_SEQ_FIELD, start, end) + len(_SEQ_FIELD)
            self.seqs.append(int(data[at : data.find(b",", at, end)]))


class SlowClientTest:
    """A gateway with clients that read and clients that never read (``stalled``). It also has the highest memory of the
    gateway's process.
    """

    def __init__(self, child: Child, port: int, zone: SeededZone) -> None:
        self.child = child
        self.readers: list[ReadingClient] = []
        self.stalled: list[Client] = []
        self.seqs: list[int] = []
        self.peak_mib = 0.0
        self._port, self._zone = port, zone

    async def connect(self, signer: Signer, arguments: argparse.Namespace) -> None:
        """Connect all clients. The stalled ones then stop reading."""
        users = [UserId(f"user_slow{number}") for number in range(arguments.sockets)]
        await gather_in_batches(self._zone.create_account(user, "customer") for user in users)
        self._bearer = sign_token(signer, UserId("cli_admin"), "admin", expires_s=7200)
        tokens = [sign_token(signer, user, "customer", name=user, expires_s=7200) for user in users]
        handshakes = (swarm.callout_handshake(self._port, token) for token in tokens[arguments.stalled :])

        async def open_next() -> None:
            for handshake in handshakes:
                self.readers.append(await swarm.open_client(self._port, ReadingClient(handshake)))

        await asyncio.gather(*(open_next() for _ in range(swarm.CONCURRENT_OPENINGS)))
        for token in tokens[: arguments.stalled]:
            self.stalled.append(await _open_stalled_client(self._port, swarm.callout_handshake(self._port, token)))

    async def send(self, arguments: argparse.Namespace) -> None:
        """Append events at an even rate for ``--seconds``. After each event, read the memory of the gateway's process,
        and store the highest value.
        """
        text = msgspec.json.encode({"announcement": {"title": "Roads closed", "body": "x" * arguments.size}})
        began, names = time.monotonic(), (keys.zone_meta(ZONE), keys.log(ZONE))
        for number in range(int(arguments.seconds * arguments.rate)):
            await asyncio.sleep(max(0.0, began + number / arguments.rate - time.monotonic()))
            self.seqs.append(int(await self._zone.store.command("EVAL", _APPEND_SCRIPT, 2, *names, EVENT_TYPE, text)))
            self.peak_mib = max(self.peak_mib, rss_mib(self.child))

    async def wait_until_received(self, arguments: argparse.Namespace) -> None:
        """Wait until the readers have all events and the stalled clients are closed. Raise BenchError after
        ``TIMEOUT_S``.
        """
        end = time.monotonic() + TIMEOUT_S
        while time.monotonic() < end:
            self.peak_mib = max(self.peak_mib, rss_mib(self.child))
            all_received = all(one.seqs and one.seqs[-1] >= self.seqs[-1] for one in self.readers)
            if all_received and await self.closed_count("4001") >= arguments.stalled:
                return
            await asyncio.sleep(0.2)
        closed = sum(one.is_closed for one in self.readers)
        raise BenchError(
            f"not over: {closed} readers were closed, {await self.closed_count('4001'):g} sockets as too slow"
        )

    async def closed_count(self, code: str) -> float:
        """Return how many sockets were closed with ``code``, by the gateway's own count."""
        return await asyncio.to_thread(self._read_closed_count, code)

    def _read_closed_count(self, code: str) -> float:
        headers = {"authorization": f"Bearer {self._bearer}"}
        with urlopen(Request(f"http://127.0.0.1:{self._port}/metrics", headers=headers), timeout=10) as answer:
            text = answer.read().decode()
        match = re.search(rf'sockets_closed\w*{{code="{code}"}} (\S+)', text)
        return float(match[1]) if match else 0.0


async def _open_stalled_client(port: int, handshake: Handshake) -> Client:
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER_BYTES)
    sock.setblocking(False)
    loop, client = asyncio.get_running_loop(), Client(handshake)
    await loop.sock_connect(sock, ("127.0.0.1", port))
    transport, _ = await loop.create_connection(lambda: client, sock=sock)
    await client.opened
    transport.pause_reading()
    return client


def rss_mib(child: Child) -> float:
    """Return the resident memory of a process in MiB."""
    status = Path(f"/proc/{child.pid}/status").read_text()
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS")) / 1024


async def _run(rig: Rig, arguments: argparse.Namespace) -> Report:
    report = Report("slow", (__doc__ or "").split("\n", 1)[0])
    url, _ = rig.start_redis()
    at, child = rig.start_callout(url, roles="gateway", env=_PING_SETTINGS)
    zone = await open_seeded_zone(url)
    test, empty = SlowClientTest(child, urlsplit(at).port or 0, zone), rss_mib(child)
    with pin_to_core(LOAD_CORE):
        print_progress(f"{arguments.sockets} sockets connect, {arguments.stalled} of them never read")
        await test.connect(Signer.load_or_create(rig.folder / "data" / "signing.key"), arguments)
        await child.wait_until_idle()
        before, cpu = rss_mib(child), child.cpu_s()
        print_progress(f"{arguments.rate:g} events a second to all, for {arguments.seconds:g} s")
        await test.send(arguments)
        cpu = child.cpu_s() - cpu
        await test.wait_until_received(arguments)
        await asyncio.sleep(1.0)
        after, slow = rss_mib(child), await test.closed_count("4001")
    await zone.close()
    report.add(Figure("RSS with nobody connected", "MiB", [empty]))
    _add_figures(report, test, (before, test.peak_mib, after), slow)
    report.add(Figure("gateway CPU meanwhile", "% of a core", [cpu / arguments.seconds * 100]))
    report.notes.append(
        f"{arguments.sockets} sockets, {arguments.stalled} never read;"
        f" {arguments.rate:g} events/s of {arguments.size} bytes"
    )
    return report


def _add_figures(report: Report, test: SlowClientTest, rss: tuple[float, float, float], slow: float) -> None:
    lost = twice = 0
    for client in test.readers:
        lost += len(set(test.seqs) - set(client.seqs))
        twice += len(client.seqs) - len(set(client.seqs))
        if client.seqs != sorted(client.seqs):
            raise BenchError("a reader was sent events in another order")
    before, peak, after = rss
    kib = (peak - before) * 1024 / max(1, len(test.stalled))
    each = f"{kib:.0f} KiB a stalled socket, what the relay remembers included"
    report.add(
        Figure("readers: events lost", "events", [float(lost)], goal=0, better="less"),
        Figure("readers: events twice", "events", [float(twice)], goal=0, better="less"),
        Figure(
            "readers closed",
            "sockets",
            [float(sum(client.is_closed for client in test.readers))],
            goal=0,
            better="less",
        ),
        Figure("closed as too slow (4001)", "sockets", [slow], goal=len(test.stalled)),
        Figure("deliveries", "events", [float(sum(len(client.seqs) for client in test.readers))]),
        Figure("RSS before", "MiB", [before]),
        Figure("RSS at its peak", "MiB", [peak], note=each),
        Figure("RSS after", "MiB", [after]),
    )
