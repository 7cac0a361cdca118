"""Where the technician of a job is."""

from __future__ import annotations

from engine import positions
from server import answers
from server.answers import Answer
from server.decode import Body, NoQuery
from server.endpoint import Call


async def track(call: Call[Body, NoQuery]) -> Answer:
    """Where the technician of a job is, with the age of the position; null where nobody holds the job."""
    return answers.one("position", await positions.track(call.engine, call.caller, call.id))
