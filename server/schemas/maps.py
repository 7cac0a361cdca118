"""Zones, and the map of a zone: over HTTP the present map, on the socket a snapshot and then the changes."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from msgspec import Meta

from engine.errors import FieldError
from engine.rules.boxes import BOX_PATTERN, LAYERS, Layer, MapBox, box_problem, parse_box
from engine.types import Phase
from server.schemas.decode import Body
from server.schemas.demand import DemandItem
from server.schemas.fields import Lat, Lon
from server.schemas.lists import Cursors
from server.schemas.objects import Shape

LAYERS_PATTERN = r"^(people|jobs)(,(people|jobs))*$(?!\n)"


READ_LAYERS_PATTERN = LAYERS_PATTERN.replace("people|jobs", "people|jobs|demand")


class MapQuery(Body):
    """The query of a zone's map: which part of the map to return. `bbox` is west, south, east and north in degrees; a
    box whose west is above its east crosses the antimeridian. `layers` are `people`, `jobs` and `demand`; the default
    is the first two.
    """

    bbox: Annotated[
        str, Meta(max_length=100, pattern=BOX_PATTERN, description="four numbers: west,south,east,north, in degrees")
    ]
    layers: Annotated[
        str, Meta(max_length=64, pattern=READ_LAYERS_PATTERN, description="some of people, jobs and demand")
    ] = "people,jobs"

    @property
    def has_demand(self) -> bool:
        """Return whether the layer of demand is asked for."""
        return "demand" in self.layers.split(",")

    @property
    def box(self) -> MapBox:
        """Return the box."""
        return parse_box(self.bbox)

    @property
    def wanted_layers(self) -> tuple[Layer, ...]:
        """Return the layers that are asked for, each once."""
        words = self.layers.split(",")
        return tuple(layer for layer in LAYERS if layer in words)

    def find_errors(self) -> list[FieldError]:
        problem = box_problem(self.box)
        return [FieldError("/bbox", problem)] if problem else []


class MapPerson(Shape):
    """A technician with a position of the last hour. ``jobs`` is how many jobs they hold. They are busy while one of
    these jobs is to be done now; a job that is booked for later does not count.
    """

    id: str
    name: str
    lat: Lat
    lon: Lon
    at: datetime
    age_s: float
    state: Literal["free", "busy", "offline"]
    jobs: int


class MapJob(Shape):
    """A live job, at its exact place. ``technician`` holds it."""

    id: str
    lat: Lat
    lon: Lon
    status: str
    phase: Phase
    technician: str | None = None


class MapCluster(Shape):
    """An H3 cell, with the position of its centre, and how many people and jobs of the box are in it."""

    cell: str
    lat: Lat
    lon: Lon
    people: int
    jobs: int


class MapSnapshot(Shape, kw_only=True):
    """What a session sees of a zone's map. A layer that was not asked for is missing; a layer with more than 5,000
    people or jobs is empty, and ``clusters`` counts it. ``demand`` has the cells in which anything was requested, at
    most 5,000, those with the highest scores. ``k`` rises by one with each frame of the map of this session; after a
    gap the client subscribes again.
    """

    zone: str
    k: int
    bbox: tuple[float, float, float, float]
    people: list[MapPerson] | None = None
    jobs: list[MapJob] | None = None
    demand: list[DemandItem] | None = None
    clusters: list[MapCluster]


class MapChange(Shape, kw_only=True):
    """A person, a job or a cluster, with the members that it has in the snapshot. A person has ``state``, a job has
    ``phase``, a cluster has ``cell``.
    """

    id: str | None = None
    cell: str | None = None
    lat: Lat
    lon: Lon
    name: str | None = None
    at: datetime | None = None
    age_s: float | None = None
    state: Literal["free", "busy", "offline"] | None = None
    status: str | None = None
    phase: Phase | None = None
    technician: str | None = None
    people: int | None = None
    jobs: int | None = None


class MapDelta(Shape):
    """The difference to the last frame of this session. ``entered`` is new, ``moved`` replaces what has the same id or
    cell, and ``left`` are the ids and cells that are no longer shown. An item of ``demand`` is new or replaces the one
    with the same ``area``; ``demand_left`` are the areas that are no longer shown.
    """

    zone: str
    k: int
    entered: list[MapChange]
    moved: list[MapChange]
    left: list[str]
    demand: list[DemandItem] | None = None
    demand_left: list[str] | None = None


class MapReply(Shape, kw_only=True):
    """What a box of a zone's map contains. A layer that was not asked for is missing. A layer with more than 5,000
    people or jobs is empty, and ``clusters`` counts it. ``demand`` has the cells in which anything was requested, at
    most 5,000, those with the highest scores.
    """

    zone: str
    people: list[MapPerson] | None = None
    jobs: list[MapJob] | None = None
    demand: list[DemandItem] | None = None
    clusters: list[MapCluster]
    as_of: Cursors


class PlacesReply(Shape):
    """Where the past jobs of a zone were. Each place is `[lat, lon]`, rounded to 25 m."""

    zone: str
    places: list[tuple[Lat, Lon]]


class ZoneItem(Shape):
    """A zone. ``polygon`` is its area, a Polygon or MultiPolygon of GeoJSON; null is everywhere that is in no other
    zone. ``timezone`` is a name of the IANA database.
    """

    name: str
    polygon: dict[str, Any] | None
    timezone: str
