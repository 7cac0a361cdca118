"""Demand: areas with their forecast, clusters of areas, and the errors of the forecast."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from msgspec import Meta

from engine.errors import FieldError
from engine.rules.boxes import BOX_PATTERN, MapBox, box_problem, parse_box
from engine.types import DEFAULT_ZONE
from server.schemas.decode import Body
from server.schemas.fields import Id
from server.schemas.lists import ListQuery
from server.schemas.objects import Shape

AreaBy = Literal["cell", "postal_code"]


class DemandQuery(ListQuery):
    """The query of a zone's areas, by H3 cell or by postal code. With `bbox`, only areas with a cell in the box."""

    by: AreaBy = "cell"
    zone: Id = DEFAULT_ZONE
    bbox: (
        Annotated[
            str,
            Meta(max_length=100, pattern=BOX_PATTERN, description="four numbers: west,south,east,north, in degrees"),
        ]
        | None
    ) = None

    @property
    def box(self) -> MapBox | None:
        """Return the box, or None."""
        return parse_box(self.bbox) if self.bbox else None

    def find_errors(self) -> list[FieldError]:
        problem = box_problem(self.box) if self.box else None
        return [FieldError("/bbox", problem)] if problem else []


class ClustersQuery(ListQuery):
    """The query of a zone's clusters, by H3 cell or by postal code."""

    by: AreaBy = "cell"
    zone: Id = DEFAULT_ZONE


class ScoresQuery(Body):
    zone: Id = DEFAULT_ZONE


class ExpectedRequests(Shape):
    """The requests that are expected in the hour that ends ``h`` hours after the last full hour: the mean, and the band
    that contains the counts of four of five such hours.
    """

    h: int
    mean: float
    p10: int
    p90: int


class DemandItem(Shape, kw_only=True, rename={"source": "from"}):
    """An area: an H3 cell, with its outline, or a postal code. ``score`` is its rank in the zone, from 0 to 100, by
    waiting and expected requests minus technicians who are free or will probably be free. ``lift`` is the number of
    requests expected in the next hour, divided by the usual number in that hour of the week. ``multiplier`` is the
    demand multiplier of prices (per mille), the highest of all blueprints. ``sample`` counts the requests of four
    weeks. An area with fewer than 30 has the values of its parent cell ``from``. Technicians see only the score.
    """

    area: str
    polygon: dict[str, Any] | None = None
    score: float
    lift: float | None = None
    waiting: int | None = None
    free: int | None = None
    multiplier: int | None = None
    ahead: list[ExpectedRequests] | None = None
    sample: int | None = None
    source: str | None = None
    as_of: datetime


class ChangedArea(Shape):
    """An area, one of whose members below has changed. ``expected`` is the number of requests expected in the next
    hour.
    """

    area: str
    score: float
    waiting: int
    free: int
    expected: float
    multiplier: int


class DemandChanged(Shape):
    """The areas of a zone in which something changed, at most once a minute for each kind of area."""

    zone: str
    by: AreaBy
    items: list[ChangedArea]
    as_of: datetime


class DemandCluster(Shape):
    """Neighbouring areas around the one with the most requests, ``area``. ``sample`` is the number of requests of four
    weeks, ``share`` its share of the zone's requests, ``expected`` the number expected in the next hour.
    """

    area: str
    areas: list[str]
    sample: int
    share: float
    waiting: int
    free: int
    expected: float
    as_of: datetime


class ForecastScore(Shape):
    """The recent error of one candidate for the forecast. ``error`` is the sum of its absolute errors over all areas in
    one hour, as the mean of the last days. ``served`` is whether the zone serves this candidate at this horizon.
    """

    by: AreaBy
    h: int
    candidate: str
    error: float
    served: bool
    as_of: datetime


class ForecastScores(Shape):
    items: list[ForecastScore]
