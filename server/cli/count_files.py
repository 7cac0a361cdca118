"""Counts by hour and area, read from CSV in one of three forms.

- *wide*: a column of times, and a column of counts for each area.
- *long*: columns of times, of areas and of counts. Without a column of counts each row is one request.
- *pickups*: columns of times, latitudes and longitudes. Each row is one request, and its area is an H3 cell.
"""

from __future__ import annotations

import csv
import math
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

from engine.rules import cells
from engine.rules.demand_backtest import HourCounts
from engine.rules.hour_slots import HOUR_MS
from engine.rules.pulse import CELL_RESOLUTION
from server.cli.count_times import TimeReader
from server.simulation import pickups

TIME_COLUMNS = pickups.COLUMN_NAMES["time"] | {
    "datetime",
    "date_time",
    "date",
    "hour",
    "ts",
    "ds",
    "started_at",
    "start_time",
    "pickup_dt",
    "pickups_dt",
    "pickup_hour",
}
AREA_COLUMNS = frozenset(
    {
        "area",
        "cell",
        "zone",
        "borough",
        "station",
        "location",
        "postal_code",
        "zip",
        "pulocationid",
        "location_id",
        "pickup_location_id",
        "station_id",
        "unique_id",
    }
)
COUNT_COLUMNS = frozenset(
    {"count", "counts", "pickups", "pickup_count", "rides", "trips", "trip_count", "requests", "demand", "n", "y"}
)
LAT_COLUMNS = pickups.COLUMN_NAMES["lat"] | {"start_lat"}
LON_COLUMNS = pickups.COLUMN_NAMES["lon"] | {"start_lng"}
NO_AREA = "unknown"
MAX_HOURS, MAX_COUNT = 30 * 366 * 24, 1_000_000_000


class CountFileError(ValueError):
    """Raised if a file cannot be read. The text names the line and the column."""

    def __init__(self, path: Path, line: int, column: str | None, what: str) -> None:
        at = f"{path}, line {line}" + (f", column {column}" if column else "")
        super().__init__(f"{at}: {what}")


class CountColumns(NamedTuple):
    """The names of columns that the caller gave. None: the column is found by its usual names."""

    time: str | None = None
    area: str | None = None
    number: str | None = None


class CountFile(NamedTuple):
    """The counts of a file, hour by hour without a gap, and its form."""

    form: str
    hours: list[HourCounts]


Cells = Sequence[str]
_Counts = dict[int, Counter[str]]


def read_counts(
    path: Path, columns: CountColumns, *, timezone: str = "UTC", resolution: int = CELL_RESOLUTION
) -> CountFile:
    """Return the counts of a CSV file. Times without an offset are in ``timezone``; ``resolution`` is the resolution of
    the H3 cells. Raises CountFileError.
    """
    rows = _read_rows(path)
    header = [name.strip() for name in next(rows, (1, []))[1]]
    if not header:
        raise CountFileError(path, 1, None, "the file is empty")
    data = [(line, row) for line, row in rows]
    if not data:
        raise CountFileError(path, 2, None, "the file has no rows")
    time_at = _require(path, header, TIME_COLUMNS, columns.time, "time")
    times = _TimeColumn(path, header[time_at], [row[time_at] for _, row in data], timezone)
    form, add = _row_reader(path, header, columns, time_at, resolution)
    counts: _Counts = {}
    for line, row in data:
        if len(row) != len(header):
            raise CountFileError(path, line, None, f"{len(row)} cells, where the header has {len(header)}")
        add(counts.setdefault(times.hour_of(line, row[time_at]), Counter()), line, row)
    first, last = min(counts), max(counts)
    if last - first >= MAX_HOURS:
        raise CountFileError(path, 2, header[time_at], "the times span more than 30 years")
    return CountFile(form, [HourCounts(hour, +counts.get(hour, Counter())) for hour in range(first, last + 1)])


def _row_reader(
    path: Path, header: list[str], columns: CountColumns, time_at: int, resolution: int
) -> tuple[str, Callable[[Counter[str], int, Cells], None]]:
    """Return the form of the file, and a function that adds a row to the counts of its hour."""
    area_at = _find(path, header, AREA_COLUMNS, columns.area)
    count_at = _find(path, header, COUNT_COLUMNS, columns.number)
    lat_at, lon_at = _find(path, header, LAT_COLUMNS, None), _find(path, header, LON_COLUMNS, None)

    def add_long(counts: Counter[str], line: int, row: Cells) -> None:
        count = 1 if count_at is None else _parse_count(path, line, header[count_at], row[count_at])
        counts[row[area_at or 0].strip() or NO_AREA] += count

    def add_pickup(counts: Counter[str], line: int, row: Cells) -> None:
        lat = _parse_degrees(path, line, header[lat_at or 0], row[lat_at or 0], 90)
        lon = _parse_degrees(path, line, header[lon_at or 0], row[lon_at or 0], 180)
        counts[f"{cells.cell_of(lat, lon, resolution):x}"] += 1

    def add_wide(counts: Counter[str], line: int, row: Cells) -> None:
        for at, cell in enumerate(row):
            if at != time_at and cell.strip() not in ("", "0"):
                counts[header[at]] += _parse_count(path, line, header[at], cell)

    if area_at is not None:
        return "long", add_long
    if lat_at is not None and lon_at is not None:
        return "pickups", add_pickup
    if len(header) < 2:
        raise CountFileError(path, 1, None, "no counts: add columns of areas, or lat and lon")
    return "wide", add_wide


def _read_rows(path: Path) -> Iterator[tuple[int, list[str]]]:
    line = 1
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, strict=True)
            for row in reader:
                line = reader.line_num
                if any(row):
                    yield line, row
    except OSError as error:
        raise CountFileError(path, 1, None, error.strerror or str(error)) from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise CountFileError(path, line, None, f"not CSV in UTF-8 ({error})") from error


def _find(path: Path, header: list[str], known: frozenset[str], given: str | None) -> int | None:
    if given is not None:
        if given not in header:
            raise CountFileError(path, 1, given, f"no such column; there are {', '.join(header[:20])}")
        return header.index(given)
    return next((at for at, name in enumerate(header) if name.lower() in known), None)


def _require(path: Path, header: list[str], known: frozenset[str], given: str | None, what: str) -> int:
    at = _find(path, header, known, given)
    if at is None:
        raise CountFileError(path, 1, None, f"no column of the {what}; known names: {', '.join(sorted(known))}")
    return at


class _TimeColumn:
    """The hours of a column of times. Parsed texts are cached, because long files repeat the same times."""

    def __init__(self, path: Path, name: str, texts: Sequence[str], timezone: str) -> None:
        self._path, self._name = path, name
        try:
            self._read = TimeReader(texts, timezone)
        except ValueError as error:
            raise CountFileError(path, 1, name, str(error)) from None
        self._known: dict[str, int] = {}

    def hour_of(self, line: int, text: str) -> int:
        hour = self._known.get(text)
        if hour is None:
            try:
                at: datetime = self._read.parse(text)
                hour = self._known[text] = math.floor(at.timestamp() * 1000) // HOUR_MS
            except (ValueError, OverflowError) as error:
                raise CountFileError(self._path, line, self._name, str(error)) from None
        return hour


def _parse_count(path: Path, line: int, column: str, text: str) -> int:
    try:
        count = float(text) if text.strip() else 0.0
    except ValueError:
        raise CountFileError(path, line, column, f"{text!r} is not a count") from None
    if not 0 <= count <= MAX_COUNT or count != math.floor(count):
        raise CountFileError(path, line, column, f"{text} is not a count")
    return int(count)


def _parse_degrees(path: Path, line: int, column: str, text: str, bound: float) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not abs(value) <= bound:
        raise CountFileError(path, line, column, f"{text!r} is not between -{bound:g} and {bound:g}")
    return value
