"""``callout doctor`` lists all problems of a data directory and its server in one run."""

from __future__ import annotations

import json
import signal
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import redis

from engine.process.settings import Settings
from engine.process.signer import open_signer
from server.gateway.broadcast_send import load_send, send_by_transports
from tests.support import valkey
from tests.support.http import open_http
from tests.support.process import Server, run_callout, run_server
from tests.support.wait import wait_until


async def run_doctor(data: Path, *flags: str) -> tuple[int, dict[str, dict[str, Any]]]:
    """Run ``callout doctor`` on ``data``. Return its exit code and its findings by name."""
    command = await run_callout("doctor", "--json", "--data", str(data), *flags)
    assert command.err == "", command.err
    report = json.loads(command.out)
    assert report["ok"] is (command.code == 0)
    return command.code, {finding["name"]: finding for finding in report["findings"]}


async def test_a_directory_that_is_not_there_is_a_problem(tmp_path: Path) -> None:
    """A data directory that does not exist is a problem, and the doctor does not create it."""
    code, by_name = await run_doctor(tmp_path / "none")
    assert code == 1
    assert by_name["data directory"]["problems"] == [
        "it does not exist: no server was started on it yet, or --data names another directory"
    ]
    assert not (tmp_path / "none").exists()


async def test_all_problems_are_listed_at_once(tmp_path: Path) -> None:
    """One run lists a signing key that other users can read, an invalid blueprint, a Redis that does not fit Callout
    and an unknown database."""
    data = tmp_path / "data"
    open_signer(Settings(data=str(data)))
    (data / "signing.key").chmod(0o644)
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "bad.toml").write_text('name = "bad"\n')
    (tmp_path / "redis").mkdir()
    with valkey.run_server(tmp_path / "redis", "--maxmemory-policy", "allkeys-lru", "--appendonly", "no") as url:
        code, by_name = await run_doctor(
            data, "--redis", url, "--blueprints", str(tmp_path / "own"), "--database", "mysql://x/y"
        )
    assert code == 1
    assert "other users can read it (mode 644)" in by_name["signing key"]["problems"][0]
    assert by_name["blueprints"]["problems"][0].startswith("bad.toml: ")
    assert len(by_name["Redis"]["problems"]) == 2
    way = "Python" if load_send() is send_by_transports else "the compiled module"
    assert by_name["broadcasts"]["facts"] == {"sent": f"by {way}"}
    assert by_name["database"]["problems"] == ["database: mysql is neither postgresql nor sqlite"]


async def test_a_redis_that_is_away_is_a_problem(tmp_path: Path) -> None:
    """A Redis that cannot be reached is a problem of the finding `Redis`."""
    tmp_path.joinpath("data").mkdir()
    code, by_name = await run_doctor(tmp_path / "data", "--redis", "redis://127.0.0.1:1")
    assert code == 1
    assert by_name["Redis"]["problems"][0].startswith("it cannot be reached: ")


@pytest.fixture(scope="module")
async def running_server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Server]:
    """A running ``callout serve`` that the tests of this module share; the doctor only reads."""
    async with run_server(tmp_path_factory.mktemp("running") / "data") as server:
        yield server


async def test_a_server_that_does_not_answer_is_a_problem(running_server: Server) -> None:
    """A stopped (SIGSTOP) server holds its directory but does not respond, and the finding says so."""
    running_server.process.send_signal(signal.SIGSTOP)
    try:
        code, by_name = await run_doctor(running_server.data)
    finally:
        running_server.process.send_signal(signal.SIGCONT)
    async with open_http(running_server.url) as client:

        async def is_ready() -> bool:
            return (await client.get("/readyz")).status_code == 200

        await wait_until(is_ready, what="a server whose relay reads again")
    assert code == 1
    assert by_name["server"]["problems"][0].startswith("it does not respond: ")


class StoppedServer(NamedTuple):
    """What a stopped server leaves: its data directory with the archive at seq 7, and its Redis."""

    data: Path
    url: str
    client: redis.Redis
    keys: dict[bytes, bytes]
    """All keys of its Redis with their values, as the command DUMP returns them."""


@pytest.fixture(scope="module")
async def stopped_server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[StoppedServer]:
    """A stopped server whose Redis still runs. Each test restores the keys before it changes them."""
    folder = tmp_path_factory.mktemp("stopped")
    (folder / "redis").mkdir()
    with valkey.run_server(folder / "redis") as url, redis.Redis.from_url(url) as client:
        async with run_server(folder / "data", "--redis", url) as server:
            await server.stop()
        _archive_up_to(folder / "data" / "callout.db", 7)
        keys = {key: client.dump(key) for key in client.scan_iter()}
        yield StoppedServer(folder / "data", url, client, keys)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ("empty", "closed: Redis is empty but the archive is not: a server rebuilds the zone"),
        ("behind", "closed: Redis is behind the archive (an older backup or AOF): a server writes what is missing"),
        ("foreign", "closed: Redis has another history of the log than the archive: a server rebuilds the zone"),
        ("other", "closed: Redis belongs to another database: is --database the right one?"),
    ],
)
async def test_a_zone_that_would_stay_closed_is_a_problem(change: str, why: str, stopped_server: StoppedServer) -> None:
    """While no server runs, the doctor compares Redis with the archive as a starting server does, and prints the
    reason.
    """
    client = stopped_server.client
    client.flushall()
    if change != "empty":
        for key, value in stopped_server.keys.items():
            client.restore(key, 0, value)
    if change == "other":
        client.hset("{main}:meta", "database", "another")
    elif change != "empty":
        client.hset("{main}:meta", "seq", 3 if change == "behind" else 9)
        client.hset("{main}:epochs", "e1", 1 if change == "behind" else 5)
    code, by_name = await run_doctor(stopped_server.data, "--redis", stopped_server.url)
    (problem,) = by_name["zone main"]["problems"]
    assert code == 1 and problem.startswith(why)


def _archive_up_to(file: Path, seq: int) -> None:
    with sqlite3.connect(file) as database:
        database.execute("INSERT OR REPLACE INTO checkpoints (zone, epoch, seq) VALUES ('main', 'e1', ?)", (seq,))
        database.execute("INSERT OR REPLACE INTO epochs (zone, epoch, first_seq) VALUES ('main', 'e1', 1)")
    database.close()


async def test_a_healthy_server_has_no_problem(running_server: Server) -> None:
    """With a running server the doctor exits with 0, finds no problem, and prints the most important facts."""
    code, by_name = await run_doctor(running_server.data)
    assert code == 0
    facts = {"pid": running_server.process.pid, "url": running_server.url, "durability": "fast"}
    assert by_name["server"]["facts"] == facts
    assert by_name["Redis"]["facts"]["version"].startswith("valkey ")
    assert by_name["zone main"]["facts"]["epoch"].startswith("e1-")
    command = await run_callout("doctor", "--data", str(running_server.data))
    assert (command.code, command.err) == (0, "")
    assert command.out.splitlines()[-1] == "no problems"
    assert all(line.startswith("ok ") for line in command.out.splitlines()[:-1])


async def test_a_stopped_server_is_no_problem(tmp_path: Path) -> None:
    """A data directory whose server was stopped in order has no problem."""
    async with run_server(tmp_path / "data") as server:
        await server.stop()
    code, by_name = await run_doctor(tmp_path / "data")
    assert (code, by_name["server"]["facts"]) == (0, {"running": "no"})
    assert by_name["Redis"]["facts"]["embedded"].startswith("not running, starts with the server from ")
