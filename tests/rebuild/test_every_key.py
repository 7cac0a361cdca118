"""Every key that a zone can have is either compared after a rebuild, or declared as not restored."""

from __future__ import annotations

from fnmatch import fnmatchcase

from engine.domain import bids, blocks, disputes, payments, quotes, shares
from engine.domain.bids import BidTerms
from engine.domain.booking import Booking
from engine.domain.payments import Payment
from engine.rebuild import ephemeral
from engine.runtime import Engine
from engine.types import DEFAULT_ZONE, Principal, UserId
from engine.workers import scheduler
from tests.engine import staff
from tests.rebuild.compare import KEYS_COMPARED_BY_MEMBERS, check_rebuild
from tests.rebuild.scene import open_scene
from tests.support import chat, people
from tests.support.photos import attach_photos
from tests.support.postgres import on_both_databases
from tests.test_citations import redis_keys


def compared_keys() -> set[str]:
    """Return the patterns of the keys that a rebuild restores."""
    patterns = {key.replace("<>", "*").partition("}:")[2] for key, _, _ in redis_keys()}
    dropped = [pattern for pattern in ephemeral.KEYS if pattern not in KEYS_COMPARED_BY_MEMBERS]
    return {key for key in patterns if not any(fnmatchcase(key, pattern) for pattern in dropped)}


@on_both_databases
async def test_every_key_is_compared_or_declared(engine: Engine) -> None:
    """A zone with every kind of data has every key that is not declared as ephemeral, and all these keys are the same
    after a rebuild. The test fails for a new key until it is compared here or declared in engine/rebuild/ephemeral.py.
    """
    scene = await open_scene(engine, capacity=9)
    customer, technician, service = scene.customer, scene.technician, scene.service
    blocked = await staff.register_technician(engine)
    await blocks.put_block(engine, customer, blocked.id)
    claimed = await people.offered_job(engine, customer, service, reference="order 7")
    await chat.send_command(engine, technician, claimed, "claim")
    await chat.send_command(engine, technician, claimed, "depart")
    service_account = Principal(UserId("psp"), "service")
    paid = Payment(reference="pi_1", status="captured", amount=5_000, currency="USD")
    await payments.put_payment(engine, service_account, claimed, paid)
    await chat.say(engine, customer, chat.room_of(claimed), "Hello")
    await attach_photos(engine, technician, claimed)
    ended = (await shares.create_share(engine, customer, claimed)).share.id
    await shares.create_share(engine, people.ADMIN, claimed)
    await shares.close_share(engine, customer, claimed, ended)
    await chat.fill_room(engine, chat.room_of(claimed), 70)
    direct = people.id_of(
        await people.job(engine, customer, service, blueprint="direct_booking", technician=technician.id)
    )
    await chat.send_command(engine, technician, direct, "accept")
    await disputes.open_dispute(engine, customer, direct, "It leaks")
    await chat.send_command(engine, technician, await people.offered_job(engine, customer, service), "claim")
    asked = people.id_of(await people.job(engine, customer, service, blueprint="marketplace"))
    await scheduler.open_wave(engine, DEFAULT_ZONE, asked, 1)
    await bids.create_bid(engine, technician, asked, BidTerms(amount=4_000))
    searching = await people.offered_job(engine, customer, service)
    for wave in range(2, 6):
        await scheduler.open_wave(engine, DEFAULT_ZONE, searching, wave)
    await people.job(engine, customer, service, blueprint="managed")  # waits for a matching window, and uses a quote
    promised = Booking(blueprint="managed", service=service, lat=people.HERE.lat, lon=people.HERE.lon, address="")
    await quotes.create_quote(engine, customer, promised)
    before = await check_rebuild(engine)
    missing = {key for key in compared_keys() if not any(fnmatchcase(name, key) for name in before)}
    assert missing == set()
