"""Create technicians with an account, a profile and a review in SQL. (``people.technician`` writes only the record in
Redis.)
"""

from __future__ import annotations

import uuid

from engine.domain import profile
from engine.domain.profile import ProfilePatch
from engine.identity import accounts
from engine.identity.accounts import NewAccount
from engine.runtime import Engine
from engine.technicians import live
from engine.types import Principal, ServiceId, TechnicianId
from tests.support.people import ADMIN, HERE


async def register_technician(engine: Engine) -> Principal:
    """Create the account of a technician whose profile is empty, and return the technician."""
    email = f"{uuid.uuid4().hex}@example.org"
    new = NewAccount(email=email, password="correct horse", name="Tom", role="technician")
    user = (await accounts.create_user(engine, ADMIN, new)).value
    return Principal(user.id, "technician", user.name)


async def create_eligible_technician(
    engine: Engine, service: ServiceId, *, capacity: int = 1, online: bool = True
) -> Principal:
    """Create an approved technician who can do the service ``service``. Put them online unless ``online`` is false."""
    who = await register_technician(engine)
    me = TechnicianId(who.id)
    await profile.patch_technician(engine, ADMIN, me, ProfilePatch(services=[service], capacity=capacity))
    await profile.review_technician(engine, ADMIN, me, kyc="approved", account="approved")
    if online:
        await live.set_availability(engine, who, who.id, online=True, position=HERE)
    return who
