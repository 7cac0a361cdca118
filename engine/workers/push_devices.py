"""The stage before the push sender: adds the recipient's devices to each push.

The devices are in SQL. The notifier hands its pushes over and never waits for the database, so that a database that is
away delays no offer. All pushes that wait are looked up together. If the database is away, a push contains the devices
of the last lookup in this process; a push to a user who was never looked up has no ``devices``, and a receiver that
knows the user's tokens can still deliver it.

A push to a suspended or closed account is not sent. A user with neither a device nor a connection is counted and
logged, and their push is sent without devices: the receiver may reach them in another way.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Self

import msgspec
import structlog

from engine.errors import CalloutError, Unavailable
from engine.identity import access, devices, sockets
from engine.identity.devices import PushAddress, PushDevice
from engine.identity.push_subscriptions import WEB_PUSH_PLATFORM
from engine.process.loops import not_cancelled
from engine.types import UserId
from engine.workers.push_delivery import LOG_INTERVAL_S, PushMessage
from engine.workers.push_sender import PushSender
from engine.workers.web_push_sender import WebPushSender

if TYPE_CHECKING:
    from engine.runtime import Engine

MAX_MESSAGES_PER_LOOKUP = 500
"""The most pushes in one lookup: the number of parameters in one query is limited."""
MAX_WAITING_PUSHES = 2_000
"""The most pushes that wait for the lookup. Further ones are dropped and counted."""
MAX_CACHED_ADDRESSES = 20_000
"""The most users whose devices of the last lookup are stored in memory."""

log = structlog.get_logger(__name__)


class PushQueue:
    """The pushes that wait for their devices. While the ``async with`` block runs, they are handed to ``sender``
    (the receiver of pushes), and to ``browsers`` for each browser of the user; either may be missing.
    """

    def __init__(self, engine: Engine, sender: PushSender | None, browsers: WebPushSender | None = None) -> None:
        self._engine = engine
        self._sender = sender
        self._browsers = browsers
        self._waiting: asyncio.Queue[PushMessage] = asyncio.Queue(MAX_WAITING_PUSHES)
        self._known: dict[str, PushAddress] = {}
        self._task: asyncio.Task[None] | None = None
        self._logged_at = float("-inf")

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._run(), name="push-devices")
        return self

    async def __aexit__(self, *exc: object) -> None:
        if self._task:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    def queue_messages(self, messages: Sequence[PushMessage]) -> None:
        """Queue messages. If the queue is full, drop and count the rest. This never waits."""
        for message in messages:
            try:
                self._waiting.put_nowait(message)
            except asyncio.QueueFull:
                self._engine.metrics.pushes.labels(message.kind, "dropped").inc()

    async def wait_until_sent(self) -> None:
        """Wait until every queued message is sent or given up."""
        await self._waiting.join()
        for sender in (self._sender, self._browsers):
            if sender:
                await sender.wait_until_sent()

    async def _run(self) -> None:
        while not_cancelled():
            batch = [await self._waiting.get()]
            while len(batch) < MAX_MESSAGES_PER_LOOKUP and not self._waiting.empty():
                batch.append(self._waiting.get_nowait())
            try:
                await self._hand_over(batch)
            except Exception:  # a task boundary: one bad batch must not stop the others
                log.exception("push_devices_crashed")
            finally:
                for _ in batch:
                    self._waiting.task_done()

    async def _hand_over(self, batch: Sequence[PushMessage]) -> None:
        """Add the devices to the messages of a batch, and queue the messages at the push sender."""
        addresses = await self._find_addresses({message.user for message in batch if message.user})
        unreached = await self._without_connection({user for user, to in addresses.items() if not to.devices})
        for message in batch:
            to = addresses.get(message.user)
            if to is not None and not to.active:
                self._engine.metrics.pushes.labels(message.kind, "inactive").inc()
                continue
            if message.user in unreached:
                self._count_unreached(message)
            self._send_to(message, to.devices if to else None)

    def _send_to(self, message: PushMessage, to: tuple[PushDevice, ...] | None) -> None:
        """Queue a message for the receiver and for browsers. ``to`` is None if the user's devices are not known. The
        receiver does not get the browsers to which this server sends.
        """
        browsers = [each for each in to or () if self._browsers and each.platform == WEB_PUSH_PLATFORM]
        if self._browsers:
            for device in browsers:
                self._browsers.queue_message(msgspec.structs.replace(message, token=device.token))
        if self._sender:
            others = None if to is None else [each for each in to if each not in browsers]
            self._sender.queue_message(message if others is None else _with_devices(message, others))

    async def _find_addresses(self, users: Collection[str]) -> dict[str, PushAddress]:
        """Return the addresses in SQL, or those of the last lookup if the database is away."""
        try:
            found = await devices.find_push_addresses(self._engine.archive, users)
        except Unavailable as error:
            self._log("push_without_database", error=str(error))
            return await self._known_addresses(users)
        for user, address in found.items():
            self._known.pop(user, None)
            self._known[user] = address
        for user in list(self._known)[: max(0, len(self._known) - MAX_CACHED_ADDRESSES)]:
            del self._known[user]
        return found

    async def _known_addresses(self, users: Collection[str]) -> dict[str, PushAddress]:
        """Return the addresses of the last lookup. The accounts in Redis show who was suspended since then."""
        known = {user: self._known[user] for user in users if user in self._known}
        try:
            inactive = await access.find_inactive(self._engine, [UserId(user) for user in users])
        except CalloutError:
            return known
        return known | {user: PushAddress(False, ()) for user in inactive}

    async def _without_connection(self, users: Collection[str]) -> set[str]:
        """Return the users who have no open socket or event stream; none if Redis cannot say."""
        try:
            connected = await sockets.find_connected(self._engine, [UserId(user) for user in users])
        except CalloutError:
            return set()
        return set(users) - connected

    def _count_unreached(self, message: PushMessage) -> None:
        self._engine.metrics.pushes_unreached.labels(message.kind).inc()
        self._log("push_reaches_nobody", kind=message.kind, user=message.user)

    def _log(self, event: str, **values: str) -> None:
        """Log an event, at most one every ``LOG_INTERVAL_S`` seconds."""
        now = asyncio.get_running_loop().time()
        if now - self._logged_at > LOG_INTERVAL_S:
            self._logged_at = now
            log.warning(event, quiet_s=LOG_INTERVAL_S, **values)


def _with_devices(message: PushMessage, to: Sequence[PushDevice]) -> PushMessage:
    """Return the message with the member ``devices`` at the end of its body."""
    body = message.body[:-1] + b',"devices":' + msgspec.json.encode(to) + b"}"
    return msgspec.structs.replace(message, body=body)
