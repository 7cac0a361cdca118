"""``callout zone``: an operator closes a zone, which stays closed over every loss, and opens it again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import redis

from tests.faults.crowd import POSITION, scenario_on
from tests.support.http import open_http
from tests.support.process import FinishedCommand, Server, run_callout, run_server
from tests.support.wait import wait_until


async def run_zone(data: Path, *arguments: str) -> FinishedCommand:
    """Run ``callout zone`` on the data directory ``data``."""
    return await run_callout("zone", *arguments, "--data", str(data))


async def read_state(data: Path) -> Any:
    """Return the state of the zone ``main`` by ``callout zone status``."""
    done = await run_zone(data, "status", "--json")
    assert done.code == 0, done.err
    return json.loads(done.out)["main"]


async def readyz(server: Server) -> str:
    """Return the text of ``/readyz``."""
    async with open_http(timeout_s=5) as client:
        return (await client.get(f"{server.url}/readyz")).text


@pytest.mark.parametrize("verb", ["status", "close", "open", "rebuild"])
async def test_wrong_calls_are_refused(tmp_path: Path, verb: str) -> None:
    """Without a database, and for an unknown zone, each command ends with 2 and one line."""
    done = await run_zone(tmp_path / "none", verb, "main")
    why = "the embedded Valkey does not run" if verb == "rebuild" else "no database in"
    assert done.code == 2 and done.error_line.startswith(why)
    done = await run_zone(tmp_path / "none", verb, "atlantis")
    assert (done.code, done.error_line) == (2, "zone atlantis: this installation has main")


async def test_a_paused_zone_opens_only_by_the_command(tmp_path: Path) -> None:
    """A zone that an operator closed refuses commands, says why, and stays closed over a restart of the server and an
    emptied Redis. The command opens it: the emptied Redis is written anew before."""
    data = tmp_path / "data"
    async with run_server(data, limits="off") as server, scenario_on(server) as scenario:
        customer = await scenario.create_person("customer")
        await scenario.create_technician()
        assert (await run_zone(data, "rebuild")).error_line.startswith("zone main is open and agrees")
        done = await run_zone(data, "close")
        assert (done.code, done.out) == (0, "zone main is paused; `callout zone open main` opens it\n")
        await wait_until(lambda: _has(server, "zone main is closed: paused: an operator"), what="the reason")
        body = {"service": scenario.service, **POSITION, "address": "Torstrasse 1"}
        with pytest.raises(Exception, match="paused") as refused:
            await scenario.api.request(
                "POST", "/v1/jobs", token=await customer.account.token(), body=body, patience_s=0
            )
        assert refused.value.code == "unavailable"  # type: ignore[attr-defined]
        assert (await read_state(data))["state"] == "paused"
        await server.stop()
    async with run_server(data, limits="off") as server:
        assert await _has(server, "paused: an operator")
        with redis.Redis.from_url(server.redis_url) as client:
            client.flushall()
        assert (await read_state(data))["state"] == "paused"
        done = await run_zone(data, "open")
        assert (done.code, done.out.startswith("zone main is open in epoch e")) == (0, True), done.out
        await wait_until(lambda: _has(server, '"problems":[]'), what="readyz")
        assert (await read_state(data))["state"] == "open"


async def _has(server: Server, text: str) -> bool:
    return text in await readyz(server)


async def test_an_operator_rebuilds_a_paused_zone(tmp_path: Path) -> None:
    """A paused zone is written anew by the command, with what the archive lacked, and stays paused until it is
    opened."""
    data = tmp_path / "data"
    async with run_server(data, limits="off") as server, scenario_on(server) as scenario:
        technician = await scenario.create_technician()
        head = (await read_state(data))["head"]
        await run_zone(data, "close")
        done = await run_zone(data, "rebuild")
        assert done.code == 0 and f"was written anew up to seq {head}" in done.out, done.out + done.err
        state = await read_state(data)
        assert (state["state"], state["archived"]) == ("paused", head)
        assert (await run_zone(data, "open")).out.startswith("zone main is open in epoch e")
        with redis.Redis.from_url(server.redis_url) as client:
            assert client.hget(f"{{main}}:tech:{technician.id}", "online") == b"1"
