"""The part of a map that a person looks at: a box between two meridians and two parallels. A layer is what the map
shows in it: people, jobs or demand.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Literal

import msgspec

Layer = Literal["people", "jobs"]
LAYERS: tuple[Layer, ...] = ("people", "jobs")
"""The layers of people and jobs, which have a position each. They are shown unless a caller names others."""
ShownLayer = Literal["people", "jobs", "demand"]
"""All layers of a map: those of ``LAYERS``, and the cells of demand."""

EARTH_RADIUS_M = 6_372_797.560856
"""The radius with which Redis computes distances."""
MAX_LATITUDE = 85.05112878
"""The highest latitude of a map in Web Mercator (EPSG:3857), and of a geo index of Redis."""
MAX_SEARCH_DEGREES, MAX_SEARCH_LATITUDE = 5.0, 66.0
"""The widest and highest box that is searched in a geo index, and the highest latitude. Redis misses entries of very
large boxes, and of boxes that are near a pole."""
BOX_PATTERN = r"^-?\d{1,3}(\.\d{1,17})?(,-?\d{1,3}(\.\d{1,17})?){3}$(?!\n)"
"""The form of a box as text: ``west,south,east,north``."""


class MapBox(msgspec.Struct, frozen=True):
    """The part of a map between ``west`` and ``east`` (longitudes) and between ``south`` and ``north`` (latitudes), in
    degrees. If ``west`` is above ``east``, the box crosses the antimeridian.
    """

    west: float
    south: float
    east: float
    north: float

    @property
    def width(self) -> float:
        """Return the width in degrees of longitude."""
        width = self.east - self.west
        return width if width >= 0 else width + 360

    @property
    def area_km2(self) -> float:
        """Return the area on the sphere in square kilometres."""
        band = math.sin(math.radians(self.north)) - math.sin(math.radians(self.south))
        return (EARTH_RADIUS_M / 1000) ** 2 * band * math.radians(self.width)

    def contains(self, lat: float, lon: float) -> bool:
        """Return whether the position is in the box. The borders belong to it."""
        if not self.south <= lat <= self.north:
            return False
        if self.west <= self.east:
            return self.west <= lon <= self.east
        return lon >= self.west or lon <= self.east

    def parts(self) -> tuple[MapBox, ...]:
        """Return the box itself. If it crosses the antimeridian, return its two parts, one on each side."""
        if self.west <= self.east:
            return (self,)
        return (msgspec.structs.replace(self, east=180.0), msgspec.structs.replace(self, west=-180.0))

    def widen(self, degrees: float) -> MapBox:
        """Return the box with a margin of ``degrees`` on each side, as far as the map reaches."""
        south, north = max(-MAX_LATITUDE, self.south - degrees), min(MAX_LATITUDE, self.north + degrees)
        if self.width + 2 * degrees >= 360:
            return MapBox(-180.0, south, 180.0, north)
        return MapBox(_wrap_longitude(self.west - degrees), south, _wrap_longitude(self.east + degrees), north)

    def union(self, other: MapBox) -> MapBox:
        """Return the smallest box that contains both boxes, of which none crosses the antimeridian."""
        south, north = min(self.south, other.south), max(self.north, other.north)
        return MapBox(min(self.west, other.west), south, max(self.east, other.east), north)

    def quarters(self) -> tuple[MapBox, ...]:
        """Return the four quarters of a box that does not cross the antimeridian."""
        lon, lat = (self.west + self.east) / 2, (self.south + self.north) / 2
        west, east = MapBox(self.west, self.south, lon, self.north), MapBox(lon, self.south, self.east, self.north)
        halves = (
            (msgspec.structs.replace(half, north=lat), msgspec.structs.replace(half, south=lat))
            for half in (west, east)
        )
        return tuple(quarter for pair in halves for quarter in pair)

    def search_area(self) -> tuple[float, float, float, float] | None:
        """Return the rectangle of a search in a geo index that contains this box: the longitude and the latitude of
        its centre, its width and its height in metres. None if the box is too large for such a search, too near to a
        pole, or crosses the antimeridian.
        """
        width, height = self.east - self.west, self.north - self.south
        if not 0 <= width <= MAX_SEARCH_DEGREES or height > MAX_SEARCH_DEGREES:
            return None
        if max(abs(self.south), abs(self.north)) > MAX_SEARCH_LATITUDE:
            return None
        # A degree of longitude is longest on the parallel that is nearest to the equator.
        nearest = 0.0 if self.south <= 0 <= self.north else min(abs(self.south), abs(self.north))
        half = EARTH_RADIUS_M * 2 * math.asin(math.cos(math.radians(nearest)) * math.sin(math.radians(width / 4)))
        tall = EARTH_RADIUS_M * math.radians(height)
        return (self.west + self.east) / 2, (self.south + self.north) / 2, 2 * half + 2, tall + 2


def merge_boxes(boxes: Iterable[MapBox]) -> list[MapBox]:
    """Return fewer boxes that together contain ``boxes``. Two boxes are replaced by one around both if its area is not
    larger than the sum of theirs. None of the results crosses the antimeridian.
    """
    merged: list[MapBox] = []
    parts = {part for box in boxes for part in box.parts()}
    for part in sorted(parts, key=lambda part: part.area_km2, reverse=True):
        for place, other in enumerate(merged):
            union = other.union(part)
            if union.area_km2 <= other.area_km2 + part.area_km2:
                merged[place] = union
                break
        else:
            merged.append(part)
    return merged


def _wrap_longitude(lon: float) -> float:
    return lon if -180 <= lon <= 180 else lon - math.copysign(360, lon)


def box_problem(box: MapBox) -> str | None:
    """Return what is wrong with ``box``, None if nothing is."""
    if not all(map(math.isfinite, msgspec.structs.astuple(box))):
        return "Four numbers: west, south, east, north"
    if max(abs(box.west), abs(box.east)) > 180:
        return "West and east are between -180 and 180"
    if max(abs(box.south), abs(box.north)) > MAX_LATITUDE:
        return f"South and north are between -{MAX_LATITUDE} and {MAX_LATITUDE}"
    if box.south >= box.north:
        return "The box is empty: south is below north"
    if box.west == box.east or (box.west == 180 and box.east == -180):
        return "The box is empty: west and east differ"
    return None


def parse_box(text: str) -> MapBox:
    """Return the box that a text of the form ``BOX_PATTERN`` describes."""
    return MapBox(*map(float, text.split(",")))
