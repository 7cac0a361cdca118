"""The zones of a deployment, from the tables ``[zones.<name>]`` of ``callout.toml`` and the polygons they name."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from stat import S_ISREG
from typing import Any

import msgspec

from engine.rules.polygons import PolygonError, Polygons, parse_polygons
from engine.rules.timezones import is_timezone
from engine.rules.zone_areas import DEFAULT_TIMEZONE, ZoneArea
from engine.types import DEFAULT_ZONE, Zone, is_zone

MAX_FILE_BYTES = 16 * 2**20
TABLE_KEYS = ("polygon", "timezone")


def read_zone_tables(tables: Mapping[str, Any], folder: Path) -> tuple[tuple[ZoneArea, ...], list[str]]:
    """Return the zones of these tables in their order, and the problems. Paths are relative to ``folder``."""
    areas: list[ZoneArea] = []
    problems: list[str] = []
    for name, table in tables.items():
        area, found = _read_table(name, table, folder)
        problems += [f"zones.{name}: {problem}" for problem in found]
        areas += [area] if area else []
    return tuple(areas), problems


def _read_table(name: str, table: Any, folder: Path) -> tuple[ZoneArea | None, list[str]]:
    if not is_zone(name):
        return None, ["a zone's name has 1 to 32 lower-case letters, digits and dashes"]
    if not isinstance(table, dict):
        return None, ["not a table: write [zones.NAME] with polygon and timezone"]
    problems = [f"unknown key {key!r}; there are {' and '.join(TABLE_KEYS)}" for key in table if key not in TABLE_KEYS]
    timezone, path = table.get("timezone", DEFAULT_TIMEZONE), table.get("polygon")
    if not isinstance(timezone, str) or not is_timezone(timezone):
        problems.append(f"timezone: {timezone!r} is no time zone of the IANA database, like Europe/Rome")
    polygons = None
    if path is None:
        if name != DEFAULT_ZONE:
            problems.append("polygon: missing; only main may be everywhere else")
    elif not isinstance(path, str):
        problems.append("polygon: not the path of a GeoJSON file")
    else:
        try:
            polygons = _read_polygons(folder / path)
        except (ValueError, OSError) as error:  # ValueError: PolygonError, or a NUL in the path
            reason = error.strerror if isinstance(error, OSError) else error
            problems.append(f"polygon: {path}: {reason}")
    return (None if problems else ZoneArea(Zone(name), polygons, timezone)), problems


def _read_polygons(path: Path) -> Polygons:
    """Return the area in a file. Raises OSError, and PolygonError for a file that has none."""
    found = path.stat()
    if not S_ISREG(found.st_mode):  # a read from a pipe or a device might never end
        raise PolygonError("no regular file")
    if found.st_size > MAX_FILE_BYTES:
        raise PolygonError("larger than 16 MiB")
    try:
        document = msgspec.json.decode(path.read_bytes())
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise PolygonError(f"not JSON: {error}") from error
    return parse_polygons(document)


def served_zones(named: Sequence[str] | None, declared: Collection[str]) -> tuple[tuple[Zone, ...], list[str]]:
    """Return the zones that a process serves, and the problems. ``named`` are those of the setting, None if it is not
    given: then the process serves all. Every process serves ``main``, which has the events of accounts.
    """
    known = dict.fromkeys((*declared, DEFAULT_ZONE))
    unknown = [name for name in named or () if name not in known]
    problems = [f"zones: {', '.join(map(repr, unknown))}: there are {', '.join(known)}; others need a [zones.NAME]"]
    served = dict.fromkeys((*(known if named is None else named), DEFAULT_ZONE))
    return tuple(map(Zone, served)), problems if unknown else []
