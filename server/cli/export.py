"""``callout export``: print what the archive has of a job, of a user, or of a part of a log, one JSON object a line."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

import click
import msgspec

from engine.process.settings import Settings, SettingsError
from engine.types import DEFAULT_ZONE, JobId, UserId, Zone, is_id, is_zone, zone_of
from server.cli import options
from server.cli.command_failed import CommandFailed
from server.cli.connections import open_database
from server.schemas.decode import MAX_EXACT_INTEGER

if TYPE_CHECKING:
    from engine.sql.database import Archive

SEQ = click.IntRange(1, MAX_EXACT_INTEGER)


@click.command
@click.option("--job", metavar="ID", help="The job, its events, and the messages of its room.")
@click.option("--user", metavar="ID", help="Everything about a user, and every event that was addressed to them.")
@click.option("--from", "first", type=SEQ, metavar="SEQ", help="The events of a zone from this seq on.")
@click.option("--to", "last", type=SEQ, metavar="SEQ", help="The last seq. Default: the archive's head.")
@click.option("--zone", default=DEFAULT_ZONE, help="The zone of --from and --to.")
@options.data
@options.database
def export(
    *, job: str | None, user: str | None, first: int | None, last: int | None, zone: str, **flags: str | None
) -> None:
    """Print what the archive has, one JSON object a line (NDJSON): of --job, of --user, or --from a seq --to another.

    Events that the archiver has not copied yet are missing; the archiver lags by a fraction of a second.
    """
    if sum(each is not None for each in (job, user, first)) != 1:
        raise SettingsError("export: give one of --job, --user and --from")
    if last is not None and (first is None or last < first):
        raise SettingsError("--to: needs --from, and is not below it")
    if job is not None and zone_of(job) is None:
        raise SettingsError(f"--job {job}: is not the id of a job")
    if user is not None and not is_id(user):
        raise SettingsError("--user: an id is 1 to 64 letters, digits, _ or -")
    if not is_zone(zone):
        raise SettingsError(f"--zone {zone}: is not the name of a zone")
    asyncio.run(_print_lines(options.load_settings(**flags), job, user, (Zone(zone), first, last)))


async def _print_lines(
    settings: Settings, job: str | None, user: str | None, seq_range: tuple[Zone, int | None, int | None]
) -> None:
    async with open_database(settings) as archive:
        try:
            async for line in _lines(archive, job, user, seq_range):
                sys.stdout.buffer.write(msgspec.json.encode(line) + b"\n")
        except LookupError:
            raise CommandFailed(f"the archive has no job {job}") from None
        sys.stdout.buffer.flush()


def _lines(
    archive: Archive, job: str | None, user: str | None, seq_range: tuple[Zone, int | None, int | None]
) -> AsyncIterator[dict[str, Any]]:
    from engine.archive import export as archived
    from engine.archive import person_export

    if job is not None:
        return archived.export_job(archive, JobId(job))
    if user is not None:
        return person_export.export_person(archive, UserId(user))
    zone, first, last = seq_range
    return archived.export_range(archive, zone, first or 1, last or sys.maxsize)
