"""Ratings: what the two sides of a job that is done think of each other."""

from __future__ import annotations

from engine import ratings
from server import answers, wire
from server.answers import Answer
from server.decode import NoQuery
from server.endpoint import Call


async def create(call: Call[wire.NewRating, NoQuery]) -> Answer:
    """Rate the other side of a job that is done, once: its customer the technician, its technician the customer."""
    body = call.body
    done = await ratings.rate(call.engine, call.caller, call.id, body.stars, body.comment, key=call.key)
    where = (b"location", f"/v1/jobs/{done.value.job}".encode())
    return answers.one("rating", done.value, *answers.replayed(done), where)
