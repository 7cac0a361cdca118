"""The names of columns in public records of journeys, which ``callout travel backtest`` understands."""

from __future__ import annotations

COLUMN_NAMES: dict[str, tuple[str, ...]] = {
    "began": (
        *("tpep_pickup_datetime", "lpep_pickup_datetime", "pickup_datetime", "pickup", "started_at", "starttime"),
        *("start_time", "trip_start_timestamp", "trip_pickup_datetime", "departed_at"),
    ),
    "ended": (
        *("tpep_dropoff_datetime", "lpep_dropoff_datetime", "dropoff_datetime", "dropoff", "ended_at", "stoptime"),
        *("stop_time", "end_time", "trip_end_timestamp", "trip_dropoff_datetime", "arrived_at"),
    ),
    "from_lat": (
        *("pickup_latitude", "pickup_lat", "start_lat", "start_latitude", "start_station_latitude", "from_lat"),
        "pickup_centroid_latitude",
    ),
    "from_lon": (
        *("pickup_longitude", "pickup_lon", "pickup_lng", "start_lng", "start_lon", "start_longitude"),
        *("start_station_longitude", "from_lon", "pickup_centroid_longitude"),
    ),
    "to_lat": (
        *("dropoff_latitude", "dropoff_lat", "end_lat", "end_latitude", "end_station_latitude", "to_lat"),
        "dropoff_centroid_latitude",
    ),
    "to_lon": (
        *("dropoff_longitude", "dropoff_lon", "dropoff_lng", "end_lng", "end_lon", "end_longitude"),
        *("end_station_longitude", "to_lon", "dropoff_centroid_longitude"),
    ),
    "from_zone": ("pulocationid", "pickup_zone", "pickup_community_area", "from_zone", "start_zone"),
    "to_zone": ("dolocationid", "dropoff_zone", "dropoff_community_area", "to_zone", "end_zone"),
    "km": ("distance_km", "km"),
    "metres": ("distance_m", "meters", "metres"),
    "miles": ("trip_distance", "trip_miles", "distance_miles", "distance"),
    "seconds": ("trip_seconds", "duration_s", "trip_time", "trip_duration", "tripduration"),
    "ride": ("ride", "ride_id", "trip", "trip_id", "journey"),
    "lat": ("lat", "latitude"),
    "lon": ("lon", "lng", "longitude"),
    "time": ("time", "timestamp", "at", "datetime"),
    "occupied": ("occupied", "occupancy"),
    "polyline": ("polyline",),
}
"""The names of columns that are understood, in small letters and with underscores for spaces."""


def find_columns(header: list[str]) -> dict[str, int]:
    """Return the index of each known column, the first of its names that the header has."""
    found = {cell.lower().replace(" ", "_"): at for at, cell in reversed(list(enumerate(header)))}
    names = {name: next((found[word] for word in words if word in found), None) for name, words in COLUMN_NAMES.items()}
    return {name: at for name, at in names.items() if at is not None}
