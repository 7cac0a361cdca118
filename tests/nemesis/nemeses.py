"""The nemeses: each causes one fault while its block runs, and heals it at the end."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass

from tests.nemesis.world import World

ALL_LEVELS = ("fast", "replica", "aof", "sql")
Strike = Callable[[World, random.Random], AbstractAsyncContextManager[None]]


@dataclass(frozen=True)
class Nemesis:
    """One fault. ``survives``: the levels that promise that nothing acknowledged is lost. ``options``: those of Valkey.
    ``lasts_s``: how long the fault lasts.
    """

    name: str
    says: str
    strike: Strike
    survives: tuple[str, ...] = ALL_LEVELS
    lasts_s: float = 1.0
    options: tuple[str, ...] = ()
    prepare: Callable[[World], Awaitable[None]] | None = None


NEMESES: dict[str, Nemesis] = {}


def add_nemesis(
    name: str, says: str, *, survives: tuple[str, ...] = ALL_LEVELS, lasts_s: float = 1.0
) -> Callable[[Callable[[World, random.Random], AsyncIterator[None]]], Strike]:
    """Return a decorator that adds a generator with one ``yield`` to the nemeses."""

    def decorate(function: Callable[[World, random.Random], AsyncIterator[None]]) -> Strike:
        strike = asynccontextmanager(function)
        NEMESES[name] = Nemesis(name, says, strike, survives, lasts_s)
        return strike

    return decorate


@add_nemesis("nothing", "no fault", lasts_s=0.5)
async def nothing(world: World, draw: random.Random) -> AsyncIterator[None]:
    """Cause no fault: what the checker reports then is a fault of the product or of the checker."""
    yield


@add_nemesis("server killed", "the server is killed (SIGKILL) and started again")
async def kill_server(world: World, draw: random.Random) -> AsyncIterator[None]:
    """Kill the server, and start it again at the end."""
    await world.kill_server()
    yield
    await world.start_server()


@add_nemesis("Redis killed", "Valkey is killed (SIGKILL) and started again with its file")
async def kill_valkey(world: World, draw: random.Random) -> AsyncIterator[None]:
    """Kill Valkey, and start it again with its file at the end."""
    world.primary.kill()
    yield
    world.primary.start()
