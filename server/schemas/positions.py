"""Fixes that devices send, and the position that a job shares."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from msgspec import Meta
from msgspec.structs import asdict

from engine.errors import FieldError
from server.schemas import constraints
from server.schemas.decode import Body, wrong_fields
from server.schemas.fields import Lat, Lon, Moment, position_errors, to_ms
from server.schemas.objects import Ref, Shape

# A value that a device sends if it measured nothing (-1, NaN, a text) counts as absent: engine/rules/fixes.py has the
# bounds of these fields.
Accuracy = Annotated[float, Meta(description="metres; a value that is not above 0 counts as absent")]
Speed = Annotated[float, Meta(description="metres a second; a value below 0 counts as absent")]
Heading = Annotated[float, Meta(description="degrees from north; a value outside 0 to 360 counts as absent")]
Altitude = Annotated[float, Meta(description="metres")]
MEASUREMENTS = ("accuracy", "speed", "heading", "altitude")
MAX_FIXES = 100


class OneFix(Body):
    """One measured position of a device. ``at`` is the time of the measurement."""

    lat: Lat
    lon: Lon
    accuracy: Accuracy | None = None
    at: Moment | None = None
    speed: Speed | None = None
    heading: Heading | None = None
    altitude: Altitude | None = None


class Location(Body):
    """What a technician's device reports: either its present position, in the body itself, or up to 100 fixes that it
    measured earlier, in ``fixes``. Wrong fixes in the list are omitted. (What others read is a `Position`.)
    """

    lat: Lat | None = None
    lon: Lon | None = None
    accuracy: Accuracy | None = None
    at: Moment | None = None
    speed: Speed | None = None
    heading: Heading | None = None
    altitude: Altitude | None = None
    fixes: Annotated[list[OneFix], Meta(min_length=1, max_length=MAX_FIXES)] | None = None

    @classmethod
    def omit_wrong_parts(cls, body: dict[str, Any]) -> dict[str, Any]:
        fixes = body.get("fixes")
        if not isinstance(fixes, list) or len(fixes) > MAX_FIXES:
            return _without_wrong_measurements(body)
        fixes = [_without_wrong_measurements(fix) if isinstance(fix, dict) else fix for fix in fixes]
        good = [fix for fix in fixes if not wrong_fields(fix, OneFix)]
        return {**body, "fixes": good or fixes}

    rules_schema = constraints.ONE_FIX_OR_SEVERAL

    def find_errors(self) -> list[FieldError]:
        if self.fixes is None and self.lat is None and self.lon is None:
            return [FieldError("/lat", "Required"), FieldError("/lon", "Required")]
        if self.fixes is not None and (self.lat is not None or self.lon is not None):
            return [FieldError("/fixes", "Either fixes or lat and lon")]
        return position_errors(self.lat, self.lon)


def _without_wrong_measurements(fix: dict[str, Any]) -> dict[str, Any]:
    """Return the fix without the measurements that are not numbers."""
    return {name: value for name, value in fix.items() if name not in MEASUREMENTS or type(value) in (int, float)}


def fixes_of(body: Location) -> list[dict[str, Any]]:
    """Return the fixes of a location as a list, with ``at`` in ms since the Unix epoch."""
    many = [body] if body.fixes is None else body.fixes
    return [{**asdict(fix), "at": to_ms(fix.at)} for fix in many]


class FixReport(Shape):
    """The answer to a fix if there is a problem: the technician is offline and receives no offers, or the device's
    clock is wrong by more than 30 s.
    """

    online: bool
    clock_offset_s: float


class Position(Shape):
    """The position of a job's technician at the time ``at``, ``age_s`` seconds ago. ``stale``: too old to be shown as
    the present position. While the technician is on the way, a position that is not stale also has the expected
    arrival: the members from ``eta_s`` to ``source``.
    """

    job: str
    lat: float
    lon: float
    at: datetime
    age_s: float
    stale: bool
    heading: Annotated[float | None, Meta(description="degrees from north")] = None
    accuracy: Annotated[float | None, Meta(description="metres: the radius of the circle that contains it")] = None
    jump: Annotated[
        bool | None,
        Meta(description="true if nobody can get there so fast"),
    ] = None
    eta_s: Annotated[int | None, Meta(description="seconds until the technician arrives at the job's place")] = None
    arrives_at: Annotated[datetime | None, Meta(description="the likely time of arrival")] = None
    low: Annotated[datetime | None, Meta(description="they probably do not arrive before")] = None
    high: Annotated[datetime | None, Meta(description="they probably arrive before")] = None
    source: Annotated[str | None, Meta(description="how the arrival was estimated")] = None


class TrackQuery(Body):
    """The query of a job's track."""

    path: Annotated[bool, Meta(description="also return the path on the job")] = False


class PathLine(Shape):
    """The path of a technician on a job: a GeoJSON LineString (RFC 7946). It has the positions while they were shared,
    without those that lie within 10 m of the line through the others. ``times`` has the time of each position.
    """

    type: Literal["LineString"]
    coordinates: Annotated[
        list[Annotated[list[float], Meta(min_length=2, max_length=2)]],
        Meta(min_length=2, description="longitude and latitude of each position"),
    ]
    times: list[datetime]


class PositionReply(Shape):
    """The answer about the position of a job's technician. ``position`` is null if nobody holds the job, or if the
    position is unknown. ``path`` is present if it was asked for; it is null for fewer than two positions, and if the
    caller may not see it (any more).
    """

    position: Position | None
    path: PathLine | None = None


class TechnicianArrival(Shape):
    """A technician came near the job's place (``technician.near``) or arrived there (``technician.arrived``), each once
    for a job and its holder. They were ``distance_m`` metres away at the time ``at``, and have ``eta_s`` seconds to go.
    """

    job: Ref
    eta_s: int
    distance_m: int
    at: datetime
