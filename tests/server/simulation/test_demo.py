"""``callout demo`` as a user runs it, and that it leaves nothing behind however it ends."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from engine.process.embedded import read_state
from server.simulation.child_server import ChildError, clean_environment, run_child
from tests.support.wait import wait_until

CALLOUT = (sys.executable, "-c", "from server.cli.main import main; main()")
PATIENCE_S = 60.0


async def start(data: Path, *arguments: str, stdout: int = PIPE) -> Process:
    """A demo with few people, on ``data``."""
    command = (*CALLOUT, "demo", "--data", str(data), "--technicians", "6", *arguments)
    return await asyncio.create_subprocess_exec(*command, stdin=DEVNULL, stdout=stdout, stderr=PIPE)


async def finished(process: Process) -> tuple[int | None, str, str]:
    """Its exit code, stdout and stderr."""
    async with asyncio.timeout(PATIENCE_S):
        out, err = await process.communicate()
    return process.returncode, out.decode(), err.decode()


def remaining(data: Path) -> list[str]:
    """Processes, as pid and command line, of a demo on ``data``: itself, its server, and the Valkey of that."""
    listed = subprocess.run(["ps", "-ewwo", "pid,args"], capture_output=True, text=True, check=True).stdout
    state = read_state(data / "valkey")
    valkey = str(state.pid) if state else ""
    return [
        line.strip()
        for line in listed.splitlines()
        if "<defunct>" not in line and (str(data) in line or (line.split()[0] == valkey and "valkey" in line))
    ]


@asynccontextmanager
async def living(data: Path) -> AsyncIterator[tuple[Process, str]]:
    """A demo that has come to life (jobs were booked), and what it said until then."""
    process = await start(data, "--port", "0")
    said = ""
    try:
        assert process.stdout
        async with asyncio.timeout(PATIENCE_S):
            while "jobs booked" not in said:
                line = await process.stdout.readline()
                assert line, (await finished(process))[2]
                said += line.decode()
        yield process, said
    finally:
        if process.returncode is None:
            process.kill()
            await finished(process)


async def test_a_port_that_is_taken_is_refused_in_one_line(tmp_path: Path) -> None:
    """A second demo on the port of the first says so, ends, and leaves nothing running."""
    async with living(tmp_path / "one") as (_, said):
        port = said.partition("http://127.0.0.1:")[2].split()[0]
        code, out, err = await finished(await start(tmp_path / "two", "--port", port))
    assert code not in (0, None)
    assert out == ""
    assert port in err
    assert len(err.strip().splitlines()) == 1
    assert remaining(tmp_path / "two") == []


async def test_a_data_directory_in_use_is_refused_in_one_line(tmp_path: Path) -> None:
    """A second demo on the data of the first is told who has it, and the first lives on."""
    async with living(tmp_path / "one") as (first, _):
        code, _, err = await finished(await start(tmp_path / "one", "--port", "0"))
        assert first.returncode is None
    assert code not in (0, None)
    assert len(err.strip().splitlines()) == 1


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"PORT": "70000"}, "port"),
        ({"REDIS": "redis://127.0.0.1:1"}, "Redis at redis://127.0.0.1:1 cannot be reached"),
        ({"BLUEPRINTS": "nowhere"}, "nowhere"),
        ({"TECHNICIAN": "9"}, "CALLOUT_TECHNICIAN"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
async def test_a_wrong_setting_is_told_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, settings: dict[str, str], says: str
) -> None:
    """Whether the demo finds it or the server that it starts: what is wrong is said, and nothing is left running."""
    for name, value in settings.items():
        monkeypatch.setenv(f"CALLOUT_{name}", value)
    port = () if "PORT" in settings else ("--port", "0")
    code, out, err = await finished(await start(tmp_path / "data", *port))
    assert (code in (1, 2), out) == (True, "")
    assert says in err
    assert len(err.strip().splitlines()) == 1
    assert remaining(tmp_path / "data") == []


async def test_a_disk_that_is_full_is_told_in_one_line(tmp_path: Path) -> None:
    """Also where the log of the server cannot be written, which would say why."""
    limited = f"import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000)); {CALLOUT[2]}"
    command = (sys.executable, "-c", limited, "demo", "--data", str(tmp_path / "data"), "--port", "0")
    code, out, err = await finished(
        await asyncio.create_subprocess_exec(*command, stdin=DEVNULL, stdout=PIPE, stderr=PIPE)
    )
    assert (code, out) == (1, "")
    assert "nothing can be written to" in err and "make room" in err
    assert len(err.strip().splitlines()) == 1


async def test_a_server_that_is_not_ready_is_not_lived_on(tmp_path: Path) -> None:
    """It has come up and says itself why nothing can be done, here that its database is away; it is stopped."""
    env = clean_environment(database="postgresql://127.0.0.1:1/none")
    with pytest.raises(ChildError, match="the server is not ready: zone main is closed"):
        async with run_child(tmp_path / "data", 0, env=env, cwd=tmp_path, log=tmp_path / "log", ready_s=0.5):
            pytest.fail("it was lived on")
    assert remaining(tmp_path / "data") == []


async def test_a_time_that_is_none_is_refused(tmp_path: Path) -> None:
    """--for is checked before anything is started."""
    code, _, err = await finished(await start(tmp_path / "data", "--for", "soon"))
    assert code == 2
    assert "--for soon" in err
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
async def test_nothing_stays_behind_however_it_ends(tmp_path: Path, number: signal.Signals) -> None:
    """Ctrl-C and SIGTERM end it in order; killed outright, its server and Valkey end by themselves."""
    async with living(tmp_path / "data") as (process, _):
        assert len(remaining(tmp_path / "data")) >= 3
        process.send_signal(number)
        code, out, err = await finished(process)
        assert code == (0 if number != signal.SIGKILL else -signal.SIGKILL), out + err
        await wait_until(lambda: not remaining(tmp_path / "data"), within_s=PATIENCE_S, what="the end of all")


async def test_a_server_that_dies_ends_it(tmp_path: Path) -> None:
    """A demo without its server is no demo: it ends with one line, and not with 0."""
    async with living(tmp_path / "data") as (process, _):
        (server,) = [line for line in remaining(tmp_path / "data") if "exit_with_parent serve" in line]
        os.kill(int(server.split()[0]), signal.SIGKILL)
        code, _, err = await finished(process)
    assert code == 1
    assert len(err.strip().splitlines()) == 1
    assert remaining(tmp_path / "data") == []


async def test_it_ends_by_itself_and_lives_on_with_the_same_people(tmp_path: Path) -> None:
    """With --for it prints its summary as JSON; started again on its data, the same accounts sign in."""
    logins = []
    for _ in range(2):
        process = await start(tmp_path / "data", "--port", "0", "--for", "12s", "--json")
        code, out, err = await finished(process)
        assert code == 0, err
        summary = json.loads(out)
        assert summary["claimed"] > 0
        assert summary["claim_attempts"] >= summary["claimed"]
        assert (summary["double_claims"], summary["duplicate_events"]) == (0, 0)
        logins.append([line for line in err.splitlines() if "password" in line])
        assert [line.split()[0] for line in logins[-1]] == ["admin", "customer", "technician"]
    assert logins[0] == logins[1]
    assert remaining(tmp_path / "data") == []
