"""Level ``replica``: the replies to a packed write are held back until all replicas have what the write changed.

Each packed write ends with a write of a probe key and ``WAIT``. ``WAIT`` compares the replicas with the last write of
its own connection only: without the probe, a repeat that finds an idempotency record and writes nothing would be
acknowledged although the replicas lack what the first request wrote on another connection.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, cast

import hiredis

from engine.errors import Indeterminate

WAIT_MS = 100
"""How long the replicas may take. After that, every held reply is indeterminate."""
PROBE_LIFETIME_MS = 10_000

_pack_command = cast("Callable[[tuple[str | int, ...]], bytes]", hiredis.pack_command)


class ReplicaWait:
    """The two commands that end a packed write at level ``replica``: a write of a probe key, and ``WAIT``."""

    def __init__(self, replicas: int, probe_key: str) -> None:
        self.replicas = replicas
        self.probe = _pack_command(("SET", probe_key, 1, "PX", PROBE_LIFETIME_MS))
        self.wait = _pack_command(("WAIT", replicas, WAIT_MS))


class HeldReplies:
    """The replies of one packed write that are held back. ``probed`` and ``counted`` are the futures of the replies to
    the two commands that end the write."""

    def __init__(self, replicas: int) -> None:
        loop = asyncio.get_running_loop()
        self.probed: asyncio.Future[Any] = loop.create_future()
        self.counted: asyncio.Future[Any] = loop.create_future()
        self._replicas = replicas
        self._held: list[tuple[asyncio.Future[Any], Any]] = []
        self.counted.add_done_callback(self._release)

    def hold(self, future: asyncio.Future[Any], reply: Any) -> None:
        """Hold back ``reply``, which ``future`` gets when all replicas have the write."""
        self._held.append((future, reply))

    def _release(self, counted: asyncio.Future[Any]) -> None:
        """Give every future its reply if all replicas have the write, else Indeterminate."""
        failures = [each.exception() if each.done() else None for each in (self.probed, counted)]
        is_replicated = not any(failures) and int(counted.result()) >= self._replicas
        for future, reply in self._held:
            if future.done():
                continue
            if is_replicated:
                future.set_result(reply)
            else:
                future.set_exception(Indeterminate("Done, but not yet on all replicas; repeat with the same key"))
