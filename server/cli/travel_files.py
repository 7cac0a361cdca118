"""Recorded journeys, read from CSV, for ``callout travel backtest``. docs/travel.md has the formats."""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple
from zoneinfo import ZoneInfo

from engine.rules.distances import distance_m
from engine.rules.travel import Place, area_of, hour_class_at
from engine.rules.travel_backtest import Ride
from engine.rules.travel_learning import Journey
from server.cli.travel_columns import find_columns
from server.cli.travel_polylines import unfold_polylines

KM_PER_MILE = 1.609344
MAX_GAP_S = 300.0
"""If the time between two points of a ride is longer, points are missing, and the ride is left out."""
MIN_RIDE_S, MAX_RIDE_S, MIN_RIDE_KM, MAX_RIDE_KM_H = 60.0, 10_800.0, 0.2, 130.0
"""The limits of a plausible ride: the least and the most seconds, the least km, the most km/h."""
ROUNDED_MS = 900_000
"""Times at full quarters of an hour count as rounded (as in Chicago's records): the duration is used, if known."""
TIME_FORMATS = ("%m/%d/%Y %I:%M:%S %p", "%m/%d/%Y %H:%M:%S", "%m/%d/%Y %H:%M", "%d.%m.%Y %H:%M:%S")
_is_number = re.compile(r"\d{9,13}(\.\d+)?").fullmatch


class TravelFileError(ValueError):
    """Raised if a file cannot be read. The text names the file, the line and the reason."""

    def __init__(self, path: Path, line: int, what: str) -> None:
        super().__init__(f"{path}, line {line}: {what}")


class RecordedRides(NamedTuple):
    """The rides of a file. ``incomplete`` rows lack a value, ``implausible`` rides are too short, long or fast.
    ``by_road`` is true if the lengths are by road, because no places are known.
    """

    rides: list[Ride]
    incomplete: int
    implausible: int
    by_road: bool


def read_rides(paths: Sequence[Path], timezone: str = "UTC", centres: dict[str, Place] | None = None) -> RecordedRides:
    """Return the rides of CSV files, each a table of rides or of points on the way. Times without an offset are in
    ``timezone``; ``centres`` are the centres of zones, for files that have only the names of zones. Raises
    TravelFileError.
    """
    found = RecordedRides([], 0, 0, by_road=False)
    for path in paths:
        part = _FileReader(path, timezone, centres or {}).read()
        found = RecordedRides(
            found.rides + part.rides,
            found.incomplete + part.incomplete,
            found.implausible + part.implausible,
            found.by_road or part.by_road,
        )
    return found


def read_rows(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Yield the rows of a table with their lines. Cells are separated by commas, semicolons, tabs or spaces."""
    line = 1
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            first = file.readline()
            file.seek(0)
            separator = next((each for each in (",", ";", "\t") if each in first), " ")
            for row in csv.reader(file, delimiter=separator, strict=True):
                line += 1
                if any(cell.strip() for cell in row):
                    yield line - 1, [cell.strip() for cell in row]
    except OSError as error:
        raise TravelFileError(path, 1, error.strerror or str(error)) from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise TravelFileError(path, line, f"not CSV in UTF-8 ({error})") from error


class _FileReader:
    """Reads one file: a table of rides, or of points."""

    def __init__(self, path: Path, timezone: str, centres: dict[str, Place]) -> None:
        self._path = path
        self._timezone = timezone
        self._zone_info = ZoneInfo(timezone)
        self._centres = centres
        self._line = 1
        self._incomplete = self._implausible = 0
        self._by_road = False

    def read(self) -> RecordedRides:
        rows = read_rows(self._path)
        _, first = next(rows, (1, []))
        columns = find_columns(first)
        if not columns and len(first) == 4:  # the cabs of San Francisco: no header, and separated by spaces
            columns, rows = {"lat": 0, "lon": 1, "occupied": 2, "time": 3}, read_rows(self._path)
        if {"polyline", "time"} <= columns.keys():
            rides = self._rides_of_polylines(self._cells(rows, columns))
        elif {"lat", "lon", "time"} <= columns.keys() and columns.keys() & {"ride", "occupied"}:
            rides = self._rides_of_points(self._cells(rows, columns))
        elif "began" in columns and columns.keys() & {"ended", "seconds"}:
            rides = [each for cells in self._cells(rows, columns) if (each := self._ride_of_row(cells)) is not None]
        else:
            found = ", ".join(columns) or "no known column"
            raise TravelFileError(self._path, 1, f"neither rides nor points: found {found}")
        return RecordedRides(rides, self._incomplete, self._implausible, self._by_road)

    def _cells(self, rows: Iterator[tuple[int, list[str]]], columns: dict[str, int]) -> Iterator[dict[str, str]]:
        for self._line, row in rows:
            yield {name: row[at] if at < len(row) else "" for name, at in columns.items()}

    def _ride_of_row(self, cells: dict[str, str]) -> Ride | None:
        if not cells["began"] or not (cells.get("ended") or cells.get("seconds")):
            return self._leave_out(incomplete=True)
        began = self._time(cells["began"])
        ended = cells.get("ended")
        seconds = (self._time(ended) - began) / 1000 if ended else 0.0
        if cells.get("seconds") and (not ended or (began % ROUNDED_MS == 0 and seconds * 1000 % ROUNDED_MS == 0)):
            seconds = self._number(cells["seconds"])
        origin, destination = self._place(cells, "from"), self._place(cells, "to")
        driven_km = self._driven_km(cells)
        if origin and destination:
            km = distance_m(*origin, *destination) / 1000
        elif driven_km is not None:
            km, self._by_road = driven_km, True
        else:
            return self._leave_out(incomplete=True)
        if not _is_plausible(km, seconds):
            return self._leave_out(incomplete=False)
        areas = [
            cells.get(f"{end}_zone") or (area_of(*place) if place else "")
            for end, place in (("from", origin), ("to", destination))
        ]
        return Ride(began, Journey(km, seconds, hour_class_at(began, self._timezone), *areas), driven_km)

    def _leave_out(self, *, incomplete: bool) -> Ride | None:
        """Count a ride that is left out, and return None."""
        self._incomplete += incomplete
        self._implausible += not incomplete
        return None

    def _place(self, cells: dict[str, str], end: str) -> Place | None:
        lat, lon = cells.get(f"{end}_lat"), cells.get(f"{end}_lon")
        if lat and lon:
            return self._degrees(lat, lon)
        return self._centres.get(cells.get(f"{end}_zone") or "")

    def _driven_km(self, cells: dict[str, str]) -> float | None:
        for name, km in (("km", 1.0), ("metres", 0.001), ("miles", KM_PER_MILE)):
            if cells.get(name):
                return self._number(cells[name]) * km
        return None

    def _rides_of_polylines(self, rows: Iterable[dict[str, str]]) -> list[Ride]:
        try:
            return self._rides_of_points(unfold_polylines(rows))
        except TravelFileError:
            raise
        except ValueError as error:
            raise TravelFileError(self._path, self._line, str(error)) from error

    def _rides_of_points(self, rows: Iterable[dict[str, str]]) -> list[Ride]:
        """Return the rides that points form: points with the same ride name, or successive points of an occupied
        cab.
        """
        points: dict[str, list[tuple[int, float, float, bool]]] = {}
        for cells in rows:
            if not (cells["lat"] and cells["lon"] and cells["time"]):
                self._leave_out(incomplete=True)
                continue
            occupied = cells.get("occupied", "1").lower() in ("1", "true", "yes")
            known = (self._time(cells["time"]), *self._degrees(cells["lat"], cells["lon"]), occupied)
            points.setdefault(cells.get("ride", ""), []).append(known)
        rides = []
        for each in points.values():
            run: list[tuple[int, float, float]] = []
            for at, lat, lon, occupied in sorted(each):
                gap = bool(run) and at - run[-1][0] > MAX_GAP_S * 1000
                if run and (gap or not occupied):
                    rides.append(self._ride_of_run([] if gap else run))
                    run = []
                if occupied:
                    run.append((at, lat, lon))
            rides.append(self._ride_of_run(run))
        return [ride for ride in rides if ride is not None]

    def _ride_of_run(self, run: list[tuple[int, float, float]]) -> Ride | None:
        if len(run) < 2:
            return self._leave_out(incomplete=True)
        (began, *origin), (ended, *end) = run[0], run[-1]
        destination = area_of(*end)

        def journey_from(point: tuple[int, float, float]) -> Journey:
            at, lat, lon = point
            hour = hour_class_at(at, self._timezone)
            return Journey(distance_m(lat, lon, *end) / 1000, (ended - at) / 1000, hour, "", destination)

        whole = journey_from(run[0])._replace(origin=area_of(*origin))
        if not _is_plausible(whole.km, whole.seconds):
            return self._leave_out(incomplete=False)
        return Ride(began, whole, None, tuple(journey_from(point) for point in run[:-1]))

    def _degrees(self, lat_text: str, lon_text: str) -> Place:
        lat, lon = self._number(lat_text), self._number(lon_text)
        if abs(lat) > 90 or abs(lon) > 180:
            raise TravelFileError(self._path, self._line, f"{lat_text}, {lon_text} is no place")
        return lat, lon

    def _number(self, text: str) -> float:
        try:
            number = float(text)
        except ValueError:
            number = math.nan
        if not math.isfinite(number):
            raise TravelFileError(self._path, self._line, f"{text!r} is not a number")
        return number

    def _time(self, text: str) -> int:
        """Return a time in ms since the Unix epoch. The text is ISO 8601, seconds or ms since the Unix epoch, or in one
        of ``TIME_FORMATS``.
        """
        if _is_number(text):
            number = float(text)
            return round(number if number > 1e11 else number * 1000)
        try:
            local = datetime.fromisoformat(text)
        except ValueError:
            local = self._parse_other_time(text)
        if not 1 < local.year < 9999:  # Near these years, the time may not exist in UTC or in the zone.
            raise TravelFileError(self._path, self._line, f"{text!r} is a time too far away")
        aware = local if local.tzinfo else local.replace(tzinfo=self._zone_info)
        return round(aware.astimezone(UTC).timestamp() * 1000)

    def _parse_other_time(self, text: str) -> datetime:
        for known in TIME_FORMATS:
            try:
                return datetime.strptime(text, known)
            except ValueError:
                continue
        raise TravelFileError(self._path, self._line, f"{text!r} is no time like 2014-09-01T00:01:00")


def _is_plausible(km: float, seconds: float) -> bool:
    return MIN_RIDE_S <= seconds <= MAX_RIDE_S and km >= MIN_RIDE_KM and km / seconds * 3600 <= MAX_RIDE_KM_H
