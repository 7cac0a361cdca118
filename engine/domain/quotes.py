"""Quotes: a price that is promised to a customer for a while, and that one booking or one edit uses up.

A quote is stored, not signed: a token could be used twice. The amount never comes from the client.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from engine.blueprint import registry
from engine.blueprint.schema import Blueprint
from engine.clock import now_ms
from engine.domain import booking, price_caps, quote_use, zones
from engine.domain.booking_request import Booking
from engine.domain.quote_price import QuoteTerms, price_terms
from engine.errors import FieldError, Invalid, NotFound, Refused
from engine.idempotency import in_redis
from engine.rules import job_document
from engine.rules.work_times import check_work_time
from engine.store import keys
from engine.technicians.live import check_mappable
from engine.types import Principal, ServiceId, UserId, Zone

if TYPE_CHECKING:
    from engine.runtime import Engine


class QuoteOutcome(msgspec.Struct, frozen=True):
    """The outcome of a request for a quote: its JSON, as the caller may see it."""

    quote: msgspec.Raw
    id: str
    repeated: bool
    key: str


_members_decoder = msgspec.json.Decoder(dict[str, msgspec.Raw])


async def create_quote(
    engine: Engine, caller: Principal, asked: Booking, *, key: str | None = None, trace: str = ""
) -> QuoteOutcome:
    """Create a quote, which promises a price for the seconds that the blueprint gives as ``quote_s``. ``asked`` has the
    fields of the booking; its texts are not needed. A repeated request with the same key returns the first quote.

    Raises Forbidden for a caller who may not book (for this customer), OutOfArea, Invalid, ServiceInactive, ReusedKey,
    Unavailable.
    """
    key = in_redis.validate_key(key)
    customer = booking.customer_id(caller, asked)
    check_mappable(asked.lat, asked.lon)
    zone = zones.zone_of_place(engine, asked.lat, asked.lon)
    fingerprint = in_redis.fingerprint_of(engine, "quote", "", [msgspec.structs.asdict(asked), customer])
    try:
        blueprint, terms = await _check_request(engine, zone, customer, asked, is_own=customer == caller.id)
    except Refused:
        # A repeated request gets its first reply, even if the service has become inactive since.
        done = await in_redis.find_done_command(engine, zone, caller, key, fingerprint)
        if done is None:
            raise
        return await _outcome_of_event(engine, caller, zone, done.seq, key)
    members = await price_terms(engine, zone, blueprint, terms)
    done = await engine.store.run(
        zone,
        "quote_create",
        keys={
            "meta": keys.zone_meta(zone),
            "log": keys.log(zone),
            "req": keys.idempotency_record(zone, caller.id, key),
        },
        args={
            "id": members["id"],
            "actor": f"{caller.role}:{caller.id}",
            "key": key,
            "fingerprint": fingerprint,
            "trace": trace,
            "customer": customer,
            "members": job_document.encode_members(members),
            "valid_ms": quote_use.valid_ms(blueprint),
        },
    )
    if done.repeated:
        return await _outcome_of_event(engine, caller, zone, done.seq, key)
    quote = _members_decoder.decode(done.values[0])["quote"]
    return QuoteOutcome(_view(caller, bytes(quote)), members["id"], False, key)


async def _check_request(
    engine: Engine, zone: Zone, customer: UserId, asked: Booking, *, is_own: bool
) -> tuple[Blueprint, QuoteTerms]:
    blueprint = registry.find_named(engine.blueprints, asked.blueprint)
    if not blueprint.price.is_quoted:
        raise Invalid(errors=[FieldError("/blueprint", quote_use.NOT_QUOTED_TEXT)])
    if asked.scheduled_for is not None:
        check_work_time("/scheduled_for", asked.scheduled_for, now_ms())
    service, cap = await price_caps.read_service_and_cap(engine, ServiceId(asked.service), zone)
    if not is_own:  # the caller is the customer, so that their account needs no check
        await booking.customer_account(engine, customer)
    when = asked.scheduled_for
    return blueprint, QuoteTerms(customer, service, asked.lat, asked.lon, asked.postal_code, when, cap)


async def _outcome_of_event(engine: Engine, caller: Principal, zone: Zone, seq: int, key: str) -> QuoteOutcome:
    quote = bytes((await in_redis.read_payload_members(engine, zone, seq))["quote"])
    return QuoteOutcome(_view(caller, quote), msgspec.json.decode(quote)["id"], True, key)


async def read_quote(engine: Engine, caller: Principal, quote_id: str) -> msgspec.Raw:
    """Return a quote as JSON, for its customer, ops and services. Raises NotFound for all others, and Unavailable."""
    found = await quote_use.find_quote(engine, quote_id)
    if found is None or (not caller.is_ops and caller.role != "service" and found[1] != caller.id):
        raise NotFound("No such quote")
    members, _, used_by = found
    return _view(caller, members, used_by)


def _view(caller: Principal, quote: bytes, used_by: str = "") -> msgspec.Raw:
    """Return a quote's JSON as the caller may see it. Only ops see its inputs."""
    members: dict[str, Any] = dict(_members_decoder.decode(quote))
    if not caller.is_ops:
        members.pop("inputs", None)
    return msgspec.Raw(msgspec.json.encode(members | ({"used_by": used_by} if used_by else {})))
