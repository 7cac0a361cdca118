"""Requests: what became of a command whose answer was lost."""

from __future__ import annotations

from uuid import UUID

from engine import requests
from engine.errors import NotFound
from server import answers
from server.answers import Answer
from server.decode import Body, NoQuery
from server.endpoint import Call


async def read(call: Call[Body, NoQuery]) -> Answer:
    """The verdict stored under a request key of the caller; 404 says that the request never arrived."""
    try:
        key = str(UUID(call.params["key"]))
    except ValueError:
        raise NotFound("No request key: not a UUID") from None
    return answers.plain(await requests.verdict(call.engine, call.caller, key))
