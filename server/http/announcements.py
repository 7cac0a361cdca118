"""Announcements: what ops tell everybody of some roles."""

from __future__ import annotations

from engine import announcements
from engine.announcements import Announcement
from server import answers, wire
from server.answers import Answer
from server.decode import NoQuery
from server.endpoint import Call


async def create(call: Call[wire.NewAnnouncement, NoQuery]) -> Answer:
    """Tell everybody of some roles; who is away is told when they come back."""
    body = call.body
    new = Announcement(event=body.event, roles=list(body.roles or ()), data=body.data)
    return answers.kept(
        "announcement", await announcements.announce(call.engine, call.caller, new, key=call.key, trace=call.trace)
    )
