"""The processes of a server that was started with several workers, seen from outside."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import msgspec

from engine.process.datadir import process_start_text
from tests.support.http import open_http
from tests.support.process import Server, run_callout

ESTABLISHED_TCP_STATE = "01"


def child_pids(server: Server) -> dict[str, int]:
    """Return, by the name of each child process, the pid of the one that was started last."""
    lines = [msgspec.json.decode(line) for line in server.log_text().splitlines() if line.startswith("{")]
    return {line["process"]: line["child"] for line in lines if line["event"] == "process_started"}


def running_children(server: Server) -> dict[str, int]:
    """Return the pids of the children that run."""
    return {name: pid for name, pid in child_pids(server).items() if process_start_text(pid) is not None}


def connections_of(pid: int, url: str) -> int:
    """Return how many connections to the port of ``url`` the process ``pid`` has accepted."""
    port = f":{urlsplit(url).port:04X}"
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    inodes = {row[9] for row in rows if row[1].endswith(port) and row[3] == ESTABLISHED_TCP_STATE}
    found = 0
    for link in Path(f"/proc/{pid}/fd").iterdir():
        try:
            target = str(link.readlink())
        except FileNotFoundError:
            continue
        found += target.removeprefix("socket:[").removesuffix("]") in inodes
    return found


async def admin_token(server: Server) -> str:
    """Return an access token of an admin."""
    return (await run_callout("token", "--role", "admin", "--data", str(server.data))).out.strip()


async def readiness(server: Server) -> httpx.Response:
    """Return the response of ``/readyz``, on a new connection."""
    async with open_http() as client:
        return await client.get(f"{server.url}/readyz")


async def metric_values(server: Server, token: str, name: str) -> dict[str, float]:
    """Return the values of a metric by the text of their labels ("" without labels)."""
    async with open_http() as client:
        text = (await client.get(f"{server.url}/metrics", headers={"Authorization": f"Bearer {token}"})).text
    found = re.findall(rf"^{name}(?:{{(.*?)}})? (\S+)$", text, re.MULTILINE)
    return {labels: float(value) for labels, value in found}
