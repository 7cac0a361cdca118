"""Decoded jobs for tests that need no server."""

from __future__ import annotations

from collections.abc import Iterable

from engine.blueprint.schema import Blueprint
from engine.events import rfc3339_of
from engine.rules.job_document import JobFile, JobView, Party
from engine.types import JobId, ServiceId, UserId, Zone

EPOCH = rfc3339_of(0)


def view_of_job(
    blueprint: Blueprint,
    status: str,
    *,
    at: Iterable[str] = (),
    customer: str = "carla",
    holder: str = "tom",
    frozen: bool = False,
    scheduled_for: str | None = None,
    photos: int = 0,
) -> JobView:
    """Return a job in the state ``status``. ``at`` are its marks and reached states. ``holder`` is "" if no technician
    has the job. ``photos`` is the number of its photos.
    """
    return JobView(
        id=JobId("job_main_1"),
        zone=Zone("main"),
        blueprint=blueprint.name,
        service=ServiceId("svc_1"),
        status=status,
        phase=blueprint.states[status].phase,
        version=1,
        created_at=EPOCH,
        updated_at=EPOCH,
        customer=Party(UserId(customer)),
        technician=Party(UserId(holder)) if holder else None,
        frozen=frozen,
        scheduled_for=scheduled_for,
        photos=[JobFile("file_1", "0" * 64, "photo")] * photos,
        at=dict.fromkeys(at, EPOCH),
    )
