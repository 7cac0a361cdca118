"""Chat over HTTP: the routes of rooms, messages, read marks and members, and every refusal of them."""

from __future__ import annotations

import unicodedata
import uuid
from typing import Any, NamedTuple

import pytest

from engine.types import Role
from tests.server.http import market
from tests.server.http.client import Client, code_of, pointers
from tests.server.http.conftest import Join

UNKNOWN_ROOM = "room_main_01jb4zqk3m8r5t7v9x2c6d8f0g"


class Chat(NamedTuple):
    """A job of `direct_booking`: the room of its booking and the room's two members."""

    job: str
    room: str
    customer: Client
    technician: Client


@pytest.fixture
async def chat(customer: Client, technician: Client, service: str) -> Chat:
    """Book the technician by name, and return the job's room."""
    body = {"service": service, "lat": 52.5, "lon": 13.4, "address": "Torstrasse 1", "blueprint": "direct_booking"}
    answer = await customer("POST", "/v1/jobs", {**body, "technician": technician.user})
    assert answer.status_code == 201, answer.text
    reply = answer.json()
    assert reply["room"]["id"] == reply["job"]["room"]
    return Chat(reply["job"]["id"], f"/v1/rooms/{reply['room']['id']}", customer, technician)


async def say(who: Client, room: str, text: str = "Hello", **more: Any) -> Any:
    """Send a message with a new ``client_id`` and return the response."""
    return await who("POST", f"{room}/messages", {"text": text, "client_id": uuid.uuid4().hex, **more})


@pytest.mark.parametrize(
    ("body", "at"),
    [
        ({}, {"/text", "/client_id"}),
        ({"text": ""}, {"/text"}),
        ({"text": " \n\u200b"}, {"/text"}),
        ({"text": "x" * 4001}, {"/text"}),
        ({"text": "e\u0301" * 4001}, {"/text"}),
        ({"client_id": ""}, {"/client_id"}),
        ({"client_id": "x" * 65}, {"/client_id"}),
        ({"client_id": "a b"}, {"/client_id"}),
        ({"files": ["no file"]}, {"/files/0"}),
        ({"files": [f"fil_{n}" for n in range(11)]}, {"/files"}),
        ({"files": ["fil_1", "fil_2"]}, {"/files/0", "/files/1"}),
        ({"mood": "good"}, {"/mood"}),
    ],
)
async def test_a_malformed_message_is_refused_by_pointer(chat: Chat, body: dict[str, Any], at: set[str]) -> None:
    """A text that is empty, blank or too long, a wrong `client_id`, and wrong or unknown files are `invalid`."""
    good = {"text": "Hello", "client_id": "c1"} if body else {}
    answer = await chat.customer("POST", f"{chat.room}/messages", {**good, **body})
    assert code_of(answer) == (422, "invalid") and pointers(answer) == at
    assert (await chat.customer("GET", f"{chat.room}/messages")).json()["items"] == []


async def test_a_text_is_measured_and_stored_in_nfc(chat: Chat) -> None:
    """4,000 characters in NFC are accepted in any typed form, and are stored composed."""
    said = await say(chat.customer, chat.room, "e\u0301" * 4000)
    assert said.status_code == 201, said.text
    text = said.json()["message"]["text"]
    assert len(text) == 4000 and unicodedata.is_normalized("NFC", text)
    assert (await say(chat.customer, chat.room, "🧑‍🔧" * 1300)).status_code == 201


async def test_a_stranger_is_refused_everywhere(chat: Chat, join: Join, staff: dict[Role, Client]) -> None:
    """Only members may use a room: others, also a mediator, are refused with `not_member`. Ops may read but not write.
    An unknown room is refused with `not_found`."""
    stranger, admin = await join("customer"), staff["admin"]
    for who in (stranger, staff["mediator"]):
        for method, path, body in (
            ("GET", "", None),
            ("GET", "/messages", None),
            ("POST", "/messages", {"text": "x", "client_id": "c"}),
            ("POST", "/read", {"n": 0}),
        ):
            assert code_of(await who(method, chat.room + path, body)) == (403, "not_member"), path
            unknown = f"/v1/rooms/{UNKNOWN_ROOM}{path}"
            assert code_of(await who(method, unknown, body)) == (404, "not_found"), path
        assert code_of(await who("POST", f"{chat.room}/members", {"user": who.user})) == (403, "forbidden")
        assert (await who("GET", "/v1/rooms")).json()["items"] == []
    assert code_of(await say(admin, chat.room)) == (403, "not_member")
    await say(chat.customer, chat.room)
    assert len((await admin("GET", f"{chat.room}/messages")).json()["items"]) == 1
    assert (await admin("GET", f"/v1/rooms?job={chat.job}")).json()["items"][0]["job"] == chat.job


async def test_a_message_has_one_answer(chat: Chat) -> None:
    """A message that is repeated with its `client_id` returns the first message with 201, also after the room was
    closed. Another text with this `client_id` is refused with `reused_key`, a new message in a closed room with
    `room_closed`."""
    first = await say(chat.customer, chat.room, "Hello", client_id="c1")
    assert first.status_code == 201 and first.json()["message"]["n"] == 1
    await market.run_command(chat.customer, chat.job, "cancel")
    again = await say(chat.customer, chat.room, "Hello", client_id="c1")
    assert again.status_code == 201 and again.json() == first.json()
    assert again.headers["Idempotency-Replayed"] == "true"
    assert code_of(await say(chat.customer, chat.room, "Hello!", client_id="c1")) == (422, "reused_key")
    assert code_of(await say(chat.customer, chat.room, "Hello!")) == (409, "room_closed")
    room = (await chat.technician("GET", chat.room)).json()["room"]
    assert (room["state"], room["unread"]) == ("closed", 1) and room["closed_at"]


async def test_the_two_sides_page_count_and_mark(chat: Chat) -> None:
    """The list of rooms has the number of unread messages, which a read mark reduces. Pages of messages go back by
    `next` and forward by `after`. A read mark beyond the last message is refused with `invalid`.
    """
    for number in range(5):
        await say(chat.customer, chat.room, str(number))
    [room] = (await chat.technician("GET", "/v1/rooms")).json()["items"]
    assert (room["unread"], room["n"], room["last"]["text"]) == (5, 5, "4")
    page = await chat.technician("GET", f"{chat.room}/messages?limit=3")
    assert [m["text"] for m in page.json()["items"]] == ["4", "3", "2"] and "link" in page.headers
    rest = await chat.technician("GET", f"{chat.room}/messages?limit=3&cursor={page.json()['next']}")
    assert [m["text"] for m in rest.json()["items"]] == ["1", "0"] and rest.json()["next"] is None
    later = (await chat.technician("GET", f"{chat.room}/messages?after=3")).json()["items"]
    assert [m["n"] for m in later] == [4, 5]
    assert pointers(await chat.technician("GET", f"{chat.room}/messages?after=1&before=2")) == {"/before"}
    assert pointers(await chat.technician("POST", f"{chat.room}/read", {"n": 6})) == {"/n"}
    assert (await chat.technician("POST", f"{chat.room}/read", {"n": 4})).json() == {"n": 4}
    assert (await chat.technician("POST", f"{chat.room}/read", {"n": 2})).json() == {"n": 4}
    assert (await chat.technician("GET", chat.room)).json()["room"]["unread"] == 1


async def test_ops_bring_staff_in_and_let_them_go(chat: Chat, admin: Client) -> None:
    """A mediator whom ops add reads and speaks; after the removal they get `not_member`. A side of the job cannot be
    removed.
    """
    account = {"email": f"{uuid.uuid4().hex}@example.org", "password": "correct horse", "name": "Mia"}
    await admin("POST", "/v1/users", {**account, "role": "mediator"})
    login = {name: account[name] for name in ("email", "password")}
    reply = (await Client(admin.http)("POST", "/v1/auth/login", login)).json()
    mediator = Client(admin.http, reply["access_token"], reply["user"]["id"])
    key = str(uuid.uuid4())
    for replayed in (None, "true"):
        added = await admin("POST", f"{chat.room}/members", {"user": mediator.user}, Idempotency_Key=key)
        assert added.status_code == 201 and added.headers.get("Idempotency-Replayed") == replayed
        assert len(added.json()["room"]["members"]) == 3
    assert pointers(await admin("POST", f"{chat.room}/members", {"user": chat.customer.user})) == {"/user"}
    assert (await say(mediator, chat.room, "I am here")).status_code == 201
    assert pointers(await admin("DELETE", f"{chat.room}/members/{chat.customer.user}")) == {"/user"}
    assert (await admin("DELETE", f"{chat.room}/members/{mediator.user}")).status_code == 204
    assert code_of(await admin("DELETE", f"{chat.room}/members/{mediator.user}")) == (404, "not_found")
    assert code_of(await mediator("GET", f"{chat.room}/messages")) == (403, "not_member")


async def test_a_repeated_booking_has_its_room(customer: Client, technician: Client, service: str) -> None:
    """A booking that is repeated under its key or its reference is answered with the room as it is now."""
    body = {"service": service, "lat": 52.5, "lon": 13.4, "address": "Torstrasse 1", "blueprint": "direct_booking"}
    body |= {"technician": technician.user, "reference": uuid.uuid4().hex}
    key = str(uuid.uuid4())
    first = (await customer("POST", "/v1/jobs", body, Idempotency_Key=key)).json()["room"]
    await say(customer, f"/v1/rooms/{first['id']}")
    for more in ({"Idempotency_Key": key}, {}):
        room = (await customer("POST", "/v1/jobs", body, **more)).json()["room"]
        assert (room["id"], room["n"]) == (first["id"], 1)
