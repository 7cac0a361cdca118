"""``callout serve --workers 2``: real processes over real sockets."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from websockets.asyncio.client import connect
from websockets.typing import Subprotocol

from engine.process.datadir import process_start_text
from tests.server.supervisor.processes import (
    admin_token,
    child_pids,
    connections_of,
    metric_values,
    readiness,
    running_children,
)
from tests.support.process import Server, run_callout, run_server
from tests.support.wait import wait_until

NAMES = ["loops", "gateway 1", "gateway 2"]
SUBPROTOCOLS = [Subprotocol("callout.v1.json")]


@pytest.fixture(scope="module")
async def wide_server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Server]:
    """A server with two workers, for the tests that leave it serving."""
    async with run_server(tmp_path_factory.mktemp("wide") / "data", "--workers", "2") as server:
        yield server


async def wait_until_ready(server: Server) -> None:
    """Wait until ``/readyz`` answers 200."""

    async def is_ready() -> bool:
        return (await readiness(server)).status_code == 200

    await wait_until(is_ready, within_s=20, what="readiness")


@pytest.mark.parametrize(
    ("flags", "line"),
    [
        (["--workers", "0"], "workers: Expected `int` >= 1"),
        (["--workers", "257"], "workers: Expected `int` <= 256"),
        (
            ["--workers", "2", "--role", "scheduler,push"],
            "workers: 2: only the role gateway has several, and roles does not name it",
        ),
    ],
)
async def test_a_wrong_number_of_workers_is_refused(flags: list[str], line: str, tmp_path: Path) -> None:
    """The refusal is one line with exit code 2, and nothing was started."""
    refused = await run_callout("serve", "--data", str(tmp_path / "data"), "--port", "0", *flags)
    assert (refused.code, refused.error_line) == (2, line)
    assert not (tmp_path / "data").exists()


async def test_all_processes_serve_as_one(wide_server: Server) -> None:
    """One line on stdout names the server; it is ready when its three processes are."""
    assert wide_server.hello["workers"] == 2
    assert wide_server.hello["pid"] == wide_server.process.pid
    assert list(running_children(wide_server)) == NAMES
    ready = (await readiness(wide_server)).json()
    assert (ready["ready"], ready["problems"]) == (True, [])


async def test_sockets_are_spread(wide_server: Server) -> None:
    """Of 200 sockets, opened in bursts, neither worker has more than 65 %."""
    address = wide_server.url.replace("http", "ws") + "/v1/ws"
    async with AsyncExitStack() as stack:
        for _ in range(4):
            burst = [connect(address, subprotocols=SUBPROTOCOLS, proxy=None) for _ in range(50)]
            await asyncio.gather(*(stack.enter_async_context(each) for each in burst))
        pids = running_children(wide_server)
        counts = [connections_of(pids[name], wide_server.url) for name in NAMES]
    assert sum(counts) >= 200
    assert counts[0] == 0
    assert max(counts) <= 0.65 * sum(counts), counts


async def test_a_killed_worker_is_started_again(wide_server: Server) -> None:
    """The other worker serves meanwhile. The counters of the killed worker stay, so that none of the whole falls."""
    await wait_until_ready(wide_server)
    token = await admin_token(wide_server)
    before = await metric_values(wide_server, token, "callout_sockets_accepted_total")
    pids = running_children(wide_server)
    os.kill(pids["gateway 1"], signal.SIGKILL)
    await wait_until(lambda: child_pids(wide_server)["gateway 1"] != pids["gateway 1"], what="another process")
    await wait_until_ready(wide_server)
    after = await metric_values(wide_server, token, "callout_sockets_accepted_total")
    assert after[""] >= before[""] >= 200
    restarts = await metric_values(wide_server, token, "callout_process_restarts_total")
    assert restarts == {'process="loops"': 0, 'process="gateway 1"': 1, 'process="gateway 2"': 0}
    assert '"how": "signal 9"' in wide_server.log_text()


async def test_a_stop_is_in_order(tmp_path: Path) -> None:
    """SIGTERM ends the server with exit code 0; no process is left, and the Valkey was stopped last."""
    async with run_server(tmp_path / "data", "--workers", "2") as server:
        pids, valkey = running_children(server), server.valkey.pid
        assert list(pids) == NAMES
        ended = await server.stop()
    assert (ended.code, ended.out) == (0, "")
    assert not any(process_start_text(pid) for pid in (*pids.values(), valkey))
    assert "process_ended" not in ended.err
    assert '"level": "error"' not in ended.err


async def test_no_process_survives_its_parent(tmp_path: Path) -> None:
    """After a SIGKILL of the parent the children end by themselves. The next server takes the same port and adopts the
    Valkey.
    """
    async with run_server(tmp_path / "data", "--workers", "2") as server:
        pids, valkey = running_children(server), server.valkey.pid
        port = server.url.rpartition(":")[2]
        await server.stop(signal.SIGKILL)
        async with run_server(tmp_path / "data", "--workers", "2", port=int(port)) as second:
            assert not any(process_start_text(pid) for pid in pids.values())
            assert second.valkey.pid == valkey
            assert (await readiness(second)).status_code == 200
            assert (await second.stop()).code == 0
