"""The routes about positions: the fixes that a device sends, and where a job's technician is. They are a part of the
table in server/api/routes.py.
"""

from __future__ import annotations

from engine.roles import JOB_READER_ROLES, TECHNICIAN_ROLE
from server.api.handlers import positions, technicians
from server.api.route import Route
from server.http import policy
from server.schemas.positions import FixReport, Location, PositionReply, TrackQuery

POSITION_ROUTES: tuple[Route, ...] = (
    Route(
        "PUT",
        "/v1/technicians/{id}/location",
        technicians.location,
        TECHNICIAN_ROLE,
        policy.OWN_TECHNICIAN,
        Location,
        status=204,
        reply_with_problem=FixReport,
        limit_name="fixes",
    ),
    Route(
        "GET",
        "/v1/jobs/{id}/track",
        positions.track,
        JOB_READER_ROLES,
        policy.READ_FULL_JOB,
        query=TrackQuery,
        reply=PositionReply,
    ),
)
"""They come before the routes of a job's commands, whose path pattern matches the path of the track too."""
