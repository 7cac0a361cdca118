"""The snapshot that a client starts from."""

from __future__ import annotations

from engine import sync
from server import answers
from server.answers import Answer
from server.decode import Body, NoQuery
from server.endpoint import Call
from server.http.about import POLL
from server.http.users import fix_rate


async def read(call: Call[Body, NoQuery]) -> Answer:
    """Everything to start from in one answer: who you are, your live jobs, open offers, rooms and unread notifications.

    `cursor` was read before all that: a stream, poll or socket that begins there misses nothing.
    """
    found = await sync.snapshot(call.engine, call.caller)
    return answers.plain(
        {
            "me": found.me,
            "jobs": [answers.raw(job) for job in found.jobs],
            "next": found.next,
            "offers": [answers.raw(offer) for offer in found.offers],
            "rooms": [],
            "notifications": found.notifications,
            "cursor": found.cursor,
            "poll": POLL,
            "fix": fix_rate(found.me),
        }
    )
