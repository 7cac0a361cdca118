"""Recorded pickups, read from CSV: when and where somebody needed a job.

A replay only needs the differences between times. A time without an offset is taken as New York time, because the
public pickup records are from there. For other records any one time zone gives the same differences.
"""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Iterator
from datetime import UTC, datetime, tzinfo
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

COLUMN_NAMES: dict[str, frozenset[str]] = {
    "time": frozenset({"date/time", "pickup_datetime", "tpep_pickup_datetime", "time", "timestamp"}),
    "lat": frozenset({"lat", "latitude", "pickup_latitude"}),
    "lon": frozenset({"lon", "lng", "longitude", "pickup_longitude"}),
}
_US_TIME = re.compile(r"(\d{1,2})/(\d{1,2})/(\d{4}) (\d{1,2}):(\d\d)(?::(\d\d))?")
_MAX_DEGREES = {"lat": 90.0, "lon": 180.0}


class TraceError(ValueError):
    """Raised if a trace cannot be read. ``line`` counts from 1. ``column`` is ``time``, ``lat``, ``lon`` or None."""

    def __init__(self, path: Path, line: int, column: str | None, what: str) -> None:
        at = f"{path}, line {line}" + (f", column {column}" if column else "")
        super().__init__(f"{at}: {what}")
        self.line = line
        self.column = column


class Pickup(NamedTuple):
    """One recorded request: time in UTC, position in degrees (WGS 84)."""

    at: datetime
    lat: float
    lon: float


def read_trace(path: Path, limit: int | None = None) -> list[Pickup]:
    """Return the earliest ``limit`` pickups of a CSV file, sorted by time. Rows with the same time stay in their order.

    The columns are found by their usual names. Without a header the first three columns are time, lat and lon. Every
    row is checked, also those beyond ``limit``, because the earliest rows are known only after all rows are read.
    Raises TraceError with line and column.
    """
    pickups = sorted(_read_pickups(path), key=lambda pickup: pickup.at)
    if not pickups:
        raise TraceError(path, 1, None, "the file has no pickups")
    return pickups[:limit]


def _read_pickups(path: Path) -> Iterator[Pickup]:
    columns: dict[str, int] | None = None
    for line, row in _read_rows(path):
        if columns is None:
            columns = _column_positions(path, line, row)
            if columns is not None:
                continue
            columns = {"time": 0, "lat": 1, "lon": 2}
        cells = {name: _cell_text(path, line, row, name, at) for name, at in columns.items()}
        yield _parse_pickup(path, line, cells)


def _parse_pickup(path: Path, line: int, cells: dict[str, str]) -> Pickup:
    values: dict[str, Any] = {}
    for name, text in cells.items():
        try:
            values[name] = parse_time(text) if name == "time" else _parse_degrees(text, _MAX_DEGREES[name])
        except ValueError as error:
            raise TraceError(path, line, name, str(error)) from None
    return Pickup(values["time"], values["lat"], values["lon"])


def _read_rows(path: Path) -> Iterator[tuple[int, list[str]]]:
    line = 1
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, strict=True)
            for row in reader:
                line = reader.line_num
                if any(cell.strip() for cell in row):
                    yield line, [cell.strip() for cell in row]
    except OSError as error:
        raise TraceError(path, 1, None, error.strerror or str(error)) from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise TraceError(path, line, None, f"not CSV in UTF-8 ({error})") from error


def _column_positions(path: Path, line: int, row: list[str]) -> dict[str, int] | None:
    """Return the index of each column; None if the first row is data. Raises TraceError if a column is missing."""
    columns = {
        name: next((at for at, cell in enumerate(row) if cell.lower() in known), None)
        for name, known in COLUMN_NAMES.items()
    }
    places = {name: at for name, at in columns.items() if at is not None}
    if not places and _is_time(row[0]):
        return None
    for name in [name for name in COLUMN_NAMES if name not in places]:
        known = ", ".join(sorted(COLUMN_NAMES[name]))
        raise TraceError(path, line, name, f"no such column; accepted names: {known}")
    return places


def _cell_text(path: Path, line: int, row: list[str], column: str, at: int) -> str:
    if at >= len(row) or not row[at]:
        raise TraceError(path, line, column, "missing")
    return row[at]


def _parse_degrees(degrees_text: str, bound: float) -> float:
    try:
        value = float(degrees_text)
    except ValueError:
        raise ValueError(f"{degrees_text!r} is not a number") from None
    if not math.isfinite(value) or abs(value) > bound:
        raise ValueError(f"{degrees_text} is not between -{bound:g} and {bound:g}")
    return value


def _is_time(time_text: str) -> bool:
    try:
        parse_time(time_text)
    except ValueError:
        return False
    return True


def parse_time(time_text: str) -> datetime:
    """Parse ``9/1/2014 0:01:00`` (month first, New York) or ISO 8601. Return the time in UTC. Raises ValueError."""
    american = _US_TIME.fullmatch(time_text)
    try:
        if american:
            month, day, year, hour, minute, second = (int(part or 0) for part in american.groups())
            local = datetime(year, month, day, hour, minute, second)
        else:
            local = datetime.fromisoformat(time_text)
        return (local if local.tzinfo else local.replace(tzinfo=_new_york())).astimezone(UTC)
    except (ValueError, OverflowError):
        raise ValueError(f"{time_text!r} is not a time like 9/1/2014 0:01:00 or 2014-09-01T00:01:00") from None


@cache
def _new_york() -> tzinfo:
    # Without a time zone database UTC is good enough: the two changes of the hour in a year shift a few arrivals.
    try:
        return ZoneInfo("America/New_York")
    except ZoneInfoNotFoundError:
        return UTC
