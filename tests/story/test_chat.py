"""The chat of `direct_booking`: the customer and the technician whom they booked talk over two gateways."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import urlsplit

import msgspec
import pytest

from callout_client import Callout, Listeners
from callout_client.listeners import Frame
from engine.process.settings import Settings
from server.serve import RunningServer
from tests.story.conftest import Person, Scenario, run_second_gateway
from tests.support.clock import advance
from tests.support.socket_client import SocketClient
from tests.support.wait import wait_until

PLACE = {"lat": 40.7512, "lon": -73.9921, "address": "1 Main St"}


@pytest.fixture
def settings(settings: Settings) -> Settings:
    """Return settings whose default blueprint is `direct_booking`."""
    return msgspec.structs.replace(settings, blueprint="direct_booking")


@pytest.fixture
async def second(server: RunningServer) -> AsyncIterator[RunningServer]:
    """Run a second gateway."""
    async with run_second_gateway(server) as running:
        yield running


class Talk:
    """The people of a booking with its room. The customer has two sockets at the first gateway: a phone and a laptop.
    The technician is at the second one.
    """

    def __init__(self, scenario: Scenario) -> None:
        self.scenario = scenario

    async def create(self, second_url: str) -> Talk:
        """Create the two, who are connected, and four who have no part in the room: a customer, a technician, a
        mediator, and ops who follow the zone. Then book the technician.
        """
        scenario = self.scenario
        service = await scenario.create_service()
        self.carla = await scenario.create_person("customer", "Carla")
        self.otto = await scenario.create_person("customer", "Otto")
        self.mia = await scenario.create_person("mediator", "Mia")
        self.olga = await scenario.create_person("ops_manager", "Olga")
        for person in (self.carla, self.otto, self.mia, self.olga):
            await person.socket.open()
        assert "ok" in await self.olga.socket.request("subscribe", channel="zone:main")
        self.tom = await scenario.create_technician("Tom", service)
        self.tara = await scenario.create_technician("Tara", service)
        await self.tom.socket.close()
        self.tom.socket = await SocketClient(second_url, self.tom.bearer).open()
        self.laptop = await SocketClient(self.carla.socket.url, self.carla.bearer).open()
        booked = await self.carla.post("/v1/jobs", {"service": service, "technician": self.tom.id, **PLACE})
        assert booked.status_code == 201, booked.text
        self.booked: dict[str, Any] = booked.json()
        self.room: str = self.booked["room"]["id"]
        self.job: str = self.booked["job"]["id"]
        await self.tom.socket.wait_for("room.opened")
        return self

    async def say(self, person: Person, text: str, client_id: str) -> Frame:
        """Say a message over the person's socket, and return the reply."""
        return await person.socket.request("say", room=self.room, text=text, client_id=client_id)

    async def close(self) -> None:
        """Close the second socket of the customer."""
        await self.laptop.close()

    def assert_nobody_else_heard(self) -> None:
        """Assert that those who have no part in the room received nothing of it, and ops no text."""
        for person in (self.otto, self.tara, self.mia):
            assert not [push for push in person.socket.pushes if self.room in str(push)], person.user["name"]
        for push in self.olga.socket.received("new_message"):
            assert not {"text", "files"} & set(push["data"]["message"])


@pytest.fixture
async def talk(scenario: Scenario, second: RunningServer) -> AsyncIterator[Talk]:
    """Return the two with their room."""
    created = await Talk(scenario).create(second.ws_url)
    yield created
    await created.close()


def texts_of(socket: SocketClient) -> list[str]:
    """Return the texts that a socket has received as `new_message`, in order."""
    return [push["data"]["message"]["text"] for push in socket.received("new_message")]


async def test_only_the_two_have_a_part_in_the_room(talk: Talk) -> None:
    """Nobody else joins the room, reads, speaks, types or marks; ops read it. The presence of the two is not told to
    others.
    """
    room = talk.room
    for person in (talk.otto, talk.tara, talk.mia):
        for op, more in (
            ("join", {}),
            ("say", {"text": "hi", "client_id": "1"}),
            ("typing", {"on": True}),
            ("read", {"n": 0}),
        ):
            reply = await person.socket.request(op, room=room, **more)
            assert reply["error"]["code"] == "not_member", (person.user["name"], op)
        for path in (f"/v1/rooms/{room}", f"/v1/rooms/{room}/messages"):
            refused = await person.request("GET", path)
            assert (refused.status_code, refused.json()["code"]) == (403, "not_member")
        assert (await person.get("/v1/rooms"))["items"] == []
        assert (await person.get(f"/v1/presence?users={talk.carla.id},{talk.tom.id}"))["items"] == []
    assert (await talk.olga.get(f"/v1/rooms/{room}"))["room"]["id"] == room
    assert (await talk.olga.socket.request("say", room=room, text="hi", client_id="1"))["error"]["code"] == "not_member"
    for person in (talk.carla, talk.tom):
        assert not [push for push in person.socket.pushes if push["type"] in ("message.created", "typing")]


async def test_the_two_talk(talk: Talk) -> None:
    """The booking answers with the room; both join, talk, see each other type and read, and page through the history.
    Each message reaches every connection of both once, with the sender's `client_id`, and nobody else.
    """
    carla, tom, room = talk.carla, talk.tom, talk.room

    # 1. The room comes with the booking, and its members are the two.
    opened = talk.booked["room"]
    assert {member["id"]: (member["role"], member["from_n"]) for member in opened["members"]} == {
        carla.id: ("customer", 0),
        tom.id: ("technician", 0),
    }
    assert (opened["job"], opened["state"], opened["n"], opened["last"]) == (talk.job, "open", 0, None)
    assert talk.booked["job"]["room"] == room

    # 2. A member joins, and the others receive it at the first time.
    for _ in range(2):
        joined = (await carla.socket.request("join", room=room))["ok"]
        assert (joined["room"]["id"], joined["messages"]) == (room, [])
    assert (await tom.socket.wait_for("user_joined"))["data"]["user"] == {
        "id": carla.id,
        "name": "Carla",
        "role": "customer",
    }

    # 3. A message is numbered and reaches every connection of both; a repeat stores nothing.
    reply = await talk.say(carla, "Where are you?", "c-1")
    message = reply["ok"]["message"]
    sender = {"id": carla.id, "name": "Carla", "role": "customer"}
    assert {**message, "id": "", "at": ""} == {
        **{"id": "", "room": room, "n": 1, "sender": sender, "text": "Where are you?"},
        **{"files": [], "client_id": "c-1", "at": ""},
    }
    for socket in (carla.socket, talk.laptop, tom.socket):
        assert (await socket.wait_for("new_message"))["data"] == {"message": message}
    again = await talk.say(carla, "Where are you?", "c-1")
    assert (again["ok"]["message"], again["repeated"]) == (message, True)
    by_http = await tom.post(f"/v1/rooms/{room}/messages", {"text": "At the door", "client_id": "t-1"})
    assert (by_http.status_code, by_http.json()["message"]["n"]) == (201, 2)
    assert (await talk.say(carla, "", "c-2"))["error"]["code"] == "invalid"
    assert (await talk.say(carla, "x" * 4001, "c-2"))["error"]["code"] == "invalid"

    # 4. Typing reaches the other's connections that joined. Read marks are stored and sent, and move forward only.
    await tom.socket.request("join", room=room)
    assert "ok" in await tom.socket.request("typing", room=room, on=True)
    typing = await carla.socket.wait_for("typing")
    assert typing["data"] == {"room": room, "user": tom.id, "on": True} and "seq" not in typing
    assert [(each["id"], each["unread"]) for each in (await carla.get("/v1/sync"))["rooms"]] == [(room, 1)]
    assert (await carla.socket.request("read", room=room, n=2))["ok"]["n"] == 2
    read = (await tom.socket.wait_for("room.read"))["data"]
    assert (read["user"]["id"], read["n"]) == (carla.id, 2)
    assert (await carla.socket.request("read", room=room, n=1))["ok"]["n"] == 2
    assert (await carla.get(f"/v1/rooms/{room}"))["room"]["unread"] == 0

    async def sees_tom_alone() -> bool:
        shown = (await carla.get(f"/v1/presence?users={tom.id},{talk.otto.id}"))["items"]
        assert [each["user"] for each in shown] == [tom.id]
        return bool(shown[0]["online"])

    await wait_until(sees_tom_alone, what="the presence, which is written once a second")

    # The history is paged by HTTP, the newest page first.
    for number in range(3, 6):
        assert (await talk.say(tom, f"line {number}", f"t-{number}"))["ok"]["message"]["n"] == number
    newest = await carla.get(f"/v1/rooms/{room}/messages?limit=3")
    older = await carla.get(f"/v1/rooms/{room}/messages?limit=3&cursor={newest['next']}")
    assert [each["n"] for each in newest["items"] + older["items"]] == [5, 4, 3, 2, 1] and older["next"] is None
    expected = ["Where are you?", "At the door", "line 3", "line 4", "line 5"]
    for socket in (carla.socket, talk.laptop, tom.socket):
        await wait_until(lambda s=socket: len(texts_of(s)) == 5)  # type: ignore[misc]
        assert texts_of(socket) == expected
    assert not talk.laptop.received("typing") and not tom.socket.received("typing")
    assert [push["data"]["user"]["id"] for push in tom.socket.received("user_joined")] == [carla.id, tom.id]
    await wait_until(lambda: len(talk.olga.socket.received("new_message")) == 5)
    talk.assert_nobody_else_heard()


async def test_who_is_away_is_notified_once(talk: Talk) -> None:
    """A member who has had no connection for 30 s gets one notification of several messages, without their text."""
    await talk.tom.socket.close()
    await advance(talk.scenario.server.engine, 40)
    for number in range(2):
        assert "ok" in await talk.say(talk.carla, f"secret {number}", f"c-{number}")

    async def notified() -> list[dict[str, Any]]:
        items = (await talk.tom.get("/v1/notifications"))["items"]
        return [item for item in items if item["kind"] == "message"]

    found = await wait_until(notified, what="the notification")
    assert [(each["room"], each["job"]) for each in found] == [(talk.room, talk.job)] and "secret" not in str(found)
    assert not [n for n in (await talk.carla.get("/v1/notifications"))["items"] if n["kind"] == "message"]
    talk.assert_nobody_else_heard()


async def test_a_client_comes_back_and_misses_nothing(scenario: Scenario) -> None:
    """When a gateway dies, its clients show it, reconnect by themselves when it is back, and have every message once
    and in order. After the job has ended the room closes: both still read, and a repeat still gets its first answer.
    """
    shown: list[str] = []
    received: list[str] = []

    def on_push(push: Frame) -> None:
        if push["event"] == "new_message":
            received.append(push["data"]["message"]["text"])

    async with run_second_gateway(scenario.server) as second:
        talk = await Talk(scenario).create(second.ws_url)

        async def token(fresh: bool) -> str:
            return talk.tom.bearer

        app = Callout(second.url, token, Listeners(on_push, lambda status: shown.append(status.status)))
        await app.open()
        await talk.say(talk.carla, "before", "c-1")
        await wait_until(lambda: received == ["before"])
    for number in (2, 3):
        assert (await talk.say(talk.carla, f"meanwhile {number}", f"c-{number}"))["ok"]["message"]["n"] == number
    async with run_second_gateway(scenario.server, urlsplit(second.url).port or 0):
        await wait_until(lambda: len(received) == 3, within_s=30, what="the missed messages")
        last = await app.request("say", room=talk.room, text="here again", client_id="t-1")
        await wait_until(lambda: len(received) == 4)
        assert received == ["before", "meanwhile 2", "meanwhile 3", "here again"]
        assert shown[:2] == ["reconnecting", "connected"] and shown[-1] == "connected" and len(shown) >= 4

        assert (await talk.carla.post(f"/v1/jobs/{talk.job}/cancel")).status_code == 200
        assert (await talk.carla.socket.wait_for("room.closed"))["data"]["room"]["state"] == "closed"
        assert (await talk.say(talk.carla, "too late", "c-9"))["error"]["code"] == "room_closed"
        again = await app.request("say", room=talk.room, text="here again", client_id="t-1")
        assert again["message"] == last["message"]
        listed = (await talk.tom.get(f"/v1/rooms/{talk.room}/messages"))["items"]
        assert [each["text"] for each in listed] == received[::-1]
        await app.close()
        assert shown[-1] == "offline"
    talk.assert_nobody_else_heard()
    await talk.close()
