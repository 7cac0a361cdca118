"""Answers about the server: facts for clients, health, and the codes of problems."""

from __future__ import annotations

from datetime import datetime

from server.schemas.objects import Shape


class Poll(Shape):
    """The intervals in seconds at which a client without a WebSocket should poll."""

    connected: int
    disconnected: int


class ProblemKind(Shape):
    """The meaning of a problem's code. ``temporary``: the client may repeat the request later with the same key."""

    code: str
    status: int
    title: str
    temporary: bool
    means: str


class ProblemReply(Shape):
    problem: ProblemKind


class Durability(Shape):
    """The acknowledgement level (`CALLOUT_DURABILITY`). `checks`: the facts about Redis and SQL that provide it;
    `warnings`: what weakens it.
    """

    level: str
    checks: list[str]
    warnings: list[str]


class Ready(Shape):
    ready: bool
    problems: list[str]
    durability: Durability


class Alive(Shape):
    ok: bool


class MapSource(Shape):
    """The background of the maps of the pages: a MapLibre style or raster tiles, and whose map it is. Without both, a
    page draws what the server knows.
    """

    style: str | None = None
    tiles: str | None = None
    attribution: str | None = None


class About(Shape):
    """The facts that a client needs before it signs in. ``demo``: the people are simulated. ``web_push_key``: the
    `applicationServerKey` for push subscriptions of browsers; null if this server sends none.
    """

    name: str
    version: str
    now: datetime
    zones: list[str]
    blueprint: str
    socket: str
    subprotocols: list[str]
    poll: Poll
    map: MapSource
    demo: bool
    web_push_key: str | None = None
