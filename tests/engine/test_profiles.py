"""Profiles of technicians: who may change which field. Redis matches SQL when a command returns, and again after any
loss.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator

import msgspec
import pytest

from engine.domain import jobs, profile
from engine.domain.profile import ProfilePatch, Technician, TechnicianCard, TechnicianQuery
from engine.errors import AccountNotApproved, Forbidden, IllegalTransition, Invalid, NotFound, ReusedKey, Unavailable
from engine.idempotency import in_sql
from engine.process.settings import Settings
from engine.runtime import Engine
from engine.startup import open_engine
from engine.store import keys
from engine.technicians import live, sql
from engine.types import DEFAULT_ZONE, Principal, ServiceId, TechnicianId, UserId, Zone
from tests.engine import staff
from tests.support import event_log, people
from tests.support.people import ADMIN, HERE

CUSTOMER = Principal(UserId("c"), "customer")
ONBOARDING_MANAGER = Principal(UserId("cli_onboarding_manager"), "onboarding_manager")
OPS_MANAGER = Principal(UserId("cli_ops_manager"), "ops_manager")
NORTH_ZONE = Zone("north")


def technician_id(who: Principal) -> TechnicianId:
    """Return the id of a technician."""
    return TechnicianId(who.id)


async def full_profile(engine: Engine, who: Principal) -> Technician:
    """Return the whole profile of a technician, as an admin reads it."""
    found = await profile.read_technician(engine, ADMIN, technician_id(who))
    assert isinstance(found, Technician)
    return found


@pytest.fixture
async def two_zones(settings: Settings) -> AsyncIterator[Engine]:
    """Yield an engine that serves the zones ``main`` and ``north``."""
    async with open_engine(msgspec.structs.replace(settings, zones=("main", "north"))) as opened:
        yield opened


# Refusals


async def test_only_the_technician_and_managers_change_a_profile(engine: Engine) -> None:
    """Only the technician and managers may change a profile, and only managers may change its zone and capacity."""
    who, other = await staff.register_technician(engine), await staff.register_technician(engine)
    for caller in (CUSTOMER, other, Principal(who.id, "customer")):
        with pytest.raises(Forbidden):
            await profile.patch_technician(engine, caller, technician_id(who), ProfilePatch(name="X"))
    for change in (ProfilePatch(capacity=5), ProfilePatch(zone=DEFAULT_ZONE)):
        with pytest.raises(Forbidden):
            await profile.patch_technician(engine, who, technician_id(who), change)


@pytest.mark.parametrize(
    ("change", "pointer"),
    [
        (ProfilePatch(services=[ServiceId("srv_x")]), "/services/0"),
        (ProfilePatch(services=[ServiceId(f"s{n}") for n in range(51)]), "/services"),
        (ProfilePatch(capacity=0), "/capacity"),
        (ProfilePatch(capacity=1_001), "/capacity"),
        (ProfilePatch(zone=NORTH_ZONE), "/zone"),
    ],
)
async def test_an_invalid_change_of_a_profile_is_refused(engine: Engine, change: ProfilePatch, pointer: str) -> None:
    """A change with unknown services, with too many services, with a capacity out of range or with a zone that is not
    served is refused with the name of the field, and the profile remains unchanged.
    """
    who = await staff.register_technician(engine)
    before = await full_profile(engine, who)
    with pytest.raises(Invalid) as refusal:
        await profile.patch_technician(engine, ADMIN, technician_id(who), change)
    assert refusal.value.errors[0][0] == pointer
    assert await full_profile(engine, who) == before


async def test_only_onboarding_managers_and_admins_review(engine: Engine) -> None:
    """Ops, customers and technicians may not review a technician. A review without a decision is invalid, and an
    unknown technician is `not_found`.
    """
    who = await staff.register_technician(engine)
    for caller in (CUSTOMER, who, OPS_MANAGER):
        with pytest.raises(Forbidden):
            await profile.review_technician(engine, caller, technician_id(who), kyc="approved")
    with pytest.raises(Invalid):
        await profile.review_technician(engine, ONBOARDING_MANAGER, technician_id(who))
    for missing in (
        profile.review_technician(engine, ONBOARDING_MANAGER, TechnicianId(UserId("x")), kyc="approved"),
        profile.patch_technician(engine, ADMIN, TechnicianId(UserId("x")), ProfilePatch(name="X")),
        profile.patch_technician(engine, ADMIN, TechnicianId(UserId("x")), ProfilePatch(zone=DEFAULT_ZONE)),
        profile.read_technician(engine, ADMIN, TechnicianId(UserId("x"))),
    ):
        with pytest.raises(NotFound):
            await missing


async def test_a_working_technician_cannot_change_the_zone(two_zones: Engine) -> None:
    """A technician who is online or holds a job cannot change the zone. Offline and without a job they can, and then
    only the new zone has their record.
    """
    engine = two_zones
    service = await people.service(engine)
    who = await staff.create_eligible_technician(engine, service)
    move = ProfilePatch(zone=NORTH_ZONE)
    with pytest.raises(IllegalTransition):
        await profile.patch_technician(engine, ADMIN, technician_id(who), move)
    job = await people.offered_job(engine, await people.customer(engine), service)
    await jobs.claim(engine, who, job)
    await live.set_availability(engine, who, who.id, online=False)
    with pytest.raises(IllegalTransition):
        await profile.patch_technician(engine, ADMIN, technician_id(who), move)
    await jobs.run_command(engine, OPS_MANAGER, job, jobs.CommandInput(command="cancel"))
    key = str(uuid.uuid4())
    assert (await profile.patch_technician(engine, ADMIN, technician_id(who), move, key=key)).value.zone == NORTH_ZONE
    assert await live.read_zone(engine, who.id) == NORTH_ZONE
    assert not await engine.store.redis.exists(keys.technician(DEFAULT_ZONE, technician_id(who)))
    await live.set_availability(engine, who, who.id, online=True, position=HERE)
    assert (await profile.patch_technician(engine, ADMIN, technician_id(who), move, key=key)).repeated


async def test_a_failed_change_of_zone_has_no_effect(two_zones: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """If the database fails during a change of zone, the technician remains in the old zone, in SQL and in Redis."""
    who = await staff.register_technician(two_zones)

    async def raise_error(*_: object) -> None:
        raise Unavailable("The database is away")

    with monkeypatch.context() as patch:
        patch.setattr(in_sql, "run_once", raise_error)
        with pytest.raises(Unavailable):
            await profile.patch_technician(two_zones, ADMIN, technician_id(who), ProfilePatch(zone=NORTH_ZONE))
    assert await live.read_zone(two_zones, who.id) == DEFAULT_ZONE
    assert (await full_profile(two_zones, who)).zone == DEFAULT_ZONE


# Reading


async def test_the_public_card_has_no_phone_number(engine: Engine) -> None:
    """Customers read only the public card of a technician, which has no phone number. The technician, managers and ops
    read the whole profile.
    """
    service = await people.service(engine)
    who = await staff.create_eligible_technician(engine, service)
    await profile.patch_technician(engine, who, technician_id(who), ProfilePatch(phone="+1 555 0100"))
    card = await profile.read_technician(engine, CUSTOMER, technician_id(who))
    assert isinstance(card, TechnicianCard)
    assert (card.name, card.services, card.rating, card.online) == ("Tom", [service], 4.5, True)
    for caller in (who, ONBOARDING_MANAGER, OPS_MANAGER):
        technician = await profile.read_technician(engine, caller, technician_id(who))
        assert isinstance(technician, Technician)
        assert (technician.phone, technician.load, technician.online) == ("+1 555 0100", 0, True)


async def test_technicians_are_found_by_service_place_and_page(engine: Engine) -> None:
    """Customers find approved technicians only. A query with a place finds those who are online, the nearest first.
    Pages contain each technician once.
    """
    service, other = await people.service(engine), await people.service(engine)
    near = await staff.create_eligible_technician(engine, service)
    far = await staff.create_eligible_technician(engine, service)
    away = live.Coordinates(HERE.lat + 0.05, HERE.lon)
    await live.set_availability(engine, far, far.id, online=True, position=away)
    idle = await staff.create_eligible_technician(engine, service, online=False)
    fresh = await staff.register_technician(engine)

    async def find_ids(caller: Principal, **query: object) -> list[str]:
        page = await profile.find_technicians(engine, caller, TechnicianQuery(**query))  # type: ignore[arg-type]
        return [technician.id for technician in page.items]

    assert set(await find_ids(ADMIN)) == {near.id, far.id, idle.id, fresh.id}
    assert set(await find_ids(CUSTOMER)) == {near.id, far.id, idle.id}
    assert await find_ids(CUSTOMER, service=other) == []
    assert await find_ids(CUSTOMER, service=service, lat=HERE.lat, lon=HERE.lon) == [near.id, far.id]
    first = await profile.find_technicians(engine, ADMIN, TechnicianQuery(limit=3))
    rest = await profile.find_technicians(engine, ADMIN, TechnicianQuery(limit=3, cursor=first.next))
    assert (len(first.items), len(rest.items), rest.next) == (3, 1, None)
    with pytest.raises(Invalid):
        await profile.find_technicians(engine, CUSTOMER, TechnicianQuery(lat=1.0, lon=1.0))


# Changes


async def test_a_profile_is_complete_with_name_zone_and_service(engine: Engine) -> None:
    """A profile without a name or a service is incomplete (`complete` is 0 in Redis). It becomes complete with the
    change that adds what was missing.
    """
    service = await people.service(engine)
    who = await staff.register_technician(engine)
    await profile.review_technician(engine, ONBOARDING_MANAGER, technician_id(who), kyc="approved", account="approved")
    record = keys.technician(DEFAULT_ZONE, technician_id(who))
    assert await engine.store.redis.hget(record, "complete") == b"0"
    await profile.patch_technician(engine, who, technician_id(who), ProfilePatch(services=[service, service]))
    assert await engine.store.redis.hmget(record, "complete", "services") == [b"1", service.encode()]
    await profile.patch_technician(engine, who, technician_id(who), ProfilePatch(name=""))
    assert await engine.store.redis.hget(record, "complete") == b"0"
    assert await engine.store.redis.hget(record, "online") != b"1"


async def test_a_review_appends_one_event(engine: Engine) -> None:
    """A review appends one `technician.reviewed`, with the reviewer and the reason, to the technician and the managers.
    A repeat appends none.
    """
    who, key = await staff.register_technician(engine), str(uuid.uuid4())
    for _ in range(2):
        review = await profile.review_technician(
            engine, ONBOARDING_MANAGER, technician_id(who), kyc="rejected", reason="blurred", key=key
        )
        assert isinstance(review.value, Technician)
        assert (review.value.kyc, review.value.account) == ("rejected", "pending")
    assert review.repeated
    (event,) = await event_log.events(engine, "technician.reviewed")
    assert set(event.to) == {f"user:{who.id}", "role:managers"}
    assert event.actor == "onboarding_manager:cli_onboarding_manager"
    assert {"kyc": "rejected", "reason": "blurred"}.items() <= event_log.payload(event).items()
    with pytest.raises(ReusedKey):
        await profile.review_technician(engine, ONBOARDING_MANAGER, technician_id(who), kyc="approved", key=key)


async def test_a_suspending_review_stops_claims_at_once(engine: Engine) -> None:
    """After a review has suspended a technician, their next claim is refused with `account_not_approved` and they are
    offline.
    """
    service = await people.service(engine)
    who = await staff.create_eligible_technician(engine, service)
    job = await people.offered_job(engine, await people.customer(engine), service)
    await profile.review_technician(engine, ONBOARDING_MANAGER, technician_id(who), account="suspended", reason="…")
    with pytest.raises(AccountNotApproved):
        await jobs.claim(engine, who, job)
    assert (await full_profile(engine, who)).online is False


async def test_changes_that_cross_end_as_sql_has_them(engine: Engine) -> None:
    """After 20 concurrent changes of a profile, Redis has the same version of it as SQL."""
    who = await staff.register_technician(engine)
    crossing = (
        profile.patch_technician(engine, ADMIN, technician_id(who), ProfilePatch(capacity=n)) for n in range(1, 21)
    )
    await asyncio.gather(*crossing)
    row = await sql.read_row(engine, technician_id(who))
    hot = await engine.store.redis.hmget(keys.technician(DEFAULT_ZONE, technician_id(who)), "profile", "capacity")
    assert (int(hot[0] or 0), int(hot[1] or 0)) == (row.version, row.capacity)
    assert row.version == 21


async def test_a_lost_live_record_is_restored(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """The maintenance task writes each technician's record that Redis lost or never received. The next run finds
    nothing to repair.
    """
    monkeypatch.setattr(sql, "REPAIR_PAGE_SIZE", 2)
    team = [await staff.register_technician(engine) for _ in range(5)]
    await engine.store.redis.delete(*(keys.technician(DEFAULT_ZONE, technician_id(who)) for who in team[:2]))
    async with engine.archive.begin_write() as conn:
        await sql.update_technician(conn, technician_id(team[4]), capacity=7)
    assert await sql.repair_redis(engine) == 3
    assert await sql.repair_redis(engine) == 0
    assert await engine.store.redis.hget(keys.technician(DEFAULT_ZONE, technician_id(team[4])), "capacity") == b"7"


async def test_a_new_technician_does_not_wait_for_redis(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """A technician's account can be created while Redis is not available. The maintenance task writes the record to
    Redis later.
    """

    async def raise_error(*_: object, **__: object) -> None:
        raise Unavailable("Redis cannot be reached")

    with monkeypatch.context() as patch:
        patch.setattr(live, "write_record", raise_error)
        who = await staff.register_technician(engine)
    assert await sql.repair_redis(engine) == 1
    assert await live.read_zone(engine, who.id) == DEFAULT_ZONE
