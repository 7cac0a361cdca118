"""The devices in pushes: each push has those of its user, and a database that is away delays none."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from typing import Any

import pytest
from structlog.testing import capture_logs

from engine.errors import Unavailable
from engine.identity import access, accounts, devices, sockets
from engine.process.metrics import Metrics
from engine.runtime import Engine
from engine.sql.database import Archive
from engine.types import Principal
from engine.workers import push_devices
from engine.workers.push_delivery import PushMessage
from engine.workers.push_devices import PushQueue
from engine.workers.push_sender import PushSender
from tests.faults.receiver import PushReceiver, running_receiver
from tests.support import people

TOKEN = "tok:secret"


@contextlib.asynccontextmanager
async def running_queue(engine: Engine) -> AsyncIterator[tuple[PushQueue, PushReceiver]]:
    """Run a queue of pushes with a receiver that accepts all of them."""
    async with (
        running_receiver() as receiver,
        PushSender(receiver.url, "a secret", engine.metrics) as sender,
        PushQueue(engine, sender) as queue,
    ):
        yield queue, receiver


async def push(queue: PushQueue, user: Principal) -> None:
    """Queue one push to ``user``, and wait until it was sent or given up."""
    queue.queue_messages([PushMessage("notification", b'{"user":"%s"}' % user.id.encode(), user=user.id)])
    await queue.wait_until_sent()


async def put(engine: Engine, user: Principal) -> None:
    """Store a phone of ``user`` with the push token `TOKEN`."""
    await devices.put_device(engine, user, "phone", platform="ios", token=TOKEN)


def count(metrics: Metrics, name: str, **labels: str) -> float:
    """Return the value of a counter."""
    return metrics.registry.get_sample_value(f"callout_{name}_total", {"kind": "notification", **labels}) or 0.0


@pytest.fixture
def database_away(monkeypatch: pytest.MonkeyPatch) -> contextlib.AbstractContextManager[Any]:
    """Return a context manager in which the database cannot be reached."""

    @contextlib.contextmanager
    def away() -> Any:
        async def refuse(_: Archive) -> None:
            raise Unavailable("the database is away")

        with monkeypatch.context() as patch:
            patch.setattr(Archive, "migrate_once", refuse)
            yield

    return away()


async def test_a_push_has_the_devices_of_its_user_alone(engine: Engine) -> None:
    """A push contains id, platform and token of each device of its user. No line of the log contains a token."""
    carla, otto = await people.customer(engine), await people.customer(engine)
    await put(engine, carla)
    await devices.put_device(engine, carla, "browser", platform="web", token="web:1")
    with capture_logs() as logs:
        async with running_queue(engine) as (queue, receiver):
            await push(queue, carla)
            await push(queue, otto)
    assert receiver.messages == [
        {
            "user": carla.id,
            "devices": [
                {"id": "phone", "platform": "ios", "token": TOKEN},
                {"id": "browser", "platform": "web", "token": "web:1"},
            ],
        },
        {"user": otto.id, "devices": []},
    ]
    assert TOKEN not in repr(logs)


async def test_a_suspended_user_gets_no_push(engine: Engine) -> None:
    """A push to a suspended account is not sent, and counts as `inactive`."""
    carla = await people.customer(engine)
    await put(engine, carla)
    await accounts.suspend_user(engine, people.ADMIN, carla.id, reason="x")
    async with running_queue(engine) as (queue, receiver):
        await push(queue, carla)
    assert (receiver.bodies, count(engine.metrics, "pushes", outcome="inactive")) == ([], 1)


async def test_a_user_without_device_and_connection_is_counted(engine: Engine) -> None:
    """A user with neither a device nor a connection is counted and logged, and the push is sent all the same. A
    connected user is not counted.
    """
    nobody, connected = await people.customer(engine), await people.customer(engine)
    await sockets.open_slot(engine, connected.id, "ses_1", 5)
    with capture_logs() as logs:
        async with running_queue(engine) as (queue, receiver):
            await push(queue, connected)
            assert count(engine.metrics, "pushes_unreached") == 0
            await push(queue, nobody)
            await push(queue, nobody)
    assert len(receiver.bodies) == 3 and count(engine.metrics, "pushes_unreached") == 2
    assert [(entry["event"], entry["user"]) for entry in logs] == [("push_reaches_nobody", nobody.id)]


async def test_a_database_that_is_away_delays_no_push(
    engine: Engine, database_away: contextlib.AbstractContextManager[Any]
) -> None:
    """While the database is away, a push contains the devices of the last lookup. A user who was never looked up gets
    a push without `devices`, and a user who was suspended since then gets none.
    """
    carla, new, suspended = [await people.customer(engine) for _ in range(3)]
    await put(engine, carla)
    async with running_queue(engine) as (queue, receiver):
        await push(queue, carla)
        record = access.AccountRecord(id=suspended.id, role="customer", active=False, version=9)
        await access.write_to_redis(engine, record)
        with database_away:
            for user in (carla, new, suspended):
                await push(queue, user)
    assert [(body["user"], len(body.get("devices", "none"))) for body in receiver.messages] == [
        (carla.id, 1),
        (carla.id, 1),
        (new.id, 4),
    ]


async def test_queueing_never_waits(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """If too many pushes wait for the lookup, further ones are dropped at once and counted."""
    monkeypatch.setattr(push_devices, "MAX_WAITING_PUSHES", 10)
    async with running_queue(engine) as (queue, receiver):
        queue.queue_messages([PushMessage("notification", b'{"n":1}', user="usr_x")] * 30)
        await queue.wait_until_sent()
    assert (len(receiver.bodies), count(engine.metrics, "pushes", outcome="dropped")) == (10, 20)
