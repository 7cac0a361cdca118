"""The routes of technicians' schedules. They are a part of the table in server/api/routes.py."""

from __future__ import annotations

from engine.roles import OPS, TECHNICIAN_ROLE
from server.api.handlers import schedules
from server.api.route import Route
from server.http import policy
from server.schemas.schedules import HoursReply, PutHours, ScheduleReply

SCHEDULE_ROUTES: tuple[Route, ...] = (
    Route(
        "GET",
        "/v1/technicians/{id}/schedule",
        schedules.read,
        TECHNICIAN_ROLE | OPS,
        policy.SCHEDULE_OF_TECHNICIAN,
        reply=ScheduleReply,
    ),
    Route(
        "PUT",
        "/v1/technicians/{id}/hours",
        schedules.put_hours,
        TECHNICIAN_ROLE | OPS,
        policy.SCHEDULE_OF_TECHNICIAN,
        PutHours,
        reply=HoursReply,
    ),
)
