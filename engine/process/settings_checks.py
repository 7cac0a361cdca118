"""Find the problems of settings that their types do not exclude."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from ipaddress import ip_network
from pathlib import Path
from typing import Any

from engine.process.redis_address import redis_problems
from engine.rules.road_routers import router_problems

_match_version = re.compile(r"([^=]{1,64}=)?\d{1,9}(\.\d{1,9}){0,3}", re.ASCII).fullmatch
_match_contact = re.compile(r"mailto:[^\s@<>]+@[^\s@<>]+|https://[^\s<>]+").fullmatch
_match_address = re.compile(r"https?://[A-Za-z0-9.\-\[\]:]+/[^\s;,'\"]*").fullmatch
"""Its origin stands in a Content-Security-Policy, where a space or a semicolon would end it."""


def value_problems(setting: str, settings: Any) -> Iterator[str]:
    """Yield the problems of a value that its type does not exclude."""
    value = getattr(settings, setting)
    if isinstance(value, float) and not math.isfinite(value):
        yield f"{setting}: {value} is no number of seconds"
    elif setting == "redis" and value is not None:
        yield from redis_problems(value)
    elif setting == "durability" and value == "replica" and settings.replicas is None:
        yield "durability: replica needs the number of replicas that Redis has (replicas, at least 1)"
    elif setting == "payments" and value == "stripe":
        needed = ("stripe_key", "stripe_webhook_secret")
        yield from (f"payments: stripe needs {name}" for name in needed if not getattr(settings, name))
    elif setting == "roles" and not value:
        yield "roles: none: a process needs something to do"
    elif setting == "workers" and value > 1 and "gateway" not in settings.roles:
        yield f"workers: {value}: only the role gateway has several, and roles does not name it"
    elif setting == "app_min_version":
        yield from (
            f"{setting}: {each!r} is no version, like 2.1 or driver=2.1" for each in value if not _match_version(each)
        )
    elif setting == "trusted_proxies":
        yield from (f"{setting}: {each!r} is no address or network" for each in value if not _is_network(each))
    elif setting == "router" and value is not None:
        yield from router_problems(value)
    elif setting in ("map_style", "map_tiles") and value is not None and not _match_address(value):
        yield f"{setting}: {value!r} is no address, which looks like https://maps.example/style.json"
    elif setting == "map_tiles" and value is not None and not all(part in value for part in ("{z}", "{x}", "{y}")):
        yield f"map_tiles: {value!r} has no {{z}}, {{x}} and {{y}}"
    elif setting == "web_push_contact" and value is not None and not _match_contact(value):
        yield f"web_push_contact: {value!r} is neither mailto:NAME@HOST nor an https:// address"
    elif setting == "key_file" and value is not None and not Path(value).parent.is_dir():
        yield f"key_file: {Path(value).parent} is not a directory"


def _is_network(network: str) -> bool:
    try:
        ip_network(network)
    except ValueError:
        return False
    return True
