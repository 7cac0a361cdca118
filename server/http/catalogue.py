"""Services: what is on offer."""

from __future__ import annotations

import msgspec

from engine import catalogue
from engine.catalogue import NewService, ServiceQuery
from engine.types import ServiceId
from server import answers, wire
from server.answers import Answer
from server.decode import Body, NoQuery
from server.endpoint import Call


async def find(call: Call[Body, wire.ServicesQuery]) -> Answer:
    """Services by name; those that are not active are shown to ops alone."""
    query = msgspec.convert(call.query, ServiceQuery, from_attributes=True)
    page = await catalogue.find(call.engine, call.caller, query)
    return answers.page(call, page.items, page.next)


async def read(call: Call[Body, NoQuery]) -> Answer:
    """One service, active or not: old jobs name it still."""
    return answers.one("service", await catalogue.read(call.engine, ServiceId(call.id)))


async def create(call: Call[wire.NewService, NoQuery]) -> Answer:
    """Add a service."""
    new = msgspec.convert(call.body, NewService, from_attributes=True)
    done = await catalogue.create(call.engine, call.caller, new, key=call.key)
    return answers.made("service", done, "/v1/services")


async def patch(call: Call[wire.PatchService, NoQuery]) -> Answer:
    """Change a service; jobs keep what they were booked with."""
    change = wire.given(call.body)
    done = await catalogue.patch(call.engine, call.caller, ServiceId(call.id), change, key=call.key)
    return answers.kept("service", done)
