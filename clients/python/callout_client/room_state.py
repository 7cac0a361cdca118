"""What a client knows of a chat room besides its messages: state, members, read marks."""

from __future__ import annotations

from callout_client.listeners import Frame


class RoomState:
    """The room as the server last returned it, with the changes of later events. This class does no I/O."""

    def __init__(self) -> None:
        self.document: Frame = {}
        """The room; ``{}`` if it is not known yet."""
        self.reads: dict[str, int] = {}
        """How far each member has read."""
        self.has_left = False
        """Whether the user is not a member any more."""

    @property
    def status(self) -> str:
        """Return ``open``, ``closed`` or ``left``; "" if the room is not known yet."""
        return "left" if self.has_left else str(self.document.get("state", ""))

    @property
    def members(self) -> list[Frame]:
        """Return the members. In a room with more than 64 members, return those that the server named."""
        return list(self.document.get("members", ()))

    def from_n(self, user: str) -> int:
        """Return the message number above which this member may read messages; 0 for users who are not members."""
        return next((each["from_n"] for each in self.members if each["id"] == user), 0)

    def replace_room(self, room: Frame) -> None:
        """Replace the known room by the one of an answer or event. An event of a large room names only some of the
        members.
        """
        members = {each["id"]: each for each in (self.members if room.get("members_n") else ())}
        members |= {each["id"]: each for each in room["members"]}
        self.document = {**self.document, **room, "members": list(members.values())}
        for mark in room.get("reads", ()):
            self.advance_mark(mark["user"], mark["n"])

    def advance_mark(self, user: str, n: int) -> None:
        """Move a read mark forward; a higher mark stays."""
        self.reads[user] = max(n, self.reads.get(user, 0))
