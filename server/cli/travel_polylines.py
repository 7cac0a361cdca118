"""Read rides whose route is one list of places, as in the record of the taxis of Porto (ECML/PKDD 2015)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import msgspec

INTERVAL_S = 15
"""The seconds between two places of a list, in the record of Porto."""


def unfold_polylines(rows: Iterable[dict[str, str]]) -> Iterator[dict[str, str]]:
    """Yield the points of each ride as rows of their own. ``polyline`` is JSON, ``[[lon, lat], …]``; ``time`` is in
    seconds since the Unix epoch. Raises ValueError for another text.
    """
    for ride, cells in enumerate(rows):
        try:
            places = msgspec.json.decode(cells["polyline"] or "[]", type=list[tuple[float, float]])
            began = int(cells["time"])
        except (msgspec.DecodeError, ValueError) as error:
            raise ValueError(f"no list of places with a time: {error}") from error
        for at, (lon, lat) in enumerate(places):
            yield {"ride": str(ride), "lat": str(lat), "lon": str(lon), "time": str(began + at * INTERVAL_S)}
