"""How many sockets a user has, over all gateways of one Redis, and how many event streams. Over the limit of either the
one that was heard of longest ago goes, wherever it is.

Each open one holds a *seat*, which its gateway touches; those of a gateway that died fall out within a lease. A socket
that comes back takes the place of the one that it names, or of the same device, in the step in which it is counted.
Over the limit that step asks all gateways, by an event that clients never see, when they heard of theirs; a moment
later those heard of longest ago lose their seats (``settle``). The oldest is not the dead one: a phone that comes back
every two seconds leaves dead sockets that are younger than a desktop's live one. (Rejected: counting before the
connection is let in, which would refuse the phone in the hand for the sake of the one in the drawer.)

Streams are counted apart: a page with a map open must not cost somebody his socket. Nothing is ever heard of a stream,
so that of streams the oldest goes. A long poll takes no seat: it comes
and goes with each answer, so that counting it would be two calls to Redis where now there is none.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from engine.store import keys
from engine.store.scripts import Args
from engine.types import DEFAULT_ZONE, UserId

if TYPE_CHECKING:
    from engine.runtime import Engine

REPLACED = "session.replaced"
"""To the user of a socket or stream that has to go; ``data`` names its ``session`` and the close ``code``."""
CROWDED = "session.crowded"
"""To a user who has more than he may: each gateway tells when it last heard of his sockets."""
BATCH = 500
"""Seats in one script call: a longer one would hold up the zone."""


_META = {"meta": keys.meta(DEFAULT_ZONE)}


class Seat(NamedTuple):
    """One of the seats under a key, by its word: when it was taken, and by which session."""

    key: str
    word: str


class Claim(NamedTuple):
    """What a client said of itself at connect: an opaque name of its device, and the session whose place it takes; ""
    for neither.
    """

    device: str = ""
    replaces: str = ""


NOBODYS = Claim()


async def opened(
    engine: Engine, user: UserId, session: str, most: int, claim: Claim = NOBODYS, *, streams: bool = False
) -> tuple[Seat, bool]:
    """Count one more of ``user``; gives its seat, and whether there are more than ``most`` now: then ``settle`` after a
    moment, in which the gateways tell when they heard of theirs. May be repeated.
    """
    zone, key = DEFAULT_ZONE, _key(user, streams)
    names = {"meta": keys.meta(zone), "sockets": key, "log": keys.log(zone)}
    who: Args = {"user": user, "session": session, "device": claim.device, "replaces": claim.replaces}
    args: Args = {**who, "most": most, "lease_ms": lease_ms(engine)}
    done = await engine.store.run(zone, "socket_open", keys=names, args=args)
    return Seat(key, done.rest[0].decode()), done.rest[1] == b"1"


async def settle(engine: Engine, user: UserId, most: int, *, streams: bool = False) -> None:
    """Send away those over ``most``: sockets that were heard of longest ago, or the oldest streams."""
    zone = DEFAULT_ZONE
    names = {"meta": keys.meta(zone), "sockets": _key(user, streams), "log": keys.log(zone)}
    args: Args = {"user": user, "most": most, "lease_ms": lease_ms(engine), "by_age": int(streams)}
    await engine.store.run(zone, "socket_settle", keys=names, args=args)


def device_of(name: str) -> str:
    """A device's name as a seat carries it: text of the client's own is no part of a key's member."""
    return hashlib.sha256(name.encode("utf-8", "replace")).hexdigest()[:16] if name else ""


def _key(user: UserId, streams: bool) -> str:
    return keys.streams(DEFAULT_ZONE, user) if streams else keys.sockets(DEFAULT_ZONE, user)


async def closed(engine: Engine, seats: Sequence[Seat]) -> None:
    """Give these back."""
    for start in range(0, len(seats), BATCH):
        batch = [part for seat in seats[start : start + BATCH] for part in seat]
        await engine.store.run(DEFAULT_ZONE, "socket_close", keys=_META, args={"seats": batch})


async def touch(engine: Engine, seats: Sequence[tuple[Seat, int]]) -> None:
    """These are still open, each with the milliseconds since its client was heard of."""
    for start in range(0, len(seats), BATCH):
        batch = [part for seat, age_ms in seats[start : start + BATCH] for part in (*seat, age_ms)]
        args: Args = {"lease_ms": lease_ms(engine), "seats": batch}
        await engine.store.run(DEFAULT_ZONE, "socket_touch", keys=_META, args=args)


def lease_ms(engine: Engine) -> int:
    """How long a seat is held without a touch: three go by each ``ping_s``, and one may be late."""
    return round((3 * engine.settings.ping_s + engine.settings.pong_s) * 1000)
