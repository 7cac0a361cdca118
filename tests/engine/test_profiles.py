"""Profiles: who may change what, and that Redis follows SQL within the command and after any loss."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator

import msgspec
import pytest

from engine.domain import jobs
from engine.errors import AccountNotApproved, Forbidden, IllegalTransition, Invalid, NotFound, ReusedKey, Unavailable
from engine.idempotency import in_sql
from engine.process.settings import Settings
from engine.runtime import Engine, open_engine
from engine.store import keys
from engine.technicians import live, profile, sql
from engine.technicians.profile import ProfilePatch, Technician, TechnicianCard, TechnicianQuery
from engine.types import DEFAULT_ZONE, Principal, ServiceId, TechnicianId, UserId, Zone
from tests.engine import staff
from tests.support import event_log, people
from tests.support.people import ADMIN, HERE

CUSTOMER = Principal(UserId("c"), "customer")
MANAGER = Principal(UserId("cli_onboarding_manager"), "onboarding_manager")
OPS = Principal(UserId("cli_ops_manager"), "ops_manager")
NORTH = Zone("north")


def me(who: Principal) -> TechnicianId:
    return TechnicianId(who.id)


async def whole(engine: Engine, who: Principal) -> Technician:
    found = await profile.read_technician(engine, ADMIN, me(who))
    assert isinstance(found, Technician)
    return found


@pytest.fixture
async def two_zones(settings: Settings) -> AsyncIterator[Engine]:
    """An engine that serves ``main`` and ``north``."""
    async with open_engine(msgspec.structs.replace(settings, zones=("main", "north"))) as opened:
        yield opened


# Refusals


async def test_refuses_another_ones_profile(engine: Engine) -> None:
    """He himself and managers change it, nobody else; zone and capacity are the managers'."""
    who, other = await staff.registered(engine), await staff.registered(engine)
    for caller in (CUSTOMER, other, Principal(who.id, "customer")):
        with pytest.raises(Forbidden):
            await profile.patch_technician(engine, caller, me(who), ProfilePatch(name="X"))
    for change in (ProfilePatch(capacity=5), ProfilePatch(zone=DEFAULT_ZONE)):
        with pytest.raises(Forbidden):
            await profile.patch_technician(engine, who, me(who), change)


@pytest.mark.parametrize(
    ("change", "pointer"),
    [
        (ProfilePatch(services=[ServiceId("srv_x")]), "/services/0"),
        (ProfilePatch(services=[ServiceId(f"s{n}") for n in range(51)]), "/services"),
        (ProfilePatch(capacity=0), "/capacity"),
        (ProfilePatch(capacity=1_001), "/capacity"),
        (ProfilePatch(zone=NORTH), "/zone"),
    ],
)
async def test_refuses_what_cannot_be(engine: Engine, change: ProfilePatch, pointer: str) -> None:
    """Unknown services, too many, a capacity out of range, a zone that is not served: nothing is changed."""
    who = await staff.registered(engine)
    before = await whole(engine, who)
    with pytest.raises(Invalid) as refusal:
        await profile.patch_technician(engine, ADMIN, me(who), change)
    assert refusal.value.errors[0][0] == pointer
    assert await whole(engine, who) == before


async def test_refuses_reviews_by_others_and_of_nobody(engine: Engine) -> None:
    """Onboarding managers and admins review, ops do not; a review decides something about somebody."""
    who = await staff.registered(engine)
    for caller in (CUSTOMER, who, OPS):
        with pytest.raises(Forbidden):
            await profile.review_technician(engine, caller, me(who), kyc="approved")
    with pytest.raises(Invalid):
        await profile.review_technician(engine, MANAGER, me(who))
    for missing in (
        profile.review_technician(engine, MANAGER, TechnicianId(UserId("x")), kyc="approved"),
        profile.patch_technician(engine, ADMIN, TechnicianId(UserId("x")), ProfilePatch(name="X")),
        profile.patch_technician(engine, ADMIN, TechnicianId(UserId("x")), ProfilePatch(zone=DEFAULT_ZONE)),
        profile.read_technician(engine, ADMIN, TechnicianId(UserId("x"))),
    ):
        with pytest.raises(NotFound):
            await missing


async def test_refuses_another_zone_while_he_works(two_zones: Engine) -> None:
    """Online, or holding a job, he stays where he is; offline and idle he moves, with one record in one zone."""
    engine = two_zones
    serves = await people.service(engine)
    who = await staff.eligible(engine, serves)
    move = ProfilePatch(zone=NORTH)
    with pytest.raises(IllegalTransition):
        await profile.patch_technician(engine, ADMIN, me(who), move)
    job = await people.offered(engine, await people.customer(engine), serves)
    await jobs.claim(engine, who, job)
    await live.set_availability(engine, who, who.id, online=False)
    with pytest.raises(IllegalTransition):
        await profile.patch_technician(engine, ADMIN, me(who), move)
    await jobs.run_command(engine, OPS, job, jobs.Step(command="cancel"))
    key = str(uuid.uuid4())
    assert (await profile.patch_technician(engine, ADMIN, me(who), move, key=key)).value.zone == NORTH
    assert await live.read_zone(engine, who.id) == NORTH
    assert not await engine.store.redis.exists(keys.technician(DEFAULT_ZONE, me(who)))
    await live.set_availability(engine, who, who.id, online=True, position=HERE)
    assert (await profile.patch_technician(engine, ADMIN, me(who), move, key=key)).repeated


async def test_a_change_of_zone_that_fails_leaves_him_where_he_was(
    two_zones: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The database goes away between the two zones: he is in the old one, in SQL and in Redis."""
    who = await staff.registered(two_zones)

    async def away(*_: object) -> None:
        raise Unavailable("The database is away")

    with monkeypatch.context() as patch:
        patch.setattr(in_sql, "run_once", away)
        with pytest.raises(Unavailable):
            await profile.patch_technician(two_zones, ADMIN, me(who), ProfilePatch(zone=NORTH))
    assert await live.read_zone(two_zones, who.id) == DEFAULT_ZONE
    assert (await whole(two_zones, who)).zone == DEFAULT_ZONE


# Reading


async def test_a_card_shows_no_telephone(engine: Engine) -> None:
    """Customers and colleagues see the public card; he himself and managers see all."""
    serves = await people.service(engine)
    who = await staff.eligible(engine, serves)
    await profile.patch_technician(engine, who, me(who), ProfilePatch(phone="+1 555 0100"))
    card = await profile.read_technician(engine, CUSTOMER, me(who))
    assert isinstance(card, TechnicianCard)
    assert (card.name, card.services, card.rating, card.online) == ("Tom", [serves], 4.5, True)
    for caller in (who, MANAGER, OPS):
        shown = await profile.read_technician(engine, caller, me(who))
        assert isinstance(shown, Technician)
        assert (shown.phone, shown.load, shown.online) == ("+1 555 0100", 0, True)


async def test_technicians_are_found_by_service_place_and_page(engine: Engine) -> None:
    """Customers find whom they could have; near a place, those who could come now, the nearest first."""
    serves, other = await people.service(engine), await people.service(engine)
    near = await staff.eligible(engine, serves)
    far = await staff.eligible(engine, serves)
    away = live.Position(HERE.lat + 0.05, HERE.lon)
    await live.set_availability(engine, far, far.id, online=True, position=away)
    idle = await staff.eligible(engine, serves, online=False)
    fresh = await staff.registered(engine)

    async def found(caller: Principal, **query: object) -> list[str]:
        page = await profile.find_technicians(engine, caller, TechnicianQuery(**query))  # type: ignore[arg-type]
        return [technician.id for technician in page.items]

    assert set(await found(ADMIN)) == {near.id, far.id, idle.id, fresh.id}
    assert set(await found(CUSTOMER)) == {near.id, far.id, idle.id}
    assert await found(CUSTOMER, service=other) == []
    assert await found(CUSTOMER, service=serves, lat=HERE.lat, lon=HERE.lon) == [near.id, far.id]
    first = await profile.find_technicians(engine, ADMIN, TechnicianQuery(limit=3))
    rest = await profile.find_technicians(engine, ADMIN, TechnicianQuery(limit=3, cursor=first.next))
    assert (len(first.items), len(rest.items), rest.next) == (3, 1, None)
    with pytest.raises(Invalid):
        await profile.find_technicians(engine, CUSTOMER, TechnicianQuery(lat=1.0, lon=1.0))


# Changes


async def test_complete_is_name_zone_and_a_service(engine: Engine) -> None:
    """What is missing keeps him from working; with the last piece he may, without waiting for anything."""
    serves = await people.service(engine)
    who = await staff.registered(engine)
    await profile.review_technician(engine, MANAGER, me(who), kyc="approved", account="approved")
    record = keys.technician(DEFAULT_ZONE, me(who))
    assert await engine.store.redis.hget(record, "complete") == b"0"
    await profile.patch_technician(engine, who, me(who), ProfilePatch(services=[serves, serves]))
    assert await engine.store.redis.hmget(record, "complete", "services") == [b"1", serves.encode()]
    await profile.patch_technician(engine, who, me(who), ProfilePatch(name=""))
    assert await engine.store.redis.hget(record, "complete") == b"0"
    assert await engine.store.redis.hget(record, "online") != b"1"


async def test_a_review_is_told_once(engine: Engine) -> None:
    """He and the managers hear of it, with who did it and why; a repeat tells nobody."""
    who, key = await staff.registered(engine), str(uuid.uuid4())
    for _ in range(2):
        done = await profile.review_technician(engine, MANAGER, me(who), kyc="rejected", reason="blurred", key=key)
        assert isinstance(done.value, Technician)
        assert (done.value.kyc, done.value.account) == ("rejected", "pending")
    assert done.repeated
    (told,) = await event_log.events(engine, "technician.reviewed")
    assert set(told.to) == {f"user:{who.id}", "role:managers"}
    assert told.actor == "onboarding_manager:cli_onboarding_manager"
    assert {"kyc": "rejected", "reason": "blurred"}.items() <= event_log.payload(told).items()
    with pytest.raises(ReusedKey):
        await profile.review_technician(engine, MANAGER, me(who), kyc="approved", key=key)


async def test_a_suspending_review_stops_claims_at_once(engine: Engine) -> None:
    """When the review is answered, his next claim is refused, and he is offline."""
    serves = await people.service(engine)
    who = await staff.eligible(engine, serves)
    job = await people.offered(engine, await people.customer(engine), serves)
    await profile.review_technician(engine, MANAGER, me(who), account="suspended", reason="…")
    with pytest.raises(AccountNotApproved):
        await jobs.claim(engine, who, job)
    assert (await whole(engine, who)).online is False


async def test_changes_that_cross_end_as_sql_has_them(engine: Engine) -> None:
    """However their copies to Redis overtake each other, the last version stands."""
    who = await staff.registered(engine)
    crossing = (profile.patch_technician(engine, ADMIN, me(who), ProfilePatch(capacity=n)) for n in range(1, 21))
    await asyncio.gather(*crossing)
    row = await sql.read_row(engine, me(who))
    hot = await engine.store.redis.hmget(keys.technician(DEFAULT_ZONE, me(who)), "profile", "capacity")
    assert (int(hot[0] or 0), int(hot[1] or 0)) == (row.version, row.capacity)
    assert row.version == 21


async def test_a_lost_hot_record_is_put_back(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """The chore finds what Redis lost or was never given, on every page, and then nothing more to do."""
    monkeypatch.setattr(sql, "REPAIR_PAGE", 2)
    team = [await staff.registered(engine) for _ in range(5)]
    await engine.store.redis.delete(*(keys.technician(DEFAULT_ZONE, me(who)) for who in team[:2]))
    async with engine.archive.writing() as conn:
        await sql.update_technician(conn, me(team[4]), capacity=7)
    assert await sql.repair_redis(engine) == 3
    assert await sql.repair_redis(engine) == 0
    assert await engine.store.redis.hget(keys.technician(DEFAULT_ZONE, me(team[4])), "capacity") == b"7"


async def test_a_new_technician_does_not_wait_for_redis(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """An account that is made while Redis is away is made; the chore brings its record."""

    async def away(*_: object, **__: object) -> None:
        raise Unavailable("Redis cannot be reached")

    with monkeypatch.context() as patch:
        patch.setattr(live, "write_record", away)
        who = await staff.registered(engine)
    assert await sql.repair_redis(engine) == 1
    assert await live.read_zone(engine, who.id) == DEFAULT_ZONE
