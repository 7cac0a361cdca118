"""The synthetic town of a demo."""

from __future__ import annotations

from typing import Literal

from server.schemas.objects import Shape

TOWN_FILE = "demo-town.json"
"""The file of the town, in the folder of the logins (`CALLOUT_DEMO`). A demo writes it before its server starts."""


class TownPart(Shape):
    kind: Literal["block", "district", "park", "river", "street", "ring_road", "bridge"]
    name: str


class TownLine(Shape, tag_field="type", tag="LineString"):
    """A line. Positions have the longitude first, as GeoJSON demands."""

    coordinates: list[tuple[float, float]]


class TownOutline(Shape, tag_field="type", tag="Polygon"):
    """The outline of a park, as a list of one ring."""

    coordinates: list[list[tuple[float, float]]]


class TownBlocks(Shape, tag_field="type", tag="MultiPolygon"):
    """The blocks of houses of a district, each a list of one ring."""

    coordinates: list[list[list[tuple[float, float]]]]


class TownName(Shape, tag_field="type", tag="Point"):
    """Where the name of a district stands."""

    coordinates: tuple[float, float]


class TownFeature(Shape):
    type: Literal["Feature"]
    properties: TownPart
    geometry: TownLine | TownOutline | TownBlocks | TownName


class Town(Shape):
    """A town as GeoJSON, in the order in which to draw its parts. ``centre`` is a position, longitude first."""

    type: Literal["FeatureCollection"]
    centre: tuple[float, float]
    features: list[TownFeature]
