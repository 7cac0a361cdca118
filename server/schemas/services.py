"""The catalogue of services."""

from __future__ import annotations

from typing import Annotated

from msgspec import UNSET, Meta, UnsetType

from server.schemas.decode import Body
from server.schemas.fields import Amount, Currency, DurationMin, Name, Pricing, ShortText
from server.schemas.lists import ListQuery
from server.schemas.objects import Shape


class NewService(Body):
    name: Name
    category: ShortText
    base_amount: Amount
    currency: Currency
    pricing: Pricing
    duration_min: DurationMin = 60
    active: bool = True


class PatchService(Body):
    name: Name | UnsetType = UNSET
    category: ShortText | UnsetType = UNSET
    base_amount: Amount | UnsetType = UNSET
    currency: Currency | UnsetType = UNSET
    pricing: Pricing | UnsetType = UNSET
    duration_min: DurationMin | UnsetType = UNSET
    active: bool | UnsetType = UNSET


class ServicesQuery(ListQuery):
    q: Annotated[str, Meta(max_length=200)] | None = None
    category: Annotated[str, Meta(max_length=64)] | None = None


class Service(Shape):
    id: str
    name: str
    category: str
    base_amount: int
    currency: str
    pricing: Pricing
    duration_min: int
    active: bool


class ServiceReply(Shape):
    service: Service
