"""What the server says of itself: meta data, health, and the codes of problems."""

from __future__ import annotations

from datetime import datetime

from server.schemas.objects import Shape


class Poll(Shape):
    """How often a client without a WebSocket should poll, in seconds."""

    connected: int
    disconnected: int


class ProblemKind(Shape):
    """The meaning of a code. ``temporary``: the same request may be repeated later with the same key."""

    code: str
    status: int
    title: str
    temporary: bool
    means: str


class ProblemReply(Shape):
    problem: ProblemKind


class Ready(Shape):
    ready: bool
    problems: list[str]


class Alive(Shape):
    ok: bool


class About(Shape):
    """The facts that a client needs before it signs in."""

    name: str
    version: str
    now: datetime
    zones: list[str]
    blueprint: str
    socket: str
    subprotocols: list[str]
    poll: Poll
