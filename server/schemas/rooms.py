"""Chat rooms, their members and messages."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from msgspec import Meta

from engine.errors import FieldError
from engine.types import Role
from server.schemas import text
from server.schemas.decode import Body
from server.schemas.fields import NORMALISED_TEXT, Id
from server.schemas.files import File
from server.schemas.lists import ListQuery
from server.schemas.objects import Shape

MAX_TEXT_CHARACTERS = 4000
MAX_FILES = 10
Number = Annotated[int, Meta(ge=0, le=2**53)]
MessageText = Annotated[
    str,
    Meta(
        max_length=4 * MAX_TEXT_CHARACTERS,
        pattern=text.LINES_PATTERN,
        description=f"visible text of a line or more, at most {MAX_TEXT_CHARACTERS} characters in NFC",
        extra=NORMALISED_TEXT,
    ),
]
ClientId = Annotated[
    str,
    Meta(pattern=r"^[A-Za-z0-9._-]{1,64}$(?!\n)", description="1 to 64 letters, digits, dots, _ and -"),
]


class NewMessage(Body):
    """A chat message to say. The client sends it again with the same ``client_id`` until the server answers."""

    text: MessageText
    client_id: ClientId
    files: Annotated[tuple[Id, ...], Meta(max_length=MAX_FILES)] = ()

    def find_errors(self) -> list[FieldError]:
        return text_errors(self.text)


class NewReadMark(Body):
    """The number of the last message that the caller has read."""

    n: Number


class NewMember(Body):
    """A user of the staff whom ops bring into a room."""

    user: Id


class RoomsQuery(ListQuery):
    job: Id | None = None
    open: Annotated[bool | None, Meta(description="only rooms that are open, or only closed ones")] = None


class MessagesQuery(ListQuery):
    """A page of messages: those below ``before``, the newest first, or those above ``after``, the oldest first."""

    before: Annotated[Number | None, Meta(description="the number of a message")] = None
    after: Annotated[Number | None, Meta(description="the number of a message")] = None


class RoomUser(Shape):
    id: str
    name: str
    role: Role


class RoomMember(RoomUser, kw_only=True):
    """A member of a chat room. They may read the messages with a number above ``from_n``."""

    since: datetime
    from_n: int


class Message(Shape):
    id: str
    room: str
    n: int
    sender: RoomUser
    text: str
    files: list[File]
    client_id: str
    at: datetime
    erased: bool | None = None


class ReadNumber(Shape):
    """The number of the last message that a member of a room has read."""

    user: str
    n: int


class EventRoom(Shape, kw_only=True):
    """A room in an event's data. If there are more than 64 members, ``members`` are the two sides of the job, the
    mediator and the user whom the event is about, and ``members_n`` is their count.
    """

    id: str
    zone: str
    job: str
    state: Literal["open", "closed"]
    n: Annotated[int, Meta(description="the number of the last message")]
    members: list[RoomMember]
    members_n: int | None = None
    mediator_invited: bool
    opened_at: datetime
    closed_at: datetime | None = None


class Room(EventRoom, kw_only=True):
    """The chat room of a job, as one reader sees it. ``unread`` counts from the higher of the read mark and
    ``from_n``.
    """

    last: Message | None
    unread: int
    reads: list[ReadNumber]


class RoomEventData(Shape):
    """A room was opened, closed, or joined, left or read by ``user``. ``n`` is the number of the last message that they
    have read.
    """

    room: EventRoom
    user: RoomUser | None = None
    n: int | None = None


class TypingNotice(Shape):
    """A member of a room types, or stopped. A client hides the sign after some seconds, even without a further
    message.
    """

    room: str
    user: str
    on: bool


class MessageEventData(Shape):
    message: Message


class RoomReply(Shape):
    room: Room


class MessageReply(Shape):
    message: Message


class ReadMarkReply(Shape):
    """The number of the last message that the caller has read."""

    n: int


def text_errors(message_text: str) -> list[FieldError]:
    """Return an error if the text of a message, in the Unicode form NFC, is too long."""
    too_long = len(message_text) > MAX_TEXT_CHARACTERS
    return [FieldError("/text", f"At most {MAX_TEXT_CHARACTERS} characters")] if too_long else []
