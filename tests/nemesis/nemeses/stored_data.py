"""Data that is lost or rolled back: an older file, an emptied Redis, deleted scripts, a power cut."""

from __future__ import annotations

import asyncio
import random
import shutil
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

from redis.asyncio import Redis

from engine.store import keys
from engine.types import DEFAULT_ZONE
from tests.nemesis.nemeses.registry import ALL_LEVELS, add_nemesis
from tests.nemesis.world import World

NOTES_SOURCE = Path(__file__).parents[1] / "fsync_notes.c"


@add_nemesis(
    "older file",
    "Valkey is killed and started with the file of a second before",
    levels=ALL_LEVELS,
    survives=("sql",),
    needs_rebuild=True,
)
async def restore_older_file(world: World, draw: random.Random) -> AsyncIterator[None]:
    """Copy Valkey's file, let users act for about a second, kill Valkey, and start it with the copy."""
    files, copy = world.primary.folder / "appendonlydir", world.folder / "older"
    shutil.copytree(files, copy)
    await asyncio.sleep(draw.uniform(0.5, 1.5))
    world.primary.kill()
    shutil.rmtree(files)
    shutil.copytree(copy, files)
    yield
    world.primary.start()


@add_nemesis(
    "emptied", "FLUSHALL, which ends no connection", levels=("fast", "sql"), survives=("sql",), needs_rebuild=True
)
async def flush_all(world: World, draw: random.Random) -> AsyncIterator[None]:
    """Delete all keys of Redis (FLUSHALL)."""
    async with Redis.from_url(world.primary.url) as client:
        await client.flushall()
    yield


@add_nemesis(
    "lost",
    "Valkey is killed and started without its file",
    levels=("fast", "sql"),
    survives=("sql",),
    needs_rebuild=True,
)
async def lose_files(world: World, draw: random.Random) -> AsyncIterator[None]:
    """Kill Valkey, delete its files, and start it again."""
    world.primary.kill()
    shutil.rmtree(world.primary.folder / "appendonlydir")
    yield
    world.primary.start()


@add_nemesis("functions flushed", "FUNCTION FLUSH by somebody else", lasts_s=0.5)
async def flush_functions(world: World, draw: random.Random) -> AsyncIterator[None]:
    """Delete the script library in Redis (FUNCTION FLUSH) three times."""
    async with Redis.from_url(world.primary.url) as client:
        for _ in range(3):
            await client.execute_command("FUNCTION", "FLUSH")
            await asyncio.sleep(draw.uniform(0, 0.3))
    yield


@add_nemesis("poison row", "an event of the log has a number that SQL does not accept", lasts_s=0.5)
async def poison_row(world: World, draw: random.Random) -> AsyncIterator[None]:
    """Append an event whose amount is too large for a BIGINT of SQL, and raise the zone's seq in the same script."""
    script = """local meta, log = KEYS[1], KEYS[2]
    local seq = redis.call('HINCRBY', meta, 'seq', 1)
    redis.call('XADD', log, string.format('%.0f-0', seq), 'type', 'payment.captured', 'to', 'user:nobody',
      'at', redis.call('HGET', meta, 'now'), 'actor', 'engine', 'bp', '', 'data', ARGV[1], 'cause', '')"""
    data = '{"job":{"id":"job_main_x"},"payment":{"id":"p","status":"captured","amount":1%s,"currency":"EUR"}}'
    async with Redis.from_url(world.primary.url) as client:
        names = (keys.zone_meta(DEFAULT_ZONE), keys.log(DEFAULT_ZONE))
        await client.eval(script, 2, *names, data % ("0" * 20))  # type: ignore[misc]
    yield


@add_nemesis(
    "blueprint gone",
    "the server is restarted without the file of the blueprint that jobs use",
    settings=(("blueprint", "home_service"),),
)
async def lose_blueprint(world: World, draw: random.Random) -> AsyncIterator[None]:
    """Restart the server with a newer version of the blueprint, let users book jobs with it, and restart the server
    without that version.
    """
    folder = world.folder / "blueprints"
    folder.mkdir()
    shipped = Path(__file__).parents[3] / "engine" / "blueprint" / "shipped" / "home_service.toml"
    folder.joinpath("home_service.toml").write_text(shipped.read_text().replace("version = 3", "version = 99"))
    await world.stop_server()
    await world.start_server("first", "--blueprints", str(folder))
    await asyncio.sleep(draw.uniform(1.0, 1.5))
    await world.stop_server()
    yield
    await world.start_server()


@add_nemesis(
    "power cut",
    "Valkey is killed, and its file ends where it was last synced, with a torn entry behind",
    levels=ALL_LEVELS,
    survives=("aof", "sql"),
    needs_rebuild=True,
)
async def cut_power(world: World, draw: random.Random) -> AsyncIterator[None]:
    """Simulate a power cut: run Valkey with a library that records how far its file is synced, kill it, and cut the
    file there. A random part of the unsynced bytes stays.
    """
    victim, notes = world.primary, world.folder / "synced"
    library = compile_sync_recorder(world.folder)
    victim.environment = {"LD_PRELOAD": str(library), "FSYNC_NOTES": str(notes)}
    victim.kill()
    victim.start()
    await asyncio.sleep(draw.uniform(1.5, 2.5))
    victim.kill()
    victim.environment = {}
    cut_file(victim.aof, synced_bytes(notes, victim.aof), draw)
    yield
    victim.start()


def compile_sync_recorder(folder: Path) -> Path:
    """Compile the library that records each sync of Valkey's append-only file."""
    library = folder / "fsync_notes.so"
    subprocess.run(["gcc", "-O1", "-shared", "-fPIC", "-o", str(library), str(NOTES_SOURCE), "-ldl"], check=True)
    return library


def synced_bytes(notes: Path, file: Path) -> int:
    """Return how many bytes of ``file`` were synced, as the library has recorded in ``notes``."""
    rows = [row.split() for row in notes.read_text().splitlines()]
    return max((int(size) for name, size in rows if Path(name).name == file.name), default=0)


def cut_file(file: Path, synced: int, draw: random.Random) -> None:
    """Shorten the file to its synced part and a random part of the rest, which may end in the middle of an entry."""
    content = file.read_bytes()
    rest = content[synced:]
    torn = rest[: draw.randint(0, max(0, len(rest) // 2))]
    file.write_bytes(content[:synced] + torn)
