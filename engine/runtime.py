"""The Engine: the handles on Redis, SQL and other parts of a process. engine/startup.py opens and closes them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from engine.audit.staff_reads import StaffReads
from engine.blueprint.catalogue import Blueprints
from engine.blueprint.compiler import PlanCache
from engine.files.blobs import BlobStore, open_blobs
from engine.files.transfer_slots import TransferSlots, download_slots
from engine.files.uploads import UploadSlots
from engine.process.metrics import Metrics
from engine.process.road_times import RoadTimes
from engine.process.settings import Settings
from engine.process.signer import Signer
from engine.rules.road_routers import parse_router_address
from engine.sql.database import Archive
from engine.store.connection import Store
from engine.store.fix_batches import FixBatches
from engine.store.technician_zones import TechnicianZones
from engine.types import Principal, TechnicianId

ReleaseJobs = Callable[["Engine", TechnicianId, Principal], Awaitable[None]]
"""Releases every job of a technician, in the name of a principal."""


@dataclass(frozen=True, slots=True)
class Engine:
    """The handles that every function of the engine takes as its first argument: ``await jobs.claim(engine, …)``."""

    settings: Settings
    store: Store
    archive: Archive
    blueprints: Blueprints
    signer: Signer
    metrics: Metrics
    release_jobs: ReleaseJobs
    """Always ``engine.domain.reassign.release_jobs``. The outbox (engine/identity/outbox.py) calls it here, since
    engine/identity/ must not import engine/domain/, which imports accounts."""
    plans: PlanCache = field(default_factory=PlanCache)
    recorded_generations: dict[str, int] = field(default_factory=dict)
    """For each login (family of refresh tokens): the latest generation of which the use is recorded in SQL
    (engine/identity/tokens.py)."""
    staff_reads: StaffReads = field(default_factory=StaffReads)
    background: set[asyncio.Task[None]] = field(default_factory=set)
    """The day plans that are being computed (engine/domain/day_plans.py). They are cancelled when the engine closes."""
    technician_zones: TechnicianZones = field(init=False)
    fix_batches: FixBatches = field(init=False)
    road_times: RoadTimes = field(init=False)
    blobs: BlobStore = field(init=False)
    uploads: UploadSlots = field(default_factory=UploadSlots)
    downloads: TransferSlots = field(default_factory=download_slots)

    def __post_init__(self) -> None:
        object.__setattr__(self, "technician_zones", TechnicianZones(self.store))
        object.__setattr__(self, "blobs", open_blobs(self.settings))
        router = self.settings.router
        object.__setattr__(self, "road_times", RoadTimes(parse_router_address(router) if router else None))
        object.__setattr__(self, "fix_batches", FixBatches(self.store, self.technician_zones, self.settings.zone_areas))
