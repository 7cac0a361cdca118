"""``callout serve --workers 2``: real processes over real sockets."""

from __future__ import annotations

import asyncio
import os
import re
import signal
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path

import msgspec
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus
from websockets.protocol import State
from websockets.typing import Subprotocol

from engine.process.datadir import hold_lock, process_start_text
from server.process.acceptor import CHECK_INTERVAL_S
from tests.server.supervisor.processes import (
    admin_token,
    child_pids,
    connections_of,
    metric_values,
    readiness,
    running_children,
)
from tests.support.http import open_http
from tests.support.migrated import create_data_dir
from tests.support.process import Server, run_callout, run_server, start_callout
from tests.support.wait import wait_until

PROCESS_NAMES = ["loops", "gateway 1", "gateway 2"]
SUBPROTOCOLS = [Subprotocol("callout.v1.json")]


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
        (["--workers", "2", "--redis", "redis://127.0.0.1:1"], "Redis at redis://127.0.0.1:1 cannot be reached"),
        (["--workers", "2", "--blueprints", "."], "blueprints: bad.toml"),
    ],
)
async def test_what_cannot_start_is_refused(flags: list[str], line: str, tmp_path: Path) -> None:
    """A server that cannot start prints one line and exits with 2, also if only a child process can find the reason. No
    process is left."""
    (tmp_path / "bad.toml").write_text('name = "bad"\n')
    refused = await run_callout("serve", "--data", str(tmp_path / "data"), "--port", "0", *flags, cwd=tmp_path)
    assert refused.code == 2 and refused.error_line.startswith(line), refused.err
    with hold_lock(tmp_path / "data"):
        pass  # the lock can be taken: no process of the server has it any more


async def test_all_processes_serve_as_one(wide_server: Server) -> None:
    """One line on stdout names the server; it is ready when its three processes are."""
    assert wide_server.hello["workers"] == 2
    assert wide_server.hello["pid"] == wide_server.process.pid
    assert list(running_children(wide_server)) == PROCESS_NAMES
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
        counts = [connections_of(pids[name], wide_server.url) for name in PROCESS_NAMES]
    assert sum(counts) >= 200
    assert counts[0] == 0
    assert max(counts) <= 0.65 * sum(counts), counts


async def test_figures_are_of_all_workers(wide_server: Server) -> None:
    """`/v1/stats` adds up the sockets of both workers, and `/v1/system` names all three processes, whichever worker
    answers.
    """
    headers = {"Authorization": f"Bearer {await admin_token(wide_server)}"}
    address = wide_server.url.replace("http", "ws") + "/v1/ws"
    async with AsyncExitStack() as stack:
        for _ in range(12):
            await stack.enter_async_context(connect(address, subprotocols=SUBPROTOCOLS, proxy=None))

        async def are_counted() -> bool:
            async with open_http(wide_server.url) as client:
                items = (await client.get("/v1/stats", headers=headers)).json()["items"]
                return bool(items) and items[-1]["sockets"] == 12

        await wait_until(are_counted, within_s=20, what="the sockets in the figures")
        for _ in range(4):  # each request is on a connection of its own
            async with open_http(wide_server.url) as client:
                system = (await client.get("/v1/system", headers=headers)).json()["system"]
            sockets = {process["name"]: process["sockets"] for process in system["processes"]}
            assert sorted(sockets) == sorted(PROCESS_NAMES) and sockets["loops"] == 0
            assert sum(sockets.values()) == 12 and system["problems"] == []


async def test_a_killed_worker_is_started_again(wide_server: Server) -> None:
    """While a killed worker is started again, the other one serves. The killed worker's counters are kept, so no sum
    over all workers falls."""
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


@pytest.mark.parametrize(
    ("number", "send"),
    [(signal.SIGTERM, os.kill), (signal.SIGINT, os.killpg), (signal.SIGTERM, os.killpg)],
    ids=["SIGTERM", "Ctrl-C", "SIGTERM to all"],
)
async def test_a_stop_is_in_order(number: signal.Signals, send: Callable[[int, int], None], tmp_path: Path) -> None:
    """A signal to the parent or to all processes ends the server with exit code 0. No process is left, and each lease
    was given back before the Valkey stopped.
    """
    async with run_server(tmp_path / "data", "--workers", "2") as server:
        pids, valkey = running_children(server), server.valkey.pid
        assert list(pids) == PROCESS_NAMES
        send(server.process.pid, number)
        ended = await server.wait_for_end()
    assert (ended.code, ended.out) == (0, "")
    assert not any(process_start_text(pid) for pid in (*pids.values(), valkey))
    assert not {"process_ended", "process_killed", "lease_not_released"} & set(
        re.findall(r'"event": "(\w+)"', ended.err)
    )
    assert '"level": "error"' not in ended.err


async def test_a_stop_while_children_start_is_silent(tmp_path: Path) -> None:
    """SIGTERM while a gateway starts ends everything with exit code 0 and without a traceback."""
    create_data_dir(tmp_path / "data")
    log, flags = tmp_path / "log", ("--data", str(tmp_path / "data"), "--port", "0", "--workers", "2")
    with log.open("wb") as errors:
        starting = await start_callout("serve", *flags, stderr=errors.fileno())
    await wait_until(lambda: "gateway 2" in log.read_text(), within_s=30, what="the start of the last gateway")
    starting.send_signal(signal.SIGTERM)
    async with asyncio.timeout(30):
        assert (await starting.wait(), await starting.stdout.read()) == (0, b"")
    assert not {"Exception", "Traceback"} & set(re.findall(r"\w+", log.read_text())), log.read_text()


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


async def test_readiness_names_the_process_that_hangs(wide_server: Server) -> None:
    """While one worker is stopped, the other answers 503 and names it, and serves everything."""
    await wait_until_ready(wide_server)
    pid = running_children(wide_server)["gateway 2"]
    os.kill(pid, signal.SIGSTOP)
    try:
        refused = await readiness(wide_server)
        assert (refused.status_code, refused.json()["problems"]) == (503, ["gateway 2: does not answer"])
        token = await admin_token(wide_server)
        assert await metric_values(wide_server, token, "callout_zone_open") == {'zone="main"': 1.0}
    finally:
        os.kill(pid, signal.SIGCONT)
    await wait_until_ready(wide_server)


async def test_blueprints_are_reloaded_in_all_processes(wide_server: Server) -> None:
    """A SIGHUP to the parent process makes every process load the blueprints again."""
    wide_server.process.send_signal(signal.SIGHUP)

    def reloaded() -> set[str]:
        lines = [msgspec.json.decode(line) for line in wide_server.log_text().splitlines()]
        return {line["process"] for line in lines if line["event"] == "blueprints_reloaded"}

    await wait_until(lambda: reloaded() == set(PROCESS_NAMES), what="the reload in all processes")


async def test_one_worker_can_be_replaced(wide_server: Server) -> None:
    """SIGTERM to a worker closes its sockets with 4000. Meanwhile every new connection is accepted by the other."""
    await wait_until_ready(wide_server)
    address = wide_server.url.replace("http", "ws") + "/v1/ws"
    old = running_children(wide_server)["gateway 1"]
    async with AsyncExitStack() as stack:
        before = [
            await stack.enter_async_context(connect(address, subprotocols=SUBPROTOCOLS, proxy=None)) for _ in range(12)
        ]
        had = connections_of(old, wide_server.url)
        os.kill(old, signal.SIGTERM)
        await wait_until(lambda: sum(socket.state is State.CLOSED for socket in before) >= had > 0, what="the drain")
        for _ in range(12):
            await stack.enter_async_context(connect(address, subprotocols=SUBPROTOCOLS, proxy=None))
        assert {socket.close_code for socket in before if socket.state is State.CLOSED} == {4000}
        await wait_until(lambda: child_pids(wide_server)["gateway 1"] != old, what="another process")
    assert '"how": "exit code 0"' in wide_server.log_text()


async def test_a_worker_that_ends_again_and_again_ends_the_server(tmp_path: Path) -> None:
    """When a worker ends for the fifth time in a row, the parent stops the other processes in order and exits with 1
    and a message."""
    async with run_server(tmp_path / "data", "--workers", "2", "--role", "gateway") as server:
        seen: set[int] = set()
        while server.process.returncode is None and len(seen) < 5:
            pid = child_pids(server)["gateway 2"]
            if pid not in seen:
                os.kill(pid, signal.SIGKILL)
                seen.add(pid)
            await asyncio.sleep(0.05)
        ended = await server.wait_for_end()
        assert ended.code == 1
        assert "\ncallout: gateway 2 ended 5 times in a row at its start: signal 9\n" in ended.err
        assert running_children(server) == {}


async def test_the_end_of_its_valkey_ends_the_server(tmp_path: Path) -> None:
    """The number of sockets is limited over all workers. When Valkey dies, all processes end, with exit code 1."""
    settings = {"max_sockets": "3", "metrics_port": "0"}
    async with run_server(tmp_path / "data", "--workers", "2", **settings) as server, AsyncExitStack() as stack:
        address = server.url.replace("http", "ws") + "/v1/ws"
        for _ in range(3):
            await stack.enter_async_context(connect(address, subprotocols=SUBPROTOCOLS, proxy=None))
        await asyncio.sleep(2 * CHECK_INTERVAL_S)  # each worker publishes its sockets
        with pytest.raises(InvalidStatus) as refusal:
            await connect(address, subprotocols=SUBPROTOCOLS, proxy=None)
        assert refusal.value.response.status_code == 503
        async with open_http() as client:
            text = (await client.get(server.hello["metrics"])).text
        assert "\ncallout_sockets 3.0\n" in text and 'callout_sockets_refused_total{reason="full"} 1.0' in text
        os.kill(server.valkey.pid, signal.SIGKILL)
        ended = await server.wait_for_end()
    assert ended.code == 1
    assert "\ncallout: the embedded Valkey ended: without a reason\n" in ended.err
    assert running_children(server) == {}
