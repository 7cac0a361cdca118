"""Use quotes up: find the quote of a booking or an edit, compare it with the work that is booked, and explain refusals.

The scripts check only what may change meanwhile: whether the quote is used up, and whether it has expired.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import msgspec
from sqlalchemy import select

from engine.blueprint.schema import Blueprint
from engine.domain import price_caps
from engine.domain.booking_request import Booking
from engine.domain.quote_price import QuoteTerms, price_terms
from engine.domain.services import Service
from engine.errors import CalloutError, FieldError, Invalid, NotFound
from engine.events import ms_of, rfc3339_of
from engine.rules import job_document
from engine.rules.distances import distance_m
from engine.rules.job_document import Party
from engine.rules.pricing import PriceLine
from engine.sql.quote_tables import quotes
from engine.store import keys
from engine.types import DEFAULT_ZONE, UserId, Zone, zone_of_quote

if TYPE_CHECKING:
    from engine.runtime import Engine

MAX_PLACE_DIFFERENCE_M = 100
"""How far (m) the place of a booking may be from the place of its quote."""
COMPARED_MEMBERS = ("blueprint", "service", "lat", "lon", "postal_code", "scheduled_for", "currency")
"""The members that must be the same in a quote and in the booking or edit that uses it up."""
JOB_QUOTE_MEMBERS = ("id", "amount", "breakdown")
"""The members of a quote that are copied to the job that uses it up."""
NOT_QUOTED_TEXT = "The prices of this blueprint are not quoted"
EXPIRED_TEXT = "The quote has expired: ask for a new one"
USED_TEXT = "The quote was used up by another booking"


class Quote(msgspec.Struct, frozen=True, kw_only=True):
    """The members of a quote with which a booking is compared."""

    id: str
    customer: Party
    blueprint: str
    service: str
    lat: float
    lon: float
    postal_code: str | None
    scheduled_for: str | None
    amount: int
    currency: str
    breakdown: list[PriceLine]

    @property
    def zone(self) -> Zone:
        """The zone of the quote and of its booking."""
        return zone_of_quote(self.id) or DEFAULT_ZONE

    @property
    def job_member(self) -> dict[str, Any]:
        """The member ``quote`` of the job that uses the quote up."""
        return {name: getattr(self, name) for name in JOB_QUOTE_MEMBERS}


class BookingPrice(msgspec.Struct, frozen=True):
    """The price of a new job. ``quote`` is the job's member of this name, or None if its price is not quoted. If the
    step of the booking creates the quote, ``members`` is the JSON of the quote, which is valid for ``valid_ms``.
    """

    amount: int
    currency: str
    quote: dict[str, Any] | None = None
    members: bytes = b""
    valid_ms: int = 0

    @property
    def script_arguments(self) -> dict[str, str | int | bytes]:
        """The arguments of lua/job_create.lua that concern the price."""
        quote = self.quote["id"] if self.quote else ""
        return {"amount": self.amount, "quote": quote, "quoted": self.members, "quote_ms": self.valid_ms}


async def find_quote_of(engine: Engine, customer: UserId, quote_id: str) -> Quote:
    """Return a customer's quote, even an expired one. Raises NotFound for another customer's quote too."""
    found = await find_quote(engine, quote_id)
    if found is None or found[1] != customer:
        raise NotFound("No such quote")
    return msgspec.json.decode(found[0], type=Quote)


async def find_quote(engine: Engine, quote_id: str) -> tuple[bytes, str, str] | None:
    """Return the JSON of a quote, its customer and the job that used it up. Redis has recent quotes, SQL the older
    ones.
    """
    zone = zone_of_quote(quote_id)
    if zone is None or zone not in engine.store.zones:
        return None
    row = await engine.store.command("HMGET", keys.quote(zone, quote_id), "quote", "customer", "used")
    if row[0] is not None:
        return b"{" + row[0] + b"}", row[1].decode(), row[2].decode()
    query = select(quotes.c.doc, quotes.c.customer, quotes.c.job).where(quotes.c.id == quote_id)
    async with engine.archive.begin_read() as conn:
        archived = (await conn.execute(query)).one_or_none()
    return (archived.doc.encode(), archived.customer, archived.job or "") if archived else None


async def find_for_booking(
    engine: Engine, customer: UserId, blueprint: Blueprint, booking: Booking, service: Service
) -> Quote | None:
    """Return the quote that a booking names; None if it names none. Raises NotFound if the customer has no such quote,
    and Invalid with the fields that differ from the quote, or that a booking with a quoted price may not contain.
    """
    errors: list[FieldError] = []
    if blueprint.price.is_quoted and booking.amount is not None:
        errors.append(FieldError("/amount", "The price is quoted"))
    if blueprint.price.is_quoted and booking.quote is None and booking.currency not in (None, service.currency):
        errors.append(FieldError("/currency", f"The price is quoted in {service.currency}"))
    if booking.quote is not None and not blueprint.price.is_quoted:
        errors.append(FieldError("/quote", NOT_QUOTED_TEXT))
    quote = await find_quote_of(engine, customer, booking.quote) if booking.quote is not None else None
    if quote is not None:
        terms = {name: getattr(booking, name) for name in COMPARED_MEMBERS}
        when = booking.scheduled_for
        terms |= {"blueprint": blueprint.name, "scheduled_for": None if when is None else rfc3339_of(when)}
        errors += differences(quote, terms)
    if errors:
        raise Invalid(errors=errors)
    return quote


async def price_booking(
    engine: Engine,
    zone: Zone,
    blueprint: Blueprint,
    booking: Booking,
    service: Service,
    customer: UserId,
    quote: Quote | None,
) -> BookingPrice:
    """Return the price of a booking in ``zone``: that of its quote, a new quote if the blueprint's prices are quoted,
    the booking's own amount, or the service's. Raises Unavailable.
    """
    if quote is not None:
        return BookingPrice(quote.amount, quote.currency, quote.job_member)
    if not blueprint.price.is_quoted:
        amount = service.base_amount if booking.amount is None else booking.amount
        return BookingPrice(amount, (booking.amount is not None and booking.currency) or service.currency)
    when, cap = booking.scheduled_for, await price_caps.read_cap(engine, zone)
    terms = QuoteTerms(customer, service, booking.lat, booking.lon, booking.postal_code, when, cap)
    members = await price_terms(engine, zone, blueprint, terms)
    member = {name: members[name] for name in JOB_QUOTE_MEMBERS}
    encoded = job_document.encode_members(members)
    return BookingPrice(members["amount"], service.currency, member, encoded, valid_ms(blueprint))


def valid_ms(blueprint: Blueprint) -> int:
    """Return for how long (ms) a quote of the blueprint is valid."""
    return round(blueprint.price.quote_s * 1000)


def differences(quote: Quote, terms: Mapping[str, Any]) -> list[FieldError]:
    """Return an error for each member of a booking or of an edited job that differs from the quote. ``terms`` has the
    ``COMPARED_MEMBERS``. Those of an edited job also have its ``zone``, because a quote can only be used up in its own
    zone. A currency of None means the quote's.
    """
    names = [name for name in ("blueprint", "service", "postal_code") if terms[name] != getattr(quote, name)]
    if _ms(terms["scheduled_for"]) != _ms(quote.scheduled_for):
        names.append("scheduled_for")
    if terms["currency"] not in (None, quote.currency):
        names.append("currency")
    is_far = distance_m(quote.lat, quote.lon, terms["lat"], terms["lon"]) > MAX_PLACE_DIFFERENCE_M
    if is_far or terms.get("zone", quote.zone) != quote.zone:
        names += ["lat", "lon"]
    return [FieldError(f"/{name}", "Not what was quoted") for name in names]


def _ms(moment: str | None) -> int | None:
    return None if moment is None else ms_of(moment)


def explain_refusal(error: CalloutError) -> bool:
    """Return whether a script refused a command because of its quote. If so, add the reason to the error, and the job
    that has used the quote up.
    """
    if error.reply[1:2] != [b"quote"]:
        return False
    job = error.reply[0].decode()
    error.detail = {"expired": EXPIRED_TEXT, "duplicate": USED_TEXT}[error.code]
    if job:
        error.extra["job"] = {"id": job}
    return True
