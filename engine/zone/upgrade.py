"""The format of a zone: the version of its data that a writer must understand. An older release is refused
(``STALE_RELEASE``).

``meta.format`` in Redis and ``checkpoints.format`` in SQL contain the format. A new release writes data in the format
of the zone, so that the previous release can run beside it or return. The format rises when an operator raises it, or
when ``callout serve`` starts alone. The format in SQL is raised first, so that no older release rebuilds the zone from
SQL.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from sqlalchemy import select, update

from engine.errors import Unavailable
from engine.process.settings import SettingsError
from engine.sql.database import Archive
from engine.sql.schema import checkpoints
from engine.store import keys
from engine.store.connection import Store
from engine.store.scripts import Args, Keys
from engine.types import Zone

MAX_ATTEMPTS = 10

ReadMeta = Callable[[str], Awaitable[str]]
RunUpgrade = Callable[[Keys, Args, str], Awaitable[bool]]


async def raise_format(archive: Archive, zone: Zone, to: int, read_meta: ReadMeta, run_script: RunUpgrade) -> int:
    """Raise the format of a zone to ``to``, and return the format that it had. A repeat changes nothing.

    ``read_meta`` returns a field of the zone's key ``meta``, "" if there is none. ``run_script`` runs the script
    ``zone_upgrade`` in an epoch, and returns whether the zone was still in that epoch. Raises SettingsError if the
    zone's format is higher than ``to``, Unavailable, Indeterminate.
    """
    columns = checkpoints.c
    async with archive.begin_write() as conn:
        in_sql = (
            await conn.execute(select(columns.format).where(columns.zone == zone).with_for_update())
        ).scalar() or 1
        before = max(in_sql, int(await read_meta("format") or 1))
        if before > to:
            raise SettingsError(f"zone {zone} has format {before}, and this release knows {to}")
        await conn.execute(update(checkpoints).where(columns.zone == zone).values(format=to))
    for _ in range(MAX_ATTEMPTS):
        epoch = await read_meta("epoch")
        if not epoch or int(await read_meta("format") or 1) == to:
            return before
        if await run_script({"meta": keys.zone_meta(zone)}, {"format": to}, epoch):
            return before
    raise Unavailable(f"zone {zone}: its epoch changed at each attempt")


async def raise_all(store: Store, archive: Archive) -> None:
    """Raise the formats of all zones to the newest format that this process knows. Call this only if no other process
    uses the zones.
    """
    for zone, state in store.zones.items():
        if state.open and state.format < store.known_format:

            async def read(name: str, zone: Zone = zone) -> str:
                return (await store.command("HGET", keys.zone_meta(zone), name) or b"").decode()

            async def run(names: Keys, args: Args, _epoch: str, zone: Zone = zone) -> bool:
                await store.run(zone, "zone_upgrade", keys=names, args=args)
                return True

            await raise_format(archive, zone, store.known_format, read, run)
            await store.reopen(zone, stale=state.epoch)
