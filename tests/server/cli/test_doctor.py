"""``callout doctor``: everything that is wrong, at once."""

from __future__ import annotations

import json
import signal
import sqlite3
from pathlib import Path
from typing import Any

import pytest
import redis

from engine.process.settings import Settings
from engine.process.signer import open_signer
from tests.support import valkey
from tests.support.process import run_callout, run_server


async def findings(data: Path, *flags: str) -> tuple[int, dict[str, dict[str, Any]]]:
    """The exit code and what was found, by name."""
    done = await run_callout("doctor", "--json", "--data", str(data), *flags)
    assert done.err == "", done.err
    told = json.loads(done.out)
    assert told["ok"] is (done.code == 0)
    return done.code, {finding["name"]: finding for finding in told["findings"]}


async def test_a_directory_that_is_not_there_is_a_problem(tmp_path: Path) -> None:
    """The check does not create the directory."""
    code, found = await findings(tmp_path / "none")
    assert code == 1
    assert found["data directory"]["problems"] == [
        "it does not exist: no server was started on it yet, or --data names another directory"
    ]
    assert not (tmp_path / "none").exists()


async def test_all_problems_are_listed_at_once(tmp_path: Path) -> None:
    """A readable key, a broken blueprint, an unfit Redis, an unknown database: one run lists them all."""
    data = tmp_path / "data"
    open_signer(Settings(data=str(data)))
    (data / "signing.key").chmod(0o644)
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "bad.toml").write_text('name = "bad"\n')
    (tmp_path / "redis").mkdir()
    with valkey.run_server(tmp_path / "redis", "--maxmemory-policy", "allkeys-lru", "--appendonly", "no") as url:
        code, found = await findings(
            data, "--redis", url, "--blueprints", str(tmp_path / "own"), "--database", "mysql://x/y"
        )
    assert code == 1
    assert "other users can read it (mode 644)" in found["signing key"]["problems"][0]
    assert found["blueprints"]["problems"][0].startswith("bad.toml: ")
    assert len(found["Redis"]["problems"]) == 2
    assert found["database"]["problems"] == ["database: mysql is neither postgresql nor sqlite"]


async def test_a_redis_that_is_away_is_a_problem(tmp_path: Path) -> None:
    """The finding says that Redis cannot be reached."""
    tmp_path.joinpath("data").mkdir()
    code, found = await findings(tmp_path / "data", "--redis", "redis://127.0.0.1:1")
    assert code == 1
    assert found["Redis"]["problems"][0].startswith("it cannot be reached: ")


async def test_a_server_that_does_not_answer_is_a_problem(tmp_path: Path) -> None:
    """A stopped (SIGSTOP) server holds its directory but does not respond."""
    async with run_server(tmp_path / "data") as server:
        server.process.send_signal(signal.SIGSTOP)
        try:
            code, found = await findings(tmp_path / "data")
        finally:
            server.process.send_signal(signal.SIGCONT)
    assert code == 1
    assert found["server"]["problems"][0].startswith("it does not respond: ")


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ("empty", "closed: Redis is empty but the archive is not: bring back Redis' own file"),
        ("behind", "closed: Redis is behind the archive (an older backup or AOF): bring back its latest file"),
        ("foreign", "closed: Redis holds another life of the log than the archive: is it the right database?"),
        ("other", "closed: Redis belongs to another database: is --database the right one?"),
    ],
)
async def test_a_zone_that_would_stay_closed_is_told_with_its_reason(change: str, why: str, tmp_path: Path) -> None:
    """Without a running server the doctor compares Redis and archive as a server does."""
    (tmp_path / "redis").mkdir()
    with valkey.run_server(tmp_path / "redis") as url, redis.Redis.from_url(url) as client:
        async with run_server(tmp_path / "data", "--redis", url) as server:
            await server.stop()
        _archive_up_to(tmp_path / "data" / "callout.db", 7)
        if change == "empty":
            client.flushall()
        elif change == "other":
            client.hset("{main}:meta", "database", "another")
        else:
            client.hset("{main}:meta", "seq", 3 if change == "behind" else 9)
            client.hset("{main}:epochs", "e1", 1 if change == "behind" else 5)
        code, found = await findings(tmp_path / "data", "--redis", url)
    assert (code, found["zone main"]["problems"]) == (1, [why])


def _archive_up_to(file: Path, seq: int) -> None:
    with sqlite3.connect(file) as database:
        database.execute("INSERT OR REPLACE INTO checkpoints (zone, epoch, seq) VALUES ('main', 'e1', ?)", (seq,))
        database.execute("INSERT OR REPLACE INTO epochs (zone, epoch, first_seq) VALUES ('main', 'e1', 1)")
    database.close()


async def test_a_healthy_server_is_well(tmp_path: Path) -> None:
    """With a running server: no problem, exit code 0, and the most important facts."""
    async with run_server(tmp_path / "data") as server:
        code, found = await findings(tmp_path / "data")
        assert code == 0
        assert found["server"]["facts"] == {"pid": server.process.pid, "url": server.url}
        assert found["Redis"]["facts"]["version"].startswith("valkey ")
        assert found["zone main"]["facts"]["epoch"].startswith("e1-")
        shown = await run_callout("doctor", "--data", str(tmp_path / "data"))
    assert (shown.code, shown.err) == (0, "")
    assert shown.out.splitlines()[-1] == "no problems"
    assert all(line.startswith("ok ") for line in shown.out.splitlines()[:-1])


async def test_a_stopped_server_is_no_problem(tmp_path: Path) -> None:
    """A directory whose server was stopped in order has no problem."""
    async with run_server(tmp_path / "data") as server:
        await server.stop()
    code, found = await findings(tmp_path / "data")
    assert (code, found["server"]["facts"]) == (0, {"running": "no"})
    assert found["Redis"]["facts"]["embedded"].startswith("not running, starts with the server from ")
