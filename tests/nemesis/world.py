"""The world of a run: Valkeys, a database, proxies in front of them, and `callout serve` in processes of its own. A
nemesis uses its methods.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from redis.asyncio import Redis

from engine.process.settings import Settings
from tests.nemesis.stores import Postgres, Valkey
from tests.support import valkey
from tests.support.cluster import Cluster, run_cluster
from tests.support.http import open_http
from tests.support.process import Server, environment, run_callout, run_server
from tests.support.proxy import Proxy
from tests.support.wait import wait_until

HAS_LEVELS = "durability" in Settings.__struct_fields__
HAS_FILES = "files" in Settings.__struct_fields__
"""Whether this version has acknowledgement levels."""
LEVELS = ("fast", "replica", "aof", "sql") if HAS_LEVELS else ("fast",)
BACKGROUND_ROLES = "scheduler,archiver,push"

REPLICA, POSTGRES, BALANCER, WORKERS, CLUSTER = "replica", "postgres", "balancer", "workers", "cluster"
"""What a nemesis may need besides one Valkey, SQLite and one server: a second Valkey that follows the first; PostgreSQL
behind a proxy; a proxy between the users and the server; a process of its own for the background roles; a cluster of
three primaries instead of the Valkey, of which that of the zone has a replica.
"""


class World:
    """The servers and stores of one run. ``valkeys`` are the primary and its replica, if there is one. Servers reach
    Redis through ``proxy`` and PostgreSQL through ``sql_proxy``; the replica reaches the primary through
    ``replication``. ``settings`` are further settings of every server, ``options`` those of Valkey.
    """

    def __init__(
        self,
        folder: Path,
        database: Path,
        level: str,
        needs: frozenset[str] = frozenset(),
        options: tuple[str, ...] = (),
        settings: tuple[tuple[str, str], ...] = (),
    ) -> None:
        self.folder, self.level, self.needs = folder, level, needs | ({REPLICA} if level == REPLICA else set())
        self.valkeys: list[Valkey] = []
        self.postgres: Postgres | None = None
        self.cluster: Cluster | None = None
        self.proxy, self.replication = Proxy("redis://127.0.0.1:1"), Proxy("redis://127.0.0.1:1")
        self.sql_proxy, self.balancer = Proxy("redis://127.0.0.1:1"), Proxy("redis://127.0.0.1:1")
        self.servers: dict[str, Server] = {}
        self._database, self._template = f"sqlite:///{folder / 'callout.db'}", database
        self._valkey_options = ("--appendfsync", "always", *options) if level == "aof" else options
        self._settings = dict(settings)
        self._ports = {name: valkey.free_port() for name in ("first", "second", "workers")}
        self._running: dict[str, AsyncExitStack] = {}
        self._stack = AsyncExitStack()

    @property
    def data(self) -> Path:
        """Return the data directory of the first server."""
        return self.folder / "first"

    @property
    def url(self) -> str:
        """Return the address at which the users reach the server."""
        return self.url_of("first") if BALANCER not in self.needs else f"http://127.0.0.1:{self.balancer.port}"

    def url_of(self, name: str) -> str:
        """Return the URL of the server with this name."""
        return f"http://127.0.0.1:{self._ports[name]}"

    @property
    def redis_url(self) -> str:
        """Return the address of Redis without a proxy."""
        return self.cluster.url if self.cluster else self.primary.url

    @property
    def primary(self) -> Valkey:
        """Return the Valkey to which the proxy forwards."""
        return next(each for each in self.valkeys if each.port == self.proxy.target_port)

    @property
    def other(self) -> Valkey:
        """Return the Valkey to which the proxy does not forward."""
        return next(each for each in self.valkeys if each.port != self.proxy.target_port)

    def checker_settings(self) -> Settings:
        """Return the settings with which the checker opens the same database."""
        url = self.postgres.url if self.postgres else self._database
        key_file = str(self.folder / "signing.key")
        return Settings(data=str(self.data), redis=self.redis_url, database=url, key_file=key_file)

    # servers

    async def start_server(self, name: str = "first", *flags: str, roles: str = "") -> None:
        """Start a server on its data directory and port. ``roles`` are its roles, if it does not have all."""
        settings = {"limits": "off", "drain_s": "0.2", "key_file": str(self.folder / "signing.key"), **self._settings}
        settings["database"] = self._database
        if HAS_FILES:
            settings["files"] = str(self.folder / "blobs")
        if HAS_LEVELS:
            settings["durability"] = self.level
        if HAS_LEVELS and self.level == REPLICA:
            settings["replicas"] = "1"
        if not roles and WORKERS in self.needs:
            roles = "gateway"
        if roles:
            settings["roles"] = roles
        stack = self._running[name] = AsyncExitStack()
        given = ("--redis", self.cluster.url if self.cluster else self.proxy.url, *flags)
        running = run_server(self.folder / name, *given, port=self._ports[name], **settings)
        self.servers[name] = await stack.enter_async_context(running)

    async def kill_server(self, name: str = "first") -> None:
        """Kill a server (SIGKILL), and wait until it has ended."""
        server = self.servers.pop(name, None)
        if server is not None and server.process.returncode is None:
            server.process.kill()
            await server.process.wait()
        if name in self._running:
            await self._running.pop(name).aclose()

    async def kill_servers(self) -> None:
        """Kill all servers."""
        for name in list(self._running):
            await self.kill_server(name)

    async def stop_server(self, name: str = "first") -> None:
        """Stop a server with SIGTERM, and wait until it has ended."""
        self.servers[name].process.send_signal(signal.SIGTERM)
        await self.servers[name].process.wait()
        await self.kill_server(name)

    def pid(self, name: str = "first") -> int:
        """Return the id of a server's process."""
        return self.servers[name].process.pid

    async def is_soon_ready(self, within_s: float = 6.0) -> bool:
        """Return whether the first server is ready within some seconds."""
        async with open_http(self.url_of("first")) as client:
            deadline = asyncio.get_running_loop().time() + within_s
            while asyncio.get_running_loop().time() < deadline:
                if (await client.get("/readyz")).status_code == 200:
                    return True
                await asyncio.sleep(0.2)
        return False

    async def run_command(self, *words: str) -> None:
        """Run a command of an operator on this world's Redis and database."""
        flags = ("--data", str(self.data), "--redis", self.proxy.url, "--database", self._database)
        done = await run_callout(*words, *flags, env=environment(key_file=str(self.folder / "signing.key")))
        assert done.code == 0, done.err

    # stores

    async def replicate(self, follower: Valkey, leader: Valkey | None) -> None:
        """Make ``follower`` a replica of ``leader``, through the proxy of replication. If ``leader`` is None, make it a
        primary.
        """
        if leader:
            self.replication.set_target(leader.url)
        async with Redis.from_url(follower.url) as client:
            words = ("127.0.0.1", self.replication.port) if leader else ("NO", "ONE")
            await client.execute_command("REPLICAOF", *words)

    async def is_synchronised(self, follower: Valkey) -> bool:
        """Return whether a Redis replica has all data of its primary."""
        async with Redis.from_url(follower.url) as client:
            info = await client.info("replication")
            return (
                info["role"] == "slave" and info["master_link_status"] == "up" and not info["master_sync_in_progress"]
            )

    async def wait_for_replica(self) -> None:
        """Wait until the Redis replica has all data of its primary."""
        await wait_until(lambda: self.is_synchronised(self.other), within_s=20, what="the replica")

    def lead_to(self, target: Valkey) -> None:
        """Let the proxy forward to another Valkey, and abort all open connections."""
        self.proxy.set_target(target.url)
        self.proxy.cut()

    # begin and end

    async def open(self) -> None:
        """Start the servers and stores that the fault needs."""
        for proxy in (self.proxy, self.replication, self.sql_proxy, self.balancer):
            await self._stack.enter_async_context(proxy)
        if CLUSTER in self.needs:
            self.cluster = self._stack.enter_context(run_cluster(self.folder))
            self.cluster.add_replica(self.cluster.owner_of("{main}"))
        for name in ("one", "two")[: 2 if REPLICA in self.needs else 1 - bool(self.cluster)]:
            each = Valkey(self.folder / name, "--repl-diskless-sync-delay", "0", *self._valkey_options)
            self._stack.callback(each.kill)
            self.valkeys.append(each)
            each.start()
        for first in self.valkeys[:1]:
            self.proxy.set_target(first.url)
        if REPLICA in self.needs:
            await self.replicate(self.valkeys[1], self.valkeys[0])
            await self.wait_for_replica()
        if POSTGRES in self.needs:
            self.postgres = self._stack.enter_context(Postgres.running())
            self.sql_proxy.set_target(f"unix:{self.postgres.socket}")
            self._database = f"postgresql://postgres@127.0.0.1:{self.sql_proxy.port}/{self.postgres.database}"
        else:
            shutil.copyfile(self._template, self.folder / "callout.db")
            os.chmod(self.folder / "callout.db", 0o600)
        await self.start_server()
        if WORKERS in self.needs:
            await self.start_server("workers", roles=BACKGROUND_ROLES)
        self.balancer.set_target(self.url_of("first"))

    async def close(self) -> None:
        """Stop all servers, stores and proxies of the run."""
        await self.kill_servers()
        await self._stack.aclose()


@asynccontextmanager
async def open_world(world: World) -> AsyncIterator[World]:
    """Start the servers and stores of a run, and stop them at the end of the block."""
    try:
        await world.open()
        yield world
    finally:
        await world.close()
