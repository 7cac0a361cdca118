"""N sockets of one server, and the bytes that make that server send them an event."""

from __future__ import annotations

import asyncio
import socket
import sys
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import urlsplit

import hiredis
import msgspec

from bench import built
from bench.built import PEERS
from bench.load import sockets
from bench.load.seed import ZONE, Town, in_batches, open_town
from bench.rig import BENCH, LOAD_CORE, SERVER_CORE, BenchError, Child, Missing, Rig
from engine.process.signer import Signer, sign_token
from engine.store import keys
from engine.types import UserId

MARK = b'{"type":"announcement.bench"'
WARMUP = 3
"""Times that an event is sent before the clock starts."""


class Audience(msgspec.Struct):
    """``trigger`` takes ``ask`` once per event; each socket then gets a frame that begins with ``mark``."""

    server: Child
    listeners: list[socket.socket]
    trigger: socket.socket
    ask: bytes = b"!"
    mark: bytes = MARK


class Heard(msgspec.Struct):
    """What ``reader`` counted, and the server's processor time meanwhile. Times in ms are from asking to the last."""

    rounds: int
    deliveries: int
    elapsed_s: float
    p50_ms: float
    p99_ms: float
    cpu_s: float = 0.0

    @property
    def per_second(self) -> float:
        return self.deliveries / self.elapsed_s

    @property
    def cpu_us(self) -> float:
        """The server's processor time for one delivery, in microseconds."""
        return self.cpu_s / self.deliveries * 1e6


def listen(rig: Rig, audience: Audience, *, burst: int, seconds: float) -> Heard:
    """Send event after event (``burst`` at a time), the next when all have the last, for ``seconds``."""
    descriptors = [sock.fileno() for sock in (audience.trigger, *audience.listeners)]
    program = rig.compiled(BENCH / "reader.c")
    command = [str(program), str(descriptors[0]), str(burst), str(seconds), str(WARMUP), audience.mark.decode()]
    before = audience.server.cpu_s()
    child = rig.spawn(
        "reader",
        command + [str(fd) for fd in descriptors[1:]],
        core=LOAD_CORE,
        feed=audience.ask * burst,
        pass_fds=descriptors,
    )
    heard = msgspec.convert(child.first_line(), Heard)
    heard.cpu_s = (audience.server.cpu_s() - before) * heard.rounds / (heard.rounds + WARMUP)
    child.stop()
    return heard


async def callout(rig: Rig, count: int, *, roles: str) -> Audience:
    """Callout's gateway: ``count`` technicians hear what is said to their role.

    The trigger is the command that appends an event to the log.
    """
    url, _ = rig.redis()
    server, child = rig.callout(url, roles=roles)
    town = await open_town(url)
    listeners = await join(rig, town, server, [f"user_f{n}" for n in range(count)])
    return Audience(child, listeners, sockets.connected(urlsplit(url).port or 0), await _announcement(town))


async def join(rig: Rig, town: Town, server: str, users: Sequence[str]) -> list[socket.socket]:
    """A live session for each technician, with an account and a token of his own."""
    await in_batches(town.account(user, "technician") for user in users)
    signer = Signer.load_or_create(rig.folder / "data" / "signing.key")
    port = urlsplit(server).port or 0
    return await asyncio.to_thread(lambda: [_joined(port, signer, UserId(user)) for user in users])


def _joined(port: int, signer: Signer, user: UserId) -> socket.socket:
    sock = sockets.opened(port, "/v1/ws", "callout.v1.json")
    token = sign_token(signer, user, "technician", name=user)
    sock.sendall(sockets.framed(msgspec.json.encode({"id": 1, "op": "connect", "token": token})))
    answer = sockets.next_payload(sock)
    if b'"ok"' not in answer:
        raise BenchError(f"Callout refused a socket: {answer[:300]!r}")
    return sock


async def _announcement(town: Town) -> bytes:
    """The command that puts one event to all technicians into the log."""
    sha = await town.store.redis.script_load(_ANNOUNCE)
    packed: bytes = hiredis.pack_command(("EVALSHA", sha, 2, keys.zone_meta(ZONE), keys.log(ZONE), _NEWS))
    await town.close()
    return packed


_ANNOUNCE = """
local seq, t = redis.call('HINCRBY', KEYS[1], 'seq', 1), redis.call('TIME')
local now = string.format('%.0f', t[1] * 1000 + math.floor(t[2] / 1000))
redis.call('XADD', KEYS[2], string.format('%.0f-0', seq), 'type', 'announcement.bench', 'to', 'role:technician',
  'at', now, 'actor', 'engine', 'bp', '', 'data', ARGV[1], 'cause', '')
return seq
"""
"""A log entry as DESIGN §4 has it: seq and entry in one step."""
_NEWS = msgspec.json.encode(
    {
        "announcement": {
            "title": "Roads closed in the centre until eight in the evening",
            "body": "The bridge and both quays are closed for the marathon. Jobs north of the river need twenty"
            " minutes more; customers have been told.",
        }
    }
)


def a_frame(audience: Audience) -> bytes:
    """The payload of one of Callout's events as its clients get it, for peers to send the same bytes."""
    audience.trigger.sendall(audience.ask)
    payloads = {_next_event(sock, audience.mark) for sock in audience.listeners}
    sockets.drained(audience.trigger)
    if len(payloads) != 1:
        raise BenchError(f"the listeners heard different things: {payloads}")
    return payloads.pop()


def _next_event(sock: socket.socket, mark: bytes) -> bytes:
    while True:
        payload = sockets.next_payload(sock)
        if payload.startswith(mark):
            return payload


def writes(rig: Rig, payload: bytes, count: int) -> Audience:
    """The limit: a C loop of write() over plain sockets."""
    program = rig.compiled(PEERS / "writes.c")
    return _peer(rig, [str(program), str(count)], payload, count=count, opening=sockets.connected)


def node_ws(rig: Rig, payload: bytes, count: int) -> Audience:
    """Node's ``ws`` in a loop. Raises Missing without node or npm."""
    command = ["node", str(built.npm("ws"))]
    return _peer(rig, command, payload, count=count, opening=lambda p: sockets.opened(p, "/"))


def node_socketio(rig: Rig, payload: bytes, count: int) -> Audience:
    """socket.io on Node. Raises Missing without node or npm."""
    return _socketio(rig, ["node", str(built.npm("socketio"))], payload, count)


def python_socketio(rig: Rig, payload: bytes, count: int) -> Audience:
    """python-socketio on uvicorn. Raises Missing when it is not installed."""
    if find_spec("socketio") is None:
        raise Missing("python-socketio is not installed (pip install 'callout[bench]')")
    return _socketio(rig, [sys.executable, "-m", "bench.peers.socketio_broadcast"], payload, count)


def _socketio(rig: Rig, command: list[str], payload: bytes, count: int) -> Audience:
    audience = _peer(rig, command, payload, count=count, opening=_open_socketio)
    audience.mark = b'42["announcement.bench"'
    return audience


def _peer(
    rig: Rig, command: list[str], payload: bytes, *, count: int, opening: Callable[[int], socket.socket]
) -> Audience:
    child = rig.spawn(Path(command[0]).name, command, core=SERVER_CORE, feed=payload)
    where = child.first_line()
    trigger = sockets.connected(where["control"])
    return Audience(child, [opening(where["port"]) for _ in range(count)], trigger)


def _open_socketio(port: int) -> socket.socket:
    sock = sockets.opened(port, "/socket.io/?EIO=4&transport=websocket")
    if not sockets.next_payload(sock).startswith(b"0"):
        raise BenchError("socket.io did not open a session")
    sock.sendall(sockets.framed(b"40"))
    if not sockets.next_payload(sock).startswith(b"40"):
        raise BenchError("socket.io refused the namespace")
    return sock
