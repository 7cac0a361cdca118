"""The request for a booking, or for its price."""

from __future__ import annotations

from typing import Any

import msgspec


class Booking(msgspec.Struct, frozen=True, kw_only=True):
    """A booking. The position is in degrees, WGS 84; ``amount`` is in minor units of ``currency``; ``scheduled_for`` is
    in ms since the Unix epoch. Without an amount, amount and currency are those of the service: a currency without an
    amount is ignored. Without a duration, the service's is used. If the blueprint's prices are quoted, the booking uses
    ``quote`` up, or gets a new quote. If the blueprint allows a booking to name its technician, only ``technician`` can
    do the job; otherwise the job is offered to ``technician`` first.
    """

    service: str
    lat: float
    lon: float
    address: str
    blueprint: str | None = None
    postal_code: str | None = None
    amount: int | None = None
    currency: str | None = None
    notes: str | None = None
    public_notes: str | None = None
    customer: str | None = None
    reference: str | None = None
    metadata: dict[str, Any] | None = None
    scheduled_for: int | None = None
    duration_min: int | None = None
    technician: str | None = None
    quote: str | None = None
