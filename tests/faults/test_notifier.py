"""Notifications and pushes: each is sent once, even if any process dies, and a slow receiver never delays the log."""

from __future__ import annotations

import asyncio
import dataclasses
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
import pytest

from engine.blueprint.schema import NotificationText
from engine.domain import jobs
from engine.domain.jobs import CommandInput
from engine.errors import Indeterminate
from engine.identity import devices
from engine.runtime import Engine
from engine.store import keys
from engine.store.connection import Store
from engine.types import DEFAULT_ZONE, JobId, Principal
from engine.workers import notifier, push_delivery, push_sender
from tests.faults.receiver import PushReceiver, running_receiver
from tests.support import event_log, people
from tests.support.closed_zone import closed_zone
from tests.support.push_service import running_push_service
from tests.support.wait import wait_until

SECRET = "a secret"


@pytest.fixture(autouse=True)
def shorten_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(push_delivery, "RETRY_PAUSE_S", 0.01)


def with_receiver(engine: Engine, receiver: PushReceiver) -> Engine:
    """Return the engine with the settings that send pushes to ``receiver``."""
    settings = msgspec.structs.replace(engine.settings, push_url=receiver.url, push_secret=SECRET)
    return dataclasses.replace(engine, settings=settings)


async def accepted_job(engine: Engine, *technicians: str) -> tuple[Principal, JobId]:
    """Create a job with offers to the technicians, which the first one claims. Return its customer and id."""
    service, carla = await people.service(engine), await people.customer(engine)
    winner, *_ = [await people.technician(engine, name, service) for name in technicians]
    job = await people.offered_job(engine, carla, service)
    await jobs.claim(engine, winner, job)
    return carla, job


async def notifications(engine: Engine) -> list[dict[str, Any]]:
    """Return the payloads of all notifications in the log, in order."""
    return [event_log.payload(event) for event in await event_log.events(engine, "notification")]


async def notifier_cursor(engine: Engine) -> int:
    """Return the notifier's cursor: the sequence number of the last processed event, 0 before the first."""
    return int(await engine.store.redis.get(keys.push_cursor(DEFAULT_ZONE)) or 0)


async def cancel(task: asyncio.Task[None]) -> None:
    """Cancel the task of a notifier and wait for its end."""
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_nothing_is_derived_in_a_closed_zone(engine: Engine) -> None:
    """While the zone is closed the notifier derives no notification, and when the zone opens the notifier continues."""
    await accepted_job(engine, "t1")
    with closed_zone(engine.store, DEFAULT_ZONE):
        await notifier.run_once(engine)
        assert await notifier_cursor(engine) == 0
    await notifier.run_once(engine)
    assert len(await notifications(engine)) == 1


async def test_a_receiver_that_is_down_delays_no_notification(engine: Engine) -> None:
    """If every push fails, the customer's notification is still in the log, and the failed pushes are counted."""
    async with running_receiver() as receiver:
        engine_with_receiver = with_receiver(engine, receiver)
    await accepted_job(engine_with_receiver, "t1", "t2")
    await notifier.run_once(engine_with_receiver)
    assert [notice["title"] for notice in await notifications(engine)] == ["Technician found"]
    failed = {"kind": "offer", "outcome": "failed"}
    assert engine.metrics.registry.get_sample_value("callout_pushes_total", failed) == 2


async def test_a_silent_receiver_does_not_stop_the_notifier(engine: Engine) -> None:
    """While every push waits for a response that never arrives, the notifier continues to derive notifications."""
    async with running_receiver(lambda _: None) as receiver:
        runner = asyncio.create_task(notifier.run(with_receiver(engine, receiver)))
        for name in ("a", "b", "c"):
            await accepted_job(engine, name)
        await wait_until(lambda: _has_notifications(engine, 3), what="three notices")
        await cancel(runner)


async def _has_notifications(engine: Engine, number: int) -> bool:
    return len(await notifications(engine)) == number


async def test_a_lost_reply_repeats_no_notification(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """If the script ran but its reply was lost, the next run reads the advanced cursor and appends no notification
    twice.
    """
    await accepted_job(engine, "t1")
    run: Callable[..., Awaitable[Any]] = Store.run

    async def run_and_lose_reply(store: Store, zone: Any, script: str, **rest: Any) -> Any:
        done = await run(store, zone, script, **rest)
        if script == "notification_append":
            raise Indeterminate
        return done

    with monkeypatch.context() as patch:
        patch.setattr(Store, "run", run_and_lose_reply)
        with pytest.raises(Indeterminate):
            await notifier.run_once(engine)
    await notifier.run_once(engine)
    assert len(await notifications(engine)) == 1


async def test_a_lost_reply_drops_no_push(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """If the reply for a batch is lost, the offers of the batch are still pushed exactly once, because the cursor shows
    that the batch is done.
    """
    monkeypatch.setattr(notifier, "RETRY_S", 0.01)
    call: Callable[..., Awaitable[Any]] = Store.run
    lost = 0

    async def run_and_lose_reply(store: Store, zone: Any, script: str, *rest: Any, **named: Any) -> Any:
        nonlocal lost
        done = await call(store, zone, script, *rest, **named)
        if script == "notification_append" and not lost:
            lost += 1
            raise Indeterminate
        return done

    async with running_receiver() as receiver:
        await accepted_job(engine, "t1", "t2")
        monkeypatch.setattr(Store, "run", run_and_lose_reply)
        runner = asyncio.create_task(notifier.run(with_receiver(engine, receiver)))
        await wait_until(lambda: len(receiver.messages) == 3, what="two offers and a notification")
        await cancel(runner)
    assert lost == 1
    assert Counter(body["type"] for body in receiver.messages) == {"offer.created": 2, "notification": 1}


@pytest.mark.parametrize(
    ("held", "full", "pause_s"), [(True, True, 0), (True, False, notifier.BATCH_PAUSE_S), (False, False, 1)]
)
def test_only_a_notifier_that_has_caught_up_pauses(held: bool, full: bool, pause_s: float) -> None:
    """After a full batch the notifier makes no pause, so that it processes a backlog at the speed of Redis; otherwise
    it pauses.
    """
    assert notifier.next_pause_s(held=held, full=full) == pause_s


async def test_a_backlog_is_processed_without_a_pause(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """The notifier processes full batches without a pause between them, and pauses after the batch that reaches the end
    of the log.
    """
    monkeypatch.setattr(notifier, "MAX_BATCH_EVENTS", 4)
    paused: list[float] = []
    monkeypatch.setattr(notifier, "next_pause_s", lambda *, held, full: paused.append(full) or 0.0)
    for name in ("a", "b", "c"):
        await accepted_job(engine, name)
    runner = asyncio.create_task(notifier.run(engine))
    await wait_until(lambda: _has_notifications(engine, 3), what="three notices")
    await wait_until(lambda: False in paused, what="a step that has caught up")
    await cancel(runner)
    assert paused[:2] == [True, True]


async def test_a_notifier_that_dies_before_appending_loses_nothing(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If a notifier dies before it appends a notification, its cursor has not advanced, and the next run derives the
    notification.
    """
    await accepted_job(engine, "t1")

    async def raise_cancelled(*_: Any) -> bool:
        raise asyncio.CancelledError

    with monkeypatch.context() as patch:
        patch.setattr(notifier._NotifierRunner, "_append_notices", raise_cancelled)
        with pytest.raises(asyncio.CancelledError):
            await notifier.run_once(engine)
    assert await notifier_cursor(engine) == 0
    await notifier.run_once(engine)
    assert len(await notifications(engine)) == 1


async def test_concurrent_notifiers_append_each_notification_once(engine: Engine) -> None:
    """Several notifiers that all believe that they hold the lease append each notification only once, because the
    script checks the cursor.
    """
    for name in "abcdef":
        await accepted_job(engine, name)
    await asyncio.gather(*(notifier.run_once(engine) for _ in range(4)))
    by_job = Counter(notice["job"] for notice in await notifications(engine))
    assert set(by_job.values()) == {1}
    assert len(by_job) == 6


async def test_one_notifier_runs_per_zone_and_the_next_takes_over(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second notifier of a zone waits for the lease, and continues where the first one stopped."""
    monkeypatch.setattr(notifier, "LEASE_S", 0.3)
    monkeypatch.setattr(notifier, "LEASE_CHECK_INTERVAL_S", 0.1)
    monkeypatch.setattr(notifier, "READ_BLOCK_S", 0.05)
    monkeypatch.setattr(notifier, "RETRY_S", 0.05)
    first = asyncio.create_task(notifier.run(engine))
    await wait_until(lambda: engine.store.redis.exists(keys.runner_lease(DEFAULT_ZONE, "push")))
    holder = await engine.store.redis.get(keys.runner_lease(DEFAULT_ZONE, "push"))
    second = asyncio.create_task(notifier.run(engine))
    await accepted_job(engine, "t1")
    await wait_until(lambda: _has_notifications(engine, 1), what="the first notice")
    assert await engine.store.redis.get(keys.runner_lease(DEFAULT_ZONE, "push")) == holder
    await cancel(first)
    await accepted_job(engine, "t2")
    await wait_until(lambda: _has_notifications(engine, 2), what="the second notice")
    await cancel(second)


async def test_each_step_notifies_the_customer(engine: Engine) -> None:
    """The customer receives a notification of each step of their job, with the blueprint's text and the job's id."""
    carla, job = await accepted_job(engine, "t1")
    await jobs.run_command(engine, people.technician_without_account("t1"), job, CommandInput(command="depart"))
    await notifier.run_once(engine)
    notifications_sent = await event_log.events(engine, "notification")
    assert [event.to for event in notifications_sent] == [(f"user:{carla.id}",)] * 2
    assert {event.blueprint_key for event in notifications_sent} == {"home_service@3"}
    data = [event_log.payload(event) for event in notifications_sent]
    assert [(each["kind"], each["title"], each["body"], each["job"]) for each in data] == [
        ("job.accepted", "Technician found", "T t1 has accepted your booking.", job),
        ("job.status", "Booking update", "The technician is on the way.", job),
    ]
    assert len({each["id"] for each in data}) == 2


async def test_offers_and_notifications_are_pushed_to_their_users(engine: Engine) -> None:
    """Each offer and each notification is sent as one signed POST that contains user, zone and sequence number, and to
    the browsers of its user.
    """
    async with running_receiver() as receiver, running_push_service() as service:
        carla, job = await accepted_job(engine, "t1", "t2")
        pusher = with_receiver(engine, receiver)
        own: dict[str, Any] = {"web_push_contact": "mailto:a@example.org", "web_push_origins": (service.origin,)}
        pusher = dataclasses.replace(pusher, settings=msgspec.structs.replace(pusher.settings, **own))
        browser = service.subscribe()
        await devices.put_device(pusher, carla, "browser", platform="webpush", token=browser.token)
        await notifier.run_once(pusher)
    (shown,) = (msgspec.json.decode(browser.decrypt(each.body)) for each in service.arrived)
    assert (shown["kind"], shown["title"], shown["job"]) == ("notification", "Technician found", job)
    offers = [message for message in receiver.messages if message["type"] == "offer.created"]
    assert {message["user"] for message in offers} == {"t1", "t2"}
    assert {message["offer"]["job"]["id"] for message in offers} == {job}
    assert "customer" not in offers[0]["offer"]["job"]
    (notice,) = (message for message in receiver.messages if message["type"] == "notification")
    assert (notice["user"], notice["notification"]["title"]) == (carla.id, "Technician found")
    assert (notice["zone"], notice["seq"]) == ("main", (await event_log.events(engine, "notification"))[0].seq)
    for body, signature in zip(receiver.bodies, receiver.signatures, strict=True):
        assert push_sender.signature_of(SECRET, body, int(signature[2 : signature.index(",")])) == signature


async def test_no_push_is_repeated(engine: Engine) -> None:
    """A second run of the notifier starts after the cursor and sends no push again."""
    async with running_receiver() as receiver:
        await accepted_job(engine, "t1")
        await notifier.run_once(with_receiver(engine, receiver))
        before = len(receiver.bodies)
        await notifier.run_once(with_receiver(engine, receiver))
        assert len(receiver.bodies) == before == 2


async def test_a_template_that_fails_stops_no_other_notification(engine: Engine) -> None:
    """If a template names a field that the event does not have, its notification is skipped, and the notifier
    continues.
    """
    carla, job = await accepted_job(engine, "t1")
    blueprint = engine.blueprints.default
    rule = blueprint.events["job.status"]
    wrong = NotificationText(title="Update", body="{technician.name}: {says}")
    broken = msgspec.structs.replace(
        blueprint, events={**blueprint.events, "job.status": msgspec.structs.replace(rule, notify={"customer": wrong})}
    )
    engine.blueprints.by_key[blueprint.key] = broken
    await jobs.run_command(engine, people.technician_without_account("t1"), job, CommandInput(command="depart"))
    await jobs.run_command(engine, carla, job, CommandInput(command="cancel"))
    await notifier.run_once(engine)
    assert [notice["kind"] for notice in await notifications(engine)] == ["job.accepted", "job.cancelled"]
    assert await notifier_cursor(engine) == len(await event_log.events(engine))


async def test_an_offer_is_pushed_with_the_text_of_its_blueprint(engine: Engine) -> None:
    """The push of an offer contains the blueprint's text, although offers create no notification in the log; if the
    template fails, the offer is pushed without a text.
    """
    async with running_receiver() as receiver:
        pusher = with_receiver(engine, receiver)
        await accepted_job(pusher, "t1")
        await notifier.run_once(pusher)
        blueprint = engine.blueprints.default
        notice = NotificationText(title="{offer.nothing.at_all}", body="")
        rule = msgspec.structs.replace(blueprint.events["offer.created"], notify={"offered": notice})
        wrong = msgspec.structs.replace(blueprint, events={**blueprint.events, "offer.created": rule})
        pusher.blueprints.by_key[blueprint.key] = wrong
        await accepted_job(pusher, "t2")
        await notifier.run_once(pusher)
    offers = [message for message in receiver.messages if message["type"] == "offer.created"]
    assert [message.get("notice", {}).get("title") for message in offers] == ["New job available", None]
    assert {notice["kind"] for notice in await notifications(engine)} == {"job.accepted"}
