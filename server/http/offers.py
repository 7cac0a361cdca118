"""Offers: what a technician is invited to."""

from __future__ import annotations

import msgspec

from engine import offers
from server import answers, wire
from server.answers import Answer
from server.decode import Body
from server.endpoint import Call


class _Job(msgspec.Struct):
    id: str


class _Place(msgspec.Struct):
    """What of an offer decides where it stands in the list."""

    expires_at: str
    job: _Job


_place = msgspec.json.Decoder(_Place)


async def find(call: Call[Body, wire.ListQuery]) -> Answer:
    """What is open to the caller, nearest deadline first, with `distance_m`."""
    page = await offers.open_to(call.engine, call.caller)
    return answers.listed(call, page.items, _where, as_of=page.as_of)


def _where(offer: bytes) -> tuple[str, str]:
    place = _place.decode(offer)
    return place.expires_at, place.job.id
