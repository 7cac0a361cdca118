"""SIGHUP: the blueprints are read anew by a server that goes on serving."""

from __future__ import annotations

import asyncio
import os
import pty
import signal
import tomllib
from pathlib import Path
from typing import Any

import httpx

from engine.blueprint import catalogue
from engine.process import embedded
from engine.process.datadir import birth
from tests.support.process import PROGRAM, START_S, Server, callout, environment, serving
from tests.support.wait import wait_until

WALKED = """
[events."walks.closed"]
announcement = true
"""
TEXT = (catalogue.shipped() / "home_service.toml").read_text()


async def told(server: Server) -> dict[str, Any]:
    """The blueprints that new jobs get, by name."""
    token = (await callout("token", "--role", "admin", "--data", str(server.data))).out.strip()
    async with httpx.AsyncClient(trust_env=False) as client:
        answer = await client.get(f"{server.url}/v1/blueprints", headers={"Authorization": f"Bearer {token}"})
    return {item["name"]: item for item in answer.json()["items"]}


async def documents(server: Server) -> tuple[str, set[str]]:
    """What is told of steps, and of which types of events, to anyone."""
    async with httpx.AsyncClient(trust_env=False, base_url=server.url) as client:
        steps = (await client.get("/openapi.json")).json()["paths"]["/v1/jobs/{id}/{command}"]["post"]
        messages = (await client.get("/asyncapi.json")).json()["components"]["messages"]
    return steps["description"], {name for name in messages if name.startswith("event.")}


async def test_a_server_whose_terminal_is_gone_stops(tmp_path: Path) -> None:
    """There SIGHUP means what it means to any program, and the stop is a whole one: nobody reads its words."""
    outer, inner = pty.openpty()
    process = await asyncio.create_subprocess_exec(
        *PROGRAM,
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
        async with asyncio.timeout(START_S):
            assert b"serving" in await process.stdout.readline()
            os.close(outer)
            process.send_signal(signal.SIGHUP)
            assert await process.wait() == 0
        state = embedded.read_state(tmp_path / "data" / "valkey")
        assert state is not None and birth(state.pid) != state.birth
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def test_a_signal_reads_the_folder_anew(tmp_path: Path) -> None:
    """A broken file is told in the log and changes nothing; mended, it is taken, and stands in the documents too; the
    server serves throughout.
    """
    folder = tmp_path / "own"
    folder.mkdir()
    async with serving(tmp_path / "data", "--blueprints", str(folder)) as server:
        before = await documents(server)
        own = folder / "walks.toml"
        text = TEXT.replace('name = "home_service"', 'name = "walks"') + WALKED
        own.write_text(text.replace('to = "reached"', 'to = "away"'))
        server.process.send_signal(signal.SIGHUP)
        await wait_until(lambda: "walks.toml: command arrive: unknown state" in server.logged())
        assert "walks" not in await told(server)
        assert await documents(server) == before
        own.write_text(text)
        server.process.send_signal(signal.SIGHUP)
        await wait_until(lambda: "blueprints_reloaded" in server.logged())
        assert (await told(server))["walks"]["version"] == tomllib.loads(text)["version"]
        steps, events = await documents(server)
        assert "`walks`" in steps and "`walks`" not in before[0]
        assert events - before[1] == {"event.walks.closed"}
        assert (await server.end()).code == 0
