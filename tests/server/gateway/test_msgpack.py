"""``callout.v1.msgpack``: the same messages as in JSON, in binary frames, which are encoded only if a session needs
them.
"""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import pytest

from server.gateway.frames import MsgpackFrames
from tests.server.gateway.conftest import JSON_SUBPROTOCOL, Client, Node
from tests.support.epochs import epoch_name

MSGPACK_SUBPROTOCOL = "callout.v1.msgpack"


class MsgpackClient(Client):
    """A client that sends and receives MessagePack."""

    async def send(self, message: Any) -> None:
        await self.socket.send(message if isinstance(message, (str, bytes)) else msgspec.msgpack.encode(message))

    async def receive(self) -> dict[str, Any]:
        while True:
            raw = await self.socket.recv()
            assert isinstance(raw, bytes)
            message: dict[str, Any] = msgspec.msgpack.decode(raw)
            if not message:
                await self.socket.send(b"\x80")
            elif "epoch" not in message:
                return message


@asynccontextmanager
async def connect_msgpack(node: Node, user: str, **hello: Any) -> AsyncIterator[MsgpackClient]:
    """Open a socket of ``user`` with the subprotocol `callout.v1.msgpack`, and send ``connect``."""
    token = await node.token(user)
    async with node.open_socket(subprotocols=[MSGPACK_SUBPROTOCOL]) as raw:
        client = MsgpackClient(raw.socket)
        client.hello = (await client.request(op="connect", token=token, **hello))["ok"]  # type: ignore[attr-defined]
        yield client


async def test_messages_equal_those_in_json(node: Node) -> None:
    """Events, replays, replies and refusals have the same members in MessagePack as in JSON."""
    async with node.connect("ann") as plain, connect_msgpack(node, "ann") as binary:
        await node.append("user:ann", times=3, data='{"n":%N,"x":[1.5,null,"é",true]}')
        assert [await plain.next_push() for _ in range(3)] == [await binary.next_push() for _ in range(3)]
        for message in ({"op": "ping"}, {"op": "unsubscribe", "channel": "job:x"}, {"op": "claim", "job": "x"}):
            one, two = await plain.request(**message), await binary.request(**message)
            assert one.keys() == two.keys()
            if "error" in one:
                assert one["error"] | {"request_id": ""} == two["error"] | {"request_id": ""}
    cursors = {"main": {"epoch": epoch_name(1), "seq": 1}}
    async with node.connect("ann", cursors=cursors) as plain, connect_msgpack(node, "ann", cursors=cursors) as binary:
        assert binary.hello["zones"] == plain.hello["zones"]  # type: ignore[attr-defined]
        assert [await plain.next_push() for _ in range(2)] == [await binary.next_push() for _ in range(2)]


async def test_an_event_is_encoded_once_and_only_for_a_recipient(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    """An event is encoded in MessagePack once for all sessions of that subprotocol, and not at all if there is no such
    session.
    """
    encodings = itertools.count()
    frame = MsgpackFrames.frame

    def count_frame(self: MsgpackFrames, payload: bytes) -> bytes:
        next(encodings)
        return frame(self, payload)

    async with node.connect("ann") as plain:
        monkeypatch.setattr(MsgpackFrames, "frame", count_frame)
        await node.append("user:ann", times=5)
        assert await plain.next_seqs(5) == [1, 2, 3, 4, 5]
        assert next(encodings) == 0
        async with connect_msgpack(node, "ann") as one, connect_msgpack(node, "ann") as two:
            before = next(encodings)
            await node.append("user:ann", times=5)
            assert await one.next_seqs(5) == await two.next_seqs(5) == [6, 7, 8, 9, 10]
            assert next(encodings) - before - 1 == 5


@pytest.mark.parametrize(
    ("message", "pointers"),
    [
        ({"op": "nope"}, ["/op"]),
        ({"op": "ping", "x": 1, 7: 2}, ["/x", "/7"]),
        ({"op": "claim", "job": 5, "key": "no"}, ["/job", "/key"]),
        ({"op": "location", "lat": 9}, ["/lon"]),
        ({"op": "refresh", "token": "a\0"}, ["/token"]),
        ({"op": "claim", "job": b"raw"}, [""]),
    ],
)
async def test_wrong_fields(node: Node, message: dict[Any, Any], pointers: list[str]) -> None:
    """A message with wrong fields is refused with a pointer to each of them, and the session remains open."""
    async with connect_msgpack(node, "ann") as client:
        await client.send({"id": 5, **message})
        error = (await client.receive())["error"]
        assert error["code"] == "invalid"
        assert [item["pointer"] for item in error["errors"]] == pointers
        assert "ok" in await client.request(op="ping")


@pytest.mark.parametrize("raw", [b"", b"\x91\x01", b"\xc0", b"\x07", b"\xc1", b'{"op":"ping"}'])
async def test_not_an_object(node: Node, raw: bytes) -> None:
    """A message that is not a map is refused with `invalid`, and the socket is closed with 4500."""
    async with connect_msgpack(node, "ann") as client:
        await client.send(raw)
        assert (await client.receive())["error"]["code"] == "invalid"
        assert await client.wait_for_close() == 4500


@pytest.mark.parametrize(
    "raw", [b"\x81", b"\x81\xa2op\xa4ping\x00", b"\xdf\xff\xff\xff\xff", b"\x82\xa2id\xa1\xff\xa2op\xa4ping"]
)
async def test_broken_msgpack(node: Node, raw: bytes) -> None:
    """A map that is incomplete, has trailing bytes or is not UTF-8 is refused with status 400, and the session remains
    open.
    """
    async with connect_msgpack(node, "ann") as client:
        await client.send(raw)
        assert (await client.receive())["error"]["status"] == 400
        assert "ok" in await client.request(op="ping")


async def test_a_text_frame(node: Node) -> None:
    """A text frame closes a socket of the binary subprotocol with 1003 (unsupported data)."""
    async with connect_msgpack(node, "ann") as client:
        await client.send('{"op":"ping"}')
        assert await client.wait_for_close() == 1003


async def test_the_first_supported_subprotocol_is_chosen(node: Node) -> None:
    """The server chooses the first subprotocol of the client's list that it supports."""
    for offered, chosen in (
        ([MSGPACK_SUBPROTOCOL, JSON_SUBPROTOCOL], MSGPACK_SUBPROTOCOL),
        (["x", JSON_SUBPROTOCOL, MSGPACK_SUBPROTOCOL], JSON_SUBPROTOCOL),
    ):
        async with node.open_socket(subprotocols=offered) as client:
            assert client.socket.subprotocol == chosen
