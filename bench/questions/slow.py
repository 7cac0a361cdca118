"""50 of 2,000 sockets never read: how much memory does that cost, and does anybody else lose an event?

A real ``callout serve --role gateway`` sends a steady broadcast to all sockets for a minute. The clients that read
answer pings and record each event. The others accept what fits into their sockets' buffers and never more. Each of
them must be closed as too slow (4001, by the server's own count), and each of the rest must receive every event, once
and in order. Resident memory is the kernel's figure for the gateway's process: a second before,
during the run, and after.
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
from bench.load.seed import ZONE, Town, in_batches, open_town
from bench.load.swarm import Client, Opening
from bench.report import Figure, Report
from bench.rig import LOAD_CORE, BenchError, Child, Rig, pinned, say
from engine.process.signer import Signer, sign_token
from engine.store import keys
from engine.types import UserId

TYPE = "announcement.bench"
NARROW = 4_096
"""Receive buffer of one who never reads, in bytes: TCP then holds the server up soon."""
PATIENCE_S = 60.0
_SEQ = b'"seq":'
_PINGS = {"CALLOUT_PING_S": "25", "CALLOUT_PONG_S": "10"}
_TELL = """
local seq, t = redis.call('HINCRBY', KEYS[1], 'seq', 1), redis.call('TIME')
local now = string.format('%.0f', t[1] * 1000 + math.floor(t[2] / 1000))
redis.call('XADD', KEYS[2], string.format('%.0f-0', seq), 'type', ARGV[1], 'to', 'role:customer', 'at', now,
  'actor', 'engine', 'bp', '', 'data', ARGV[2], 'cause', '')
return seq
"""


def options(parser: argparse.ArgumentParser) -> None:
    """What only this benchmark is told."""
    parser.add_argument("--sockets", type=int, default=2_000, help="sockets in all (default: 2000)")
    parser.add_argument("--deaf", type=int, default=50, help="of these, who never read (default: 50)")
    parser.add_argument("--rate", type=float, default=20.0, help="events a second, each to all (default: 20)")
    parser.add_argument("--size", type=int, default=1_000, help="bytes of an event's text (default: 1000)")
    parser.set_defaults(rounds=1, seconds=60.0)


def run(rig: Rig, asked: argparse.Namespace) -> Report:
    """One broadcast of ``--seconds`` to all."""
    return uvloop.run(_run(rig, asked))


class Reader(Client):
    """One who keeps up. ``seqs`` are those of his events, in the order in which they came."""

    def __init__(self, opening: Opening) -> None:
        super().__init__(opening)
        self.seqs: list[int] = []

    def heard(self, data: bytes, start: int, end: int) -> None:
        """An event, or a head."""
        if data.startswith(b'{"type"', start):
            at = data.find(_SEQ, start, end) + len(_SEQ)
            self.seqs.append(int(data[at : data.find(b",", at, end)]))


class Broadcast:
    """A gateway, those who read, those who do not, and how much memory its process has had."""

    def __init__(self, child: Child, port: int, town: Town) -> None:
        self.child = child
        self.readers: list[Reader] = []
        self.deaf: list[Client] = []
        self.seqs: list[int] = []
        self.peak_mib = 0.0
        self._port, self._town = port, town

    async def connect(self, signer: Signer, asked: argparse.Namespace) -> None:
        """Everybody comes in; the deaf then read no more."""
        users = [UserId(f"user_slow{number}") for number in range(asked.sockets)]
        await in_batches(self._town.account(user, "customer") for user in users)
        self._bearer = sign_token(signer, UserId("cli_admin"), "admin", expires_s=7200)
        tokens = [sign_token(signer, user, "customer", name=user, expires_s=7200) for user in users]
        openings = (swarm.callout_opening(self._port, token) for token in tokens[asked.deaf :])

        async def come_in() -> None:
            for opening in openings:
                self.readers.append(await swarm.entered(self._port, Reader(opening)))

        await asyncio.gather(*(come_in() for _ in range(swarm.AT_ONCE)))
        for token in tokens[: asked.deaf]:
            self.deaf.append(await _deaf(self._port, swarm.callout_opening(self._port, token)))

    async def send(self, asked: argparse.Namespace) -> None:
        """Events at an even rate for as long as was asked for; memory is looked at meanwhile."""
        text = msgspec.json.encode({"announcement": {"title": "Roads closed", "body": "x" * asked.size}})
        began, names = time.monotonic(), (keys.zone_meta(ZONE), keys.log(ZONE))
        for number in range(int(asked.seconds * asked.rate)):
            await asyncio.sleep(max(0.0, began + number / asked.rate - time.monotonic()))
            self.seqs.append(int(await self._town.store.command("EVAL", _TELL, 2, *names, TYPE, text)))
            self.peak_mib = max(self.peak_mib, rss_mib(self.child))

    async def over(self, asked: argparse.Namespace) -> None:
        """Return when all has been read, and the deaf are gone. Raises BenchError where that does not come about."""
        end = time.monotonic() + PATIENCE_S
        while time.monotonic() < end:
            self.peak_mib = max(self.peak_mib, rss_mib(self.child))
            heard = all(one.seqs and one.seqs[-1] >= self.seqs[-1] for one in self.readers)
            if heard and await self.closed("4001") >= asked.deaf:
                return
            await asyncio.sleep(0.2)
        gone = sum(one.gone for one in self.readers)
        raise BenchError(f"not over: {gone} readers were closed, {await self.closed('4001'):g} sockets as too slow")

    async def closed(self, code: str) -> float:
        """How many sockets ended with ``code``, by the gateway's own count."""
        return await asyncio.to_thread(self._closed, code)

    def _closed(self, code: str) -> float:
        headers = {"authorization": f"Bearer {self._bearer}"}
        with urlopen(Request(f"http://127.0.0.1:{self._port}/metrics", headers=headers), timeout=10) as answer:
            text = answer.read().decode()
        found = re.search(rf'sockets_closed\w*{{code="{code}"}} (\S+)', text)
        return float(found[1]) if found else 0.0


async def _deaf(port: int, opening: Opening) -> Client:
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, NARROW)
    sock.setblocking(False)
    loop, client = asyncio.get_running_loop(), Client(opening)
    await loop.sock_connect(sock, ("127.0.0.1", port))
    transport, _ = await loop.create_connection(lambda: client, sock=sock)
    await client.greeted
    transport.pause_reading()
    return client


def rss_mib(child: Child) -> float:
    """Resident memory of a process, in MiB."""
    status = Path(f"/proc/{child.pid}/status").read_text()
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS")) / 1024


async def _run(rig: Rig, asked: argparse.Namespace) -> Report:
    report = Report("slow", (__doc__ or "").split("\n", 1)[0])
    url, _ = rig.redis()
    at, child = rig.callout(url, roles="gateway", env=_PINGS)
    town = await open_town(url)
    show, empty = Broadcast(child, urlsplit(at).port or 0, town), rss_mib(child)
    with pinned(LOAD_CORE):
        say(f"{asked.sockets} sockets connect, {asked.deaf} of them never read")
        await show.connect(Signer.load_or_create(rig.folder / "data" / "signing.key"), asked)
        await child.settled()
        before, cpu = rss_mib(child), child.cpu_s()
        say(f"{asked.rate:g} events a second to all, for {asked.seconds:g} s")
        await show.send(asked)
        cpu = child.cpu_s() - cpu
        await show.over(asked)
        await asyncio.sleep(1.0)
        after, slow = rss_mib(child), await show.closed("4001")
    await town.close()
    report.add(Figure("RSS with nobody connected", "MiB", [empty]))
    _figures(report, show, (before, show.peak_mib, after), slow)
    report.add(Figure("gateway CPU meanwhile", "% of a core", [cpu / asked.seconds * 100]))
    report.notes.append(
        f"{asked.sockets} sockets, {asked.deaf} never read; {asked.rate:g} events/s of {asked.size} bytes"
    )
    return report


def _figures(report: Report, show: Broadcast, rss: tuple[float, float, float], slow: float) -> None:
    lost = twice = 0
    for one in show.readers:
        lost += len(set(show.seqs) - set(one.seqs))
        twice += len(one.seqs) - len(set(one.seqs))
        if one.seqs != sorted(one.seqs):
            raise BenchError("a reader was sent events in another order")
    before, peak, after = rss
    each = f"{(peak - before) * 1024 / max(1, len(show.deaf)):.0f} KiB a deaf socket, what the relay remembers included"
    report.add(
        Figure("readers: events lost", "events", [float(lost)], goal=0, better="less"),
        Figure("readers: events twice", "events", [float(twice)], goal=0, better="less"),
        Figure("readers closed", "sockets", [float(sum(one.gone for one in show.readers))], goal=0, better="less"),
        Figure("closed as too slow (4001)", "sockets", [slow], goal=len(show.deaf)),
        Figure("deliveries", "events", [float(sum(len(one.seqs) for one in show.readers))]),
        Figure("RSS before", "MiB", [before]),
        Figure("RSS at its peak", "MiB", [peak], note=each),
        Figure("RSS after", "MiB", [after]),
    )
