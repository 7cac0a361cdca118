"""Random histories of a room on fakeredis agree with a simple model: numbers, memberships and `client_id`."""

from __future__ import annotations

from typing import Any

import fakeredis
import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.store import keys
from engine.types import RoomId
from tests.lua.evaluated import ZONE, open_zone, run_script

ROOM = RoomId("room_main_" + "0" * 26)
USERS, CLIENT_IDS, TEXTS = ("u1", "u2", "u3"), ("a", "b"), ("x", "y")

ACTIONS = st.one_of(
    st.tuples(st.just("say"), st.sampled_from(USERS), st.sampled_from(CLIENT_IDS), st.sampled_from(TEXTS)),
    st.tuples(st.just("add"), st.sampled_from(USERS)),
    st.tuples(st.just("remove"), st.sampled_from(USERS)),
    st.tuples(st.just("list"), st.sampled_from(USERS)),
)


class Room:
    """A room on fakeredis beside its model."""

    def __init__(self) -> None:
        self.client = fakeredis.FakeRedis(version=(7, 2))
        open_zone(self.client)
        fields = {"id": ROOM, "job": "job_main_1", "bp": "b@1", "state": "open", "n": 0, "opened": 0, "closed": ""}
        fields |= {"technician": "", "mediator": "", "invited": "", "count": 0, "to": ""}
        self.client.hset(keys.room(ZONE, ROOM), mapping=fields)
        self.members: set[str] = set()
        self.said: dict[tuple[str, str], tuple[int, str]] = {}
        self.calls = 0

    def run(self, script: str, more_keys: dict[str, str], **args: Any) -> Any:
        """Run a script of the room."""
        self.calls += 1
        names = {"meta": keys.zone_meta(ZONE), "room": keys.room(ZONE, ROOM), **more_keys}
        return run_script(self.client, script, names, args)

    def change(self, script: str, user: str, **args: Any) -> bytes:
        """Add or remove a member, and return the reply's word."""
        names = {"log": keys.log(ZONE), "req": f"{{main}}:req:a:{self.calls}"}
        request = {"actor": "admin:a", "key": f"k{self.calls}", "fingerprint": "f", "trace": ""}
        word: bytes = self.run(script, names, user=user, **args, **request)[0]
        return word

    def say(self, user: str, client_id: str, text: str) -> Any:
        """Say a message, and return the reply."""
        names = {"messages": keys.room_messages(ZONE, ROOM), "read": keys.room_reads(ZONE, ROOM)}
        names |= {"sent": keys.room_sent(ZONE, ROOM), "log": keys.log(ZONE), "req": "{main}:req:none"}
        args = {"user": user, "client_id": client_id, "digest": text, "looked": 0, "message": f"m{self.calls}"}
        args |= {"text": f'"{text}"', "files": "[]", "actor": f"mediator:{user}", "trace": ""}
        return self.run("message_say", names, key="", fingerprint="", **args)

    def check_say(self, user: str, client_id: str, text: str) -> None:
        """Say a message and compare the reply with the model."""
        reply, known = self.say(user, client_id, text), self.said.get((user, client_id))
        if user not in self.members:
            assert reply[0] == b"NOT_MEMBER"
        elif known is None:
            number = len(self.said) + 1
            assert reply[:2] == [b"OK", b"0"] and reply[4] == number
            self.said[user, client_id] = number, text
        elif known[1] != text:
            assert reply[0] == b"REUSED_KEY"
        else:
            assert reply[:2] == [b"OK", b"1"] and int(reply[4]) == known[0]

    def check_list(self, user: str) -> None:
        """List the messages and compare them with the model."""
        names = {"messages": keys.room_messages(ZONE, ROOM)}
        reply = self.run("message_list", names, user=user, staff="", above=0, below="", limit=50, oldest=1)
        if user not in self.members:
            assert reply[0] == b"NOT_MEMBER"
            return
        shown = [msgspec.json.decode(item) for item in reply[7:]]
        expected = sorted((n, sender, text) for (sender, _), (n, text) in self.said.items())
        assert [(each["n"], each["sender"]["id"], each["text"]) for each in shown] == expected


@settings(max_examples=12, deadline=None)
@given(st.lists(ACTIONS, max_size=14))
def test_a_room_agrees_with_a_model(actions: list[tuple[str, ...]]) -> None:
    """Whatever members say, repeat, join and leave: each accepted message is stored once, numbers have no holes, and
    only members read and say.
    """
    room = Room()
    assert room.change("room_member_add", "u1", name='"U"', role="mediator") == b"OK"
    room.members.add("u1")
    for action, user, *rest in actions:
        if action == "say":
            room.check_say(user, *rest)
        elif action == "list":
            room.check_list(user)
        elif action == "add":
            assert room.change("room_member_add", user, name='"U"', role="mediator") == b"OK"
            room.members.add(user)
        else:
            word = room.change("room_member_remove", user)
            assert word == (b"OK" if user in room.members else b"NOT_FOUND")
            room.members.discard(user)
    to = room.client.hget(keys.room(ZONE, ROOM), "to") or b""
    assert to.decode().split() == sorted(f"user:{user}" for user in room.members)
