"""The chat of `direct_booking`: the customer and the technician whom they booked talk over two gateways."""

from __future__ import annotations

import asyncio
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
from tests.story.talk import Talk, texts_of
from tests.support.clock import advance
from tests.support.socket_client import SocketClient
from tests.support.wait import wait_until


@pytest.fixture
def settings(settings: Settings) -> Settings:
    """Return settings whose default blueprint is `direct_booking`."""
    return msgspec.structs.replace(settings, blueprint="direct_booking")


@pytest.fixture
async def second(server: RunningServer) -> AsyncIterator[RunningServer]:
    """Run a second gateway."""
    async with run_second_gateway(server) as running:
        yield running


@pytest.fixture
async def talk(scenario: Scenario, second: RunningServer) -> AsyncIterator[Talk]:
    """Return the customer and the technician with their room."""
    created = await Talk(scenario).create(second.ws_url)
    yield created
    await created.close()


async def test_only_the_two_have_a_part_in_the_room(talk: Talk) -> None:
    """Only the customer and the technician may join the room, read, write, send `typing` or set read marks; ops may
    read it. Others do not learn the presence of the two.
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
    """The reply to the booking has the room. The customer and the technician join, talk, see when the other types and
    reads, and page through the history. Each message reaches every connection of both once, with the sender's
    `client_id`, and nobody else."""
    carla, tom, room = talk.carla, talk.tom, talk.room

    # 1. The room comes with the booking, and its members are the two.
    opened = talk.booked["room"]
    assert {member["id"]: (member["role"], member["from_n"]) for member in opened["members"]} == {
        carla.id: ("customer", 0),
        tom.id: ("technician", 0),
    }
    assert (opened["job"], opened["state"], opened["n"], opened["last"]) == (talk.job, "open", 0, None)
    assert talk.booked["job"]["room"] == room

    # 2. A member joins twice. The others receive the event only for the first time.
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


async def test_who_is_away_is_notified_once_until_they_read(talk: Talk) -> None:
    """A member without a connection for 30 s gets one notification for several messages, without their text. They get
    another one for new messages only after they have read the room.
    """
    carla, tom = talk.carla, talk.tom

    def of_chat(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return [each["data"] for each in events if each["data"]["kind"] == "message"]

    await tom.socket.close()
    for count in (1, 2):
        await advance(talk.scenario.server.engine, 40)
        for number in range(2):
            assert "ok" in await talk.say(carla, f"secret {number}", f"c-{count}-{number}")
        # Ops wait for it: a request of the member would be a sign of life.
        await wait_until(lambda n=count: len(of_chat(talk.olga.socket.received("notification"))) == n)  # type: ignore[misc]
        found = [each for each in (await tom.get("/v1/notifications"))["items"] if each["kind"] == "message"]
        assert [(each["room"], each["job"]) for each in found] == [(talk.room, talk.job)] * count
        assert "secret" not in str(found)
        assert (await tom.post(f"/v1/rooms/{talk.room}/read", {"n": 2 * count})).status_code == 200
    assert not of_chat(carla.socket.received("notification"))
    talk.assert_nobody_else_heard()


async def test_a_client_comes_back_and_misses_nothing(scenario: Scenario) -> None:
    """When a gateway dies, its clients show the lost connection, reconnect by themselves when it is back, and have
    every message once and in order. After the job has ended the room closes: both still read, and a repeat still gets
    its first answer.
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


async def test_a_mediator_settles_a_dispute(talk: Talk) -> None:
    """A dispute freezes the job and invites all mediators. Of two who join at once, at two gateways, one gets the
    dispute and the other is refused; the mediator, the customer and the technician talk. The resolution ends the
    mediator's membership in the same step: afterwards they receive nothing of the room, live or in a replay.
    """
    max_ = await talk.scenario.create_person("mediator", "Max")
    max_.socket = await SocketClient(talk.tom.socket.url, max_.bearer).open()
    dispute = await open_dispute(talk, (talk.mia, max_))
    mia, other = await join_at_once(talk, dispute, (talk.mia, max_))
    await talk_in_three(talk, mia)
    await resolve_dispute(talk, mia, dispute)
    await assert_mediator_has_no_part(talk, mia)
    heard = {push["type"] for push in other.socket.pushes if talk.room in str(push)}
    assert heard == {"mediator.invited", "mediator.taken"}
    for push in talk.olga.socket.received("new_message"):
        assert not {"text", "files"} & set(push["data"]["message"])
    for person in (talk.otto, talk.tara):
        assert not [push for push in person.socket.pushes if talk.room in str(push) or dispute in str(push)]


async def open_dispute(talk: Talk, mediators: tuple[Person, Person]) -> str:
    """Let the customer dispute the accepted job. The members, all mediators and ops receive the invitation, and every
    other step is `frozen`. Return the id of the dispute.
    """
    carla, tom, job, room = talk.carla, talk.tom, talk.job, talk.room
    for person, code in ((talk.otto, "not_found"), (talk.tara, "not_found"), (carla, "illegal_transition")):
        refused = await person.post(f"/v1/jobs/{job}/disputes", {"reason": "It leaks"})
        assert refused.json()["code"] == code, person.user["name"]
    assert (await tom.post(f"/v1/jobs/{job}/accept")).status_code == 200
    await talk.say(carla, "It leaks", "c-1")
    await talk.say(tom, "It did before", "t-1")
    opened = await carla.post(f"/v1/jobs/{job}/disputes", {"reason": "It leaks"})
    assert opened.status_code == 201, opened.text
    dispute: str = opened.json()["dispute"]["id"]
    invitation = {"id": dispute, "job": job, "reason": "It leaks", "status": "open"}
    for socket in (*talk.sockets, talk.olga.socket, *(person.socket for person in mediators)):
        invited = await socket.wait_for("mediator_invited")
        assert invited["type"] == "mediator.invited"
        assert invited["data"] == {"dispute": invitation, "room": {"id": room}}
    for person in (carla, tom):
        assert (await person.get(f"/v1/rooms/{room}"))["room"]["mediator_invited"] is True
        await wait_until(lambda p=person: "Dispute" in str(p.socket.received("notification")))  # type: ignore[misc]
    for person, command in ((tom, "start"), (carla, "cancel")):
        assert (await person.post(f"/v1/jobs/{job}/{command}")).json()["code"] == "frozen"
    for person in mediators:
        assert (await person.request("GET", f"/v1/rooms/{room}/messages")).json()["code"] == "not_member"
    return dispute


async def join_at_once(talk: Talk, dispute: str, mediators: tuple[Person, Person]) -> tuple[Person, Person]:
    """Let both mediators join at once. The first one gets the dispute and the history of the room; the other gets
    neither. Return them in this order.
    """
    replies = await asyncio.gather(*(person.socket.request("join", room=talk.room) for person in mediators))
    mia, other = mediators if "ok" in replies[0] else mediators[::-1]
    joined, late = sorted(replies, key=lambda reply: "ok" not in reply)
    assert late["error"]["code"] == "taken"
    assert [each["text"] for each in joined["ok"]["messages"]] == ["It leaks", "It did before"]
    roles = [member["role"] for member in joined["ok"]["room"]["members"]]
    assert roles == ["customer", "technician", "mediator"]
    user = {"id": mia.id, "name": mia.user["name"], "role": "mediator"}
    for socket in (*talk.sockets, talk.olga.socket, mia.socket, other.socket):
        assert (await socket.wait_for("mediator.taken"))["data"]["user"] == user
    for socket in talk.sockets:
        assert (await socket.wait_for("user_joined"))["data"]["user"] == user
    assert (await talk.say(other, "Let me", "o-1"))["error"]["code"] == "not_member"
    assert (await other.post(f"/v1/disputes/{dispute}/take")).json()["code"] == "taken"
    refused = await other.post(f"/v1/disputes/{dispute}/resolve", {"outcome": "cancel"})
    assert refused.json()["code"] == "taken"
    return mia, other


async def talk_in_three(talk: Talk, mia: Person) -> None:
    """Let the mediator, the customer and the technician talk: every connection of the three has each message once and
    in order. The mediator sees that the two are online, and nobody else.
    """
    carla, tom = talk.carla, talk.tom
    await carla.socket.request("join", room=talk.room)
    assert "ok" in await mia.socket.request("typing", room=talk.room, on=True)
    typing = (await carla.socket.wait_for("typing"))["data"]
    assert typing == {"room": talk.room, "user": mia.id, "on": True}
    assert (await talk.say(mia, "What has happened?", "m-1"))["ok"]["message"]["n"] == 3
    assert (await talk.say(tom, "I will mend it", "t-2"))["ok"]["message"]["n"] == 4
    await wait_until(lambda: texts_of(mia.socket) == ["What has happened?", "I will mend it"])
    for socket in talk.sockets:
        await wait_until(lambda s=socket: len(texts_of(s)) == 4)  # type: ignore[misc]
        assert texts_of(socket) == ["It leaks", "It did before", "What has happened?", "I will mend it"]
        assert socket.received("new_message")[2]["data"]["message"]["sender"]["role"] == "mediator"
    seen = (await mia.get(f"/v1/presence?users={carla.id},{tom.id},{talk.otto.id}"))["items"]
    assert [each["user"] for each in seen] == [carla.id, tom.id]


async def resolve_dispute(talk: Talk, mia: Person, dispute: str) -> None:
    """Let the mediator resolve the dispute: they leave the room in that step, and the job continues."""
    body = {"outcome": "resume", "note": "Tom mends it"}
    resolved = await mia.post(f"/v1/disputes/{dispute}/resolve", body)
    assert (resolved.status_code, resolved.json()["job"]["status"]) == (200, "accepted"), resolved.text
    for socket in (*talk.sockets, mia.socket):
        assert (await socket.wait_for("room.left"))["data"]["user"]["id"] == mia.id
    for socket in (*talk.sockets, talk.olga.socket):
        assert (await socket.wait_for("job.resolved", talk.job))["data"]["dispute"]["outcome"] == "resume"
    shown = (await talk.carla.get(f"/v1/rooms/{talk.room}"))["room"]
    assert not shown["mediator_invited"] and len(shown["members"]) == 2
    assert (await talk.tom.post(f"/v1/jobs/{talk.job}/start")).status_code == 200


async def assert_mediator_has_no_part(talk: Talk, mia: Person) -> None:
    """Assert that the former mediator cannot read or write in the room, and receives none of its events, live or in a
    replay."""
    room = talk.room
    for op, more in (("join", {}), ("say", {"text": "?", "client_id": "m-2"}), ("typing", {"on": True})):
        assert (await mia.socket.request(op, room=room, **more))["error"]["code"] == "not_member", op
    assert (await mia.request("GET", f"/v1/rooms/{room}/messages")).json()["code"] == "not_member"
    assert (await mia.get("/v1/rooms"))["items"] == []
    assert (await mia.get(f"/v1/presence?users={talk.carla.id},{talk.tom.id}"))["items"] == []
    await talk.say(talk.carla, "Thank you", "c-2")
    for socket in talk.sockets:
        await wait_until(lambda s=socket: texts_of(s)[-1] == "Thank you")  # type: ignore[misc]
    back = SocketClient(mia.socket.url, mia.bearer)
    back.cursors = {"main": {**mia.socket.cursors["main"], "seq": mia.socket.received("mediator_invited")[0]["seq"]}}
    assert (await back.open()).connected["zones"]["main"]["recovered"]
    await wait_until(lambda: back.received("room.left"))
    assert {push["type"] for push in back.pushes if room in str(push)} == {"mediator.taken", "room.left"}
    await back.close()
    assert len(texts_of(mia.socket)) == 2
