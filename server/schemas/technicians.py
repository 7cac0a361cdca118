"""Profiles of technicians, their reviews and their availability."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import UNSET, Meta, UnsetType

from engine.errors import FieldError
from engine.rules.availability import TechnicianAvailability
from server.schemas import constraints
from server.schemas.decode import Body
from server.schemas.fields import Id, Lat, Lon, MediumText, Name, Phone, ZoneName, position_errors
from server.schemas.files import File
from server.schemas.lists import ListQuery
from server.schemas.objects import Shape


class PatchTechnician(Body):
    """The fields of a profile to change. Technicians may set their ``name``, ``phone`` and ``services``; managers also
    ``zone`` and ``capacity``.
    """

    name: Name | UnsetType = UNSET
    phone: Phone | UnsetType | None = UNSET
    services: Annotated[list[Id], Meta(max_length=50)] | UnsetType = UNSET
    zone: ZoneName | UnsetType = UNSET
    capacity: Annotated[int, Meta(ge=1, le=1000)] | UnsetType = UNSET


class Review(Body):
    kyc: Literal["approved", "rejected", "pending"] | None = None
    account: Literal["approved", "suspended"] | None = None
    reason: MediumText | None = None

    rules_schema = constraints.require_one_of("kyc", "account")

    def find_errors(self) -> list[FieldError]:
        return [] if self.kyc or self.account else [FieldError("", "Give kyc or account")]


class SetAvailability(Body):
    online: bool
    lat: Lat | None = None
    lon: Lon | None = None

    rules_schema = constraints.OPTIONAL_POSITION

    def find_errors(self) -> list[FieldError]:
        return position_errors(self.lat, self.lon)


class TechniciansQuery(ListQuery):
    service: Id | None = None
    lat: Lat | None = None
    lon: Lon | None = None
    review: Annotated[Literal["pending"] | None, Meta(description="who waits for a review, the oldest first")] = None

    required_together = ("lat", "lon")

    def find_errors(self) -> list[FieldError]:
        if self.review and self.lat is not None:
            return [FieldError("/lat", "The queue of reviews is not filtered by place")]
        return position_errors(self.lat, self.lon)


class Technician(Shape):
    id: str
    name: str
    services: list[str]
    zone: str
    rating: float
    rating_count: int
    online: bool
    phone: str | None = None
    capacity: int | None = None
    load: int | None = None
    kyc: Literal["approved", "rejected", "pending"] | None = None
    account: Literal["approved", "suspended", "pending"] | None = None
    documents: Annotated[list[File] | None, Meta(description="in the queue of reviews alone")] = None


class TechnicianReply(Shape):
    technician: Technician


class Availability(TechnicianAvailability, Shape):
    """The availability of a technician. ``receiving`` is whether the technician receives offers; ``blockers`` are the
    codes of the reasons if not. ``clock_offset_s`` is the number of seconds by which the device's clock is ahead; up to
    30 s it is 0.
    """
