"""The program ``sink.c``, which reads the sockets of many listeners and measures how old each message is."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Sequence
from pathlib import Path

import msgspec

from bench.rig import BENCH_DIR, LOAD_CORE, Child, Rig


class MessageAges(msgspec.Struct):
    """What ``sink.c`` counted: the number of received messages, and their age at arrival (ms)."""

    received: int
    p50_ms: float
    p95_ms: float
    p99_ms: float
    worst_ms: float


def compile_sink(rig: Rig) -> Path:
    """Return the compiled program. Raise PeerUnavailable without gcc."""
    return rig.compile_c(BENCH_DIR / "sink.c")


def start_sink(rig: Rig, mark: bytes, field: str, listeners: Sequence[socket.socket]) -> Child:
    """Start the C program that reads the sockets. It counts the messages that begin with ``mark``; the time of a
    message is at the beginning of its member ``field``. Raise PeerUnavailable without gcc.
    """
    descriptors = [sock.fileno() for sock in listeners]
    command = [str(compile_sink(rig)), mark.decode(), field, *(str(fd) for fd in descriptors)]
    return rig.spawn("sink", command, core=LOAD_CORE, pass_fds=descriptors)


async def stop_sink(sink: Child) -> MessageAges:
    """Stop the C program, and return what it counted."""
    sink.process.terminate()
    ages = msgspec.convert(await asyncio.to_thread(sink.read_first_line), MessageAges)
    sink.stop()
    return ages
