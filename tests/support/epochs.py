"""What epochs are called: a name carries the server's ``run_id``, which only the server knows."""

from __future__ import annotations

import functools

import redis

shared = ""
"""The URL of the session's Valkey."""


def e(number: int, url: str = "") -> str:
    """The name of an epoch that opened on the server at ``url``, or on the session's."""
    return f"e{number}-{_run_id(url or shared)[:8]}"


def of_now(number: int, url: str) -> str:
    """The same, of a server that may have been restarted."""
    _run_id.cache_clear()
    return e(number, url)


@functools.cache
def _run_id(url: str) -> str:
    with redis.Redis.from_url(url) as client:
        return str(client.info("server")["run_id"])  # type: ignore[index]
