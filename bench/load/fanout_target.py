"""A server with N connected sockets, and the request that makes the server send an event to all of them."""

from __future__ import annotations

import asyncio
import socket
import sys
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import hiredis
import msgspec

from bench import peer_programs
from bench.load import sockets
from bench.load.seed import ZONE, SeededZone, gather_in_batches, open_seeded_zone
from bench.peer_programs import PEERS
from bench.rig import BENCH_DIR, LOAD_CORE, SERVER_CORE, BenchError, Child, PeerUnavailable, Rig
from engine.process.signer import Signer, sign_token
from engine.store import keys
from engine.types import UserId

EVENT_PREFIX = b'{"type":"announcement.bench"'
WARMUP_EVENTS = 3
"""The number of events before the clock starts."""


def _control_request(events: int) -> bytes:
    """Return the request for ``events`` events to a peer with a control socket: one byte for each event."""
    return b"!" * events


class FanoutTarget(msgspec.Struct):
    """A server with its listeners. The bytes of ``request(n)`` on the socket ``trigger`` make the server send n events;
    each listener then receives n frames, or lines, that begin with ``event_prefix``.
    """

    server: Child
    listeners: list[socket.socket]
    trigger: socket.socket
    request: Callable[[int], bytes] = _control_request
    event_prefix: bytes = EVENT_PREFIX

    def close(self) -> None:
        """Close the sockets. The process ends with the rig."""
        for each in (self.trigger, *self.listeners):
            each.close()


class FanoutResult(msgspec.Struct):
    """What ``reader.c`` counted, and the server's processor seconds meanwhile. ``p50_ms`` and ``p99_ms`` are the times
    from a request until the last listener has the event.
    """

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
        """Return the server's processor time for one delivery, in microseconds."""
        return self.cpu_s / self.deliveries * 1e6


def measure_fanout(rig: Rig, target: FanoutTarget, *, burst: int, seconds: float) -> FanoutResult:
    """Request ``burst`` events at a time for ``seconds``, the next ones when all listeners have received the last, and
    return the counts.
    """
    descriptors = [sock.fileno() for sock in (target.trigger, *target.listeners)]
    program = rig.compile_c(BENCH_DIR / "reader.c")
    command = [
        str(program),
        str(descriptors[0]),
        str(burst),
        str(seconds),
        str(WARMUP_EVENTS),
        target.event_prefix.decode(),
    ]
    before = target.server.cpu_s()
    child = rig.spawn(
        "reader",
        command + [str(fd) for fd in descriptors[1:]],
        core=LOAD_CORE,
        feed=target.request(burst),
        pass_fds=descriptors,
    )
    result = msgspec.convert(child.read_first_line(), FanoutResult)
    result.cpu_s = (target.server.cpu_s() - before) * result.rounds / (result.rounds + WARMUP_EVENTS)
    child.stop()
    return result


async def start_callout(rig: Rig, count: int, *, roles: str) -> FanoutTarget:
    """Start Callout's gateway with ``count`` connected technicians, who receive the events to their role.

    The trigger is the Redis command that appends an event to the log.
    """
    url, _ = rig.start_redis()
    server, child = rig.start_callout(url, roles=roles)
    zone = await open_seeded_zone(url)
    listeners = await connect_technicians(rig, zone, server, [f"user_f{n}" for n in range(count)])
    trigger, command = sockets.open_tcp(urlsplit(url).port or 0), await _announcement_command(zone)
    return FanoutTarget(child, listeners, trigger, lambda events: command * events)


async def connect_technicians(
    rig: Rig, zone: SeededZone, server: str, users: Sequence[str], *, folder: str = "data"
) -> list[socket.socket]:
    """Open a WebSocket for each technician, who has their own account and token, and return the sockets. ``folder`` is
    the server's data directory, which has the key for tokens.
    """
    await gather_in_batches(zone.create_account(user, "technician") for user in users)
    signer = Signer.load_or_create(rig.folder / folder / "signing.key")
    port = urlsplit(server).port or 0
    return await asyncio.to_thread(lambda: [_connect_technician(port, signer, UserId(user)) for user in users])


def _connect_technician(port: int, signer: Signer, user: UserId) -> socket.socket:
    sock = sockets.open_websocket(port, "/v1/ws", "callout.v1.json")
    token = sign_token(signer, user, "technician", name=user)
    sock.sendall(sockets.text_frame(msgspec.json.encode({"id": 1, "op": "connect", "token": token})))
    answer = sockets.read_payload(sock)
    if b'"ok"' not in answer:
        raise BenchError(f"Callout refused a socket: {answer[:300]!r}")
    return sock


async def _announcement_command(zone: SeededZone) -> bytes:
    """Return the packed Redis command that appends one event to all technicians to the log."""
    sha = await zone.store.redis.script_load(_ANNOUNCE_SCRIPT)
    words: Any = ("EVALSHA", sha, 2, keys.zone_meta(ZONE), keys.log(ZONE), _ANNOUNCEMENT_DATA)
    packed: bytes = hiredis.pack_command(words)
    await zone.close()
    return packed


_ANNOUNCE_SCRIPT = """
local seq, t = redis.call('HINCRBY', KEYS[1], 'seq', 1), redis.call('TIME')
local now = string.format('%.0f', t[1] * 1000 + math.floor(t[2] / 1000))
redis.call('XADD', KEYS[2], string.format('%.0f-0', seq), 'type', 'announcement.bench', 'to', 'role:technician',
  'at', now, 'actor', 'engine', 'bp', '', 'data', ARGV[1], 'cause', '')
return seq
"""
"""A log entry in the format of DESIGN §4: one script increments the sequence number and appends the entry."""
_ANNOUNCEMENT_DATA = msgspec.json.encode(
    {
        "announcement": {
            "title": "Roads closed in the centre until eight in the evening",
            "body": "The bridge and both quays are closed for the marathon. Jobs north of the river need twenty"
            " minutes more; customers have been told.",
        }
    }
)


def read_event_payload(target: FanoutTarget) -> bytes:
    """Return the payload of one of Callout's events as its clients receive it, so that the other servers send the same
    bytes.
    """
    target.trigger.sendall(target.request(1))
    payloads = {_read_event(sock, target.event_prefix) for sock in target.listeners}
    sockets.read_available(target.trigger)
    if len(payloads) != 1:
        raise BenchError(f"the listeners received different payloads: {payloads}")
    return payloads.pop()


def _read_event(sock: socket.socket, event_prefix: bytes) -> bytes:
    while True:
        payload = sockets.read_payload(sock)
        if payload.startswith(event_prefix):
            return payload


def start_c_writer(rig: Rig, payload: bytes, count: int) -> FanoutTarget:
    """Start the upper limit: a C program that calls write() in a loop over plain sockets."""
    program = rig.compile_c(PEERS / "writes.c")
    return _start_peer(rig, [str(program), str(count)], payload, count=count, open_client=sockets.open_tcp)


def start_node_ws(rig: Rig, payload: bytes, count: int) -> FanoutTarget:
    """Start Node's ``ws``, which sends to its clients in a loop. Raise PeerUnavailable without node or npm."""
    command = ["node", str(peer_programs.install_npm_server("ws"))]
    return _start_peer(rig, command, payload, count=count, open_client=lambda p: sockets.open_websocket(p, "/"))


def start_node_socketio(rig: Rig, payload: bytes, count: int) -> FanoutTarget:
    """Start socket.io on Node. Raise PeerUnavailable without node or npm."""
    return _start_socketio_server(rig, ["node", str(peer_programs.install_npm_server("socketio"))], payload, count)


def start_python_socketio(rig: Rig, payload: bytes, count: int) -> FanoutTarget:
    """Start python-socketio on uvicorn. Raise PeerUnavailable when it is not installed."""
    if find_spec("socketio") is None:
        raise PeerUnavailable("python-socketio is not installed (pip install 'callout[bench]')")
    return _start_socketio_server(rig, [sys.executable, "-m", "bench.peers.socketio_broadcast"], payload, count)


def _start_socketio_server(rig: Rig, command: list[str], payload: bytes, count: int) -> FanoutTarget:
    target = _start_peer(rig, command, payload, count=count, open_client=_open_socketio_client)
    target.event_prefix = b'42["announcement.bench"'
    return target


def _start_peer(
    rig: Rig, command: list[str], payload: bytes, *, count: int, open_client: Callable[[int], socket.socket]
) -> FanoutTarget:
    child = rig.spawn(Path(command[0]).name, command, core=SERVER_CORE, feed=payload)
    ports = child.read_first_line()
    trigger = sockets.open_tcp(ports["control"])
    return FanoutTarget(child, [open_client(ports["port"]) for _ in range(count)], trigger)


def _open_socketio_client(port: int) -> socket.socket:
    sock = sockets.open_websocket(port, "/socket.io/?EIO=4&transport=websocket")
    if not sockets.read_payload(sock).startswith(b"0"):
        raise BenchError("socket.io did not open a session")
    sock.sendall(sockets.text_frame(b"40"))
    if not sockets.read_payload(sock).startswith(b"40"):
        raise BenchError("socket.io refused the namespace")
    return sock
