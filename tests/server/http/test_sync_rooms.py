"""Chat rooms in the snapshot of `/v1/sync` and in the list of `/v1/rooms`."""

from __future__ import annotations

import uuid
from typing import Any

import pytest

from engine.domain import room_list
from tests.server.http.client import Client, code_of
from tests.server.http.people import register
from tests.server.http.test_sync import cursor_text


async def book_with_room(customer: Client, technician: Client, book: Any) -> str:
    """Book the technician by name, and return the id of the room that opens."""
    job = await book(customer, blueprint="direct_booking", technician=technician.user)
    return str(job["room"])


async def say(who: Client, room: str, text: str) -> dict[str, Any]:
    """Say a message and return it."""
    reply = await who("POST", f"/v1/rooms/{room}/messages", {"text": text, "client_id": uuid.uuid4().hex})
    assert reply.status_code == 201, reply.text
    message: dict[str, Any] = reply.json()["message"]
    return message


async def read_rooms(who: Client) -> list[dict[str, Any]]:
    """Return the chat rooms in the user's snapshot, and assert that the list of rooms has the same."""
    rooms: list[dict[str, Any]] = (await who("GET", "/v1/sync")).json()["rooms"]
    listed = (await who("GET", "/v1/rooms")).json()
    assert listed["items"] == rooms and list(listed["as_of"]) == ["main"]
    return rooms


async def test_wrong_pages_are_refused(customer: Client, technician: Client, book: Any, nobody: Client) -> None:
    """A limit out of bounds, a cursor of another list, and `before` with `after` are `invalid`; a stranger's page is
    `not_member`.
    """
    room = await book_with_room(customer, technician, book)
    for query in ("?limit=0", "?cursor=x", "?before=1&after=1", "?before=-1", "?open=perhaps"):
        path = "/v1/rooms" if "open" in query else f"/v1/rooms/{room}/messages"
        assert code_of(await customer("GET", path + query)) == (422, "invalid"), query
    stranger = await register(nobody, "customer")
    assert code_of(await stranger("GET", f"/v1/rooms/{room}/messages")) == (403, "not_member")
    assert await read_rooms(stranger) == []


async def test_the_snapshot_has_rooms_with_unread(customer: Client, technician: Client, book: Any) -> None:
    """The snapshot has the caller's rooms, the latest activity first, with the last message, the read marks and the
    number of unread messages. Saying and reading move the caller's mark.
    """
    first = await book_with_room(customer, technician, book)
    second = await book_with_room(customer, technician, book)
    await say(customer, first, "one")
    last = await say(customer, first, "two")
    rooms = await read_rooms(technician)
    assert [(room["id"], room["unread"], room["last"]) for room in rooms] == [(first, 2, last), (second, 0, None)]
    assert [room["unread"] for room in await read_rooms(customer)] == [0, 0]
    await technician("POST", f"/v1/rooms/{first}/read", {"n": 1})
    (room, _) = await read_rooms(technician)
    assert room["unread"] == 1
    assert {mark["user"]: mark["n"] for mark in room["reads"]} == {customer.user: 2, technician.user: 1}


async def test_the_cursor_is_read_before_the_rooms(
    customer: Client, technician: Client, book: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A room that opens after the cursor was read is in the snapshot, and its event also follows the cursor."""
    find_live, opened = room_list.find_live, []

    async def find_after_opening(*args: Any) -> Any:
        opened.append(await book_with_room(customer, technician, book))
        return await find_live(*args)

    monkeypatch.setattr(room_list, "find_live", find_after_opening)
    snapshot = (await customer("GET", "/v1/sync")).json()
    assert [room["id"] for room in snapshot["rooms"]] == opened
    poll = (await customer("GET", f"/v1/events?after={cursor_text(snapshot)}&wait=10")).json()
    assert poll["recovered"]
    assert opened == [e["data"]["room"]["id"] for e in poll["events"] if e["type"] == "room.opened"]
