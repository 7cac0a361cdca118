"""Open an Engine. This module also gives it the functions of upper layers that lower layers call, such as
``Engine.release_jobs``.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import msgspec

from engine.blueprint import catalogue, registry
from engine.blueprint.compiler import PlanCache
from engine.domain import reassign
from engine.process.metrics import Metrics
from engine.process.settings import Settings, SettingsError
from engine.process.signer import open_signer
from engine.runtime import Engine
from engine.sql.database import open_archive
from engine.store.connection import close_store, open_store
from engine.types import DEFAULT_ZONE, is_zone
from engine.zone.opening import make_zone_opener


@asynccontextmanager
async def open_engine(settings: Settings) -> AsyncIterator[Engine]:
    """Open all handles and yield the engine; close the handles after the block. ``settings.redis`` must be a URL.

    A zone that does not match the archive stays closed, with the reason in ``store.zones``. Raises SettingsError,
    BlueprintError, UnsuitableServer and Unavailable (Redis cannot be reached); each names everything that is wrong.
    """
    url = settings.redis
    if url is None:
        raise SettingsError("redis: no URL")
    if DEFAULT_ZONE not in settings.zones:  # every process tails main's log, for the events of accounts
        settings = msgspec.structs.replace(settings, zones=(*settings.zones, DEFAULT_ZONE))
    wrong = [zone for zone in settings.all_zones if not is_zone(zone)]
    if wrong:
        raise SettingsError(f"zones: {', '.join(wrong)}")
    blueprints = catalogue.load_blueprints(settings.blueprint, *catalogue.blueprint_folders(settings.blueprints))
    signer = open_signer(settings)
    async with AsyncExitStack() as stack:
        archive = await open_archive(settings)
        stack.push_async_callback(archive.close)
        await registry.store_if_available(archive, blueprints)
        zones, opener = settings.all_zones, make_zone_opener(archive)  # any process takes commands for any zone
        store = await open_store(url, zones, opener, level=settings.durability, replicas=settings.replicas or 0)
        stack.push_async_callback(close_store, store)
        plans = PlanCache(settings.job_lifetime_s)
        engine = Engine(settings, store, archive, blueprints, signer, Metrics(), reassign.release_jobs, plans)
        stack.push_async_callback(engine.road_times.close)
        stack.push_async_callback(_cancel_background, engine)
        yield engine


async def _cancel_background(engine: Engine) -> None:
    """Cancel the tasks that outlive the request that began them."""
    tasks = list(engine.background)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
