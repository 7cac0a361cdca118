"""The registry of the nemeses. A nemesis is a fault that the test suite causes on purpose: it begins with a ``with``
block and is healed at its end.
"""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass

from tests.nemesis.world import World

ALL_LEVELS = ("fast", "replica", "aof", "sql")
Strike = Callable[[World, random.Random], AbstractAsyncContextManager[None]]
StrikeFunction = Callable[[World, random.Random], AsyncIterator[None]]


@dataclass(frozen=True)
class Nemesis:
    """One fault that the suite can cause. ``survives``: the acknowledgement levels that promise that nothing
    acknowledged is lost. ``levels``: the levels at which it is run by default. ``lasts_s``: how long the fault lasts.
    ``needs``: the parts that the run must have, such as a replica (world.py). ``options`` and ``settings``: those of
    Valkey and of the servers. ``needs_rebuild``: the zone has to be rebuilt from SQL.
    """

    name: str
    says: str
    strike: Strike
    survives: tuple[str, ...] = ALL_LEVELS
    levels: tuple[str, ...] = ("fast",)
    lasts_s: float = 1.0
    needs: frozenset[str] = frozenset()
    options: tuple[str, ...] = ()
    settings: tuple[tuple[str, str], ...] = ()
    needs_rebuild: bool = False


NEMESES: dict[str, Nemesis] = {}


def add_nemesis(
    name: str,
    says: str,
    *,
    survives: tuple[str, ...] = ALL_LEVELS,
    levels: tuple[str, ...] = ("fast",),
    lasts_s: float = 1.0,
    needs: tuple[str, ...] = (),
    options: tuple[str, ...] = (),
    settings: tuple[tuple[str, str], ...] = (),
    needs_rebuild: bool = False,
) -> Callable[[StrikeFunction], Strike]:
    """Return a decorator that registers a fault: a generator that causes the fault, yields once, and heals it."""

    def decorate(function: StrikeFunction) -> Strike:
        strike = asynccontextmanager(function)
        NEMESES[name] = Nemesis(
            name,
            says,
            strike,
            survives,
            levels,
            lasts_s,
            frozenset(needs),
            options,
            settings,
            needs_rebuild,
        )
        return strike

    return decorate
