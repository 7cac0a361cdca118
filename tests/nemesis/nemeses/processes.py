"""Processes that are killed, stopped, or replaced."""

from __future__ import annotations

import os
import random
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager

from tests.nemesis.nemeses.registry import add_nemesis
from tests.nemesis.world import BACKGROUND_ROLES, BALANCER, POSTGRES, WORKERS, World


@add_nemesis("nothing", "no fault", lasts_s=0.5)
async def nothing(world: World, draw: random.Random) -> AsyncIterator[None]:
    """Cause no fault. An error that the checker reports then is a fault of the product or of the checker."""
    yield


@add_nemesis("server killed", "the server is killed (SIGKILL) and started again")
async def kill_server(world: World, draw: random.Random) -> AsyncIterator[None]:
    """Kill the server, and start it again at the end."""
    await world.kill_server()
    yield
    await world.start_server()


@add_nemesis("Redis killed", "Valkey is killed (SIGKILL) and started again with its file", levels=("fast", "aof"))
async def kill_valkey(world: World, draw: random.Random) -> AsyncIterator[None]:
    """Kill Valkey, and start it again with its file at the end."""
    world.primary.kill_between_syncs()
    yield
    world.primary.start()


@add_nemesis("server and Redis killed", "both are killed at once and started again")
async def kill_both(world: World, draw: random.Random) -> AsyncIterator[None]:
    """Kill the server and Valkey, and start both again at the end."""
    world.primary.kill_between_syncs()
    await world.kill_server()
    yield
    world.primary.start()
    await world.start_server()


@contextmanager
def stopped(pid: int) -> Iterator[None]:
    """Stop a process (SIGSTOP) while the block runs."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


@add_nemesis("server stopped", "the server stands still (SIGSTOP) for 7 s", lasts_s=7.0)
async def stop_server(world: World, draw: random.Random) -> AsyncIterator[None]:
    """Stop the server (SIGSTOP) for longer than a call to Redis and a runner lease may last."""
    with stopped(world.pid()):
        yield


@add_nemesis("Redis stopped", "Valkey stands still (SIGSTOP) for 6 s: longer than a call may last", lasts_s=6.0)
async def stop_valkey(world: World, draw: random.Random) -> AsyncIterator[None]:
    """Stop Valkey (SIGSTOP) for longer than a call may last."""
    with stopped(world.primary.pid):
        yield


@add_nemesis("background killed", "scheduler, archiver and notifier are killed and started again", needs=(WORKERS,))
async def kill_workers(world: World, draw: random.Random) -> AsyncIterator[None]:
    """Kill the process of the background roles, and start it again at the end."""
    await world.kill_server("workers")
    yield
    await world.start_server("workers", roles=BACKGROUND_ROLES)


@add_nemesis(
    "background stopped", "scheduler, archiver and notifier stand still for 6 s", lasts_s=6.0, needs=(WORKERS,)
)
async def stop_workers(world: World, draw: random.Random) -> AsyncIterator[None]:
    """Stop the process of the background roles for longer than its leases, and let it continue."""
    with stopped(world.pid("workers")):
        yield


@add_nemesis(
    "archiver off",
    "the background roles are off for longer than the log's window (1 s)",
    lasts_s=4.0,
    needs=(WORKERS,),
    settings=(("log_window_s", "1"),),
)
async def archiver_off(world: World, draw: random.Random) -> AsyncIterator[None]:
    """End the background roles with SIGTERM, and start them again when the log's window has passed."""
    await world.stop_server("workers")
    yield
    await world.start_server("workers", roles=BACKGROUND_ROLES)


@add_nemesis(
    "rolling restart", "a second server takes over, the first stops, and both change places again", needs=(BALANCER,)
)
async def restart_rolling(world: World, draw: random.Random) -> AsyncIterator[None]:
    """Let a second server take over from the first, and then the first from the second, each time before the other is
    stopped.
    """
    await world.start_server("second")
    world.balancer.set_target(world.url_of("second"))
    await world.stop_server("first")
    yield
    await world.start_server("first")
    world.balancer.set_target(world.url_of("first"))
    await world.stop_server("second")


@add_nemesis(
    "PostgreSQL killed", "the postmaster is killed (SIGKILL) and started again", lasts_s=2.0, needs=(POSTGRES,)
)
async def kill_postgres(world: World, draw: random.Random) -> AsyncIterator[None]:
    """Kill the main process of PostgreSQL, and start it again at the end."""
    assert world.postgres
    world.postgres.kill()
    yield
    world.postgres.start()
