"""The routes for those who operate the server, and the search of the staff. They are a part of the table in
server/api/routes.py.
"""

from __future__ import annotations

from engine.roles import ADMIN_ROLE, MANAGERS, OPS
from server.api.handlers import system
from server.api.route import Route
from server.http import policy
from server.schemas.system import SearchQuery, SearchReply, SettingsReply, StatsQuery, StatsReply, SystemReply

_OWN = policy.OWN_DATA

SYSTEM_ROUTES: tuple[Route, ...] = (
    Route("GET", "/v1/stats", system.read_stats, OPS, _OWN, query=StatsQuery, reply=StatsReply),
    Route("GET", "/v1/system", system.read_system, OPS, _OWN, reply=SystemReply),
    Route("GET", "/v1/settings", system.read_settings, ADMIN_ROLE, _OWN, reply=SettingsReply),
    Route("GET", "/v1/search", system.search, MANAGERS, _OWN, query=SearchQuery, reply=SearchReply),
)
