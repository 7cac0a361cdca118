"""The table of the paths of technicians on jobs."""

from __future__ import annotations

from sqlalchemy import Table

from engine.sql.columns import id_column, metadata, text_column, time_column

job_paths = Table(
    "job_paths",
    metadata,
    id_column("job"),
    id_column("technician"),
    time_column("last_at", index=True),
    text_column("points"),
)
"""The path of a technician on a job while their position was shared, thinned (engine/rules/paths.py). ``points`` is a
JSON list of ``[lat, lon, at]`` in order; ``last_at`` is the time of its last point."""
