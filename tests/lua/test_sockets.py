"""Tests of connection slots on fakeredis: which sessions lose their slot when a user has too many, and that a repeat
takes no second slot.
"""

from __future__ import annotations

from typing import Any

import fakeredis
import pytest

from engine.store import keys
from engine.types import UserId
from tests.lua.evaluated import ZONE, open_zone, run_script

ANN = UserId("ann")
META_KEYS = {"meta": keys.zone_meta(ZONE)}
LEASE_MS = 85_000


@pytest.fixture
def client() -> fakeredis.FakeRedis:
    """Return a fakeredis with an open zone."""
    client = fakeredis.FakeRedis(version=(7, 2))
    open_zone(client)
    return client


OPEN_KEYS = {**META_KEYS, "sockets": keys.socket_slots(ZONE, ANN), "log": keys.log(ZONE)}


def open_socket(
    client: fakeredis.FakeRedis, session: str, max_sockets: int = 2, *, device: str = "", replaces: str = ""
) -> Any:
    """Open a socket of ann's, one millisecond after the last one; she may have at most `max_sockets`. Return the reply
    of `socket_open`.
    """
    client.hincrby(keys.zone_meta(ZONE), "skew", 1)
    who = {"user": ANN, "session": session, "device": device, "replaces": replaces}
    return run_script(client, "socket_open", OPEN_KEYS, {**who, "max_sockets": max_sockets, "lease_ms": LEASE_MS})


def settle_sockets(client: fakeredis.FakeRedis, max_sockets: int = 2, *, by_age: bool = False) -> None:
    """Close the sockets over the limit: those whose clients were silent longest, or with `by_age` those
    opened first.
    """
    run_script(
        client,
        "socket_settle",
        OPEN_KEYS,
        {"user": ANN, "max_sockets": max_sockets, "lease_ms": LEASE_MS, "by_age": int(by_age)},
    )


def touch_slot(client: fakeredis.FakeRedis, slot: bytes, age_ms: int = 0) -> None:
    """Renew the lease of a slot, and report that its client last sent something `age_ms` ago."""
    run_script(
        client, "socket_touch", META_KEYS, {"lease_ms": LEASE_MS, "slots": [keys.socket_slots(ZONE, ANN), slot, age_ms]}
    )


def sessions_with_slot(client: fakeredis.FakeRedis) -> list[str]:
    """Return the sessions that have a slot, in the order in which they were opened."""
    slots = sorted(slot.decode() for slot in client.zrange(keys.socket_slots(ZONE, ANN), 0, -1))
    return [slot.split(":")[1] for slot in slots]


def read_events(client: fakeredis.FakeRedis) -> list[tuple[bytes, bytes, bytes]]:
    """Return type, channels and data of each event in the log."""
    return [(e[b"type"], e[b"to"], e[b"data"]) for _, e in client.xrange(keys.log(ZONE))]


def replaced_event(session: str, code: int) -> tuple[bytes, bytes, bytes]:
    """Return the event that closes the session `ses_<name>` with this code."""
    return b"session.replaced", b"user:ann", f'{{"session":"ses_{session}","code":{code}}}'.encode()


def test_within_the_limit_every_session_keeps_its_slot(client: fakeredis.FakeRedis) -> None:
    """Within the limit every session gets a slot, no event is appended, and the key of the slots has a TTL of at most
    the lease.
    """
    assert open_socket(client, "ses_a")[:4] == [b"OK", b"0", 0, 0]
    open_socket(client, "ses_b")
    assert (sessions_with_slot(client), read_events(client)) == (["ses_a", "ses_b"], [])
    assert 0 < client.pttl(keys.socket_slots(ZONE, ANN)) <= LEASE_MS


def test_over_the_limit_the_clients_silent_longest_lose_their_slots(client: fakeredis.FakeRedis) -> None:
    """Over the limit `session.crowded` asks all gateways for the age of their clients' last frame. Then the clients
    silent longest lose their slots, each with `session.replaced` and code 4010, after which they may reconnect.
    """
    slots = [open_socket(client, f"ses_{name}", max_sockets=3)[4] for name in "abc"]
    assert open_socket(client, "ses_d", max_sockets=3)[5] == b"1"
    assert read_events(client) == [(b"session.crowded", b"user:ann", b"{}")]
    for slot, age_ms in zip(slots, (20_000, 60_000, 40_000), strict=True):
        touch_slot(client, slot, age_ms)
    settle_sockets(client, 3)
    assert sessions_with_slot(client) == ["ses_a", "ses_c", "ses_d"]
    settle_sockets(client, 1)
    assert sessions_with_slot(client) == ["ses_d"]
    expected_events = [
        (b"session.replaced", b"user:ann", b'{"session":"ses_%s","code":4010}' % name) for name in (b"b", b"c", b"a")
    ]
    assert read_events(client)[1:] == expected_events
    settle_sockets(client, 1)
    assert client.hget(keys.zone_meta(ZONE), "seq") == b"4"


def test_by_age_the_oldest_goes_whenever_it_was_touched(client: fakeredis.FakeRedis) -> None:
    """With `by_age` the sessions opened first lose their slots, whenever they were touched, because the client of
    an event stream never sends anything.
    """
    slots = [open_socket(client, f"ses_{name}", max_sockets=3)[4] for name in "abcd"]
    for slot, age_ms in zip(slots, (20_000, 60_000, 40_000, 50_000), strict=True):
        touch_slot(client, slot, age_ms)
    settle_sockets(client, 2, by_age=True)
    assert sessions_with_slot(client) == ["ses_c", "ses_d"]


def test_a_session_replaces_the_former_one_of_its_device(client: fakeredis.FakeRedis) -> None:
    """A session with the same device replaces the device's former session with code 4505, and no other session loses
    its slot. A session without a device replaces none.
    """
    open_socket(client, "ses_desk", device="d0")
    for name in "abcd":
        assert open_socket(client, f"ses_{name}", device="d1")[5] == b"0"
    assert sessions_with_slot(client) == ["ses_desk", "ses_d"]
    expected_events = [
        (b"session.replaced", b"user:ann", b'{"session":"ses_%s","code":4505}' % name) for name in (b"a", b"b", b"c")
    ]
    assert read_events(client) == expected_events
    assert open_socket(client, "ses_x")[5] == b"1"


def test_the_session_that_is_named_is_replaced(client: fakeredis.FakeRedis) -> None:
    """A new session replaces the one that `replaces` names, if that belongs to the same user. A repeat replaces nothing
    again, and no session replaces itself.
    """
    open_socket(client, "ses_a")
    open_socket(client, "ses_b")
    for replaces in ("ses_a", "ses_a", "ses_c", "ses_of_another"):
        assert open_socket(client, "ses_c", replaces=replaces)[5] == b"0"
    assert sessions_with_slot(client) == ["ses_b", "ses_c"]
    assert read_events(client) == [(b"session.replaced", b"user:ann", b'{"session":"ses_a","code":4505}')]


def test_a_repeat_takes_no_second_slot(client: fakeredis.FakeRedis) -> None:
    """A repeated `socket_open` after a lost reply returns the same slot, and no other session loses its slot."""
    first = open_socket(client, "ses_a")
    open_socket(client, "ses_b")
    assert open_socket(client, "ses_a")[4] == first[4]
    assert (sessions_with_slot(client), read_events(client)) == (["ses_a", "ses_b"], [])


def test_slots_of_a_dead_gateway_expire(client: fakeredis.FakeRedis) -> None:
    """A slot that was not touched for the length of the lease is not counted, without any event; other slots of the
    same user stay.
    """
    open_socket(client, "ses_dead")
    alive = open_socket(client, "ses_alive")[4]
    for _ in range(3):
        client.hincrby(keys.zone_meta(ZONE), "skew", LEASE_MS // 2)
        touch_slot(client, alive)
    open_socket(client, "ses_new")
    assert (sessions_with_slot(client), read_events(client)) == (["ses_alive", "ses_new"], [])


def test_a_touch_restores_a_lost_slot(client: fakeredis.FakeRedis) -> None:
    """A touch creates a lost slot again, so that sessions that survive a pause longer than the lease have their slots
    back.
    """
    slot = open_socket(client, "ses_a")[4]
    client.delete(keys.socket_slots(ZONE, ANN))
    touch_slot(client, slot)
    assert sessions_with_slot(client) == ["ses_a"]
    assert client.pttl(keys.socket_slots(ZONE, ANN)) > 0


def test_slots_are_freed_in_one_batch(client: fakeredis.FakeRedis) -> None:
    """One `socket_close` frees all the slots that it names and no other; the last one deletes the key."""
    slots = [open_socket(client, f"ses_{name}", max_sockets=3)[4] for name in "abc"]
    key = keys.socket_slots(ZONE, ANN)
    run_script(client, "socket_close", META_KEYS, {"slots": [key, slots[0], key, slots[2], key, "no such slot"]})
    assert sessions_with_slot(client) == ["ses_b"]
    run_script(client, "socket_close", META_KEYS, {"slots": [key, slots[1]]})
    assert not client.exists(key)
