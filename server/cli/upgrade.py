"""``callout upgrade``: let all zones use the format of this release, after the last process of an older one ended."""

from __future__ import annotations

import asyncio
from typing import Any

import click

from engine.process.datadir import CannotStart
from engine.process.settings import Settings
from engine.types import Zone
from server.cli import options
from server.cli.connections import open_database, open_redis, run_script


@click.command
@options.data
@options.redis
@options.database
def upgrade(**flags: str | None) -> None:
    """Let all zones use the format of this release. Processes of an older release are refused from then on.

    Run it after all processes were replaced by the new release. The only way back is to restore a backup.
    """
    for line in asyncio.run(_upgrade(options.load_settings(**flags))):
        print(line)


async def _upgrade(settings: Settings) -> list[str]:
    from engine.store import keys
    from engine.zone.upgrade import raise_format

    lines = []
    async with open_database(settings) as archive, open_redis(settings) as client:
        if client is None:
            raise CannotStart("the embedded Valkey does not run: its server raises the format at its next start")
        for zone in settings.all_zones:

            async def read(name: str, zone: Zone = zone) -> str:
                return (await client.hget(keys.zone_meta(zone), name) or b"").decode()  # type: ignore[union-attr]

            async def run(names: Any, args: Any, epoch: str) -> bool:
                return bool((await run_script(client, "zone_upgrade", names, args, epoch))[0] == b"OK")

            before = await raise_format(archive, zone, settings.format, read, run)
            word = "has" if before == settings.format else f"had format {before} and has"
            lines.append(f"zone {zone} {word} format {settings.format}")
    return lines
