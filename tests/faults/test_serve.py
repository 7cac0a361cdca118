"""``callout serve`` as a process: start, refusal to start, stop, death and restart."""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import re
import signal
import socket
import time
import uuid
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import httpx
import pytest
import redis
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosedError
from websockets.typing import Subprotocol

from engine.process.datadir import process_start_text, read_locking_process
from engine.store import pipeline
from tests.support import valkey
from tests.support.fork_server import CALLOUT_COMMAND
from tests.support.http import open_http
from tests.support.process import Server, environment, run_callout, run_server
from tests.support.wait import wait_until


async def readiness_reply(url: str) -> httpx.Response:
    """Return the response of ``/readyz``."""
    async with open_http() as client:
        return await client.get(f"{url}/readyz")


@pytest.fixture(scope="module")
async def running_server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Server]:
    """A running ``callout serve`` for the tests that do not stop it."""
    async with run_server(tmp_path_factory.mktemp("running") / "data") as server:
        yield server


async def test_a_second_server_on_the_directory_is_refused_in_one_line(running_server: Server) -> None:
    """The second server names the holder of the directory and exits with 2, and the first continues undisturbed."""
    second = await run_callout("serve", "--data", str(running_server.data), "--port", "0")
    assert second.code == 2
    assert second.error_line == (
        f"{running_server.data} is in use by process {running_server.process.pid} serving {running_server.url}:"
        " stop it, or give another --data"
    )
    assert (await readiness_reply(running_server.url)).status_code == 200


async def test_a_port_in_use_is_refused_before_anything_is_started(tmp_path: Path) -> None:
    """The refusal is one line with exit code 2, and no Valkey was started."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        refused = await run_callout("serve", "--data", str(tmp_path / "data"), "--port", str(port))
    assert refused.code == 2
    assert refused.error_line == (
        f"cannot listen on 127.0.0.1:{port}: Address already in use; give another --port (0: a free one)"
    )
    assert not (tmp_path / "data" / "valkey").exists()


@pytest.mark.parametrize(
    ("flags", "line"),
    [
        (["--port", "70000"], r"port: .*<= 65535.*"),
        (["--host", "999.1.1.1"], r"cannot listen on 999\.1\.1\.1:0: .*"),
        (
            ["--role", "gateway,poet", "--limits", "some"],
            r".*roles: .*poet.*; .*limits: .*some.*|limits: .*some.*; roles: .*poet.*",
        ),
        (["--zones", "Main,x y"], r"zones: 'Main', 'x y': there are main; .*"),
        (["--redis", "redis://127.0.0.1:1"], r"Redis at redis://127\.0\.0\.1:1 cannot be reached: .*"),
        (["--redis", "nonsense"], r"redis: not an address \(redis://.*"),
        (["--database", "mysql://x/y"], r"database: mysql is neither postgresql nor sqlite"),
        (["--blueprints", "."], r"blueprints: .*bad\.toml: .*"),
        (["--key-file", "bad.toml"], r"signing key bad\.toml: .*"),
        (["--no-such-flag"], r"No such option '--no-such-flag'.*"),
        (["--port", "x"], r"Invalid value for '--port': .*"),
    ],
)
async def test_a_wrong_setting_is_refused_in_one_line(flags: list[str], line: str, tmp_path: Path) -> None:
    """Each wrong setting is named without a traceback, with exit code 2, and no process is left."""
    (tmp_path / "bad.toml").write_text('name = "bad"\n')
    refused = await run_callout(
        "serve", "--data", "data", *([] if "--port" in flags else ["--port", "0"]), *flags, cwd=tmp_path
    )
    assert refused.code == 2, refused.err
    assert re.fullmatch(line, refused.error_line), refused.error_line
    state = tmp_path / "data" / "valkey" / "lock"
    assert not state.exists() or _is_lock_free(state)


def _is_lock_free(lock: Path) -> bool:
    with lock.open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    return True


async def test_an_unfit_redis_is_refused_with_all_its_faults(tmp_path: Path) -> None:
    """Eviction and missing persistence are named together."""
    (tmp_path / "redis").mkdir()
    options = ("--maxmemory-policy", "allkeys-lru", "--appendonly", "no")
    with valkey.run_server(tmp_path / "redis", *options) as url:
        refused = await run_callout("serve", "--data", str(tmp_path / "data"), "--port", "0", "--redis", url)
    assert refused.code == 2
    assert "maxmemory-policy is allkeys-lru: must be noeviction" in refused.error_line
    assert "no persistence" in refused.error_line


async def test_closed_standard_streams_do_not_end_the_server(tmp_path: Path) -> None:
    """A server that was started with closed stdin, stdout and stderr serves, and SIGTERM ends it in order."""
    command = f'exec "$0" -c "$1" serve --data data --port {(port := valkey.free_port())} <&- >&- 2>&-'
    python, _, program = CALLOUT_COMMAND
    process = await asyncio.create_subprocess_exec(
        "/bin/sh", "-c", command, python, program, cwd=tmp_path, env=environment(), start_new_session=True
    )

    async def is_ready() -> bool:
        with suppress(httpx.TransportError):
            return (await readiness_reply(f"http://127.0.0.1:{port}")).status_code == 200
        return False

    try:
        await wait_until(is_ready, within_s=30)
        process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(30):
            assert await process.wait() == 0
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def test_a_damaged_settings_file_is_named(tmp_path: Path) -> None:
    """A callout.toml that is not TOML is refused with its name."""
    (tmp_path / "callout.toml").write_text("port = = 1")
    refused = await run_callout("serve", "--data", "data", cwd=tmp_path)
    assert (refused.code, refused.error_line.startswith("callout.toml: ")) == (2, True)


async def test_flags_override_the_environment_and_that_the_file(tmp_path: Path) -> None:
    """A flag overrides the environment, which overrides the file."""
    (tmp_path / "callout.toml").write_text('roles = ["gateway"]\n')
    for flags, settings, roles in (
        ([], {}, ["gateway"]),
        ([], {"roles": "push"}, ["push"]),
        (["--role", "push,gateway"], {"roles": "push"}, ["push", "gateway"]),
    ):
        async with run_server(tmp_path / "data", *flags, **settings) as server:
            assert server.hello["roles"] == roles
            await server.stop()


async def test_stdout_has_only_the_announcement(tmp_path: Path) -> None:
    """stdout has one line of JSON with the URL of the server; logs are JSON lines on stderr. SIGTERM ends the server
    with exit code 0, stops its Valkey, and leaves the other files of the data directory unchanged.
    """
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "notes.txt").write_text("mine")
    async with run_server(tmp_path / "data") as server:
        assert re.fullmatch(r"http://127\.0\.0\.1:\d+", server.url)
        assert server.hello["data"] == str(tmp_path / "data")
        ready = (await readiness_reply(server.url)).json()
        assert (ready["ready"], ready["problems"]) == (True, [])
        valkey_pid = server.valkey.pid
        assert process_start_text(valkey_pid) is not None
        command = await server.stop()
    assert (command.code, command.out) == (0, "")
    assert all(line.startswith("{") for line in command.err.splitlines())
    assert process_start_text(valkey_pid) is None
    assert (tmp_path / "data" / "notes.txt").read_text() == "mine"


async def test_a_stopped_server_leaves_its_directory_free(tmp_path: Path) -> None:
    """Ctrl-C ends the server with exit code 0 and stops its Valkey. Another server can start on the directory."""
    async with run_server(tmp_path / "data") as server:
        valkey_pid = server.valkey.pid
        command = await server.stop(signal.SIGINT)
        assert command.code == 0, command.err
        assert process_start_text(valkey_pid) is None
    async with run_server(tmp_path / "data") as server:
        assert (await readiness_reply(server.url)).status_code == 200


async def test_clients_are_asked_to_reconnect_before_the_server_stops(tmp_path: Path) -> None:
    """SIGTERM closes each socket with 4000, draining, and not with uvicorn's 1012."""
    async with run_server(tmp_path / "data") as server:
        token = await run_callout("token", "--role", "admin", "--data", str(tmp_path / "data"))
        address = server.url.replace("http", "ws") + "/v1/ws"
        async with connect(address, subprotocols=[Subprotocol("callout.v1.json")], proxy=None) as socket:
            await socket.send(json.dumps({"id": 1, "op": "connect", "token": token.out.strip()}))
            assert "ok" in json.loads(await socket.recv())
            ending = asyncio.create_task(server.stop())
            with suppress(ConnectionClosedError):
                async for _ in socket:
                    pass
            assert (socket.close_code, socket.close_reason) == (4000, "draining")
        assert (await ending).code == 0


@pytest.mark.parametrize("workers", ["1", "2"])
async def test_a_signal_while_starting_ends_it_in_order(workers: str, tmp_path: Path) -> None:
    """SIGTERM during the start (here: while an old Valkey does not answer) leaves no process behind."""
    async with run_server(tmp_path / "data") as first:
        pid = first.valkey.pid
        await first.stop(signal.SIGKILL)
        os.kill(pid, signal.SIGSTOP)
        command = ("serve", "--data", str(tmp_path / "data"), "--port", "0", "--workers", workers)
        try:
            starting = asyncio.create_task(run_callout(*command))
            await _wait_for_lock(tmp_path / "data", not_pid=first.process.pid)
            locking_process = read_locking_process(tmp_path / "data")
            assert locking_process is not None
            os.kill(locking_process.pid, signal.SIGTERM)
            ended = await starting
            assert (ended.code, ended.out) == (0, ""), ended.err
        finally:
            os.kill(pid, signal.SIGCONT)


async def _wait_for_lock(data: Path, *, not_pid: int) -> None:
    def held() -> bool:
        locking_process = read_locking_process(data)
        return locking_process is not None and locking_process.pid != not_pid

    await wait_until(held, what="the lock")


async def test_a_killed_server_restarts_on_the_same_valkey(tmp_path: Path) -> None:
    """SIGKILL leaves the Valkey; the next server adopts it with all its data, and stops it at its own end."""
    async with run_server(tmp_path / "data") as first:
        pid = first.valkey.pid
        with redis.Redis.from_url(first.redis_url) as client:
            epoch = client.hget("{main}:meta", "epoch")
        await first.stop(signal.SIGKILL)
        assert process_start_text(pid) is not None
        async with run_server(tmp_path / "data") as second:
            assert second.valkey.pid == pid
            assert "valkey_adopted" in second.log_text()
            assert (await readiness_reply(second.url)).status_code == 200
            with redis.Redis.from_url(second.redis_url) as client:
                assert client.hget("{main}:meta", "epoch") == epoch
            await second.stop()
            assert process_start_text(pid) is None


async def test_the_end_of_its_valkey_ends_the_server(tmp_path: Path) -> None:
    """The server does not continue without its Valkey: one line says what ended, and the exit code is 1."""
    async with run_server(tmp_path / "data") as server:
        os.kill(server.valkey.pid, signal.SIGKILL)
        command = await server.wait_for_end()
    assert (command.code, command.error_line) == (1, "the embedded Valkey ended: without a reason")


async def test_requests_in_flight_are_refused_at_once_when_the_valkey_ends(tmp_path: Path) -> None:
    """Every request that waits for the killed Valkey gets a typed problem long before the time limit of a command: 504
    if its command was sent, else 503. The server ends without a traceback.
    """
    async with run_server(tmp_path / "data", limits="off") as server, open_http(server.url, timeout_s=20) as client:
        token = (await run_callout("token", "--role", "admin", "--data", str(server.data))).out.strip()
        headers = {"authorization": f"Bearer {token}"}
        refusals: list[httpx.Response] = []

        async def ask_until_the_end() -> None:
            with suppress(httpx.TransportError):  # raised when the server has closed its port
                while True:
                    answer = await client.get(f"/v1/requests/{uuid.uuid4()}", headers=headers)
                    if answer.status_code >= 500:
                        refusals.append(answer)

        async def announce() -> httpx.Response:
            body = {"event": "announcement.test", "data": {}, "roles": ["customer"]}
            return await client.post("/v1/announcements", headers=headers, json=body)

        assert (await announce()).status_code == 200
        asking = [asyncio.create_task(ask_until_the_end()) for _ in range(4)]
        await asyncio.sleep(0.1)
        os.kill(server.valkey.pid, signal.SIGSTOP)
        sent = asyncio.create_task(announce())
        await asyncio.sleep(0.1)
        os.kill(server.valkey.pid, signal.SIGKILL)
        killed_at = time.monotonic()
        command = await server.wait_for_end()
        took = time.monotonic() - killed_at
        await asyncio.gather(*asking)
        unknown = (await sent).json()
    assert (unknown["code"], unknown["status"], len(unknown["key"])) == ("indeterminate", 504, 36)
    assert {(each.status_code, each.headers["content-type"], each.json()["code"]) for each in refusals} == {
        (503, "application/problem+json", "unavailable")
    }
    assert took < pipeline.CALL_TIMEOUT_S - 1
    assert (command.code, command.error_line) == (1, "the embedded Valkey ended: without a reason")


async def test_a_token_is_made_while_the_server_runs(running_server: Server) -> None:
    """``callout token`` needs no lock, and the server accepts the token."""
    command = await run_callout("token", "--role", "admin", "--data", str(running_server.data))
    assert (command.code, command.err) == (0, "")
    async with open_http() as client:
        me = await client.get(f"{running_server.url}/v1/me", headers={"authorization": f"Bearer {command.out.strip()}"})
    assert me.json()["user"]["id"] == "cli_admin"


async def test_the_environment_of_tests_is_clean() -> None:
    """Settings in a developer's environment do not reach the tests."""
    assert not [name for name in environment() if name.startswith("CALLOUT_")]
