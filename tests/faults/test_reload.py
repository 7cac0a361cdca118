"""A running server reloads its blueprints on SIGHUP."""

from __future__ import annotations

import asyncio
import os
import pty
import signal
import tomllib
from pathlib import Path
from typing import Any

from engine.blueprint import catalogue
from engine.process import embedded
from engine.process.datadir import process_start_text
from tests.support.fork_server import CALLOUT_COMMAND
from tests.support.http import open_http
from tests.support.process import TIMEOUT_S, Server, environment, run_callout, run_server
from tests.support.wait import wait_until

EVENT_TOML = """
[events."walks.closed"]
announcement = true
"""
HOME_SERVICE_TOML = (catalogue.shipped_folder() / "home_service.toml").read_text()


async def published_blueprints(server: Server) -> dict[str, Any]:
    """Return the blueprints that new jobs use, by name."""
    token = (await run_callout("token", "--role", "admin", "--data", str(server.data))).out.strip()
    async with open_http() as client:
        answer = await client.get(f"{server.url}/v1/blueprints", headers={"Authorization": f"Bearer {token}"})
    return {item["name"]: item for item in answer.json()["items"]}


async def api_documents(server: Server) -> tuple[str, set[str]]:
    """Return the description of the job commands and the names of the event messages in the API documents."""
    async with open_http(server.url) as client:
        steps = (await client.get("/openapi.json")).json()["paths"]["/v1/jobs/{id}/{command}"]["post"]
        messages = (await client.get("/asyncapi.json")).json()["components"]["messages"]
    return steps["description"], {name for name in messages if name.startswith("event.")}


async def test_a_server_whose_terminal_is_gone_stops(tmp_path: Path) -> None:
    """If the terminal of a server is closed, SIGHUP stops the server in order, although the server cannot write its
    output.
    """
    outer, inner = pty.openpty()
    process = await asyncio.create_subprocess_exec(
        *CALLOUT_COMMAND,
        *("serve", "--data", str(tmp_path / "data"), "--port", "0"),
        cwd=tmp_path,
        env=environment(),
        stdin=inner,
        stdout=asyncio.subprocess.PIPE,
        stderr=inner,
        start_new_session=True,
    )
    os.close(inner)
    try:
        assert process.stdout is not None
        async with asyncio.timeout(TIMEOUT_S):
            assert b"serving" in await process.stdout.readline()
            os.close(outer)
            process.send_signal(signal.SIGHUP)
            assert await process.wait() == 0
        state = embedded.read_state(tmp_path / "data" / "valkey")
        assert state is not None and process_start_text(state.pid) != state.started_at
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def test_a_signal_reloads_the_folder(tmp_path: Path) -> None:
    """On SIGHUP a broken blueprint is logged and changes nothing; a repaired one is loaded and appears in the API
    documents, while the server serves all the time.
    """
    folder = tmp_path / "own"
    folder.mkdir()
    async with run_server(tmp_path / "data", "--blueprints", str(folder)) as server:
        before = await api_documents(server)
        file = folder / "walks.toml"
        text = HOME_SERVICE_TOML.replace('name = "home_service"', 'name = "walks"') + EVENT_TOML
        file.write_text(text.replace('to = "reached"', 'to = "away"'))
        server.process.send_signal(signal.SIGHUP)
        await wait_until(lambda: "walks.toml: command arrive: unknown state" in server.log_text())
        assert "walks" not in await published_blueprints(server)
        assert await api_documents(server) == before
        file.write_text(text)
        server.process.send_signal(signal.SIGHUP)
        await wait_until(lambda: "blueprints_reloaded" in server.log_text())
        assert (await published_blueprints(server))["walks"]["version"] == tomllib.loads(text)["version"]
        steps, events = await api_documents(server)
        assert "`walks`" in steps and "`walks`" not in before[0]
        assert events - before[1] == {"event.walks.closed"}
        assert (await server.stop()).code == 0
