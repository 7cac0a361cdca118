"""The URL of Redis: how to connect to it, and how to show it.

``redis://`` names one server, ``redis+sentinel://`` the sentinels that know the primary of a service, and
``redis+cluster://`` some nodes of a cluster. ``rediss`` in place of ``redis`` means TLS.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple, cast
from urllib.parse import unquote, urlsplit

from redis.asyncio import Connection, ConnectionPool, Redis, RedisCluster, SSLConnection
from redis.asyncio.cluster import ClusterNode

from engine.errors import Unavailable
from engine.store.pipeline import Pipeline
from engine.store.sentinel import find_primary

CONNECT_TIMEOUT_S = 5.0
DEFAULT_PORT, DEFAULT_SENTINEL_PORT = 6379, 26379
Connect = Callable[[Pipeline], Awaitable[None]]
"""Connects a pipeline to a server and authenticates."""


class Node(NamedTuple):
    """The address of one server."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


class RedisUrl(NamedTuple):
    """The parts of a URL. ``nodes`` are the servers that it names. ``path`` is the number of a database, the path of a
    socket, or the service of sentinels."""

    scheme: str
    nodes: tuple[Node, ...]
    path: str
    user: str
    password: str

    @property
    def kind(self) -> str:
        """Return ``sentinel``, ``cluster``, ``unix``, or "" for one server."""
        return self.scheme if self.scheme == "unix" else self.scheme.partition("+")[2]

    @property
    def tls(self) -> ssl.SSLContext | None:
        """Return the TLS context with which the connection is encrypted; None if it is not encrypted."""
        return ssl.create_default_context() if self.scheme.startswith("rediss") else None

    @property
    def credentials(self) -> dict[str, Any]:
        """Return the options of redis-py's clients for user and password."""
        return {"username": self.user or None, "password": self.password or None}


def parse_url(url: str) -> RedisUrl:
    """Return the parts of ``url``. Raises ValueError if an address has no valid port."""
    parts = urlsplit(url)
    login, _, hosts = parts.netloc.rpartition("@")
    user, _, password = login.partition(":")
    default_port = DEFAULT_SENTINEL_PORT if parts.scheme.endswith("+sentinel") else DEFAULT_PORT
    nodes = tuple(_parse_node(host, default_port) for host in hosts.split(","))
    path = parts.path if parts.scheme == "unix" else parts.path.strip("/")
    return RedisUrl(parts.scheme, nodes, path, unquote(user), unquote(password))


def _parse_node(text: str, default_port: int) -> Node:
    parts = urlsplit(f"//{text}")
    return Node(parts.hostname or "127.0.0.1", parts.port or default_port)


def connect_function(url: str) -> Connect:
    """Return the function that connects a pipeline to the server at ``url``, or to the primary that the sentinels at
    ``url`` name at that moment."""
    parts = parse_url(url)

    async def connect(pipe: Pipeline) -> None:
        host, port = await find_primary(parts.nodes, parts.path) if parts.kind == "sentinel" else parts.nodes[0]
        await connect_to_node(pipe, parts, Node(host, port))

    return connect


async def connect_to_node(pipe: Pipeline, url: RedisUrl, node: Node) -> None:
    """Connect ``pipe`` to one server, with the password and the database of ``url``. Raises OSError, CalloutError."""
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(CONNECT_TIMEOUT_S):
        if url.kind == "unix":
            await loop.create_unix_connection(lambda: pipe, url.path)
        else:
            await loop.create_connection(lambda: pipe, node.host, node.port, ssl=url.tls)
        if url.password:
            user = [url.user] if url.user else []
            await pipe.submit_urgent("AUTH", *user, url.password)
        if not url.kind and url.path:
            await pipe.submit_urgent("SELECT", url.path)


def create_client(url: str, **options: Any) -> Redis:
    """Return a redis-py client that returns stream entries as raw lists. To make a dict of each entry would be half the
    cost of tailing the log. For a cluster it is a client with the same methods that finds the node of a key.
    """
    parts = parse_url(url)
    client: Any
    if parts.kind == "sentinel":
        pool = ConnectionPool(_sentinel_connection(parts), protocol=2, **parts.credentials, **options)
        client = Redis.from_pool(pool)
    elif parts.kind == "cluster":
        # Its own retries stay: it is for tests, tools and checks, and sends no commands of callers.
        nodes = [ClusterNode(*node) for node in parts.nodes]
        timeout: Any = {"socket_timeout": options.get("socket_timeout")}
        client = RedisCluster(startup_nodes=nodes, protocol=2, ssl=bool(parts.tls), **parts.credentials, **timeout)
    else:
        client = Redis.from_url(url, protocol=2, **options)
    for command in ("XREAD", "XRANGE"):
        client.set_response_callback(command, _return_unparsed)
    return cast("Redis", client)


def _sentinel_connection(url: RedisUrl) -> type[Connection]:
    """Return the class of redis-py's connections that ask the sentinels for the primary at each connect."""
    base: Any = SSLConnection if url.tls else Connection

    class SentinelConnection(base):  # type: ignore[misc]
        async def _connect(self) -> None:
            self.host, self.port = await find_primary(url.nodes, url.path)
            await super()._connect()

    return cast("type[Connection]", SentinelConnection)


def create_node_client(url: RedisUrl, node: Node, **options: Any) -> Redis:
    """Return a redis-py client of one node of a cluster."""
    return Redis(host=node.host, port=node.port, protocol=2, ssl=bool(url.tls), **url.credentials, **options)


def _return_unparsed(reply: Any, **_: Any) -> Any:
    return reply


def address_without_password(url: str) -> str:
    """Return the address without its password, for messages."""
    parts = parse_url(url)
    return f"{parts.scheme}://{','.join(map(str, parts.nodes))}"


def unreachable(address: str, error: Exception) -> Unavailable:
    """Return the error that says that no server answers at a URL, or at a node ``host:port`` of a cluster."""
    shown = address_without_password(address) if "//" in address else address
    return Unavailable(f"Redis at {shown} cannot be reached: {error}")
