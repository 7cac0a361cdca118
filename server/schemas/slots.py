"""Slots: the times that a customer can choose from."""

from __future__ import annotations

from datetime import datetime

from msgspec import field

from server.schemas.fields import Id, Lat, Lon, Moment
from server.schemas.lists import ListQuery
from server.schemas.objects import Shape


class SlotsQuery(ListQuery, kw_only=True):
    """The service, place and times for which slots are wanted. With ``technician``, only the slots of this one."""

    service: Id
    lat: Lat
    lon: Lon
    first: Moment = field(name="from")
    last: Moment = field(name="to")
    technician: Id | None = None
    blueprint: Id | None = None


class Slot(Shape, rename={"start": "from", "end": "to"}):
    """A time for the whole work, and the number of technicians who could do it."""

    start: datetime
    end: datetime
    free: int
