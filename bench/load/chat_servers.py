"""Servers with chat rooms whose members are connected: Callout, and the peers that relay messages through Redis."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Sequence
from typing import NamedTuple
from urllib.parse import urlsplit

import msgspec

from bench import peer_programs
from bench.load import chat_talk, swarm
from bench.load.chat_rooms import OpenRoom, RoomUser
from bench.load.chat_talk import Dialect, Member
from bench.load.sockets import text_frame, upgrade_request
from bench.load.swarm import NAMESPACE_STEPS, SOCKETIO_PATH, Handshake, HandshakeStep
from bench.rig import SERVER_CORE, Child, Rig
from engine.process.signer import Signer, sign_token
from engine.types import RoomId

PEER = "rooms"
"""The folder of the peers' program in bench/peers."""


class ChatServer(NamedTuple):
    """A server that takes messages, its Redis, and how a user connects and joins a room."""

    server: Child
    redis: Child
    port: int
    dialect: Dialect
    handshake: Callable[[RoomUser, RoomId], Handshake]

    async def connect_rooms(self, rooms: Sequence[OpenRoom]) -> list[list[Member]]:
        """Connect all members of the rooms."""
        limit = asyncio.Semaphore(swarm.CONCURRENT_OPENINGS)

        async def connect(room: OpenRoom) -> list[Member]:
            async with limit:
                return [await self.connect_member(room, user) for user in room.members]

        return list(await asyncio.gather(*(connect(room) for room in rooms)))

    async def connect_member(self, room: OpenRoom, user: RoomUser) -> Member:
        """Connect a member who says messages."""
        member = Member(self.handshake(user, room.id), self.dialect, room.id)
        return await swarm.open_client(self.port, member)

    def connect_listeners(self, room: OpenRoom) -> list[socket.socket]:
        """Connect all members of the room except the first, and return their sockets for a program that
        inherits them.
        """
        return [swarm.open_socket(self.port, self.handshake(user, room.id)) for user in room.members[1:]]


def start_callout(rig: Rig, url: str, redis: Child) -> ChatServer:
    """Start a gateway on the Redis at ``url``. A member's messages come to all of their connections."""
    at, gateway = rig.start_callout(url, roles="gateway")
    signer, port = Signer.load_or_create(rig.folder / "data" / "signing.key"), urlsplit(at).port or 0

    def handshake(user: RoomUser, _: RoomId) -> Handshake:
        return swarm.callout_handshake(port, sign_token(signer, user.id, user.role, name=user.id))

    return ChatServer(gateway, redis, port, chat_talk.CALLOUT, handshake)


def start_relay(rig: Rig) -> ChatServer:
    """Start a server on Node's ``ws`` that publishes each message to its room's channel in Redis. Raise PeerUnavailable
    without node or npm.
    """

    def handshake(user: RoomUser, room: RoomId) -> Handshake:
        join = msgspec.json.encode({"id": 1, "op": "join", "token": user.id, "room": room})
        return Handshake(upgrade_request("127.0.0.1", "/"), (HandshakeStep(text_frame(join), b'{"id":1,"ok"'),))

    return ChatServer(*_start_peer(rig, "relay"), chat_talk.CALLOUT, handshake)


def start_socketio(rig: Rig) -> ChatServer:
    """Start socket.io with its Redis adapter. Raise PeerUnavailable without node or npm."""

    def handshake(user: RoomUser, room: RoomId) -> Handshake:
        join = HandshakeStep(text_frame(b"420" + msgspec.json.encode(["join", user.id, room])), b"430")
        return Handshake(upgrade_request("127.0.0.1", SOCKETIO_PATH), (*NAMESPACE_STEPS, join))

    return ChatServer(*_start_peer(rig, "socketio"), chat_talk.SOCKETIO, handshake)


def _start_peer(rig: Rig, mode: str) -> tuple[Child, Child, int]:
    """Start the peer with a Redis of its own."""
    program = peer_programs.install_npm_server(PEER)
    url, redis = rig.start_redis()
    server = rig.spawn("node", ["node", str(program), mode, str(urlsplit(url).port)], core=SERVER_CORE)
    return server, redis, int(server.read_first_line()["port"])


PEER_STARTERS: dict[str, Callable[[Rig], ChatServer]] = {
    "Node ws, pub/sub": start_relay,
    "socket.io, Redis adapter": start_socketio,
}
