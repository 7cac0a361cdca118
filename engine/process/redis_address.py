"""Check the address of Redis in the settings."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import urlsplit

REDIS_SCHEMES = ("redis", "rediss", "unix", "redis+sentinel", "rediss+sentinel", "redis+cluster", "rediss+cluster")


def redis_problems(url: str) -> Iterator[str]:
    """Yield the problems of the address of Redis."""
    try:
        parts = urlsplit(url)
        nodes = [urlsplit(f"//{host}") for host in parts.netloc.rpartition("@")[2].split(",")]
        lacks_host = any(not node.hostname or node.port == 0 for node in nodes)
    except ValueError as error:
        yield f"redis: {error}"
        return
    path = parts.path.strip("/")
    if parts.scheme not in REDIS_SCHEMES:
        yield f"redis: not an address ({', '.join(f'{scheme}://…' for scheme in REDIS_SCHEMES)})"
    elif parts.query or parts.fragment:
        yield "redis: the address has something after ? or #, which this version does not take"
    elif parts.scheme == "unix":
        if not path:
            yield "redis: unix:// needs the path of a socket"
    elif lacks_host:
        yield "redis: the address names no host, or port 0"
    elif parts.scheme.endswith("+sentinel"):
        if not path:
            yield "redis: after the hosts of sentinels comes the name of the service: …/mymaster"
    elif parts.scheme.endswith("+cluster"):
        if path:
            yield "redis: a cluster has no numbered databases"
    elif len(nodes) > 1:
        yield f"redis: {parts.scheme}:// takes one host"
    elif path and not path.isdecimal():
        yield f"redis: /{path} is no number of a database"
