"""The blueprint registry: a job uses the blueprint with which it began, in all processes and after restarts.

Each blueprint that a server uses is stored in SQL under its key, ``name@version``, and never changed there: a changed
blueprint needs another version. So a key identifies the same blueprint in every process and at any time.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

import msgspec
import structlog
from sqlalchemy import select

from engine.blueprint import catalogue
from engine.blueprint.catalogue import BlueprintError, Blueprints
from engine.blueprint.schema import Blueprint
from engine.clock import now_ms
from engine.errors import CalloutError, FieldError, Invalid, Unavailable
from engine.process.loops import not_cancelled
from engine.process.settings import Settings
from engine.sql.database import Archive
from engine.sql.insert import insert_into
from engine.sql.schema import blueprints as rows

RELOAD_INTERVAL_S = 5.0
"""The interval at which a process loads blueprints that other processes have stored."""

log = structlog.get_logger(__name__)


async def store_blueprints(archive: Archive, blueprints: Blueprints) -> None:
    """Store the blueprints for new jobs in SQL, and load all versions that SQL has.

    Raises BlueprintError if SQL has another content under one of their keys, and the same errors as
    ``Archive.begin_write``.
    """
    ours = {each.key: _encode_blueprint(each) for each in blueprints.by_name.values()}
    new = [{"key": key, "doc": text, "kept_at": now_ms()} for key, text in ours.items()]
    async with archive.begin_write() as conn:
        await conn.execute(insert_into(archive, rows).on_conflict_do_nothing(), new)
        stored = {row.key: row.doc for row in await conn.execute(select(rows.c.key, rows.c.doc))}
        others = _decode_blueprints({key: text for key, text in stored.items() if key not in ours or text != ours[key]})
        # Compare in the encoding of this release: a field that a later release added does not make another blueprint.
        same = {key for key, text in ours.items() if stored[key] == text} | {
            b.key for b in others if _is_same_content(b, ours)
        }
        if problems := [_other_content_text(key) for key in ours if key not in same]:
            raise BlueprintError(problems)
    blueprints.add_versions(others)


async def store_if_available(archive: Archive, blueprints: Blueprints) -> None:
    """Store the blueprints now if the database is available; otherwise ``run`` stores them later. Raises BlueprintError
    if SQL has another content under one of their keys.
    """
    try:
        await store_blueprints(archive, blueprints)
    except CalloutError as error:
        log.warning("blueprints_not_stored", error=str(error))


async def reload_files(settings: Settings, archive: Archive, blueprints: Blueprints) -> list[str]:
    """Read the blueprint files again, for new jobs. Return the problems, one sentence each; if there are any, the
    blueprints in use do not change.
    """
    try:
        newer = catalogue.load_blueprints(settings.blueprint, *catalogue.blueprint_folders(settings.blueprints))
        await store_blueprints(archive, newer)
    except BlueprintError as error:
        return error.problems
    except CalloutError as error:
        return [f"the database cannot be asked: {error}"]
    blueprints.replace_current(newer)
    return []


async def reload_at_intervals(archive: Archive, blueprints: Blueprints) -> None:
    """Load the blueprints of other processes at intervals until cancelled; retry while the database is away.

    Raises BlueprintError if SQL has another content for one of the blueprints. ``store_if_available`` could not find
    this if the database was away at the start.
    """
    while not_cancelled():
        await asyncio.sleep(RELOAD_INTERVAL_S)
        try:
            await sync_with_sql(archive, blueprints)
        except CalloutError as error:
            log.warning("blueprints_wait", error=str(error), retry_s=RELOAD_INTERVAL_S)


async def sync_with_sql(archive: Archive, blueprints: Blueprints) -> None:
    """Load the blueprints that this process lacks; store those that SQL lacks. Raises the same errors as
    ``store_blueprints``.
    """
    async with archive.begin_read() as conn:
        stored = set((await conn.execute(select(rows.c.key))).scalars())
    ours = {each.key for each in blueprints.by_name.values()}
    if stored - blueprints.by_key.keys() or ours - stored:
        await store_blueprints(archive, blueprints)


def require_version(blueprints: Blueprints, key: str) -> Blueprint:
    """Return the blueprint of exactly this version, for a job's scheduled tasks and commands. Raises Unavailable if
    this process has not loaded it, because the database was away at the start.

    The task then stays due, and a request can be repeated under its key, at this process after it has loaded the
    blueprint, or at another process. Another version as a fallback was rejected: it could end jobs that their own
    blueprint continues, and could record a payment without the step that belongs to the payment.
    """
    found = blueprints.find_exact(key)
    if found is None:
        log.warning("blueprint_unknown", key=key)
        raise Unavailable(f"the blueprint {key} is not known here")
    return found


def find_named(blueprints: Blueprints, name: str | None) -> Blueprint:
    """Return the blueprint that a request names; the default blueprint if it names none. Raises Invalid."""
    found = blueprints.default if name is None else blueprints.by_name.get(name)
    if found is None:
        raise Invalid(errors=[FieldError("/blueprint", f"Not one of {', '.join(sorted(blueprints.by_name))}")])
    return found


def _encode_blueprint(blueprint: Blueprint) -> str:
    return msgspec.json.encode(blueprint).decode()


def _is_same_content(stored: Blueprint, own_texts: dict[str, str]) -> bool:
    return own_texts.get(stored.key) == _encode_blueprint(stored)


def _decode_blueprints(texts: dict[str, str]) -> list[Blueprint]:
    return [each for key, text in texts.items() for each in _decode_blueprint(key, text)]


def _decode_blueprint(key: str, json_text: str) -> Iterable[Blueprint]:
    try:
        yield msgspec.json.decode(json_text, type=Blueprint)
    except msgspec.ValidationError as error:
        log.error("blueprint_unreadable", key=key, error=str(error))


def _other_content_text(key: str) -> str:
    return f"{key}: another content is stored under this name and version, and jobs may use it: raise the version"
