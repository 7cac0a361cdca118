"""``callout.v1.msgpack``: the same words as in JSON, in binary frames, encoded only where somebody listens."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import pytest

from server.gateway.frames import MsgpackFrames
from tests.server.gateway.conftest import JSON, Client, Node
from tests.support.epochs import epoch_name

PACKED = "callout.v1.msgpack"


class PackedClient(Client):
    """The same in MessagePack."""

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
async def packed(node: Node, user: str, **hello: Any) -> AsyncIterator[PackedClient]:
    token = await node.token(user)
    async with node.raw(subprotocols=[PACKED]) as raw:
        client = PackedClient(raw.socket)
        client.hello = (await client.ask(op="connect", token=token, **hello))["ok"]  # type: ignore[attr-defined]
        yield client


async def test_the_same_words(node: Node) -> None:
    """Events, replays, replies, refusals and pings say in MessagePack what they say in JSON."""
    async with node.client("ann") as plain, packed(node, "ann") as binary:
        await node.append("user:ann", times=3, data='{"n":%N,"x":[1.5,null,"é",true]}')
        assert [await plain.push() for _ in range(3)] == [await binary.push() for _ in range(3)]
        for message in ({"op": "ping"}, {"op": "unsubscribe", "channel": "job:x"}, {"op": "claim", "job": "x"}):
            one, two = await plain.ask(**message), await binary.ask(**message)
            assert one.keys() == two.keys()
            if "error" in one:
                assert one["error"] | {"request_id": ""} == two["error"] | {"request_id": ""}
    cursors = {"main": {"epoch": epoch_name(1), "seq": 1}}
    async with node.client("ann", cursors=cursors) as plain, packed(node, "ann", cursors=cursors) as binary:
        assert binary.hello["zones"] == plain.hello["zones"]  # type: ignore[attr-defined]
        assert [await plain.push() for _ in range(2)] == [await binary.push() for _ in range(2)]


async def test_encoded_once_and_only_where_somebody_listens(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    """An event is packed once for all its sessions, and not at all while nobody has asked for it."""
    made = itertools.count()
    frame = MsgpackFrames.frame

    def counted(self: MsgpackFrames, payload: bytes) -> bytes:
        next(made)
        return frame(self, payload)

    async with node.client("ann") as plain:
        monkeypatch.setattr(MsgpackFrames, "frame", counted)
        await node.append("user:ann", times=5)
        assert await plain.seqs(5) == [1, 2, 3, 4, 5]
        assert next(made) == 0
        async with packed(node, "ann") as one, packed(node, "ann") as two:
            before = next(made)
            await node.append("user:ann", times=5)
            assert await one.seqs(5) == await two.seqs(5) == [6, 7, 8, 9, 10]
            assert next(made) - before - 1 == 5


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
    """A wrong frame is answered with every wrong field, and not punished."""
    async with packed(node, "ann") as client:
        await client.send({"id": 5, **message})
        error = (await client.receive())["error"]
        assert error["code"] == "invalid"
        assert [item["pointer"] for item in error["errors"]] == pointers
        assert "ok" in await client.ask(op="ping")


@pytest.mark.parametrize("raw", [b"", b"\x91\x01", b"\xc0", b"\x07", b"\xc1", b'{"op":"ping"}'])
async def test_not_an_object(node: Node, raw: bytes) -> None:
    """What is no map is answered and closed with 4500."""
    async with packed(node, "ann") as client:
        await client.send(raw)
        assert (await client.receive())["error"]["code"] == "invalid"
        assert await client.closed() == 4500


@pytest.mark.parametrize(
    "raw", [b"\x81", b"\x81\xa2op\xa4ping\x00", b"\xdf\xff\xff\xff\xff", b"\x82\xa2id\xa1\xff\xa2op\xa4ping"]
)
async def test_broken(node: Node, raw: bytes) -> None:
    """A map that is cut, followed by something, or not UTF-8 is answered as invalid (400), and not punished."""
    async with packed(node, "ann") as client:
        await client.send(raw)
        assert (await client.receive())["error"]["status"] == 400
        assert "ok" in await client.ask(op="ping")


async def test_a_text_frame(node: Node) -> None:
    """A text frame on the binary subprotocol is unsupported data: 1003."""
    async with packed(node, "ann") as client:
        await client.send('{"op":"ping"}')
        assert await client.closed() == 1003


async def test_the_first_offered_is_taken(node: Node) -> None:
    """Of several subprotocols the client's first choice that is ours."""
    for offered, taken in (([PACKED, JSON], PACKED), (["x", JSON, PACKED], JSON)):
        async with node.raw(subprotocols=offered) as client:
            assert client.socket.subprotocol == taken
