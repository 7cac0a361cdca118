"""A process that requests ``/healthz`` of a server again and again, on one connection, and writes how long each answer
took: ``python -m bench.load.pinger PORT FILE``.

While the event loop of the server does one long step, it answers nobody. So the longest answer shows the longest step.
The pinger is a separate process, because the process that sends the load is busy. Both share a core, so the pinger may
read an answer late. Therefore the time of arrival comes from the kernel.
"""

from __future__ import annotations

import socket
import struct
import sys
import time
from pathlib import Path
from typing import NamedTuple

PAUSE_S = 0.0005
"""How long the pinger sleeps between two requests. So the length of a step is measured to half a millisecond."""
FLUSH_PINGS = 20
_QUESTION = b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"


_SO_TIMESTAMPNS = 35
"""Linux: the kernel adds the time of arrival to what a socket receives (``man 7 socket``). Python does not name it."""
_TIMESPEC = struct.Struct("qq")


class Ping(NamedTuple):
    """One request: when it was sent (s of the machine's monotonic clock), and how long the answer took (ms)."""

    at_s: float
    took_ms: float


def read_pings(file: Path, since_s: float, until_s: float) -> list[Ping]:
    """Return the pings of a file that were under way between two times."""
    lines = file.read_text().rpartition("\n")[0].splitlines()
    pings = (Ping(*map(float, line.split())) for line in lines)
    return [ping for ping in pings if ping.at_s + ping.took_ms / 1000 >= since_s and ping.at_s <= until_s]


def main(port: int, file: Path) -> None:
    """Send requests until this process is ended."""
    with socket.create_connection(("127.0.0.1", port)) as server, file.open("w") as out:
        server.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        server.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
        count = 0
        while True:
            begin, sent_ns = time.monotonic(), time.time_ns()
            server.sendall(_QUESTION)
            arrived_ns = _receive(server)
            if arrived_ns is None:
                return
            out.write(f"{begin} {(arrived_ns - sent_ns) / 1e6}\n")
            count += 1
            if count % FLUSH_PINGS == 0:
                out.flush()
            time.sleep(PAUSE_S)


def _receive(server: socket.socket) -> int | None:
    """Receive an answer. Return when it arrived (ns of the machine's clock), None if the server closed."""
    data, extra, _, _ = server.recvmsg(65536, socket.CMSG_SPACE(_TIMESPEC.size))
    if not data:
        return None
    seconds, nanoseconds = _TIMESPEC.unpack(extra[0][2])
    return int(seconds * 1_000_000_000 + nanoseconds)


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]))
