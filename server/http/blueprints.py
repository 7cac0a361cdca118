"""Blueprints: what new jobs may go through."""

from __future__ import annotations

from engine.errors import NotFound
from server import answers
from server.answers import Answer
from server.declared import declared
from server.decode import Body, NoQuery
from server.endpoint import Call


async def find(call: Call[Body, NoQuery]) -> Answer:
    """All blueprints that a booking may name, by name."""
    known = call.engine.blueprints
    shown = [declared(known.by_name[name], default=known.default.name == name) for name in sorted(known.by_name)]
    return answers.page(call, shown, None)


async def read(call: Call[Body, NoQuery]) -> Answer:
    """One blueprint: `name`, as new jobs get it, or `name@version`, as a running job has it."""
    known, name = call.engine.blueprints, call.params["name"]
    found = known.by_name.get(name) or known.by_key.get(name)
    if found is None:
        raise NotFound("No such blueprint")
    return answers.one("blueprint", declared(found, default=found is known.default))
