"""Read the centres of zones, for records of journeys that have only the names of zones."""

from __future__ import annotations

from pathlib import Path

from engine.rules.travel import Place
from server.cli.travel_files import TravelFileError, read_rows


def read_centres(path: Path) -> dict[str, Place]:
    """Return the centres of zones from a CSV file with the columns zone, lat and lon. Raises TravelFileError."""
    centres = {}
    for line, row in read_rows(path):
        try:
            zone, lat, lon = row[:3]
            centres[zone] = (float(lat), float(lon))
        except ValueError:
            if line > 1:  # the first line may be a header
                raise TravelFileError(path, line, "not zone, lat, lon") from None
    return centres
