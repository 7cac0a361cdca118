"""Connection slots: the number of sockets and of event streams that a user has open, over all gateways of one Redis. If
a user exceeds one of the two limits, the connection with the oldest activity is closed, on any gateway.

Each open connection has a *slot*, which its gateway renews. The slots of a gateway that died expire within a lease. A
socket that reconnects replaces the socket that its client names, or the socket of the same device, in the script that
counts the new socket. If the user exceeds the limit, this script asks all gateways by an internal event when the user's
sockets were last active. A moment later the least recently active sockets lose their slots
(``close_excess_connections``). The socket that was opened first is not necessarily a dead one: a phone that reconnects
every two seconds leaves dead sockets that are younger than the live socket of a desktop. (Rejected: to count before a
connection is accepted. The phone in use would be refused, and a phone that is not in use would keep its connection.)

Event streams are counted separately, since a page with a map must not cost a user their socket. A client sends nothing
on an event stream; therefore the oldest event stream is closed. A long poll has no slot: a poll starts and ends with
each response, and counting polls would cost two calls to Redis for each poll instead of none.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from engine.store import keys
from engine.store.scripts import Args
from engine.types import DEFAULT_ZONE, UserId

if TYPE_CHECKING:
    from engine.runtime import Engine

REPLACED_EVENT = "session.replaced"
"""The event that closes a socket or stream of a user. ``data`` names its ``session`` and the close ``code``."""
OVER_LIMIT_EVENT = "session.crowded"
"""The event for a user who exceeds the limit: each gateway then reports when the user's sockets were last active."""
MAX_SLOTS_PER_CALL = 500
"""The maximum number of slots in one script call. A longer call would delay the zone's other scripts."""


_ZONE_META_KEY = {"meta": keys.zone_meta(DEFAULT_ZONE)}


class ConnectionSlot(NamedTuple):
    """A slot: the Redis key of its sorted set, and its member in the set, which contains the slot's time and
    session.
    """

    key: str
    member: str


class ClientDevice(NamedTuple):
    """The declaration of a client at connect: an opaque name of the client's device ("" = no name), and the session
    that the new session replaces ("" = none).
    """

    device: str = ""
    replaces: str = ""


NO_DEVICE = ClientDevice()


async def open_slot(
    engine: Engine,
    user: UserId,
    session: str,
    max_connections: int,
    client_device: ClientDevice = NO_DEVICE,
    *,
    event_streams: bool = False,
) -> tuple[ConnectionSlot, bool]:
    """Count one more connection of ``user``. Returns the connection's slot, and whether the user now has more than
    ``max_connections``. If so, call ``close_excess_connections`` a moment later, when the gateways have reported the
    last activity. The call may be repeated."""
    zone, key = DEFAULT_ZONE, _slots_key(user, event_streams)
    names = {"meta": keys.zone_meta(zone), "sockets": key, "log": keys.log(zone)}
    who: Args = {"user": user, "session": session, "device": client_device.device, "replaces": client_device.replaces}
    args: Args = {**who, "max_sockets": max_connections, "lease_ms": slot_lease_ms(engine)}
    done = await engine.store.run(zone, "socket_open", keys=names, args=args)
    return ConnectionSlot(key, done.values[0].decode()), done.values[1] == b"1"


async def close_excess_connections(
    engine: Engine, user: UserId, max_connections: int, *, event_streams: bool = False
) -> None:
    """Close a user's connections above ``max_connections``: the least recently active sockets or oldest event
    streams."""
    zone = DEFAULT_ZONE
    names = {"meta": keys.zone_meta(zone), "sockets": _slots_key(user, event_streams), "log": keys.log(zone)}
    args: Args = {
        "user": user,
        "max_sockets": max_connections,
        "lease_ms": slot_lease_ms(engine),
        "by_age": int(event_streams),
    }
    await engine.store.run(zone, "socket_settle", keys=names, args=args)


def hash_device_name(device_name: str) -> str:
    """Return a hash of a device's name, for the slot's member: text from a client must not be part of a member in
    Redis.
    """
    return hashlib.sha256(device_name.encode("utf-8", "replace")).hexdigest()[:16] if device_name else ""


def _socket_and_stream_keys(user: UserId) -> tuple[str, str]:
    return keys.socket_slots(DEFAULT_ZONE, user), keys.stream_slots(DEFAULT_ZONE, user)


def _slots_key(user: UserId, event_streams: bool) -> str:
    return keys.stream_slots(DEFAULT_ZONE, user) if event_streams else keys.socket_slots(DEFAULT_ZONE, user)


async def find_connected(engine: Engine, users: Sequence[UserId]) -> set[str]:
    """Return those of ``users`` who have an open socket or event stream at any gateway. Without limits
    (``CALLOUT_LIMITS=off``) connections have no slots, and nobody is found. Raises Unavailable.
    """
    read = engine.store.read_connection
    counts = await asyncio.gather(*(read.count_existing(*_socket_and_stream_keys(user)) for user in users))
    return {user for user, count in zip(users, counts, strict=True) if count}


async def find_last_active(engine: Engine, users: Sequence[UserId]) -> dict[UserId, int]:
    """Return those of ``users`` who have an open socket or event stream at any gateway, each with the last known time
    at which a connection was active (ms of the clock of ``main``). An event stream is active while it is open. Raises
    Unavailable.
    """
    read = engine.store.read_connection
    names = [key for user in users for key in _socket_and_stream_keys(user)]
    scores = await asyncio.gather(*(read.highest_score(name) for name in names))
    found: dict[UserId, int] = {}
    for user, *pair in zip(users, scores[::2], scores[1::2], strict=True):
        known = [int(score) for score in pair if score is not None]
        if known:
            found[user] = max(known)
    return found


async def release_slots(engine: Engine, slots: Sequence[ConnectionSlot]) -> None:
    """Release the slots of closed connections."""
    for start in range(0, len(slots), MAX_SLOTS_PER_CALL):
        batch = [part for slot in slots[start : start + MAX_SLOTS_PER_CALL] for part in slot]
        await engine.store.run(DEFAULT_ZONE, "socket_close", keys=_ZONE_META_KEY, args={"slots": batch})


async def renew_slots(engine: Engine, slots: Sequence[tuple[ConnectionSlot, int]]) -> None:
    """Renew slots that are still open, each with the milliseconds since its client was last active."""
    for start in range(0, len(slots), MAX_SLOTS_PER_CALL):
        batch = [part for slot, age_ms in slots[start : start + MAX_SLOTS_PER_CALL] for part in (*slot, age_ms)]
        args: Args = {"lease_ms": slot_lease_ms(engine), "slots": batch}
        await engine.store.run(DEFAULT_ZONE, "socket_touch", keys=_ZONE_META_KEY, args=args)


def slot_lease_ms(engine: Engine) -> int:
    """Return how long (ms) a slot lasts if it is not renewed. Gateways renew a slot every ``ping_s`` seconds; two
    renewals may fail and the third may be late.
    """
    return round((3 * engine.settings.ping_s + engine.settings.pong_s) * 1000)
