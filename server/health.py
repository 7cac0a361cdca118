"""Whether this server should be given work: the problems behind ``/readyz``, each in a sentence.

Alive and ready are two questions. A gateway whose relay is deaf answers every request and tells nobody
anything, so a check that only proves the process alive would keep it behind the load balancer for ever.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from engine.runtime import Engine

if TYPE_CHECKING:
    from server.ws.gateway import Gateway


@dataclass(slots=True)
class Health:
    """``draining`` is set by whoever stops the server, before he closes its sockets."""

    engine: Engine
    gateway: Gateway | None = None
    draining: bool = False

    def problems(self) -> list[str]:
        """Why this server is not ready, one sentence each; empty when it is."""
        found = ["draining"] if self.draining else []
        for name, zone in self.engine.store.zones.items():
            if not zone.open:
                found.append(f"zone {name} is closed: {zone.why}")
        if not self.engine.store.packed.up:
            found.append("no primary of Redis answers: no command can be done")
        if self.gateway is not None and self.gateway.relay.deaf:
            found.append("the relay is deaf: no word from Redis")
        return found
