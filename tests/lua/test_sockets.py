"""Seats of a user's sockets, on fakeredis: the oldest goes, the dead fall out, a repeat takes no second seat."""

from __future__ import annotations

from typing import Any

import fakeredis
import pytest

from engine.store import keys
from engine.types import UserId
from tests.lua.evaluated import Z, open_zone, run

ANN = UserId("ann")
META = {"meta": keys.meta(Z)}
LEASE_MS = 85_000


@pytest.fixture
def client() -> fakeredis.FakeRedis:
    """A fakeredis with an open zone."""
    client = fakeredis.FakeRedis(version=(7, 2))
    open_zone(client)
    return client


def opened(client: fakeredis.FakeRedis, session: str, most: int = 2) -> Any:
    """One socket more; each a millisecond after the last."""
    client.hincrby(keys.meta(Z), "skew", 1)
    places = {**META, "sockets": keys.sockets(Z, ANN), "log": keys.log(Z)}
    return run(client, "socket_open", places, {"user": ANN, "session": session, "most": most, "lease_ms": LEASE_MS})


def touched(client: fakeredis.FakeRedis, seat: bytes) -> None:
    """A seat's gateway says that it is still there."""
    run(client, "socket_touch", META, {"lease_ms": LEASE_MS, "seats": [keys.sockets(Z, ANN), seat]})


def held(client: fakeredis.FakeRedis) -> list[str]:
    """The sessions that have a seat, the oldest first."""
    seats = sorted(seat.decode() for seat in client.zrange(keys.sockets(Z, ANN), 0, -1))
    return [seat.partition(":")[2] for seat in seats]


def told(client: fakeredis.FakeRedis) -> list[tuple[bytes, bytes, bytes]]:
    """Type, channels and data of what the log says."""
    return [(e[b"type"], e[b"to"], e[b"data"]) for _, e in client.xrange(keys.log(Z))]


def test_within_the_limit_nobody_goes(client: fakeredis.FakeRedis) -> None:
    """Seats are taken, nothing is written to the log, and the key ends by itself."""
    assert opened(client, "ses_a")[:4] == [b"OK", b"0", 0, 0]
    opened(client, "ses_b")
    assert (held(client), told(client)) == (["ses_a", "ses_b"], [])
    assert 0 < client.pttl(keys.sockets(Z, ANN)) <= LEASE_MS


def test_over_it_the_oldest_go(client: fakeredis.FakeRedis) -> None:
    """One event names each that goes; a limit that was lowered sends several."""
    for name in "abcd":
        opened(client, f"ses_{name}", most=3)
    assert held(client) == ["ses_b", "ses_c", "ses_d"]
    opened(client, "ses_e", most=2)
    assert held(client) == ["ses_d", "ses_e"]
    assert told(client) == [
        (b"session.replaced", b"user:ann", b'{"session":"ses_%s"}' % name) for name in (b"a", b"b", b"c")
    ]
    assert client.hget(keys.meta(Z), "seq") == b"3"


def test_a_repeat_takes_no_second_seat(client: fakeredis.FakeRedis) -> None:
    """After a lost reply it is asked again: the same seat, and nobody goes for it."""
    first = opened(client, "ses_a")
    opened(client, "ses_b")
    assert opened(client, "ses_a")[4] == first[4]
    assert (held(client), told(client)) == (["ses_a", "ses_b"], [])


def test_the_seats_of_a_dead_gateway_fall_out(client: fakeredis.FakeRedis) -> None:
    """What was not touched for a lease is not counted, though others of the same user are; nobody is told to go."""
    opened(client, "ses_dead")
    alive = opened(client, "ses_alive")[4]
    for _ in range(3):
        client.hincrby(keys.meta(Z), "skew", LEASE_MS // 2)
        touched(client, alive)
    opened(client, "ses_new")
    assert (held(client), told(client)) == (["ses_alive", "ses_new"], [])


def test_a_touch_brings_back_what_was_lost(client: fakeredis.FakeRedis) -> None:
    """Where a pause was longer than the lease, those who live through it hold their seats again."""
    seat = opened(client, "ses_a")[4]
    client.delete(keys.sockets(Z, ANN))
    touched(client, seat)
    assert held(client) == ["ses_a"]
    assert client.pttl(keys.sockets(Z, ANN)) > 0


def test_seats_are_given_back_in_one_batch(client: fakeredis.FakeRedis) -> None:
    """Those that are named go, others stay; the last one takes the key with it."""
    seats = [opened(client, f"ses_{name}", most=3)[4] for name in "abc"]
    key = keys.sockets(Z, ANN)
    run(client, "socket_close", META, {"seats": [key, seats[0], key, seats[2], key, "no such seat"]})
    assert held(client) == ["ses_b"]
    run(client, "socket_close", META, {"seats": [key, seats[1]]})
    assert not client.exists(key)
