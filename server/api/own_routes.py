"""The routes about the caller's own account: profile, blocks, logins, devices and notifications, and the presence of
others. They are a part of the table in server/api/routes.py.
"""

from __future__ import annotations

from engine.roles import ANY_ROLE, PARTY_ROLES
from server.api.handlers import blocks, devices, logins, notifications, presence, users
from server.api.route import Route, list_route
from server.http import policy
from server.schemas.auth import ActiveLogin
from server.schemas.blocks import Block, BlockReply, OneUser
from server.schemas.decode import NoBody
from server.schemas.devices import DeviceReply, PutDevice
from server.schemas.notifications import Notification
from server.schemas.presence import PresenceQuery, Presences
from server.schemas.users import MeReply

OWN_ROUTES: tuple[Route, ...] = (
    Route("GET", "/v1/me", users.me, ANY_ROLE, policy.OWN_DATA, reply=MeReply),
    list_route("/v1/me/blocks", blocks.find, PARTY_ROLES, policy.OWN_DATA, Block),
    Route(
        "POST", "/v1/me/blocks", blocks.create, PARTY_ROLES, policy.BLOCK_USER, OneUser, reply=BlockReply, has_key=True
    ),
    Route("DELETE", "/v1/me/blocks", blocks.drop, PARTY_ROLES, policy.BLOCK_USER, OneUser, status=204, has_key=True),
    Route(
        "PUT", "/v1/me/blocks/{id}", blocks.put, PARTY_ROLES, policy.BLOCK_USER, NoBody, reply=BlockReply, has_key=True
    ),
    Route(
        "DELETE", "/v1/me/blocks/{id}", blocks.lift, PARTY_ROLES, policy.BLOCK_USER, NoBody, status=204, has_key=True
    ),
    list_route("/v1/me/sessions", logins.find, ANY_ROLE, policy.OWN_DATA, ActiveLogin),
    Route("DELETE", "/v1/me/sessions/{id}", logins.end, ANY_ROLE, policy.OWN_LOGIN, NoBody, status=204, has_key=True),
    list_route("/v1/notifications", notifications.find, ANY_ROLE, policy.OWN_DATA, Notification),
    Route(
        "POST",
        "/v1/notifications/{id}/read",
        notifications.read,
        ANY_ROLE,
        policy.OWN_NOTIFICATION,
        NoBody,
        status=204,
    ),
    Route(
        "PUT",
        "/v1/devices/{id}",
        devices.put,
        ANY_ROLE,
        policy.OWN_DATA,
        PutDevice,
        reply=DeviceReply,
        has_key=True,
    ),
    Route(
        "GET",
        "/v1/presence",
        presence.find,
        ANY_ROLE,
        policy.OWN_DATA,
        query=PresenceQuery,
        reply=Presences,
        limit_name="presence",
    ),
    Route("DELETE", "/v1/devices/{id}", devices.remove, ANY_ROLE, policy.OWN_DEVICE, NoBody, status=204, has_key=True),
)
