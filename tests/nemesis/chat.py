"""The check of chat: the numbers of a room's messages have no hole, no message is stored twice, and a member who opens
a room sees all messages that were acknowledged before.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator

from tests.nemesis.history import Entry, Flaw, History, Operation

OPS = frozenset({"join", "say", "read"})
"""The commands about rooms. Their operations have the room in ``job``, and the number of a message in ``version``."""
READING_OPS = frozenset({"join", "read"})
"""Those of which the log need not have an event."""


class ChatCheck:
    """The check of the messages of a log, by room. ``loses``: the fault may take acknowledged messages away."""

    def __init__(self, history: History, *, loses: bool) -> None:
        self._history, self._loses = history, loses
        self._by_room: dict[str, list[Entry]] = defaultdict(list)
        for entry in history.entries:
            if entry.type == "message.created":
                self._by_room[entry.job].append(entry)

    def flaws(self) -> Iterator[Flaw]:
        """Yield an error for each wrong message number, each message that is stored twice and each message that a
        member did not see.
        """
        for room, entries in self._by_room.items():
            numbers = [entry.version for entry in entries]
            if numbers != list(range(1, len(entries) + 1)):
                yield Flaw("message_numbers", f"{room}: the log has {numbers}")
            for (actor, client_id), times in Counter((each.actor, each.client_id) for each in entries).items():
                if times > 1:
                    yield Flaw("done_twice", f"{room}: {actor} said {client_id} {times} times")
        if not self._loses:
            yield from self._unseen_messages()

    def _unseen_messages(self) -> Iterator[Flaw]:
        """Yield an error for each member who opened a room and did not see all messages acknowledged before."""
        said: dict[str, list[Operation]] = defaultdict(list)
        for op in self._history.operations:
            if op.cmd == "say" and op.out == "ok":
                said[op.job].append(op)
        for op in self._history.operations:
            if op.cmd != "join" or op.out != "ok":
                continue
            last = max((each.version for each in said[op.job] if each.t1 and each.t1 < op.t0), default=0)
            if op.version < last:
                yield Flaw("unseen_message", f"{op.actor} saw {op.job} up to {op.version}; {last} was acknowledged")
