"""The example program of docs/clients.md, run as a new user would run it, and the packages that the client imports."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
from asyncio.subprocess import Process
from pathlib import Path

from callout_client import Api
from server.serve import RunningServer
from tests.support import chat, people, socket_client
from tests.support.wait import wait_until

CLIENTS_PAGE = Path(__file__).resolve().parents[2] / "docs" / "clients.md"


def test_the_client_imports_no_server_package() -> None:
    """Importing the client imports no module of the engine, and no package for Redis, SQL or a server."""
    program = "import sys, callout_client; print(*sorted({name.partition('.')[0] for name in sys.modules}))"
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert set(ran.stdout.split()) & {"engine", "redis", "sqlalchemy", "starlette", "uvicorn", "alembic"} == set()


async def online_technician(server: RunningServer, service: str) -> tuple[str, str]:
    """Register, approve and put online a technician. Return the user id and the access token."""
    api, boss = Api(server.url), await socket_client.token(server.engine, people.ADMIN)
    details = {"email": "tess@example.org", "password": "correct horse", "name": "Tess", "role": "technician"}
    registration = await api.request("POST", "/v1/auth/register", body=details)
    profile_path, bearer = f"/v1/technicians/{registration['user']['id']}", str(registration["access_token"])
    await api.request("PATCH", profile_path, token=bearer, body={"services": [service]})
    await api.request("POST", f"{profile_path}/review", token=boss, body={"kyc": "approved", "account": "approved"})
    place = {"online": True, "lat": people.HERE.lat, "lon": people.HERE.lon}
    await api.request("PUT", f"{profile_path}/availability", token=bearer, body=place)
    await api.close()
    return str(registration["user"]["id"]), bearer


async def start_example(number: int, folder: Path, server: RunningServer, bearer: str, **more: str) -> Process:
    """Start the Python example of the page with this number, as the user of the token ``bearer``."""
    program = folder / "example.py"
    program.write_text(re.findall(r"```python\n(.*?)```", CLIENTS_PAGE.read_text(), flags=re.S)[number])
    variables = {"CALLOUT_URL": server.url, "CALLOUT_TOKEN": bearer, "PYTHONPATH": str(CLIENTS_PAGE.parents[1])}
    return await asyncio.create_subprocess_exec(
        *(sys.executable, str(program)),
        env=os.environ | variables | more,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )


async def test_the_example_wins_a_job(server: RunningServer, tmp_path: Path) -> None:
    """A technician who runs the example claims the first job that is offered, and the program ends."""
    service = await people.service(server.engine)
    customer = await people.customer(server.engine)
    user, bearer = await online_technician(server, service)
    running = await start_example(0, tmp_path, server, bearer)
    try:
        gateway = server.gateway
        assert gateway is not None
        await wait_until(lambda: gateway.hub.members(f"user:{user}"), within_s=30, what="the example's connection")
        job = await people.offered_job(server.engine, customer, service)
        async with asyncio.timeout(30):
            out, _ = await running.communicate()
    finally:
        if running.returncode is None:
            running.kill()
            await running.wait()
    output = out.decode()
    assert running.returncode == 0, output
    assert f"Job accepted {job}" in output
    assert "transport='socket'" in output


async def test_the_example_talks_in_a_room(server: RunningServer, tmp_path: Path) -> None:
    """A customer who runs the example says a message, waits for the answer, and shows both."""
    scene = await chat.book_with_room(server.engine)
    bearer = await socket_client.token(server.engine, scene.customer)
    running = await start_example(1, tmp_path, server, bearer, ROOM=scene.room)

    async def find_texts() -> list[str]:
        return await chat.texts(server.engine, scene.technician, scene.room)

    try:
        await wait_until(find_texts, within_s=30, what="the example's message")
        await chat.say(server.engine, scene.technician, scene.room, "At the door")
        async with asyncio.timeout(30):
            out, _ = await running.communicate()
    finally:
        if running.returncode is None:
            running.kill()
            await running.wait()
    lines = out.decode().splitlines()
    assert running.returncode == 0, lines
    assert lines[-2:] == ["1 Carla Customer Where are you?", "2 T tom At the door"]
    assert (await chat.read_room(server.engine, scene.customer, scene.room))["unread"] == 0
