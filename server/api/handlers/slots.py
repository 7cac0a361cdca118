"""Slots: the times that a customer can choose from."""

from __future__ import annotations

import msgspec

from engine.domain import slots
from engine.domain.slots import SlotQuery
from server.api.endpoint import RequestContext
from server.http import responses
from server.http.responses import Response
from server.schemas.decode import Body
from server.schemas.fields import to_ms
from server.schemas.slots import SlotsQuery


async def find(call: RequestContext[Body, SlotsQuery]) -> Response:
    """Return the times of the next 14 days at which technicians nearby could do the work.

    A slot is an offer: a booking with its `from` as `scheduled_for` gets a technician, if the blueprint reserves. If
    the slot is taken by then, the refusal `schedule_conflict` has other `slots`. Slots show no names and no places.
    """
    asked = msgspec.structs.asdict(call.query)
    wanted = {name: asked[name] for name in ("service", "lat", "lon", "technician", "blueprint")}
    query = SlotQuery(**wanted, first=to_ms(call.query.first) or 0, last=to_ms(call.query.last) or 0)
    found = await slots.find_slots(call.engine, call.caller, query)
    items = [slots.slot_view(slot) for slot in found.slots]
    return responses.list_response(
        call.next_link, call.query, items, lambda item: (str(item["from"]),), as_of=found.as_of
    )
