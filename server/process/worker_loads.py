"""How many connections each worker of a server has, in memory that all of them share.

Each worker writes its own numbers and reads those of the others; no worker waits for another. A number that is some
milliseconds old does no harm: it only decides who accepts the next connection.
"""

from __future__ import annotations

import mmap
import struct
from time import monotonic_ns

_LOAD_RECORD = struct.Struct("=qqq")
ABSENT_AFTER_S = 1.0
"""A worker that has written nothing for this time is not counted: it starts, hangs or has ended."""


class WorkerLoads:
    """The numbers of connections and sockets of ``count`` workers. Create it before the workers are forked; a worker
    calls ``take_seat`` first.
    """

    def __init__(self, count: int) -> None:
        self._memory = mmap.mmap(-1, _LOAD_RECORD.size * count)
        self._seat = -1

    def take_seat(self, seat: int) -> None:
        """Let this process be the worker number ``seat``, from 0."""
        self._seat = seat

    def write(self, connections: int, sockets: int) -> None:
        """Publish this worker's numbers of connections and of sockets."""
        _LOAD_RECORD.pack_into(self._memory, self._seat * _LOAD_RECORD.size, connections, sockets, monotonic_ns())

    def clear(self, seat: int) -> None:
        """Remove the numbers of a worker that has ended."""
        _LOAD_RECORD.pack_into(self._memory, seat * _LOAD_RECORD.size, 0, 0, 0)

    def fair_share(self) -> float:
        """Return the average number of connections of the workers that are present."""
        oldest = monotonic_ns() - int(ABSENT_AFTER_S * 1e9)
        present: list[int] = [
            connections for connections, _, at in _LOAD_RECORD.iter_unpack(self._memory[:]) if at > oldest
        ]
        return sum(present) / max(1, len(present))

    def sockets_of_others(self) -> int:
        """Return the number of sockets of the other workers."""
        numbers = enumerate(_LOAD_RECORD.iter_unpack(self._memory[:]))
        return sum(sockets for seat, (_, sockets, _) in numbers if seat != self._seat)
