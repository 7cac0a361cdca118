"""Distances between positions in degrees (WGS 84)."""

from __future__ import annotations

from math import asin, cos, radians, sin, sqrt

EARTH_RADIUS_M = 6_372_797.560856
"""The radius that Redis and lua/lib/geo.lua use, so that all three compute the same distances."""
METRES_PER_DEGREE = EARTH_RADIUS_M * radians(1.0)
"""The length of one degree of latitude."""


def distance_m(lat1: float, lon1: float, lat2: float, lon2: float) -> float:
    """Return the great-circle distance in metres (haversine formula), as lua/lib/geo.lua computes it."""
    half_lat, half_lon = sin(radians(lat2 - lat1) / 2), sin(radians(lon2 - lon1) / 2)
    square = half_lat**2 + cos(radians(lat1)) * cos(radians(lat2)) * half_lon**2
    return 2 * EARTH_RADIUS_M * asin(sqrt(min(square, 1.0)))
