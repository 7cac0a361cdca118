"""The routes by which a person gets, or removes, everything about them. They are a part of the table in
server/api/routes.py.
"""

from __future__ import annotations

from engine.roles import ANY_ROLE
from server.api.handlers import erasures
from server.api.route import Route
from server.http import policy
from server.schemas.erasures import ErasureReply, NewErasure, NewExport

_ACCOUNT = policy.MANAGE_ACCOUNT

PERSON_ROUTES: tuple[Route, ...] = (
    Route("POST", "/v1/users/{id}/export", erasures.export, ANY_ROLE, _ACCOUNT, NewExport, limit_name="exports"),
    Route(
        "POST",
        "/v1/users/{id}/erasure",
        erasures.create,
        ANY_ROLE,
        _ACCOUNT,
        NewErasure,
        reply=ErasureReply,
        status=202,
        limit_name="erasure",
        has_key=True,
    ),
    Route("GET", "/v1/users/{id}/erasure", erasures.read, ANY_ROLE, _ACCOUNT, reply=ErasureReply),
)
