"""Seats of a user's sockets, on fakeredis: who was heard of longest ago goes, a repeat takes no second seat."""

from __future__ import annotations

from typing import Any

import fakeredis
import pytest

from engine.store import keys
from engine.types import UserId
from tests.lua.evaluated import Z, open_zone, run

ANN = UserId("ann")
META = {"meta": keys.zone_meta(Z)}
LEASE_MS = 85_000


@pytest.fixture
def client() -> fakeredis.FakeRedis:
    """A fakeredis with an open zone."""
    client = fakeredis.FakeRedis(version=(7, 2))
    open_zone(client)
    return client


PLACES = {**META, "sockets": keys.socket_slots(Z, ANN), "log": keys.log(Z)}


def opened(client: fakeredis.FakeRedis, session: str, most: int = 2, *, device: str = "", replaces: str = "") -> Any:
    """One socket more; each a millisecond after the last."""
    client.hincrby(keys.zone_meta(Z), "skew", 1)
    who = {"user": ANN, "session": session, "device": device, "replaces": replaces}
    return run(client, "socket_open", PLACES, {**who, "most": most, "lease_ms": LEASE_MS})


def settled(client: fakeredis.FakeRedis, most: int = 2, *, by_age: bool = False) -> None:
    """Those over the limit go."""
    run(client, "socket_settle", PLACES, {"user": ANN, "most": most, "lease_ms": LEASE_MS, "by_age": int(by_age)})


def touched(client: fakeredis.FakeRedis, seat: bytes, age_ms: int = 0) -> None:
    """A seat's gateway says that it is still there, and when it heard of it."""
    run(client, "socket_touch", META, {"lease_ms": LEASE_MS, "seats": [keys.socket_slots(Z, ANN), seat, age_ms]})


def held(client: fakeredis.FakeRedis) -> list[str]:
    """The sessions that have a seat, the oldest first."""
    seats = sorted(seat.decode() for seat in client.zrange(keys.socket_slots(Z, ANN), 0, -1))
    return [seat.split(":")[1] for seat in seats]


def told(client: fakeredis.FakeRedis) -> list[tuple[bytes, bytes, bytes]]:
    """Type, channels and data of what the log says."""
    return [(e[b"type"], e[b"to"], e[b"data"]) for _, e in client.xrange(keys.log(Z))]


def replaced(name: str, code: int) -> tuple[bytes, bytes, bytes]:
    """How the log tells that one has to go."""
    return b"session.replaced", b"user:ann", f'{{"session":"ses_{name}","code":{code}}}'.encode()


def test_within_the_limit_nobody_goes(client: fakeredis.FakeRedis) -> None:
    """Seats are taken, nothing is written to the log, and the key ends by itself."""
    assert opened(client, "ses_a")[:4] == [b"OK", b"0", 0, 0]
    opened(client, "ses_b")
    assert (held(client), told(client)) == (["ses_a", "ses_b"], [])
    assert 0 < client.pttl(keys.socket_slots(Z, ANN)) <= LEASE_MS


def test_over_it_all_are_asked_and_who_was_heard_of_longest_ago_goes(client: fakeredis.FakeRedis) -> None:
    """The oldest seat stays where its client was heard of last; one event names each that goes, who may come back."""
    seats = [opened(client, f"ses_{name}", most=3)[4] for name in "abc"]
    assert opened(client, "ses_d", most=3)[5] == b"1"
    assert told(client) == [(b"session.crowded", b"user:ann", b"{}")]
    for seat, age_ms in zip(seats, (20_000, 60_000, 40_000), strict=True):
        touched(client, seat, age_ms)
    settled(client, 3)
    assert held(client) == ["ses_a", "ses_c", "ses_d"]
    settled(client, 1)
    assert held(client) == ["ses_d"]
    gone = [
        (b"session.replaced", b"user:ann", b'{"session":"ses_%s","code":4010}' % name) for name in (b"b", b"c", b"a")
    ]
    assert told(client)[1:] == gone
    settled(client, 1)
    assert client.hget(keys.zone_meta(Z), "seq") == b"4"


def test_by_age_the_oldest_goes_whenever_it_was_touched(client: fakeredis.FakeRedis) -> None:
    """Of streams nothing is heard: the gateway that touches its own last does not keep them for that."""
    seats = [opened(client, f"ses_{name}", most=3)[4] for name in "abcd"]
    for seat, age_ms in zip(seats, (20_000, 60_000, 40_000, 50_000), strict=True):
        touched(client, seat, age_ms)
    settled(client, 2, by_age=True)
    assert held(client) == ["ses_c", "ses_d"]


def test_the_same_device_takes_its_own_place(client: fakeredis.FakeRedis) -> None:
    """However often it comes back nobody else goes; one that names no device takes nobody's."""
    opened(client, "ses_desk", device="d0")
    for name in "abcd":
        assert opened(client, f"ses_{name}", device="d1")[5] == b"0"
    assert held(client) == ["ses_desk", "ses_d"]
    gone = [
        (b"session.replaced", b"user:ann", b'{"session":"ses_%s","code":4505}' % name) for name in (b"a", b"b", b"c")
    ]
    assert told(client) == gone
    assert opened(client, "ses_x")[5] == b"1"


def test_the_session_that_is_named_is_replaced(client: fakeredis.FakeRedis) -> None:
    """The one it names, if it is the user's; a repeat replaces nobody twice, and nobody replaces himself."""
    opened(client, "ses_a")
    opened(client, "ses_b")
    for replaces in ("ses_a", "ses_a", "ses_c", "ses_of_another"):
        assert opened(client, "ses_c", replaces=replaces)[5] == b"0"
    assert held(client) == ["ses_b", "ses_c"]
    assert told(client) == [(b"session.replaced", b"user:ann", b'{"session":"ses_a","code":4505}')]


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
        client.hincrby(keys.zone_meta(Z), "skew", LEASE_MS // 2)
        touched(client, alive)
    opened(client, "ses_new")
    assert (held(client), told(client)) == (["ses_alive", "ses_new"], [])


def test_a_touch_brings_back_what_was_lost(client: fakeredis.FakeRedis) -> None:
    """Where a pause was longer than the lease, those who live through it hold their seats again."""
    seat = opened(client, "ses_a")[4]
    client.delete(keys.socket_slots(Z, ANN))
    touched(client, seat)
    assert held(client) == ["ses_a"]
    assert client.pttl(keys.socket_slots(Z, ANN)) > 0


def test_seats_are_given_back_in_one_batch(client: fakeredis.FakeRedis) -> None:
    """Those that are named go, others stay; the last one takes the key with it."""
    seats = [opened(client, f"ses_{name}", most=3)[4] for name in "abc"]
    key = keys.socket_slots(Z, ANN)
    run(client, "socket_close", META, {"seats": [key, seats[0], key, seats[2], key, "no such seat"]})
    assert held(client) == ["ses_b"]
    run(client, "socket_close", META, {"seats": [key, seats[1]]})
    assert not client.exists(key)
