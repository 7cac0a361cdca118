"""Quotes: a price that is promised before the booking, and the cap of a zone's prices."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from msgspec import Meta

from server.schemas.decode import Body
from server.schemas.fields import Id, Lat, Lon, Moment, Pricing, ShortText
from server.schemas.objects import Ref, Shape

PerMille = Annotated[int, Meta(description="per mille: 1150 is × 1.15")]


class NewQuote(Body):
    """The work for which a price is requested: a booking without its texts. Ops and services name the `customer`."""

    blueprint: Id
    service: Id
    lat: Lat
    lon: Lon
    postal_code: ShortText | None = None
    scheduled_for: Moment | None = None
    customer: Id | None = None


class PriceLine(Shape):
    """A line of a breakdown. ``amount`` is what the line adds to the lines above it, in minor units."""

    line: Annotated[str, Meta(description="base, demand, peak, limit or rounding")]
    amount: int
    says: str


class JobQuote(Shape):
    """The quote that a job used up. Its amount does not change, even if a proposal changes the job's amount."""

    id: str
    amount: int
    breakdown: Annotated[list[PriceLine], Meta(description="the amounts sum to the quote's amount")]


class QuoteInputs(Shape):
    """The inputs of a price. `demand_from` says where the demand multiplier comes from: `pulse`, the pulse of the area;
    or why it is 1: `blueprint`, the blueprint has no demand multiplier; `none`, there is no recent pulse; `later`, the
    work is wanted too late for it.
    """

    at: datetime
    timezone: str
    base_amount: int
    demand_from: Literal["pulse", "none", "later", "blueprint"]
    demand: PerMille
    peak: PerMille
    min: PerMille
    max: PerMille
    round_to: int
    cap: Annotated[int | None, Meta(description="the zone's cap (per mille), set by ops")] = None
    kind: Literal["cell", "postal_code"] | None = None
    area: str | None = None
    as_of: datetime | None = None
    waiting: int | None = None
    free: int | None = None
    lift: float | None = None


class Quote(JobQuote, kw_only=True):
    """A price that is promised to a customer until `expires_at`. One booking uses it up."""

    zone: str
    customer: Ref
    blueprint: str
    service: str
    lat: Lat
    lon: Lon
    postal_code: str | None = None
    scheduled_for: datetime | None = None
    currency: str
    pricing: Pricing
    multiplier: PerMille
    inputs: Annotated[QuoteInputs | None, Meta(description="for ops only")] = None
    created_at: datetime
    expires_at: datetime
    used_by: Annotated[str | None, Meta(description="the job that used the quote up")] = None


class QuoteReply(Shape):
    quote: Quote


class PutPricing(Body):
    """The largest multiplier of a zone's quoted prices in per mille, even if a blueprint allows more; null removes
    it.
    """

    max: Annotated[int, Meta(ge=1000, le=10_000)] | None


class ZonePricing(Shape):
    """The cap of a zone; null if it has none."""

    zone: str
    max: int | None


class PricingReply(Shape):
    pricing: ZonePricing
