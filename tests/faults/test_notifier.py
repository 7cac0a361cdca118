"""Notices and pushes: each told once whatever dies, and the receiver never in the way."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
import pytest

from engine.blueprint.schema import Notice
from engine.domain import jobs
from engine.domain.jobs import Step
from engine.errors import Indeterminate
from engine.runtime import Engine
from engine.store import keys
from engine.store.connection import Store
from engine.types import DEFAULT_ZONE, JobId, Principal
from engine.workers import notifier, push_sender
from tests.faults.receiver import Receiver, receiving
from tests.support import event_log, people
from tests.support.wait import wait_until

SECRET = "a secret"


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(push_sender, "PAUSE_S", 0.01)


def pushing(engine: Engine, receiver: Receiver) -> Engine:
    """The engine with a receiver of pushes."""
    settings = msgspec.structs.replace(engine.settings, push_url=receiver.url, push_secret=SECRET)
    return Engine(settings, engine.store, engine.archive, engine.blueprints, engine.signer, engine.metrics)


async def accepted(engine: Engine, *technicians: str) -> tuple[Principal, JobId]:
    """A job offered to the technicians and won by the first; gives its customer and id."""
    serves, carla = await people.service(engine), await people.customer(engine)
    won_by, *_ = [await people.technician(engine, name, serves) for name in technicians]
    job = await people.offered(engine, carla, serves)
    await jobs.claim(engine, won_by, job)
    return carla, job


async def notices(engine: Engine) -> list[dict[str, Any]]:
    """What was told, in order."""
    return [event_log.payload(event) for event in await event_log.events(engine, "notification")]


async def cursor(engine: Engine) -> int:
    """Up to where the runner has told."""
    return int(await engine.store.redis.get(keys.push_cursor(DEFAULT_ZONE)) or 0)


async def ended(task: asyncio.Task[None]) -> None:
    """Cancel a runner and wait for its end."""
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_a_closed_zone_is_left_alone(engine: Engine) -> None:
    """Nothing is derived while the zone is closed, and the runner lives on until it opens."""
    await accepted(engine, "t1")
    engine.store.zones[DEFAULT_ZONE].open = False
    await notifier.run_once(engine)
    assert await cursor(engine) == 0
    engine.store.zones[DEFAULT_ZONE].open = True
    await notifier.run_once(engine)
    assert len(await notices(engine)) == 1


async def test_a_receiver_that_is_down_keeps_no_notice_back(engine: Engine) -> None:
    """The customer's notification stands in the log although every push failed; both are counted."""
    async with receiving() as receiver:
        gone = pushing(engine, receiver)
    await accepted(gone, "t1", "t2")
    await notifier.run_once(gone)
    assert [notice["title"] for notice in await notices(engine)] == ["Technician found"]
    failed = {"kind": "offer", "outcome": "failed"}
    assert engine.metrics.registry.get_sample_value("callout_pushes_total", failed) == 2


async def test_a_silent_receiver_does_not_stop_the_log(engine: Engine) -> None:
    """While every push hangs, the runner goes on deriving what follows."""
    async with receiving(lambda _: None) as receiver:
        runner = asyncio.create_task(notifier.run(pushing(engine, receiver)))
        for name in ("a", "b", "c"):
            await accepted(engine, name)
        await wait_until(lambda: _count(engine, 3), what="three notices")
        await ended(runner)


async def _count(engine: Engine, number: int) -> bool:
    return len(await notices(engine)) == number


async def test_a_lost_answer_tells_nobody_twice(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """The step was done but its reply lost: the next runner finds the cursor moved and says nothing again."""
    await accepted(engine, "t1")
    run: Callable[..., Awaitable[Any]] = Store.run

    async def lose(store: Store, zone: Any, script: str, **rest: Any) -> Any:
        done = await run(store, zone, script, **rest)
        if script == "notification_append":
            raise Indeterminate
        return done

    with monkeypatch.context() as patch:
        patch.setattr(Store, "run", lose)
        with pytest.raises(Indeterminate):
            await notifier.run_once(engine)
    await notifier.run_once(engine)
    assert len(await notices(engine)) == 1


async def test_a_lost_answer_drops_no_push(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """The offers of a batch whose answer was lost are pushed once the cursor shows that it was told, and only once."""
    monkeypatch.setattr(notifier, "RETRY_S", 0.01)
    call: Callable[..., Awaitable[Any]] = Store.run
    lost = 0

    async def lose(store: Store, zone: Any, script: str, *rest: Any, **named: Any) -> Any:
        nonlocal lost
        done = await call(store, zone, script, *rest, **named)
        if script == "notification_append" and not lost:
            lost += 1
            raise Indeterminate
        return done

    async with receiving() as receiver:
        await accepted(engine, "t1", "t2")
        monkeypatch.setattr(Store, "run", lose)
        runner = asyncio.create_task(notifier.run(pushing(engine, receiver)))
        await wait_until(lambda: len(receiver.told) == 3, what="two offers and a notification")
        await ended(runner)
    assert lost == 1
    assert Counter(body["type"] for body in receiver.told) == {"offer.created": 2, "notification": 1}


@pytest.mark.parametrize(
    ("held", "full", "pause_s"), [(True, True, 0), (True, False, notifier.PAUSE_S), (False, False, 1)]
)
def test_only_who_has_caught_up_pauses(held: bool, full: bool, pause_s: float) -> None:
    """After a full step the next one follows at once: a backlog is worked off at the speed of Redis."""
    assert notifier.pause(held=held, full=full) == pause_s


async def test_a_backlog_is_told_without_a_pause(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Steps that were full pause for nothing; the one that has caught up does."""
    monkeypatch.setattr(notifier, "COUNT", 4)
    paused: list[float] = []
    monkeypatch.setattr(notifier, "pause", lambda *, held, full: paused.append(full) or 0.0)
    for name in ("a", "b", "c"):
        await accepted(engine, name)
    runner = asyncio.create_task(notifier.run(engine))
    await wait_until(lambda: _count(engine, 3), what="three notices")
    await wait_until(lambda: False in paused, what="a step that has caught up")
    await ended(runner)
    assert paused[:2] == [True, True]


async def test_a_runner_that_dies_before_telling_leaves_it_to_the_next(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing was appended, nothing is lost: the cursor has not moved either."""
    await accepted(engine, "t1")

    async def die(*_: Any) -> bool:
        raise asyncio.CancelledError

    with monkeypatch.context() as patch:
        patch.setattr(notifier._Runner, "_append", die)
        with pytest.raises(asyncio.CancelledError):
            await notifier.run_once(engine)
    assert await cursor(engine) == 0
    await notifier.run_once(engine)
    assert len(await notices(engine)) == 1


async def test_two_at_once_tell_each_thing_once(engine: Engine) -> None:
    """Even two that both believe they hold the lease cannot both move the cursor."""
    for name in "abcdef":
        await accepted(engine, name)
    await asyncio.gather(*(notifier.run_once(engine) for _ in range(4)))
    told = Counter(notice["job"] for notice in await notices(engine))
    assert set(told.values()) == {1}
    assert len(told) == 6


async def test_one_runner_a_zone_and_the_next_takes_over(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second waits for the lease, and goes on where the first, killed, had stopped."""
    monkeypatch.setattr(notifier, "LEASE_S", 0.3)
    monkeypatch.setattr(notifier, "LEASE_EVERY_S", 0.1)
    monkeypatch.setattr(notifier, "BLOCK_S", 0.05)
    monkeypatch.setattr(notifier, "RETRY_S", 0.05)
    first = asyncio.create_task(notifier.run(engine))
    await wait_until(lambda: engine.store.redis.exists(keys.runner(DEFAULT_ZONE, "push")))
    holder = await engine.store.redis.get(keys.runner(DEFAULT_ZONE, "push"))
    second = asyncio.create_task(notifier.run(engine))
    await accepted(engine, "t1")
    await wait_until(lambda: _count(engine, 1), what="the first notice")
    assert await engine.store.redis.get(keys.runner(DEFAULT_ZONE, "push")) == holder
    await ended(first)
    await accepted(engine, "t2")
    await wait_until(lambda: _count(engine, 2), what="the second notice")
    await ended(second)


async def test_each_step_is_told_to_whom_it_concerns(engine: Engine) -> None:
    """The customer hears of each step, in the blueprint's words, with the job's id."""
    carla, job = await accepted(engine, "t1")
    await jobs.command(engine, people.hot_technician("t1"), job, Step(command="depart"))
    await notifier.run_once(engine)
    told = await event_log.events(engine, "notification")
    assert [event.to for event in told] == [(f"user:{carla.id}",)] * 2
    assert {event.bp for event in told} == {"home_service@2"}
    data = [event_log.payload(event) for event in told]
    assert [(each["kind"], each["title"], each["body"], each["job"]) for each in data] == [
        ("job.accepted", "Technician found", "T t1 has accepted your booking.", job),
        ("job.status", "Booking update", "The technician is on the way.", job),
    ]
    assert len({each["id"] for each in data}) == 2


async def test_offers_and_notices_are_pushed_to_their_users(engine: Engine) -> None:
    """One signed POST for each technician offered and for the notification, naming user, zone and seq."""
    async with receiving() as receiver:
        carla, job = await accepted(engine, "t1", "t2")
        await notifier.run_once(pushing(engine, receiver))
    offers = [told for told in receiver.told if told["type"] == "offer.created"]
    assert {told["user"] for told in offers} == {"t1", "t2"}
    assert {told["offer"]["job"]["id"] for told in offers} == {job}
    assert "customer" not in offers[0]["offer"]["job"]
    (notice,) = (told for told in receiver.told if told["type"] == "notification")
    assert (notice["user"], notice["notification"]["title"]) == (carla.id, "Technician found")
    assert (notice["zone"], notice["seq"]) == ("main", (await event_log.events(engine, "notification"))[0].seq)
    for body, signed in zip(receiver.bodies, receiver.signatures, strict=True):
        assert push_sender.signature(SECRET, body, int(signed[2 : signed.index(",")])) == signed


async def test_what_was_pushed_is_not_pushed_again(engine: Engine) -> None:
    """The next runner begins above the cursor."""
    async with receiving() as receiver:
        await accepted(engine, "t1")
        await notifier.run_once(pushing(engine, receiver))
        before = len(receiver.bodies)
        await notifier.run_once(pushing(engine, receiver))
        assert len(receiver.bodies) == before == 2


async def test_a_notice_that_cannot_be_made_stops_no_other(engine: Engine) -> None:
    """A user's blueprint names what one event does not have: that notice is left out, the runner goes on."""
    carla, job = await accepted(engine, "t1")
    own = engine.blueprints.default
    rule = own.events["job.status"]
    wrong = Notice(title="Update", body="{technician.name}: {says}")
    broken = msgspec.structs.replace(
        own, events={**own.events, "job.status": msgspec.structs.replace(rule, notify={"customer": wrong})}
    )
    engine.blueprints.by_key[own.key] = broken
    await jobs.command(engine, people.hot_technician("t1"), job, Step(command="depart"))
    await jobs.command(engine, carla, job, Step(command="cancel"))
    await notifier.run_once(engine)
    assert [told["kind"] for told in await notices(engine)] == ["job.accepted", "job.cancelled"]
    assert await cursor(engine) == len(await event_log.events(engine))


async def test_an_offer_is_pushed_with_the_words_its_blueprint_has_for_it(engine: Engine) -> None:
    """Who is offered a job reads "New job available"; the notice stands in no list, and words that cannot be made
    keep no offer back.
    """
    async with receiving() as receiver:
        pusher = pushing(engine, receiver)
        await accepted(pusher, "t1")
        await notifier.run_once(pusher)
        own = engine.blueprints.default
        notice = Notice(title="{offer.nothing.at_all}", body="")
        rule = msgspec.structs.replace(own.events["offer.created"], notify={"offered": notice})
        wrong = msgspec.structs.replace(own, events={**own.events, "offer.created": rule})
        pusher.blueprints.by_key[own.key] = wrong
        await accepted(pusher, "t2")
        await notifier.run_once(pusher)
    offers = [told for told in receiver.told if told["type"] == "offer.created"]
    assert [told.get("notice", {}).get("title") for told in offers] == ["New job available", None]
    assert {notice["kind"] for notice in await notices(engine)} == {"job.accepted"}
