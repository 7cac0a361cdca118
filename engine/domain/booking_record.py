"""Encode the members of a new job's record that the booking determines."""

from __future__ import annotations

from engine.blueprint.schema import Blueprint
from engine.domain.booking_request import Booking
from engine.domain.quote_use import BookingPrice
from engine.domain.services import Service
from engine.events import rfc3339_of
from engine.identity.accounts import User
from engine.rules import job_document
from engine.types import JobId, Zone

MAX_DURATION_MIN = 1_440
"""The longest duration of a job, in minutes: a day (lua/lib/schedule.lua)."""


def encode_record_members(
    zone: Zone,
    job: JobId,
    blueprint: Blueprint,
    booking: Booking,
    service: Service,
    person: User,
    price: BookingPrice,
) -> tuple[bytes, bytes]:
    """Encode the members of a job that its record stores as JSON text. Return two texts: one with all members, one with
    the public members. Members that are not computed here are copied from the booking.
    """
    derived = {
        "id": job,
        "zone": zone,
        "blueprint": blueprint.name,
        "customer": {"id": person.id, "name": person.name},
        "service": service.id,
        "currency": price.currency,
        "quote": price.quote,
        "pricing": service.pricing,
        "scheduled_for": None if booking.scheduled_for is None else rfc3339_of(booking.scheduled_for),
        "duration_min": duration_of(booking, service),
    }
    names = (name for name in job_document.RECORD_MEMBERS if name != "created_at")  # lua/job_create.lua adds created_at
    members = {name: derived[name] if name in derived else getattr(booking, name) for name in names}
    return job_document.encode_members(members), job_document.encode_public_members(members)


def duration_of(booking: Booking, service: Service) -> int:
    """Return how long the job of a booking takes, in minutes."""
    return booking.duration_min or min(service.duration_min, MAX_DURATION_MIN)
