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
        plan = ProcessPlan(url, None, metrics_socket, upgrades_zone_formats=is_alone, name=LOOPS_NAME)
        plans.append(ChildPlan(LOOPS_NAME, msgspec.structs.replace(settings, roles=loops), plan))
    loads, gateway = WorkerLoads(settings.workers), msgspec.structs.replace(settings, roles=("gateway",))
    for seat in range(settings.workers):
        is_first = not plans
        name = f"gateway {seat + 1}"
        counts, raises_formats = metrics_socket if is_first else None, is_alone and is_first
        plan = ProcessPlan(url, sock, counts, upgrades_zone_formats=raises_formats, loads=loads, name=name)
        plans.append(ChildPlan(name, gateway, plan, seat))
    return plans
