"""The routes about the engine's choice of a technician. They are a part of the table in server/api/routes.py."""

from __future__ import annotations

from msgspec import structs

from engine.roles import ANY_ROLE, OPS, SERVICE_ROLE, TECHNICIAN_ROLE
from server.api.handlers import choices, slots
from server.api.route import Route, list_route
from server.http import policy
from server.schemas.choices import PreviewReply, WhyQuery, WhyReply
from server.schemas.jobs import NewJob
from server.schemas.slots import Slot, SlotsQuery

CHOICE_ROUTES: tuple[Route, ...] = (
    Route(
        "POST",
        "/v1/jobs/preview",
        choices.preview,
        OPS | SERVICE_ROLE,
        policy.OWN_DATA,
        NewJob,
        reply=PreviewReply,
        limit_name="preview",
    ),
    Route(
        "GET",
        "/v1/technicians/{id}/why",
        choices.why,
        TECHNICIAN_ROLE | OPS,
        policy.EXPLAIN_OFFERS,
        query=WhyQuery,
        reply=WhyReply,
    ),
    structs.replace(
        list_route("/v1/slots", slots.find, ANY_ROLE, policy.OWN_DATA, Slot, query=SlotsQuery, live=True),
        limit_name="slots",
    ),
)
"""They come before the routes of a job, whose path pattern matches the path of the preview too."""
