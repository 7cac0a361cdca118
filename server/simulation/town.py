"""The synthetic town of a demo as a graph of streets: its addresses, and the fastest ways to them."""

from __future__ import annotations

import heapq
import math
import random
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from server.simulation.drive import Drive, Position, Waypoint, distance_m, round_position
from server.simulation.street_names import AVENUES, STREETS

STREET_M_S, RING_M_S = 35 / 3.6, 45 / 3.6
Crossing = tuple[int, int]
"""A crossing of two streets: the number of the avenue from west to east, the number of the street from south to north.
"""
Road = tuple[Crossing, Crossing]


@dataclass(frozen=True, slots=True)
class Town:
    """The crossings of a town, the speed of each road between two crossings (metres a second), and its features in
    GeoJSON.
    """

    places: dict[Crossing, Position]
    roads: dict[Crossing, dict[Crossing, float]]
    geojson: dict[str, Any]

    @property
    def middle(self) -> Position:
        """Return a crossing near the middle of the town."""
        return self.places[max(self.places)[0] // 2, max(self.places)[1] // 2]

    def nearest_crossing(self, place: Position) -> Crossing:
        """Return the crossing that is nearest to ``place`` and has a street."""
        return min(self.roads, key=lambda crossing: distance_m(self.places[crossing], place))

    def random_crossing(self, rng: random.Random) -> Crossing:
        """Return a random crossing."""
        return rng.choice(list(self.roads))

    def random_address(self, rng: random.Random) -> tuple[Position, str]:
        """Return a random position at a street, and its address."""
        start = self.random_crossing(rng)
        end = rng.choice(list(self.roads[start]))
        part = rng.uniform(0.2, 0.8)
        (lat, lon), (end_lat, end_lon) = self.places[start], self.places[end]
        name = STREETS[start[1]] if start[1] == end[1] else AVENUES[start[0]]
        return round_position(
            lat + part * (end_lat - lat), lon + part * (end_lon - lon)
        ), f"{name} {rng.randint(1, 200)}"

    def drive(self, at: Position, start: Crossing, place: Position, pace: float, began_s: float) -> Drive:
        """Return the fastest drive from ``at`` over the crossing ``start`` to ``place``. ``pace`` multiplies the speed
        of each road. The last metres lead from the nearest street to ``place``.
        """
        foot, ends = self._nearest_road(place)
        crossings = self._fastest_way(start, ends, foot)
        way = [Waypoint(at, None, STREET_M_S * pace)]
        for before, crossing in pairwise([None, *crossings]):
            speed = self.roads[before][crossing] if before and crossing else STREET_M_S
            way.append(Waypoint(self.places[crossing or start], crossing, speed * pace))
        way += [Waypoint(position, None, STREET_M_S * pace) for position in (foot, place)]
        return Drive(way, began_s)

    def _nearest_road(self, place: Position) -> tuple[Position, Road]:
        """Return the position on a road that is nearest to ``place``, and the road."""
        width = math.cos(math.radians(place[0]))
        nearest = (math.inf, place, next(iter(self._each_road())))
        for road in self._each_road():
            (lat, lon), (end_lat, end_lon) = self.places[road[0]], self.places[road[1]]
            north, east = end_lat - lat, (end_lon - lon) * width
            part = ((place[0] - lat) * north + (place[1] - lon) * width * east) / (north * north + east * east)
            part = max(0.0, min(1.0, part))
            foot = (lat + part * north, lon + part * (end_lon - lon))
            distance = math.hypot(place[0] - foot[0], (place[1] - foot[1]) * width)
            if distance < nearest[0]:
                nearest = (distance, foot, road)
        return round_position(*nearest[1]), nearest[2]

    def _each_road(self) -> Iterator[Road]:
        return ((start, end) for start, ends in self.roads.items() for end in ends if start < end)

    def _fastest_way(self, start: Crossing, ends: Road, foot: Position) -> list[Crossing]:
        """Return the crossings of the fastest way from ``start`` to the position ``foot`` on the road ``ends``."""
        times, came_from, queue = {start: 0.0}, {start: start}, [(0.0, start)]
        best, last = math.inf, start
        while queue and queue[0][0] < best:
            seconds, crossing = heapq.heappop(queue)
            if seconds > times[crossing]:
                continue
            if crossing in ends:
                whole = seconds + distance_m(self.places[crossing], foot) / STREET_M_S
                best, last = min((best, last), (whole, crossing))
            for following, speed in self.roads[crossing].items():
                time = seconds + distance_m(self.places[crossing], self.places[following]) / speed
                if time < times.get(following, math.inf):
                    times[following], came_from[following] = time, crossing
                    heapq.heappush(queue, (time, following))
        way = [last]
        while way[-1] != start:
            way.append(came_from[way[-1]])
        return way[::-1]
