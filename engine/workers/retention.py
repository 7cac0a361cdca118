"""Delete what is older than the retention of the settings. Any number of processes may do so at once."""

from __future__ import annotations

import asyncio
from time import monotonic
from typing import TYPE_CHECKING

from engine.archive import retention
from engine.clock import now_ms
from engine.identity.log_append import append_event
from engine.types import Zone

if TYPE_CHECKING:
    from engine.runtime import Engine

DAY_MS = 86_400_000
LEAST_DEMAND_DAYS = 100
"""Counts of the last 100 days are never deleted, because the forecast reads those of the last twelve weeks."""
MAX_PASS_S = 20.0
"""After this time a pass leaves the rest to the next one, so that other maintenance need not wait."""


async def run_once(engine: Engine) -> int:
    """Delete what is too old, for at most ``MAX_PASS_S``. Return the number of deleted rows. Raises the errors of the
    database and of ``Store.run``.
    """
    settings, archive, end = engine.settings, engine.archive, monotonic() + MAX_PASS_S
    deleted = 0
    for days, delete_batch in (
        (settings.keep_jobs_days, retention.delete_jobs),
        (settings.keep_messages_days, retention.delete_rooms),
        (settings.keep_notifications_days, retention.delete_notifications),
        (
            settings.keep_demand_days and max(settings.keep_demand_days, LEAST_DEMAND_DAYS),
            retention.delete_demand_hours,
        ),
    ):
        while days and monotonic() < end and (count := await delete_batch(archive, _first_kept_ms(days))):
            deleted += count
            await asyncio.sleep(0)
    if settings.keep_events_days:
        for zone, state in engine.store.zones.items():
            deleted += await _retire_events(engine, zone, end) if state.open else 0
    if deleted and archive.is_sqlite:  # PostgreSQL does this by itself (autovacuum)
        from engine.sql.sqlite_connection import release_pages

        await release_pages(archive)
    return deleted


def _first_kept_ms(days: int) -> int:
    """Return the time (ms) before which rows are deleted. It is the beginning of a day (UTC), so that a part of each
    zone's log is deleted once a day.
    """
    return (now_ms() // DAY_MS - days) * DAY_MS


async def _retire_events(engine: Engine, zone: Zone, end: float) -> int:
    """Announce the retirement of a part of the zone's log, or delete a part that an earlier pass has announced. Between
    the two passes, every process that reads SQL learns that the part is retired.
    """
    archive = engine.archive
    part = await retention.next_retirement(archive, zone, _first_kept_ms(engine.settings.keep_events_days))
    if part is None:
        return 0
    if part.announced_seq is None:
        key = f"retired:{zone}:{part.first_seq}-{part.last_seq}"
        data, kind = part.data.encode(), retention.RETIRED_TYPE
        seq = await append_event(engine, kind, channels="", data=data, actor="engine", key=key, zone=zone)
        await retention.note_announcement(archive, part, seq)
        return 0
    announced = await retention.is_announced(archive, part)
    if announced is False:  # the log has lost the event that announced the part
        await retention.note_announcement(archive, part, None)
    deleted = 0
    while announced and part.deleted_to < part.last_seq and monotonic() < end:
        count, part = await retention.delete_events(archive, part)
        deleted += count
        await asyncio.sleep(0)
    return deleted
