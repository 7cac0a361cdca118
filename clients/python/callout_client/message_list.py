"""The messages of one chat room in the order of their numbers, and the own messages that have no number yet."""

from __future__ import annotations

from collections.abc import Iterable
from uuid import uuid4

from callout_client.listeners import Frame


class MessageList:
    """The known messages of one room. It does no I/O.

    ``last_n`` is the number up to which all messages are known, from ``first_n`` on; both are 0 if none is known. A
    message above ``last_n + 1`` waits until the messages between are known. An own message without a number has
    ``state``: ``sending``, or ``failed`` with the ``code`` of the refusal.
    """

    def __init__(self) -> None:
        self.last_n = 0
        self._numbered: list[Frame] = []
        self._unnumbered: dict[str, Frame] = {}
        self._early: dict[int, Frame] = {}

    @property
    def messages(self) -> list[Frame]:
        """Return all messages: first those with a number, in order, then the own ones without a number, as they were
        said.
        """
        return [*self._numbered, *self._unnumbered.values()]

    @property
    def first_n(self) -> int:
        """Return the number ``n`` of the oldest known message; 0 if there is none."""
        return int(self._numbered[0]["n"]) if self._numbered else 0

    @property
    def early(self) -> frozenset[int]:
        """Return the numbers of the messages that wait for messages before them."""
        return frozenset(self._early)

    # own messages

    def add_own(self, text: str, sender: str, client_id: str, files: tuple[str, ...]) -> Frame:
        """Show an own message at once and return it. A failed one with the same ``client_id`` is replaced."""
        client_id = client_id or uuid4().hex
        message: Frame = {"text": text, "client_id": client_id, "sender": {"id": sender}, "files": list(files)}
        self._unnumbered.pop(client_id, None)
        self._unnumbered[client_id] = {**message, "state": "sending"}
        return self._unnumbered[client_id]

    def next_unsent(self) -> Frame | None:
        """Return the first own message that was neither answered nor refused; None if there is none."""
        answered = {message["client_id"] for message in self._early.values()}
        for client_id, message in self._unnumbered.items():
            if message["state"] == "sending" and client_id not in answered:
                return message
        return None

    def mark_failed(self, client_id: str, code: str) -> None:
        """Mark an own message as refused."""
        if client_id in self._unnumbered:
            self._unnumbered[client_id] = {**self._unnumbered[client_id], "state": "failed", "code": code}

    def discard(self, client_id: str) -> None:
        """Remove an own message that has no number, for example a failed one."""
        self._unnumbered.pop(client_id, None)

    # messages of the server

    def add_pushed(self, message: Frame) -> None:
        """Add one message from a push or from the answer to ``say``. If its number is known already, only remove the
        own message without a number that became this message.
        """
        if message["n"] > self.last_n:
            self._early[message["n"]] = message
            self._append_early()
        else:
            self._remove_own(message)

    def add_newer(self, page: Iterable[Frame]) -> None:
        """Append messages that the server returned as the next ones, the oldest first. Their numbers may begin above
        ``last_n + 1``: a member who left and came back never sees the messages between.
        """
        for message in page:
            if message["n"] > self.last_n:
                self._append(message)
        self._append_early()

    def add_older(self, page: Iterable[Frame]) -> None:
        """Insert messages before the oldest known one, the newest of them first."""
        older = [message for message in page if not self._numbered or message["n"] < self.first_n]
        self._numbered[:0] = reversed(older)

    def close_holes(self, numbers: Iterable[int]) -> None:
        """Append the messages with these numbers although messages before them are unknown, because the server does not
        return the unknown messages to this user.
        """
        self.add_newer([self._early[n] for n in sorted(numbers) if n in self._early])

    def _append_early(self) -> None:
        while (message := self._early.get(self.last_n + 1)) is not None:
            self._append(message)

    def _append(self, message: Frame) -> None:
        self._numbered.append(message)
        self.last_n = message["n"]
        self._early = {n: early for n, early in self._early.items() if n > self.last_n}
        self._remove_own(message)

    def _remove_own(self, message: Frame) -> None:
        own = self._unnumbered.get(message["client_id"])
        if own is not None and own["sender"]["id"] == message["sender"]["id"]:
            del self._unnumbered[message["client_id"]]
