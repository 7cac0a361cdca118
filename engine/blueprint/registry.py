"""Blueprints through time: a job goes on by the one it began with, over reloads and restarts and on every node.

Each blueprint that a server works by is kept in SQL under its key, ``name@version``, and never changed there: another
content needs another version. So what a running job's key says is the same for ever, wherever it is read.
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
"""How soon a node knows a blueprint that another one has begun to work by."""

log = structlog.get_logger(__name__)


async def keep(archive: Archive, blueprints: Blueprints) -> None:
    """Keep those that new jobs begin with, and make the older ones known.

    Raises BlueprintError where another content is kept under the name and version of one of them, Unavailable.
    """
    ours = {each.key: _text(each) for each in blueprints.by_name.values()}
    insertion = sqlite.insert if archive.is_sqlite else postgresql.insert
    new = [{"key": key, "doc": text, "kept_at": now_ms()} for key, text in ours.items()]
    async with archive.writing() as conn:
        await conn.execute(insertion(rows).on_conflict_do_nothing(), new)
        kept = {row.key: row.doc for row in await conn.execute(select(rows.c.key, rows.c.doc))}
        others = _read({key: text for key, text in kept.items() if key not in ours or text != ours[key]})
        # Compared as this Callout would write it: a field that it has added since makes no other blueprint.
        same = {key for key, text in ours.items() if kept[key] == text} | {b.key for b in others if _is(b, ours)}
        if problems := [_taken(key) for key in ours if key not in same]:
            raise BlueprintError(problems)
    blueprints.know(others)


async def store_if_available(archive: Archive, blueprints: Blueprints) -> None:
    """``keep``, where the database is there; else ``run`` will. Raises BlueprintError."""
    try:
        await keep(archive, blueprints)
    except CalloutError as error:
        log.warning("blueprints_not_kept", error=str(error))


async def reload(settings: Settings, archive: Archive, blueprints: Blueprints) -> list[str]:
    """Read the files again, for new jobs. Returns all that is wrong, one sentence each; then nothing has changed."""
    try:
        newer = catalogue.load(settings.blueprint, *catalogue.folders(settings.blueprints))
        await keep(archive, newer)
    except BlueprintError as error:
        return error.problems
    except CalloutError as error:
        return [f"the database cannot be asked: {error}"]
    blueprints.renew(newer)
    return []


async def run(archive: Archive, blueprints: Blueprints) -> None:
    """Learn what other nodes have begun to work by, for ever; a database that is away is waited for.

    Raises BlueprintError where the database, away at the start, turns out to hold another content for one of ours.
    """
    while not_cancelled():
        await asyncio.sleep(EVERY_S)
        try:
            await learn(archive, blueprints)
        except CalloutError as error:
            log.warning("blueprints_wait", error=str(error), retry_s=EVERY_S)


async def learn(archive: Archive, blueprints: Blueprints) -> None:
    """Make known what SQL keeps and this process does not know, and keep what it does not. Raises as ``keep``."""
    async with archive.reading() as conn:
        kept = set((await conn.execute(select(rows.c.key))).scalars())
    ours = {each.key for each in blueprints.by_name.values()}
    if kept - blueprints.by_key.keys() or ours - kept:
        await keep(archive, blueprints)


def judged(blueprints: Blueprints, key: str) -> Blueprint:
    """The blueprint by which a job is judged: its due work, and what somebody asks of it. Raises Unavailable where that
    version is not known here (the database was away at the start). Due work then stays due, and a request can be
    repeated under its key, for this node once it has learnt the blueprint, or for another. Another version's table
    would end jobs that their own lets live, and would note a payment without the step that it is for.
    """
    found = blueprints.exactly(key)
    if found is None:
        log.warning("blueprint_unknown", key=key)
        raise Unavailable(f"the blueprint {key} is not known here")
    return found


def _text(each: Blueprint) -> str:
    return msgspec.json.encode(each).decode()


def _is(other: Blueprint, ours: dict[str, str]) -> bool:
    return ours.get(other.key) == _text(other)


def _read(texts: dict[str, str]) -> list[Blueprint]:
    return [each for key, text in texts.items() for each in _decoded(key, text)]


def _decoded(key: str, text: str) -> Iterable[Blueprint]:
    try:
        yield msgspec.json.decode(text, type=Blueprint)
    except msgspec.ValidationError as error:
        log.error("blueprint_unreadable", key=key, error=str(error))


def _taken(key: str) -> str:
    return f"{key}: another content is kept under this name and version, and jobs may run by it: raise the version"
