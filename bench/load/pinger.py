"""A process that asks a server the same small question all the time, on one connection, and writes how long each answer
took: ``python -m bench.load.pinger PORT FILE``.

While the event loop of the server does one long step, it answers nobody. So the longest answer shows the longest step.
It is a process of its own, because the process that sends the load is busy itself.
"""

from __future__ import annotations

import socket
import sys
import time
from pathlib import Path
from typing import NamedTuple

PAUSE_S = 0.0005
"""How long the pinger sleeps between two questions: a step is found to half a millisecond."""
FLUSH_PINGS = 20
_QUESTION = b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"


class Ping(NamedTuple):
    """One question: when it was sent (s of the machine's monotonic clock), and how long the answer took (ms)."""

    at_s: float
    took_ms: float


def read_pings(file: Path, since_s: float, until_s: float) -> list[Ping]:
    """Return the pings of a file that were under way between two times."""
    lines = file.read_text().rpartition("\n")[0].splitlines()
    pings = (Ping(*map(float, line.split())) for line in lines)
    return [ping for ping in pings if ping.at_s + ping.took_ms / 1000 >= since_s and ping.at_s <= until_s]


def main(port: int, file: Path) -> None:
    """Ask until this process is ended."""
    with socket.create_connection(("127.0.0.1", port)) as server, file.open("w") as out:
        server.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        count = 0
        while True:
            begin = time.monotonic()
            server.sendall(_QUESTION)
            if not server.recv(65536):
                return
            out.write(f"{begin} {(time.monotonic() - begin) * 1000}\n")
            count += 1
            if count % FLUSH_PINGS == 0:
                out.flush()
            time.sleep(PAUSE_S)


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]))
