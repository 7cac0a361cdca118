"""The town of a demo for its pages: the map, and routes along its streets."""

from __future__ import annotations

from urllib.parse import parse_qs

import msgspec

from server.demo.control import DemoRoute, Refused, json_answer
from server.simulation.drive import Position
from server.simulation.town import Town
from server.web.demo_relay import Answer, Visit


class TownRoutes:
    """Answers about one town."""

    def __init__(self, town: Town) -> None:
        self._town = town
        self._geojson = msgspec.json.encode(town.geojson)

    def routes(self) -> dict[tuple[str, str], DemoRoute]:
        """Return the routes of the town, by method and path."""
        return {
            ("GET", "town"): DemoRoute(self._read_town, is_for_all=True),
            ("GET", "route"): DemoRoute(self._find_route, is_for_all=True),
        }

    async def _read_town(self, visit: Visit) -> Answer:
        return Answer(self._geojson)

    async def _find_route(self, visit: Visit) -> Answer:
        """Answer ``GET /demo/route?from=LAT,LON&to=LAT,LON``: a page drives along it at the speed of the streets."""
        query = parse_qs(visit.query)
        start, end = (_position(query.get(name, [""])[0], name) for name in ("from", "to"))
        drive = self._town.drive(start, self._town.nearest_crossing(start), end, 1.0, 0.0)
        points = [{"lat": at[0], "lon": at[1], "at_s": round(at_s, 1)} for at, at_s in drive.timed_points()]
        return json_answer({"points": points, "seconds": round(drive.ends_s, 1)})


def _position(text: str, name: str) -> Position:
    """Return a position. Raises Refused."""
    try:
        lat, lon = (float(part) for part in text.split(","))
    except ValueError:
        raise Refused("invalid", f"{name}: a latitude and a longitude, as 52.52,13.405") from None
    if not (abs(lat) <= 90 and abs(lon) <= 180):  # refuses NaN too
        raise Refused("invalid", f"{name}: at most 90 and 180 degrees")
    return lat, lon
