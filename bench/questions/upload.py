"""How long does a hostile upload, signature or body hold the event loop of a server, and how much memory does it take?

Each request of bench/load/hostile_bodies.py is sent to a real ``callout serve``, alone, and then all uploads at once.
Meanwhile another process requests ``/healthz`` on a connection of its own, twice a millisecond. The longest time until
an answer shows the longest step of the event loop. Memory is the kernel's highest figure for the process during the
request.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from pathlib import Path
from statistics import median
from typing import NamedTuple
from urllib.parse import urlsplit

import httpx
import uvloop

from bench.load.claimed_jobs import claim_job, customer_id
from bench.load.hostile_bodies import HostileRequest, hostile_requests
from bench.load.pinger import read_pings
from bench.load.seed import member_id, open_seeded_zone
from bench.report import Figure, Report
from bench.rig import LOAD_CORE, BenchError, Child, Rig, pin_to_core, print_progress
from engine.process.signer import Signer, sign_token
from engine.types import JobId, Role, UserId

GOAL_STALL_MS, GOAL_GROWTH_MIB = 5.0, 32.0
REST_S = 2.0
AT_ONCE = 4
"""How many uploads one user may have under way."""


class Outcome(NamedTuple):
    """The longest time until an answer to ``/healthz`` (ms), and the growth of the server's memory (MiB), during some
    requests.
    """

    stall_ms: float
    growth_mib: float


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of this benchmark."""
    parser.add_argument("--repeat", type=int, default=5, help="how often each is sent in a round (default: 5)")
    parser.add_argument("--only", default="", help="only the requests whose name contains this text")


def run(rig: Rig, arguments: argparse.Namespace) -> Report:
    """Send every hostile request in each round, and report the longest step of the event loop."""
    return uvloop.run(_run(rig, arguments))


class AttackedServer:
    """A server, a job with its customer and its technician, and the process that sends pings (``GET /healthz``)."""

    def __init__(self, rig: Rig, child: Child, port: int, job: JobId, tokens: list[str]) -> None:
        self._child, self._port, self._job, self._tokens = child, port, job, tokens
        self._pings = rig.folder / "pings"
        command = [sys.executable, "-m", "bench.load.pinger", str(port), str(self._pings)]
        rig.spawn("pinger", command, core=LOAD_CORE)

    async def wait_for_pings(self) -> None:
        """Wait until the pinger has recorded a first ping. Raises BenchError after 20 s."""
        for _ in range(200):
            await asyncio.sleep(0.1)
            if self._pings.exists() and self._pings.stat().st_size:
                return
        raise BenchError("nobody pings")

    async def watch(self, requests: list[HostileRequest], *, at_once: bool = False) -> Outcome:
        """Send the requests one after the other, or all at once, and return the longest ping meanwhile and the growth
        of memory. Without requests, only wait ``REST_S`` seconds.
        """
        before = _reset_peak(self._child.pid)
        begin = time.monotonic()
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{self._port}", timeout=120, trust_env=False) as http:
            if at_once:
                await asyncio.gather(*(self._send(http, each, place) for place, each in enumerate(requests)))
            for place, request in enumerate([] if at_once else requests):
                await self._send(http, request, place)
        if not requests:
            await asyncio.sleep(REST_S)
        await asyncio.sleep(0.1)  # wait until the pinger has written its last pings to the file
        pings = read_pings(self._pings, begin, time.monotonic())
        if not pings:
            raise BenchError("no ping was answered meanwhile")
        return Outcome(max(ping.took_ms for ping in pings), _read_mib(self._child.pid, "VmHWM") - before)

    async def _send(self, http: httpx.AsyncClient, request: HostileRequest, place: int) -> None:
        token = self._tokens[place % len(self._tokens) if request.is_upload else 0]
        headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/octet-stream"}
        answer = await http.post(request.path.format(job=self._job), content=request.body, headers=headers)
        if answer.status_code >= 500:
            raise BenchError(f"{request.name}: {answer.status_code} {answer.text[:200]}")


def _reset_peak(pid: int) -> float:
    """Reset the highest memory that the kernel recorded for a process, and return its memory now (MiB)."""
    Path(f"/proc/{pid}/clear_refs").write_text("5")
    return _read_mib(pid, "VmRSS")


def _read_mib(pid: int, name: str) -> float:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(name)) / 1024


async def _run(rig: Rig, arguments: argparse.Namespace) -> Report:
    report = Report("upload", (__doc__ or "").split("\n", 1)[0])
    url, _ = rig.start_redis()
    at, child = rig.start_callout(url, roles="gateway")
    zone = await open_seeded_zone(url)
    with pin_to_core(LOAD_CORE):
        job = await claim_job(zone, 0)
        signer = Signer.load_or_create(rig.folder / "data" / "signing.key")
        people: tuple[tuple[str, Role], ...] = ((customer_id(0), "customer"), (member_id(0), "technician"))
        for user, role in people:
            await zone.create_account(user, role)
        tokens = [sign_token(signer, UserId(user), role, expires_s=7200) for user, role in people]
        attack = AttackedServer(rig, child, urlsplit(at).port or 0, job, tokens)
        await attack.wait_for_pings()
        requests = [each for each in hostile_requests() if arguments.only in each.name]
        outcomes: dict[str, list[Outcome]] = {}
        for number in range(arguments.rounds):
            print_progress(f"round {number + 1}: {len(requests)} requests, {arguments.repeat} times each")
            await attack.watch(requests)  # warm-up: the server loads code and data that it needs only once
            outcomes.setdefault("nothing", []).append(await attack.watch([]))
            for request in requests:
                outcomes.setdefault(request.name, []).append(await attack.watch([request] * arguments.repeat))
            uploads = [each for each in requests if each.is_upload][: AT_ONCE * len(tokens)]
            if uploads:
                outcomes.setdefault("all uploads at once", []).append(await attack.watch(uploads, at_once=True))
    await zone.close()
    _add_figures(report, outcomes)
    return report


def _add_figures(report: Report, outcomes: dict[str, list[Outcome]]) -> None:
    rest = outcomes.pop("nothing")
    floor = median(each.stall_ms for each in rest)
    report.add(Figure("longest answer to a ping, at rest", "ms", [each.stall_ms for each in rest], better="less"))
    for name, values in outcomes.items():
        stalls = [each.stall_ms for each in values]
        report.add(Figure(name, "ms", stalls, goal=GOAL_STALL_MS, better="less"))
    for name, values in outcomes.items():
        growth = [max(0.0, each.growth_mib) for each in values]
        goal = GOAL_GROWTH_MIB * (AT_ONCE if name == "all uploads at once" else 1)
        report.add(Figure(f"{name}: memory", "MiB", growth, goal=goal, better="less"))
    report.notes.append(f"an answer takes the time of the network and the pinger too: at rest at most {floor:.1f} ms")
