"""The readiness and the metrics of a whole server, with any number of processes."""

from __future__ import annotations

from engine.runtime import Engine
from server.health import Health


class WholeServer:
    """A server of one process. A worker of a server of several has a subclass that asks the other processes."""

    is_stopping = False
    """Whether all processes of the server stop, and not only this one."""

    def __init__(self, engine: Engine, health: Health) -> None:
        self.engine = engine
        self.health = health

    async def find_problems(self) -> list[str]:
        """Return the reasons why the server is not ready, as sentences; [] if it is ready."""
        return self.health.problems()

    async def render_metrics(self) -> bytes:
        """Return the response body of ``/metrics``."""
        return self.engine.metrics.render()
