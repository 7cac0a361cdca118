"""The delivery check: each client received every event that is addressed to it, once and in order, and no event of a
history of the log that had ended.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator
from typing import NamedTuple

from engine.types import Epoch, epoch_number
from tests.nemesis.history import Entry, Flaw, Heard, History, Joined

SKIPPED_PREFIXES = ("session.", "room.", "mediator.")
"""The first letters of internal events, and of events that a replay leaves out once a room has closed."""


class Range(NamedTuple):
    """A part of the log that a client must have received: ``begin`` < seq ≤ ``end``, up to the epoch ``epoch``. Events
    of a later epoch in this part were written after the server had asked the client to load its state again.
    """

    begin: int
    end: float
    epoch: float = math.inf


class Delivery:
    """Compares what each client received with the log at the end of the run."""

    def __init__(self, history: History, *, closed: bool = False) -> None:
        self._history, self._closed = history, closed
        self._first_seqs = history.epochs()
        self._by_channel: dict[str, list[Entry]] = defaultdict(list)
        self._by_seq = {entry.seq: entry for entry in history.entries}
        for entry in history.entries:
            for channel in entry.to.split():
                self._by_channel[channel].append(entry)
        self._ended = {
            (entry.job, entry.holder): entry.seq
            for entry in history.entries
            if entry.type in ("room.left", "room.closed")
        }
        """When a member left a room, and, for the user "", when the room was closed."""
        self.unrecovered = sum(not joined.recovered and joined.after > 0 for joined in history.joined)
        self.joins = sum(joined.after > 0 for joined in history.joined)

    def flaws(self) -> Iterator[Flaw]:
        """Yield an error for each event that a client missed, or received twice, in the wrong order or from an ended
        history.
        """
        clients: dict[str, list[Joined | Heard]] = defaultdict(list)
        for line in [*self._history.joined, *self._history.heard]:
            clients[line.p].append(line)
        for client, lines in clients.items():
            lines.sort(key=lambda line: line.t)
            yield from self._check(client, lines)

    def _check(self, client: str, lines: list[Joined | Heard]) -> Iterator[Flaw]:
        actor = next(line.actor for line in lines if isinstance(line, Joined))
        channels = {f"user:{actor.partition(':')[2]}", f"role:{actor.partition(':')[0]}"}
        cursor, epoch, begin = 0, "", None
        covered: list[Range] = []
        received: set[tuple[int, str]] = set()
        for line in lines:
            if isinstance(line, Joined):
                if not line.recovered:
                    if begin is not None:
                        covered.append(Range(begin, cursor, epoch_number(Epoch(epoch))))
                    cursor = begin = line.seq
                epoch = line.epoch
                continue
            epoch = line.epoch
            if line.type == "head":
                if line.seq < cursor:
                    yield Flaw("out_of_order", f"{client} received the head {line.seq} after {cursor}")
                cursor = max(cursor, line.seq)
                continue
            what = f"{client} received {line.type} {line.epoch}:{line.seq}"
            if (line.seq, line.type) in received and line.seq <= cursor:
                yield Flaw("doubled", what)
            elif line.seq <= cursor:
                yield Flaw("out_of_order", f"{what} after {cursor}")
            elif self._is_contradicted_by_log(line):
                yield Flaw("dead_life", what)
            received.add((line.seq, line.type))
            cursor = max(cursor, line.seq)
        resumed = sum(isinstance(line, Joined) for line in lines) > 1
        if begin is not None:
            covered.append(Range(begin, self._history.ends[-1].seq if self._history.ends else math.inf))
        for entry in self._missing(channels, covered, received):
            if not (resumed and self._is_left_out(entry, actor)):
                yield Flaw("lost", f"{client} did not receive {entry.type} {entry.epoch}:{entry.seq}")

    def _is_left_out(self, entry: Entry, actor: str) -> bool:
        """Return whether a replay may leave a message out, because its reader has left the room or it was closed."""
        ends = (self._ended.get((entry.job, user), 0) for user in ("", actor.partition(":")[2]))
        return entry.type == "message.created" and max(ends) > entry.seq

    def _is_contradicted_by_log(self, heard: Heard) -> bool:
        """Return whether the log contradicts the received event: at its seq the log has another event of the same
        epoch, or no event although the epoch is the newest.
        """
        entry = self._by_seq.get(heard.seq)
        if entry is None:
            return not self._closed and heard.epoch == max(
                self._first_seqs, key=lambda e: self._first_seqs[e], default=""
            )
        return entry.epoch == heard.epoch and entry.type != heard.type

    def _missing(self, channels: set[str], covered: list[Range], received: set[tuple[int, str]]) -> Iterator[Entry]:
        """Yield the events that the user of these channels must have received and did not."""
        for channel in channels:
            for entry in self._by_channel.get(channel, ()):
                number = epoch_number(Epoch(entry.epoch))
                expected = any(each.begin < entry.seq <= each.end and number <= each.epoch for each in covered)
                if expected and not entry.type.startswith(SKIPPED_PREFIXES) and (entry.seq, entry.type) not in received:
                    yield entry
