"""``callout zone``: show, close and open a zone, or rebuild it from SQL.

A zone that an operator has closed is *paused*. The database records it, so that no start and no restored Redis opens
the zone; only ``callout zone open`` does.
"""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import click
import msgspec

from engine.process.datadir import CannotStart
from engine.process.settings import Settings, SettingsError
from engine.types import DEFAULT_ZONE, Zone
from server import logs
from server.cli import options
from server.cli.command_failed import CommandFailed
from server.cli.connections import compare_zone, is_filled, open_database, open_redis, redis_url, run_script

if TYPE_CHECKING:
    import redis.asyncio as redis

    from engine.sql.database import Archive

OPEN_TIMEOUT_S = 10.0
"""How long ``callout zone open`` waits for a server to open the zone. A server tries it once a second."""
POLL_INTERVAL_S = 0.1
TAKE_OVER_HINT = " If Redis shall belong to this database: --take-over deletes everything that Redis has of the zone."

_zone_name = click.argument("zone", default=DEFAULT_ZONE)


@click.group
def zone() -> None:
    """Show, close, open or rebuild a zone."""


@zone.command
@click.argument("zone_name", metavar="[ZONE]", required=False)
@options.data
@options.redis
@options.database
@options.as_json
def status(*, zone_name: str | None, as_json: bool, **flags: str | None) -> None:
    """Print the state of one zone or of all: its epoch and head, how far the archive is, and why it is closed."""
    settings = options.load_settings(**flags)
    zones = [_known_zone(settings, zone_name)] if zone_name else list(settings.all_zones)
    found = asyncio.run(_read_states(settings, zones))
    if as_json:
        print(json.dumps(found))
        return
    for name, state in found.items():
        print(f"{name}: " + ", ".join(f"{key} {value}" for key, value in state.items()))


@zone.command("close")
@_zone_name
@options.data
@options.redis
@options.database
def close_zone(*, zone: str, **flags: str | None) -> None:
    """Close a zone: every command in it is refused until `callout zone open`, also after restarts."""
    settings = options.load_settings(**flags)
    print(asyncio.run(_close(settings, _known_zone(settings, zone))))


@zone.command("open")
@_zone_name
@options.data
@options.redis
@options.database
def open_zone(*, zone: str, **flags: str | None) -> None:
    """Open a zone that was closed by `callout zone close`. A server compares Redis with the database first."""
    settings = options.load_settings(**flags)
    print(asyncio.run(_open(settings, _known_zone(settings, zone))))


@zone.command
@_zone_name
@options.data
@options.redis
@options.database
@options.key_file
@options.blueprints
@click.option(
    "--take-over",
    is_flag=True,
    help="Redis belongs to another database: give it to this one. Everything that Redis has of the zone is deleted.",
)
def rebuild(*, zone: str, take_over: bool, **flags: str | None) -> None:
    """Rebuild a closed zone from the database. Data that Redis has and the database does not have is lost.

    A server does this by itself if Redis is empty, behind, or has another history. In all other cases an operator
    decides. To rebuild an open zone, close it first. A Redis of another database is refused without --take-over.
    """
    settings = options.load_settings(**flags)
    logs.configure("error")
    from engine.blueprint.catalogue import BlueprintError
    from server.process.start_errors import start_error_text

    try:
        print(asyncio.run(_rebuild(settings, _known_zone(settings, zone), take_over=take_over)))
    except BlueprintError as error:
        raise CannotStart(start_error_text(error)) from error


def _known_zone(settings: Settings, name: str) -> Zone:
    if name not in settings.all_zones:
        raise SettingsError(f"zone {name}: this installation has {', '.join(settings.all_zones)}")
    return Zone(name)


async def _read_states(settings: Settings, zones: list[Zone]) -> dict[str, dict[str, Any]]:
    async with open_database(settings) as archive, open_redis(settings) as client:
        return {name: await _read_state(archive, client, name) for name in zones}


async def _read_state(archive: Archive, client: redis.Redis | None, zone: Zone) -> dict[str, Any]:
    """Return the state of a zone, and the facts about it."""
    from engine.store import keys
    from engine.zone import records
    from engine.zone.opening import CLOSED_REASONS

    record = (await records.read_records(archive, [zone]))[zone]
    found: dict[str, Any] = {"state": "paused" if record.paused else "closed", "archived": record.archived}
    if client is None:
        return found | {"redis": "not running"}
    row: Any = await client.hmget(keys.zone_meta(zone), ["epoch", "seq", "done", "total"])
    epoch, seq, done, total = ((value or b"").decode() for value in row)
    word = await compare_zone(client, zone, record)
    found |= {"head": int(seq or 0), "lag": max(0, int(seq or 0) - record.archived)}
    if record.paused and word not in ("OTHER_DATABASE", "REBUILDING"):
        return found
    if word == "REBUILDING":
        return found | {"state": "rebuilding", "rows": int(done), "total": int(total)}
    if word != "OK":
        return found | {"why": CLOSED_REASONS[word]}
    return found | (
        {"why": "no server has opened it yet"} if epoch in ("", "closed") else {"state": "open", "epoch": epoch}
    )


async def _close(settings: Settings, zone: Zone) -> str:
    from engine.store import keys
    from engine.zone import control

    async with open_database(settings) as archive, open_redis(settings) as client:
        await _refuse_other_database(archive, client, zone)
        await control.set_paused(archive, zone, paused=True)
        row: Any = await client.hmget(keys.zone_meta(zone), ["epoch"]) if client else [None]
        epoch = (row[0] or b"").decode()
        if client and epoch not in ("", "closed"):
            names = {"meta": keys.zone_meta(zone)}
            reply = await run_script(client, "zone_close", names, {"why": "PAUSED"}, epoch)
            if reply[0] != b"OK":
                raise CommandFailed(f"zone {zone}: a new epoch began at this moment; give the command again")
    return f"zone {zone} is paused; `callout zone open {zone}` opens it"


async def _open(settings: Settings, zone: Zone) -> str:
    from engine.store import keys
    from engine.zone import control

    async with open_database(settings) as archive, open_redis(settings) as client:
        await _refuse_other_database(archive, client, zone)
        await control.set_paused(archive, zone, paused=False)
        if client is None:
            return f"zone {zone} is not paused any more; it opens when the server starts"
        if await client.hget(keys.zone_meta(zone), "why") == b"PAUSED":
            await run_script(client, "zone_close", {"meta": keys.zone_meta(zone)}, {"why": "OPENED"}, "closed")
        for _ in range(round(OPEN_TIMEOUT_S / POLL_INTERVAL_S)):
            found = await _read_state(archive, client, zone)
            if found["state"] == "open":
                break
            await asyncio.sleep(POLL_INTERVAL_S)
    if found["state"] != "open":
        return f"zone {zone} is not paused any more, and not open: {found.get('why', found['state'])}"
    return f"zone {zone} is open in epoch {found['epoch']}"


async def _refuse_other_database(archive: Archive, client: redis.Redis | None, zone: Zone, more: str = "") -> None:
    """Raise CommandFailed if Redis belongs to another database. ``more`` is added to the error's text."""
    from engine.zone import records

    record = (await records.read_records(archive, [zone]))[zone]
    if client is not None and await compare_zone(client, zone, record) == "OTHER_DATABASE":
        raise CommandFailed(
            f"zone {zone}: Redis belongs to another database; nothing was changed: are --data, --database and --redis"
            f" the right ones?{more}"
        )


async def _rebuild(settings: Settings, zone: Zone, *, take_over: bool) -> str:
    from rich.console import Console

    from engine.process.signer import key_path
    from engine.rebuild import rebuilder
    from engine.startup import open_engine
    from server.cli.rebuild_progress import shown_progress

    words = rebuilder.TAKE_OVER_WORDS if take_over else rebuilder.OPERATOR_WORDS
    async with open_database(settings) as archive, open_redis(settings) as client:
        url = redis_url(settings)
        if url is None:
            raise CannotStart("the embedded Valkey does not run: start the server first, or give --redis")
        if not is_filled(key_path(settings)):
            raise CannotStart(f"no signing key at {key_path(settings)}: give --key-file")
        if not take_over:
            await _refuse_other_database(archive, client, zone, TAKE_OVER_HINT)
    async with open_engine(msgspec.structs.replace(settings, redis=url, zones=(zone,))) as engine:
        running: rebuilder.RunningRebuilds = {}
        async with shown_progress(Console(stderr=True), zone, running):
            report = await rebuilder.rebuild_zone(engine, zone, words=words, running=running)
        state = engine.store.zones[zone]
        if report is None and state.open:
            raise CommandFailed(f"zone {zone} is open and agrees with the database; close it first to rebuild it")
        if report is None:
            raise CommandFailed(f"zone {zone}: another process rebuilds it at this moment ({state.why})")
    after = "it is open" if state.open else state.why
    return f"zone {zone} was rebuilt up to seq {report.seq}: {report.rows} rows in {report.seconds} s; {after}"
