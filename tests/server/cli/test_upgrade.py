"""``callout upgrade`` and the start of a server raise the format of the zones; nothing else does."""

from __future__ import annotations

from pathlib import Path

import redis

from engine.store import keys
from engine.types import DEFAULT_ZONE
from tests.support.http import open_http
from tests.support.process import Server, environment, run_callout, run_server
from tests.support.wait import wait_until


def read_format(server: Server) -> int:
    """Return the format of the zone ``main``."""
    with redis.Redis.from_url(server.redis_url) as client:
        return int(client.hget(keys.zone_meta(DEFAULT_ZONE), "format") or 0)


async def is_refused(server: Server) -> bool:
    """Return whether ``/readyz`` says that a newer release writes the zone, and that the server drains."""
    async with open_http(timeout_s=5) as client:
        reply = await client.get(f"{server.url}/readyz")
    return reply.status_code == 503 and "a newer release writes this zone" in reply.text and "draining" in reply.text


async def is_ready(server: Server) -> bool:
    """Return whether ``/readyz`` is 200."""
    async with open_http(timeout_s=5) as client:
        return (await client.get(f"{server.url}/readyz")).status_code == 200


async def test_needs_a_database_and_a_redis(tmp_path: Path) -> None:
    """Without a database the command ends with 2 and one line."""
    done = await run_callout("upgrade", "--data", str(tmp_path / "none"))
    assert done.code == 2 and done.error_line.startswith("no database in")


async def test_the_command_raises_the_format_and_a_start_alone_too(tmp_path: Path) -> None:
    """``callout upgrade`` of a newer release raises the format: the running server of the older release drains, and a
    gateway of the newer one continues. If a server of a still newer release is the only one on its Redis and database,
    it raises the format when it starts. Afterwards a server of an older release cannot use them.
    """
    data = tmp_path / "data"
    async with run_server(data) as server:
        flags = ("--redis", server.redis_url, "--database", f"sqlite:///{data}/callout.db", "--role", "gateway")
        async with run_server(tmp_path / "newer", *flags, format="2") as newer:
            done = await run_callout("upgrade", "--data", str(data))
            assert (done.code, done.out) == (0, "zone main has format 1\n")
            done = await run_callout("upgrade", "--data", str(data), env=environment(format="2"))
            assert (done.code, done.out) == (0, "zone main had format 1 and has format 2\n")
            await wait_until(lambda: is_refused(server), what="the refusal")
            await wait_until(lambda: is_ready(newer), what="the newer gateway")
            done = await run_callout("upgrade", "--data", str(data))
            assert (done.code, done.error_line) == (2, "zone main has format 2, and this release knows 1")
            await newer.stop()
        await server.stop()
    async with run_server(data, format="3") as server:
        assert read_format(server) == 3 and await is_ready(server)
        await server.stop()
    async with run_server(data, format="2") as server:
        assert read_format(server) == 3
        await wait_until(lambda: is_refused(server), what="the refusal")
