"""The live channels of the zones (pub/sub): messages that the scripts publish and store in no log, such as positions,
because a lost one does no harm. Each message is passed to the function for its type.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from time import monotonic
from typing import Any

import msgspec
import redis.asyncio as redis
import structlog

from engine.domain.demand_pulse import PublishedDemand
from engine.domain.positions import PublishedFix, PublishedRate
from engine.domain.room_typing import PublishedTyping
from engine.errors import CalloutError, Unavailable
from engine.process.loops import not_cancelled
from engine.runtime import Engine
from engine.store import keys
from engine.types import Zone
from server.gateway.counters import Counters

MAX_REDIS_SILENCE_S = 5.0
"""Seconds without a message from Redis after which this process pings Redis. If Redis then sends no reply for as long
again, the connection is replaced."""

LiveMessage = PublishedFix | PublishedRate | PublishedTyping | PublishedDemand
LiveHandlers = dict[type[LiveMessage], Callable[[Zone, Any], None]]

log = structlog.get_logger(__name__)
_decoder: msgspec.json.Decoder[LiveMessage] = msgspec.json.Decoder(LiveMessage)


class LiveFeed:
    """The subscription of one gateway to the live channels. ``handlers`` has a function for each type of message."""

    def __init__(self, engine: Engine, counters: Counters, handlers: LiveHandlers) -> None:
        self._engine = engine
        self._counters = counters
        self._handlers = handlers
        zones = [Zone(zone) for zone in engine.settings.zones]
        self._zones = {keys.live_channel(zone).encode(): zone for zone in zones}
        self._confirmed: set[bytes] = set()

    @property
    def is_subscribed(self) -> bool:
        """Whether Redis has confirmed the subscription of every zone: a message published before that is lost."""
        return len(self._confirmed) == len(self._zones)

    async def run(self) -> None:
        """Receive messages forever."""
        async with asyncio.TaskGroup() as tasks:
            for group in self._engine.store.shards.groups(self._zones.values()):
                tasks.create_task(self._receive_forever(group))

    async def _receive_forever(self, zones: Sequence[Zone]) -> None:
        """Receive the messages of zones whose channels are at one server. The counter ``live_gaps`` counts each new
        connection, and each time that a connection subscribed again: messages may have been lost.
        """
        pause = 0.05
        while not_cancelled():
            began = monotonic()
            channels = {keys.live_channel(zone).encode() for zone in zones}
            client: redis.Redis | None = None
            try:
                client = self._engine.store.client_of(zones[0])
                await self._receive(client, channels)
            except (redis.RedisError, OSError, CalloutError) as error:  # TimeoutError is an OSError
                log.warning("live_away", error=str(error) or type(error).__name__, retry_s=round(pause, 2))
            except Exception:  # the task's boundary
                log.exception("live_failed")
            finally:
                self._confirmed -= channels
                with contextlib.suppress(OSError, redis.RedisError):
                    async with asyncio.timeout(1.0):
                        if client is not None:
                            await client.aclose()
            self._counters.position_feed_gaps += 1
            pause = 0.05 if monotonic() - began > MAX_REDIS_SILENCE_S else min(pause * 2, 1.0)
            await asyncio.sleep(pause)

    async def _receive(self, client: redis.Redis, channels: set[bytes]) -> None:
        async with client.pubsub() as pubsub:
            async with asyncio.timeout(MAX_REDIS_SILENCE_S):
                await pubsub.ssubscribe(*channels)
                # the scripts of the previous release publish to all nodes of a cluster
                await pubsub.subscribe(*channels)
            ping_sent = False
            while not_cancelled():
                message = await pubsub.get_message(timeout=MAX_REDIS_SILENCE_S)
                if message is None:
                    if ping_sent:
                        raise TimeoutError("Redis does not answer")
                    async with asyncio.timeout(MAX_REDIS_SILENCE_S):
                        await pubsub.ping()
                    ping_sent = True
                    continue
                ping_sent = False
                if message["type"] in ("smessage", "message"):
                    self._handle_message(self._zones[message["channel"]], message["data"])
                elif message["type"] == "sunsubscribe":
                    raise Unavailable("another server has the channel now")
                elif message["type"] == "ssubscribe":
                    self._counters.position_feed_gaps += message["channel"] in self._confirmed
                    self._confirmed.add(message["channel"])

    def _handle_message(self, zone: Zone, data: bytes) -> None:
        try:
            message = _decoder.decode(data)
        except msgspec.DecodeError as error:
            log.error("live_not_understood", zone=zone, error=str(error))
            return
        self._handlers[type(message)](zone, message)
