"""Technicians in SQL: registered, with a profile, reviewed. people.technician writes only the live record."""

from __future__ import annotations

import uuid

from engine.identity import accounts
from engine.identity.accounts import NewAccount
from engine.runtime import Engine
from engine.technicians import live, profile
from engine.technicians.profile import ProfilePatch
from engine.types import Principal, ServiceId, TechnicianId
from tests.support.people import ADMIN, HERE


async def registered(engine: Engine) -> Principal:
    """Register a technician with an empty profile."""
    email = f"{uuid.uuid4().hex}@example.org"
    new = NewAccount(email=email, password="correct horse", name="Tom", role="technician")
    user = (await accounts.create_user(engine, ADMIN, new)).value
    return Principal(user.id, "technician", user.name)


async def eligible(engine: Engine, serves: ServiceId, *, capacity: int = 1, online: bool = True) -> Principal:
    """Create a technician who is eligible, and put them online unless ``online`` is false."""
    who = await registered(engine)
    me = TechnicianId(who.id)
    await profile.patch_technician(engine, ADMIN, me, ProfilePatch(services=[serves], capacity=capacity))
    await profile.review_technician(engine, ADMIN, me, kyc="approved", account="approved")
    if online:
        await live.set_availability(engine, who, who.id, online=True, position=HERE)
    return who
