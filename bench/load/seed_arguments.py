"""The keys and arguments that the engine's scripts take when they fill a zone for a benchmark (bench/load/seed.py)."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from typing import Any

from engine.store import keys
from engine.types import Zone

Arguments = Mapping[str, Any]
KEYS: dict[str, Callable[[Zone, Arguments], str]] = {
    "meta": lambda zone, a: keys.zone_meta(zone),
    "log": lambda zone, a: keys.log(zone),
    "due": lambda zone, a: keys.due_tasks(zone),
    "seen": lambda zone, a: keys.last_seen(zone),
    "jobs": lambda zone, a: keys.jobs(zone),
    "epochs": lambda zone, a: keys.epochs(zone),
    "job": lambda zone, a: keys.job(zone, a["job"]),
    "offers": lambda zone, a: keys.job_offers(zone, a["job"]),
    "causes": lambda zone, a: keys.job_causes(zone, a["job"]),
    "waves": lambda zone, a: keys.job_waves(zone, a["job"]),
    "tech": lambda zone, a: keys.technician(zone, a["technician"]),
    "user_jobs": lambda zone, a: keys.user_jobs(zone, a["customer"]),
    "supply": lambda zone, a: keys.technician_supply(zone, a["service"]),
    "demand": lambda zone, a: keys.job_demand(zone, a["service"]),
    "mine": lambda zone, a: keys.user_blocks(zone, a["one"]),
    "theirs": lambda zone, a: keys.user_blocks(zone, a["other"]),
    "req": lambda zone, a: keys.idempotency_record(zone, a["principal"], a["key"]),
    "ref": lambda zone, a: keys.booking_references(zone, a["principal"]),
}
"""For each name of a key in the scripts' headers, the function that returns the key for a zone and arguments."""


def request_arguments(principal: str) -> dict[str, str]:
    """Return the script arguments that describe the request: the caller, a new idempotency key, and a fingerprint."""
    return {"principal": principal, "key": str(uuid.uuid4()), "fingerprint": "f" * 64, "trace": ""}


def job_members(
    job: str, zone: Zone, service: str, blueprint: str, lat: float, lon: float, customer: str
) -> tuple[str, str]:
    """Return the job's fixed members as ``engine/domain/booking.py`` encodes them once at creation: all of them, and
    the public part.
    """
    public = (
        f'"id":"{job}","zone":"{zone}","blueprint":"{blueprint}","service":"{service}","lat":{lat:.3f},"lon":{lon:.3f},'
        '"postal_code":"10115","amount":4900,"currency":"EUR","pricing":"flat","notes":"The tap in the kitchen drips",'
        '"scheduled_for":null,"duration_min":60'
    )
    full = (
        f'{public},"customer":{{"id":"{customer}","name":"Maria Sommer","phone":"+4930123456"}},'
        '"address":"Invalidenstrasse 43, 10115 Berlin","reference":null,"metadata":null,"room":null'
    )
    return full, public
