"""``callout snapshot`` and ``callout restore``: copies of SQL and Redis that fit together, taken while the server
serves.

SQL is copied first and Redis after it. So Redis is never behind the archive, and a restored server opens its zones in a
new epoch and archives the rest from the log.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from importlib.metadata import version
from pathlib import Path
from typing import Any

import click
import msgspec

from engine.events import rfc3339_of
from engine.process.datadir import CannotStart, create_directory, hold_lock, process_start_text
from engine.process.settings import Settings
from engine.types import Zone
from server.cli import options, restored_copy
from server.cli.audit import read_head_file
from server.cli.command_failed import CommandFailed
from server.cli.connections import redis_url
from server.cli.restored_heads import put_newest_heads, read_installation, refuse_foreign_heads
from server.cli.snapshot_manifest import verify_files, write_manifest

DATABASE, POSTGRES, REDIS, KEY = "callout.db", "database.dump", "redis.rdb", "signing.key"
"""The files of a snapshot, beside its manifest, the list of erasures and the folder with the heads of the audit."""


@click.command
@click.argument("directory", metavar="DIR")
@options.data
@options.redis
@options.database
@options.key_file
def snapshot(*, directory: str, **flags: str | None) -> None:
    """Write a copy of SQL, of Redis and of the signing key to DIR, while the server serves. DIR must not exist.

    The list of erasures and the last heads of the audit are copied too, and snapshot.json has the digest of each file.
    The snapshot has all data of the installation but photos, documents and signatures, also personal data and the key:
    keep it as safe as the data directory. The last line says what to copy besides.
    """
    settings = options.load_settings(**flags)
    folder = Path(directory)
    if not directory.strip():
        raise CannotStart("DIR is empty: give the directory of the snapshot")
    if os.path.lexists(folder):
        raise CannotStart(f"{folder} exists already: give another directory")
    url = redis_url(settings)
    if url is None:
        raise CannotStart("the embedded Valkey does not run: copy the data directory, or start the server first")
    if "+cluster://" in url:
        raise CannotStart(
            "a snapshot copies one Redis: of a cluster, back up the database; its zones are rebuilt from it"
        )
    if settings.database is None and not (Path(settings.data) / DATABASE).exists():
        raise CannotStart(f"no database in {settings.data}: no server was started on it yet, or give another --data")
    draft = _make_draft(folder)
    try:
        manifest = _write_copies(settings, url, draft)
        try:
            draft.rename(folder)
        except OSError as error:
            raise CannotStart(f"the snapshot {folder} cannot be made: {error.strerror}") from None
    except BaseException:
        shutil.rmtree(draft, ignore_errors=True)
        raise
    print(json.dumps(manifest))
    place = manifest["not_copied"]
    print(f"not in the snapshot: photos, documents and signatures; copy {place} now, after it", file=sys.stderr)


def _make_draft(folder: Path) -> Path:
    """Create the folder of an unfinished snapshot. It is renamed to ``folder`` when the snapshot is complete. Delete
    the unfinished snapshots of killed processes. Raises CannotStart.
    """
    try:
        folder.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        start = f".{folder.name}.unfinished-"
        for old in folder.parent.iterdir():
            pid = old.name.removeprefix(start)
            if old.name.startswith(start) and pid.isdecimal() and process_start_text(int(pid)) is None:
                shutil.rmtree(old, ignore_errors=True)
        draft = folder.with_name(f"{start}{os.getpid()}")
        draft.mkdir(mode=0o700)
    except OSError as error:
        raise CannotStart(f"the snapshot {folder} cannot be made: {error.strerror}") from None
    return draft


@click.command
@click.argument("directory", metavar="DIR")
@options.data
@options.database
@click.option(
    "--head",
    "heads",
    metavar="FILE",
    multiple=True,
    help="The last published head of the audit tree; one for each zone.",
)
@click.option(
    "--keep-id",
    is_flag=True,
    help="The copy takes the place of a lost database: a Redis of your own that belongs to that one goes on with it.",
)
@click.option(
    "--erasures",
    "erasures_file",
    metavar="FILE",
    help="The list of erased persons (erasures.jsonl of the old data directory): they are erased again.",
)
def restore(*, directory: str, heads: tuple[str, ...], keep_id: bool, **flags: str | None) -> None:
    """Write the snapshot in DIR to a new data directory, on which `callout serve` then starts.

    A snapshot of which a file is missing or differs is refused.

    The restored database has an id of its own, and the restored Redis belongs to it: if the copy is started with the
    Redis of the original, it changes nothing there, and its zones stay closed. To replace a lost database, give
    --keep-id.

    If heads of the audit tree were published after the snapshot, name the last one: it is in the old data directory
    (audit/ZONE.head) and with the witness. The server then begins a new tree with it, and does not contradict it. If
    the snapshot or the new data directory has a newer head, that head counts.

    If persons were erased after the snapshot, name the list of erasures. They are erased in SQL at once, and the
    snapshot of Redis is then not used: the server rebuilds its zones from SQL, without what was not archived yet.

    For a PostgreSQL of your own, restore DIR/database.dump by pg_restore. A Redis of your own may stay empty: the
    server rebuilds its zones from SQL.
    """
    from engine.files.blobs import place_of

    settings = options.load_settings(**flags)
    published = [read_head_file(file) for file in heads]
    folder, data = Path(directory), Path(settings.data)
    if (data / DATABASE).exists() or (data / "valkey").exists():
        raise CannotStart(f"{data} has data already: give a new --data")
    files = verify_files(folder, (REDIS,), (DATABASE, POSTGRES))
    installation = read_installation(folder / DATABASE) if DATABASE in files else None
    refuse_foreign_heads(published, installation)
    with hold_lock(data):
        if (data / DATABASE).exists() or (data / "valkey").exists():
            raise CannotStart(f"{data} has data already: give a new --data")
        os.umask(0o077)
        put_newest_heads(folder, data, published, installation)
        for name in {DATABASE, KEY} & files:
            shutil.copyfile(folder / name, data / name)
        erased = asyncio.run(_restore_copies(settings, folder, data, keep_id=keep_id))
    if erased:
        print(f"erased again: {erased}; the zones are rebuilt from SQL")
    print(f"photos, documents and signatures are in no snapshot: copy them to {place_of(settings)}", file=sys.stderr)
    print(f"restored to {data}; start it with: callout serve --data {data}")


async def _restore_copies(settings: Settings, folder: Path, data: Path, *, keep_id: bool) -> int:
    """Erase in the restored SQLite database the persons in the lists of erasures (the given one and the snapshot's),
    give the database a new id, and restore Redis. Return how many persons were erased: if there are any, Redis is not
    restored.
    """
    from engine.archive import erasure_list
    from engine.sql import compaction
    from engine.sql.database import open_archive

    own = data / erasure_list.FILE_NAME
    for path in (folder / erasure_list.FILE_NAME, erasure_list.file_of(settings)):
        for entry in erasure_list.read_list(path):
            erasure_list.add_to_list(own, entry)
    if not (data / DATABASE).exists():
        restored_copy.put_redis_back(folder / REDIS, data, map(Zone, settings.zones), None)
        return 0
    settings = msgspec.structs.replace(settings, database=None, erasures_file=None)
    archive = await open_archive(settings)
    try:
        erased = await erasure_list.apply_list(archive, settings) if own.is_file() else 0
        if erased:
            await compaction.compact(archive)
        database = None if keep_id else await restored_copy.give_new_id(archive)
        zones = await restored_copy.read_zones(archive)
    finally:
        await archive.close()
    if not erased:
        restored_copy.put_redis_back(folder / REDIS, data, zones, database)
    return erased


def _write_copies(settings: Settings, url: str, folder: Path) -> dict[str, Any]:
    """Copy the heads of the audit, then SQL, which contains them, then Redis and the list of erasures. Return the
    manifest.
    """
    from engine.archive import erasure_list
    from engine.audit import heads
    from engine.files.blobs import place_of
    from engine.process.signer import key_path
    from engine.store.point_in_time_copy import save_copy

    os.umask(0o077)
    began = time.time()
    for file in (Path(settings.data) / heads.HEADS_FOLDER).glob("*.head"):
        shutil.copyfile(file, create_directory(folder / heads.HEADS_FOLDER) / file.name)
    if settings.database is None or settings.database.startswith("sqlite"):
        _copy_sqlite(_sqlite_file(settings), folder / DATABASE)
    else:
        _dump_postgres(settings.database, folder / POSTGRES)
    redis_bytes = asyncio.run(save_copy(url, folder / REDIS))
    if key_path(settings).is_file():
        shutil.copyfile(key_path(settings), folder / KEY)
    if erasure_list.file_of(settings).is_file():
        shutil.copyfile(erasure_list.file_of(settings), folder / erasure_list.FILE_NAME)
    manifest = {"version": version("callout"), "at": rfc3339_of(round(began * 1000)), "redis_bytes": redis_bytes}
    manifest["sql_bytes"] = sum(
        (folder / name).stat().st_size for name in (DATABASE, POSTGRES) if (folder / name).exists()
    )
    manifest["not_copied"] = place_of(settings)
    manifest["seconds"] = round(time.time() - began, 3)
    return write_manifest(folder, manifest)


def _sqlite_file(settings: Settings) -> Path:
    from sqlalchemy.engine import make_url

    if settings.database is None:
        return Path(settings.data) / DATABASE
    return Path(make_url(settings.database).database or "")


def _copy_sqlite(source: Path, target: Path) -> None:
    """Copy the SQLite database as it is at one instant. Other processes may write to it meanwhile."""
    with closing(sqlite3.connect(source)) as live, closing(sqlite3.connect(target)) as copy:
        live.backup(copy)


def _dump_postgres(url: str, target: Path) -> None:
    program = shutil.which("pg_dump")
    if program is None:
        raise CannotStart("pg_dump is not on the PATH: it is needed to copy a PostgreSQL database")
    done = subprocess.run([program, "--format=custom", f"--file={target}", url], capture_output=True, check=False)
    if done.returncode:
        raise CommandFailed(f"pg_dump: {done.stderr.decode(errors='replace').strip()}")
