"""The Engine: the handles on Redis, SQL and other parts of a process, opened together and closed in reverse order."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field

import msgspec

from engine.blueprint import catalogue, registry
from engine.blueprint.catalogue import Blueprints
from engine.blueprint.compiler import PlanCache
from engine.process.metrics import Metrics
from engine.process.settings import Settings, SettingsError
from engine.process.signer import Signer, open_signer
from engine.sql.database import Archive, open_archive
from engine.store.connection import Store, close_store, open_store
from engine.types import DEFAULT_ZONE, Zone, is_zone
from engine.zone.opening import make_zone_opener


@dataclass(frozen=True, slots=True)
class Engine:
    """The handles that every function of the engine takes as its first argument: ``await jobs.claim(engine, …)``."""

    settings: Settings
    store: Store
    archive: Archive
    blueprints: Blueprints
    signer: Signer
    metrics: Metrics
    plans: PlanCache = field(default_factory=PlanCache)
    recorded_generations: dict[str, int] = field(default_factory=dict)
    """For each login (family of refresh tokens): the latest generation of which the use is recorded in SQL
    (engine/identity/tokens.py)."""


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
    wrong = [zone for zone in settings.zones if not is_zone(zone)]
    if wrong:
        raise SettingsError(f"zones: {', '.join(wrong)}")
    blueprints = catalogue.load_blueprints(settings.blueprint, *catalogue.blueprint_folders(settings.blueprints))
    signer = open_signer(settings)
    async with AsyncExitStack() as stack:
        archive = await open_archive(settings)
        stack.push_async_callback(archive.close)
        await registry.store_if_available(archive, blueprints)
        store = await open_store(url, [Zone(z) for z in settings.zones], make_zone_opener(archive))
        stack.push_async_callback(close_store, store)
        yield Engine(settings, store, archive, blueprints, signer, Metrics(), PlanCache(settings.job_lifetime_s))
