"""Events of one chat room as the scripts write them, for tests of the archive."""

from __future__ import annotations

from typing import Any

from engine.events import Event, rfc3339_of
from tests.archive.test_projection import JOB_ID, create_event

ROOM = JOB_ID.replace("job_", "room_")
CUSTOMER = {"id": "c1", "name": "Cora", "role": "customer", "since": rfc3339_of(1_001), "from_n": 0}
HOLDER = {"id": "t1", "name": "Tom", "role": "technician", "since": rfc3339_of(1_001), "from_n": 0}


def create_room(n: int, *members: dict[str, Any], state: str = "open", room: str = ROOM) -> dict[str, Any]:
    """Return a room as events contain it. A closed room was closed at 9,000 ms."""
    found: dict[str, Any] = {"id": room, "zone": "main", "job": room.replace("room_", "job_"), "state": state, "n": n}
    found |= {"members": list(members), "mediator_invited": False, "opened_at": rfc3339_of(1_001)}
    return found | ({"closed_at": rfc3339_of(9_000)} if state == "closed" else {})


def create_room_event(
    seq: int,
    kind: str,
    room: dict[str, Any],
    user: dict[str, Any] | None = None,
    *,
    n: int | None = None,
) -> Event:
    """Return an event about a room; `user` is the member whom it is about, `n` the mark of `room.read`."""
    about = {"user": {name: user[name] for name in ("id", "name", "role")}} if user else {}
    return create_event(seq, kind, {"room": room, **about, **({"n": n} if n is not None else {})})


def create_message(n: int, sender: dict[str, Any] = CUSTOMER, *, text: str = "hi", room: str = ROOM) -> dict[str, Any]:
    """Return the message number `n` of a room, as its event contains it."""
    by = {name: sender[name] for name in ("id", "name", "role")}
    named = {"id": f"msg_{n}", "room": room, "n": n, "sender": by, "text": text, "files": []}
    return {**named, "client_id": f"k{n}", "at": rfc3339_of(2_000 + n)}


def create_message_event(seq: int, n: int, sender: dict[str, Any] = CUSTOMER, **more: Any) -> Event:
    """Return the event of the message number `n`."""
    return create_event(seq, "message.created", {"message": create_message(n, sender, **more)})
