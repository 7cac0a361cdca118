"""Names of epochs. A name contains the ``run_id`` of the Redis server, which only that server knows."""

from __future__ import annotations

import functools

import redis

session_url = ""
"""The URL of the session's Valkey."""


def epoch_name(number: int, url: str = "") -> str:
    """Return the name of an epoch that opened on the server at ``url``, or on the session's server."""
    return f"e{number}-{_run_id(url or session_url)[:8]}"


def current_epoch_name(number: int, url: str) -> str:
    """Same as ``epoch_name``, for a server that may have been restarted."""
    _run_id.cache_clear()
    return epoch_name(number, url)


@functools.cache
def _run_id(url: str) -> str:
    with redis.Redis.from_url(url) as client:
        return str(client.info("server")["run_id"])  # type: ignore[index]
