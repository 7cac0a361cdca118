"""Which children a server has: one for the loops of all roles but ``gateway``, and a gateway for each worker."""

from __future__ import annotations

import socket

import msgspec

from engine.process.embedded import EmbeddedValkey
from engine.process.settings import Settings
from server.process.listening import url_of
from server.process.worker_loads import WorkerLoads
from server.serve import ProcessPlan
from server.supervisor.child import ChildPlan

LOOPS_NAME = "loops"


def plan_children(
    settings: Settings, sock: socket.socket, metrics_socket: socket.socket | None, valkey: EmbeddedValkey | None
) -> list[ChildPlan]:
    """Return the plans of the children, in the order of their starts."""
    loops = tuple(role for role in settings.roles if role != "gateway")
    is_alone = valkey is not None and settings.database is None
    if valkey:
        settings = msgspec.structs.replace(settings, redis=valkey.url)
    url, plans = url_of(sock), []
    if loops:
        plan = ProcessPlan(url, None, metrics_socket, upgrades_zone_formats=is_alone)
        plans.append(ChildPlan(LOOPS_NAME, msgspec.structs.replace(settings, roles=loops), plan))
    loads, gateway = WorkerLoads(settings.workers), msgspec.structs.replace(settings, roles=("gateway",))
    for seat in range(settings.workers):
        is_first = not plans
        plan = ProcessPlan(
            url, sock, metrics_socket if is_first else None, upgrades_zone_formats=is_alone and is_first, loads=loads
        )
        plans.append(ChildPlan(f"gateway {seat + 1}", gateway, plan, seat))
    return plans
