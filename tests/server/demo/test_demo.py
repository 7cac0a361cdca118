"""``callout demo`` as a process: its output, its refusals, and that it leaves no process behind in any case."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from engine.process.embedded import read_state
from server.demo.files import LOGINS_FILE
from server.demo.guests import ROLES
from server.simulation.child_server import ChildError, clean_environment, run_child
from tests.support.fork_server import CALLOUT_COMMAND, ForkedProcess, fork_server
from tests.support.http import open_http
from tests.support.process import start_callout
from tests.support.wait import wait_until

END_WITHIN_S = 60.0
SERVER_WORDS = "exit_with_parent serve"
"""Words in the command line of a demo's server: of its parent process, which has the lowest process id, and of its
children.
"""


def demo_arguments(data: Path, *more: str) -> tuple[str, ...]:
    """Return the arguments for a demo with ten people on the data directory ``data``."""
    return ("demo", "--data", str(data), "--people", "10", *more)


async def start_demo(data: Path, *arguments: str) -> ForkedProcess:
    """Start a demo with ten people on the data directory ``data``."""
    return await start_callout(*demo_arguments(data, *arguments), env=os.environ)


async def execute_demo(data: Path, *arguments: str) -> Process:
    """Do the same as ``start_demo`` without the fork server: the demo and its processes execute Python."""
    command = (*CALLOUT_COMMAND, *demo_arguments(data, *arguments))
    return await asyncio.create_subprocess_exec(*command, stdin=DEVNULL, stdout=PIPE, stderr=PIPE)


async def wait_for_end(process: Process | ForkedProcess) -> tuple[int | None, str, str]:
    """Wait until ``process`` ends. Return its exit code, its stdout and its stderr."""
    async with asyncio.timeout(END_WITHIN_S):
        out, err = await process.communicate()
    return process.returncode, out.decode(), err.decode()


def processes_of(data: Path) -> list[str]:
    """Return the processes of a demo on ``data`` as pid and command line: the demo, its server, and its Valkey."""
    forked = [f"{pid} {' '.join(words)}" for pid, words in fork_server().running().items() if str(data) in words]
    output = subprocess.run(["ps", "-ewwo", "pid,args"], capture_output=True, text=True, check=True).stdout
    state = read_state(data / "valkey")
    valkey = str(state.pid) if state else ""
    return forked + [
        line.strip()
        for line in output.splitlines()
        if "<defunct>" not in line and (str(data) in line or (line.split()[0] == valkey and "valkey" in line))
    ]


StartFunction = Callable[..., Awaitable[Process | ForkedProcess]]


@asynccontextmanager
async def running_demo(
    data: Path, start: StartFunction = start_demo
) -> AsyncIterator[tuple[Process | ForkedProcess, str]]:
    """Run a demo. Yields its process and its stdout so far, as soon as it has booked jobs."""
    process = await start(data, "--port", "0")
    printed = ""
    try:
        assert process.stdout
        async with asyncio.timeout(END_WITHIN_S):
            while "jobs booked" not in printed:
                line = await process.stdout.readline()
                assert line, (await wait_for_end(process))[2]
                printed += line.decode()
        yield process, printed
    finally:
        if process.returncode is None:
            process.kill()
            await wait_for_end(process)


async def booked_blueprints(data: Path, port: str) -> list[str]:
    """Return the blueprints of the jobs that a demo has booked, the first job first."""
    logins = json.loads((data / LOGINS_FILE).read_text())
    admin = next({"email": each["email"], "password": each["password"]} for each in logins if each["role"] == "admin")
    async with open_http(f"http://127.0.0.1:{port}") as http:
        token = (await http.post("/v1/auth/login", json=admin)).json()["access_token"]
        listed = (await http.get("/v1/jobs?limit=200", headers={"Authorization": f"Bearer {token}"})).json()["items"]
    return [job["blueprint"] for job in reversed(listed)]


async def test_a_second_demo_is_refused_in_one_line(tmp_path: Path) -> None:
    """A second demo on the port or on the data directory of a running demo prints one line, ends, and leaves no
    process. The first demo continues. Its first jobs are of all five blueprints, so that a visitor sees each soon.
    """
    async with running_demo(tmp_path / "one") as (first, printed):
        port = printed.partition("http://127.0.0.1:")[2].split()[0]
        booked = await wait_until(lambda: booked_blueprints(tmp_path / "one", port), within_s=END_WITHIN_S)
        assert booked[0] == "home_service"
        code, out, err = await wait_for_end(await start_demo(tmp_path / "two", "--port", port))
        assert code not in (0, None)
        assert out == ""
        assert port in err
        assert len(err.strip().splitlines()) == 1
        assert processes_of(tmp_path / "two") == []
        code, _, err = await wait_for_end(await start_demo(tmp_path / "one", "--port", "0"))
        assert code not in (0, None)
        assert len(err.strip().splitlines()) == 1
        assert first.returncode is None


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
async def test_a_wrong_setting_is_refused_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, settings: dict[str, str], says: str
) -> None:
    """A wrong setting is named in one line and no process remains, whether the demo or its server finds it."""
    for name, value in settings.items():
        monkeypatch.setenv(f"CALLOUT_{name}", value)
    port = () if "PORT" in settings else ("--port", "0")
    code, out, err = await wait_for_end(await start_demo(tmp_path / "data", *port))
    assert (code in (1, 2), out) == (True, "")
    assert says in err
    assert len(err.strip().splitlines()) == 1
    assert processes_of(tmp_path / "data") == []


async def test_a_full_disk_is_reported_in_one_line(tmp_path: Path) -> None:
    """A full disk is reported in one line, although the server cannot write the reason to its log."""
    limited = f"import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000)); {CALLOUT_COMMAND[2]}"
    command = (sys.executable, "-c", limited, "demo", "--data", str(tmp_path / "data"), "--port", "0")
    environment = os.environ | {"PYTHONDONTWRITEBYTECODE": "1"}  # Python truncates compiled modules at the limit
    code, out, err = await wait_for_end(
        await asyncio.create_subprocess_exec(*command, stdin=DEVNULL, stdout=PIPE, stderr=PIPE, env=environment)
    )
    assert (code, out) == (1, "")
    assert "nothing can be written to" in err and "make room" in err
    assert len(err.strip().splitlines()) == 1


async def test_a_server_that_does_not_become_ready_ends_the_demo(tmp_path: Path) -> None:
    """A server that does not become ready, here because its database cannot be reached, is stopped. The error contains
    the server's reason.
    """
    env = clean_environment(database="postgresql://127.0.0.1:1/none")
    with pytest.raises(ChildError, match="the server is not ready: zone main is closed"):
        async with run_child(tmp_path / "data", 0, env=env, cwd=tmp_path, log=tmp_path / "log", ready_s=2.0):
            pytest.fail("the server is not ready")
    assert processes_of(tmp_path / "data") == []


async def test_an_invalid_duration_is_refused(tmp_path: Path) -> None:
    """An invalid duration for ``--for`` is refused with exit code 2 before a file is created."""
    code, _, err = await wait_for_end(await start_demo(tmp_path / "data", "--for", "soon"))
    assert code == 2
    assert "--for soon" in err
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize(
    ("number", "start"),
    [(signal.SIGINT, start_demo), (signal.SIGTERM, start_demo), (signal.SIGKILL, execute_demo)],
    ids=["SIGINT", "SIGTERM", "SIGKILL"],
)
async def test_no_process_remains_however_the_demo_ends(
    tmp_path: Path, number: signal.Signals, start: StartFunction
) -> None:
    """Ctrl-C and SIGTERM stop the demo in order. After a SIGKILL its server and its Valkey end by themselves."""
    async with running_demo(tmp_path / "data", start) as (process, _):
        assert len(processes_of(tmp_path / "data")) >= 3
        process.send_signal(number)
        code, out, err = await wait_for_end(process)
        assert code == (0 if number != signal.SIGKILL else -signal.SIGKILL), out + err
        await wait_until(lambda: not processes_of(tmp_path / "data"), within_s=END_WITHIN_S, what="the end of all")


async def test_the_death_of_its_server_ends_the_demo(tmp_path: Path) -> None:
    """If the server of the demo is killed, the demo prints one line and exits with 1."""
    async with running_demo(tmp_path / "data") as (process, _):
        server, *_ = sorted(int(line.split()[0]) for line in processes_of(tmp_path / "data") if SERVER_WORDS in line)
        os.kill(server, signal.SIGKILL)
        code, _, err = await wait_for_end(process)
    assert code == 1
    assert len(err.strip().splitlines()) == 1
    assert processes_of(tmp_path / "data") == []


async def run_timed_demo(data: Path) -> tuple[dict[str, float], list[str], str]:
    """Run a demo with ``--for`` and ``--json`` that is long enough for a claim and a message here. Return its
    summary, the lines with its logins, and all that the first try wrote.
    """
    first = ""
    for seconds in (12, 40):
        process = await start_demo(data, "--port", "0", "--for", f"{seconds}s", "--json")
        code, out, err = await wait_for_end(process)
        assert code == 0, err
        summary, first = json.loads(out), first or err
        if summary["claimed"] and summary["messages_said"]:
            break
    return summary, [line for line in err.splitlines() if "password" in line], first


async def test_it_ends_after_its_time_and_continues_with_the_same_accounts(tmp_path: Path) -> None:
    """With ``--for`` and ``--json`` the demo ends by itself and prints its summary as JSON. Another demo on the same
    data directory prints the same logins, and cancels the jobs that the first one left.
    """
    logins = []
    for number in range(2):
        summary, lines, err = await run_timed_demo(tmp_path / "data")
        assert ("jobs of an earlier demo are cancelled" in err) == (number == 1), err
        assert summary["claim_attempts"] >= summary["claimed"] > 0
        assert (summary["double_claims"], summary["duplicate_events"], summary["broken_prices"]) == (0, 0, 0)
        assert summary["messages_received"] >= summary["messages_said"] > 0
        assert (summary["messages_lost"], summary["messages_doubled"]) == (0, 0)
        assert [line.split()[0] for line in lines] == [*ROLES]
        logins.append(lines)
    assert logins[0] == logins[1]
    assert processes_of(tmp_path / "data") == []
