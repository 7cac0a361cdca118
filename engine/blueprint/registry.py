"""The blueprint registry: a job keeps the blueprint with which it began, across reloads, restarts and processes.

Each blueprint that a server uses is stored in SQL under its key, ``name@version``, and never changed there: another
content needs another version. So the key of a running job means the same blueprint everywhere and at any time.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

import msgspec
import structlog
from sqlalchemy import select
from sqlalchemy.dialects import postgresql, sqlite

from engine.blueprint import catalogue
from engine.blueprint.catalogue import BlueprintError, Blueprints
from engine.blueprint.schema import Blueprint
from engine.clock import now_ms
from engine.errors import CalloutError, Unavailable
from engine.process.loops import not_cancelled
from engine.process.settings import Settings
from engine.sql.database import Archive
from engine.sql.schema import blueprints as rows

EVERY_S = 5.0
"""How soon a process knows a blueprint that another process has begun to use."""

log = structlog.get_logger(__name__)


async def store(archive: Archive, blueprints: Blueprints) -> None:
    """Store the blueprints for new jobs, and load the older ones.

    Raises BlueprintError if the database has another content under one of their keys, Unavailable.
    """
    ours = {each.key: _text(each) for each in blueprints.by_name.values()}
    insertion = sqlite.insert if archive.is_sqlite else postgresql.insert
    new = [{"key": key, "doc": text, "kept_at": now_ms()} for key, text in ours.items()]
    async with archive.writing() as conn:
        await conn.execute(insertion(rows).on_conflict_do_nothing(), new)
        stored = {row.key: row.doc for row in await conn.execute(select(rows.c.key, rows.c.doc))}
        others = _read({key: text for key, text in stored.items() if key not in ours or text != ours[key]})
        # Compared in the encoding of this release: a field that was added since does not make it another blueprint.
        same = {key for key, text in ours.items() if stored[key] == text} | {b.key for b in others if _is_same(b, ours)}
        if problems := [_conflict(key) for key in ours if key not in same]:
            raise BlueprintError(problems)
    blueprints.know(others)


async def store_if_available(archive: Archive, blueprints: Blueprints) -> None:
    """Store the blueprints now if the database is available; otherwise ``run`` does later. Raises BlueprintError."""
    try:
        await store(archive, blueprints)
    except CalloutError as error:
        log.warning("blueprints_not_kept", error=str(error))


async def reload(settings: Settings, archive: Archive, blueprints: Blueprints) -> list[str]:
    """Read the files again, for new jobs. Returns the problems, one sentence each; with any, nothing changes."""
    try:
        newer = catalogue.load(settings.blueprint, *catalogue.folders(settings.blueprints))
        await store(archive, newer)
    except BlueprintError as error:
        return error.problems
    except CalloutError as error:
        return [f"the database cannot be asked: {error}"]
    blueprints.renew(newer)
    return []


async def run(archive: Archive, blueprints: Blueprints) -> None:
    """Load blueprints of other processes until cancelled; retries while the database is away.

    Raises BlueprintError if the database was away at the start and has another content for one of the blueprints.
    """
    while not_cancelled():
        await asyncio.sleep(EVERY_S)
        try:
            await learn(archive, blueprints)
        except CalloutError as error:
            log.warning("blueprints_wait", error=str(error), retry_s=EVERY_S)


async def learn(archive: Archive, blueprints: Blueprints) -> None:
    """Load the blueprints that this process does not know, and store those that SQL lacks. Raises as ``store``."""
    async with archive.reading() as conn:
        stored = set((await conn.execute(select(rows.c.key))).scalars())
    ours = {each.key for each in blueprints.by_name.values()}
    if stored - blueprints.by_key.keys() or ours - stored:
        await store(archive, blueprints)


def judged(blueprints: Blueprints, key: str) -> Blueprint:
    """The blueprint for a job's scheduled tasks and commands. Raises Unavailable if this process does not know that
    version, because the database was away at the start.

    The task then stays due, and a request can be repeated under its key, at this process once it has loaded the
    blueprint, or at another. Another version was rejected as a fallback: its table would end jobs that their own table
    lets live, and would record a payment without the step that belongs to it.
    """
    found = blueprints.exactly(key)
    if found is None:
        log.warning("blueprint_unknown", key=key)
        raise Unavailable(f"the blueprint {key} is not known here")
    return found


def _text(each: Blueprint) -> str:
    return msgspec.json.encode(each).decode()


def _is_same(other: Blueprint, ours: dict[str, str]) -> bool:
    return ours.get(other.key) == _text(other)


def _read(texts: dict[str, str]) -> list[Blueprint]:
    return [each for key, text in texts.items() for each in _decoded(key, text)]


def _decoded(key: str, text: str) -> Iterable[Blueprint]:
    try:
        yield msgspec.json.decode(text, type=Blueprint)
    except msgspec.ValidationError as error:
        log.error("blueprint_unreadable", key=key, error=str(error))


def _conflict(key: str) -> str:
    return f"{key}: another content is kept under this name and version, and jobs may run by it: raise the version"
