"""The URL of Redis: how to connect to it, and how to show it."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable
from typing import Any, cast
from urllib.parse import unquote, urlsplit

from redis.asyncio import Redis

from engine.store.pipeline import Pipeline


def connect_function(url: str) -> Callable[[Pipeline], Awaitable[None]]:
    """Return the function that connects a pipeline to the server at ``url`` and authenticates."""
    parts = urlsplit(url)

    async def connect(pipe: Pipeline) -> None:
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(5.0):
            if parts.scheme == "unix":
                await loop.create_unix_connection(lambda: pipe, parts.path)
            else:
                tls = ssl.create_default_context() if parts.scheme == "rediss" else None
                await loop.create_connection(lambda: pipe, parts.hostname or "127.0.0.1", parts.port or 6379, ssl=tls)
            if parts.password:
                user = [unquote(parts.username)] if parts.username else []
                await pipe.submit_urgent("AUTH", *user, unquote(parts.password))
            if parts.scheme != "unix" and parts.path.strip("/"):
                await pipe.submit_urgent("SELECT", parts.path.strip("/"))

    return connect


def create_client(url: str, **options: Any) -> Redis:
    """Return a redis-py client that returns stream entries as raw lists. To make a dict of each entry would be half the
    cost of tailing the log.
    """
    client = Redis.from_url(url, protocol=2, **options)
    for command in ("XREAD", "XRANGE"):
        client.set_response_callback(command, cast("Any", _return_unparsed))
    return client


def _return_unparsed(reply: Any, **_: Any) -> Any:
    return reply


def address_without_password(url: str) -> str:
    """Return the address without its password, for messages."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.hostname or ''}:{parts.port or 6379}"
