"""Compute the names of epochs. A name contains a part of the Redis server's ``run_id``, so a test must read it from the
server.
"""

from __future__ import annotations

import functools

import redis

session_url = ""
"""The URL of the Valkey that all tests of the session share; the fixture ``redis_url`` sets it."""


def epoch_name(number: int, url: str = "") -> str:
    """Return the name of epoch ``number`` on the Redis server at ``url``. "" means the Valkey that the session's tests
    share.
    """
    return f"e{number}-{_run_id(url or session_url)[:8]}"


def current_epoch_name(number: int, url: str) -> str:
    """Same as ``epoch_name``, but read ``run_id`` again, because the server at ``url`` may have been restarted."""
    _run_id.cache_clear()
    return epoch_name(number, url)


@functools.cache
def _run_id(url: str) -> str:
    with redis.Redis.from_url(url) as client:
        return str(client.info("server")["run_id"])  # type: ignore[index]
