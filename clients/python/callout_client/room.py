"""A chat room as one user sees it: its messages, without gaps or repeats, its members, and who is typing.

The room does not depend on the zone's cursor. After each connection it reads the messages above the highest number that
it knows, so a member of a busy room misses nothing, even if the client's events could not be recovered.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress

from callout_client.background import BackgroundTasks
from callout_client.backoff import Backoff
from callout_client.callout import Callout
from callout_client.errors import ClientError, Ended, Refusal, Unreachable
from callout_client.listeners import Frame, Status
from callout_client.message_list import MessageList
from callout_client.message_sender import MessageSender
from callout_client.room_pages import RoomPages
from callout_client.room_state import RoomState
from callout_client.typing_notices import TypingNotices

HOLE_WAIT_S = 1.0
"""How long a missing message may be late (s) until the room requests it: answers may overtake pushes."""
NOT_MEMBER_ERROR_CODES = frozenset({"not_member", "not_found", "forbidden"})


class Room:
    """One chat room over the connection of ``callout``, which needs a token, because a room reads pages over HTTP.

    ``messages`` are in the order of their numbers ``n``. After them come the own messages without a number:
    their ``state`` is ``sending``, or ``failed`` with a ``code``. ``changed`` is called after each change.
    """

    def __init__(self, callout: Callout, room_id: str, changed: Callable[[Room], None] = lambda room: None) -> None:
        self.id = room_id
        self._callout, self._changed = callout, changed
        self._state, self._list = RoomState(), MessageList()
        self._pages = RoomPages(callout, room_id, self._list)
        self._typing = TypingNotices(self._send_typing, self._notify)
        self._background = BackgroundTasks(callout.fail)
        self._sender = MessageSender(
            callout, room_id, self._list, self._background, add=self._add_message, changed=self._notify
        )
        self._resuming: asyncio.Task[None] | None = None
        self._marking: asyncio.Task[None] | None = None
        self._wanted_mark, self._reached_oldest = 0, False
        self._opened: asyncio.Future[None] | None = None

    async def __aenter__(self) -> Room:
        await self.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    @property
    def messages(self) -> list[Frame]:
        """Return the known messages, and then the user's own messages without a number."""
        return self._list.messages

    @property
    def state(self) -> str:
        """Return ``open``, ``closed``, or ``left`` if the user is not a member any more; "" before ``open``."""
        return self._state.status

    @property
    def members(self) -> list[Frame]:
        """Return the members; of a room with more than 64, those that the server named."""
        return self._state.members

    @property
    def reads(self) -> dict[str, int]:
        """Return the number up to which each member has read."""
        return self._state.reads

    @property
    def typing_users(self) -> list[str]:
        """Return the ids of the others who type now."""
        return self._typing.users

    @property
    def has_older(self) -> bool:
        """Return whether ``load_older`` may find older messages."""
        from_n = self._state.from_n(self._callout.user_id)
        return not self._reached_oldest and self._list.first_n > from_n + 1

    @property
    def unread(self) -> int:
        """Return how many known messages are above the user's read mark."""
        me = self._callout.user_id
        return max(0, self._list.last_n - max(self._state.from_n(me), self.reads.get(me, 0)))

    async def open(self) -> None:
        """Read the room with its last messages, and follow it. Only members may; others get Refusal."""
        self._opened = asyncio.get_running_loop().create_future()
        self._callout.followers.add(self)
        self.handle_status(self._callout.status)
        try:
            await self._opened
        except ClientError:
            await self.close()
            raise

    async def close(self) -> None:
        """Stop following the room. Messages that were not answered are not sent any more."""
        self._callout.followers.remove(self)
        self._typing.close()
        await self._background.cancel()
        await self._callout.send("leave", room=self.id)

    # what the user does

    def say(self, text: str, *, client_id: str = "", files: tuple[str, ...] = ()) -> Frame:
        """Say a message and return it as ``messages`` shows it now: ``sending``. It is sent until it is answered or
        refused, always with the same ``client_id``, one message after the other.

        With the ``client_id`` of a failed message, or of one that an earlier process sent without an answer, it counts
        as the same message: the server stores it once.
        """
        message = self._list.add_own(text, self._callout.user_id, client_id, files)
        self._sender.start()
        self._notify()
        return message

    def discard(self, client_id: str) -> None:
        """Remove a failed message."""
        self._list.discard(client_id)
        self._notify()

    async def load_older(self) -> bool:
        """Read one page of older messages. Return whether there are older ones still. Raises Refusal, Unreachable."""
        if self.has_older:
            self._reached_oldest = not await self._pages.read_older()
            self._notify()
        return self.has_older

    def read(self, n: int | None = None) -> asyncio.Task[None]:
        """Move the read mark forward to message ``n``, or to the last known one. Return the task that sends it."""
        self._wanted_mark = max(self._wanted_mark, self._list.last_n if n is None else min(n, self._list.last_n))
        if self._marking is None or self._marking.done():
            self._marking = self._background.start(self._send_mark())
        return self._marking

    def typing(self, on: bool = True) -> None:
        """Tell the others that the user types, or stopped. Call it at each key: at most one notice a second is sent."""
        self._typing.announce(on)

    # sending

    async def _send_mark(self) -> None:
        sent = 0
        with suppress(ClientError):  # if this failed, the next connection or the next call sends the mark
            while (n := self._wanted_mark) > max(sent, self.reads.get(self._callout.user_id, 0)):
                answer = await self._callout.request("read", room=self.id, n=n)
                self._state.advance_mark(self._callout.user_id, answer["n"])
                sent = n
                self._notify()

    def _send_typing(self, on: bool) -> None:
        self._background.start(self._callout.send("typing", room=self.id, on=on))

    # what the server sends

    def handle_event(self, push: Frame) -> None:
        """Apply one push of the client."""
        data = push["data"]
        if push["type"] == "message.created" and data["message"]["room"] == self.id:
            self._add_message(data["message"])
            self._notify()
        elif push["type"] == "typing" and data["room"] == self.id:
            self._typing.handle_notice(data["user"], data["on"])
        elif push["type"].startswith("room.") and data["room"]["id"] == self.id:
            self._apply_room_event(push["type"], data)
            self._notify()

    def handle_status(self, status: Status) -> None:
        """Read the missed messages after each connection and after each snapshot: a snapshot contains no messages."""
        if status.status == "connected":
            self._start_resuming()
        elif status.status == "offline" and self._opened is not None and not self._opened.done():
            self._opened.set_exception(Ended("the connection is closed", status.code or 1000))

    def _apply_room_event(self, kind: str, data: Frame) -> None:
        room, user = data["room"], data.get("user", {})
        about_me = user.get("id") == self._callout.user_id
        self._state.replace_room(room)
        if kind == "room.read":
            self._state.advance_mark(user["id"], data["n"])
        elif kind == "room.left" and about_me:
            self._state.has_left = True
        elif self._state.has_left and (kind == "room.opened" or about_me):
            self._start_resuming()

    def _add_message(self, message: Frame) -> None:
        sender = message["sender"]["id"]
        self._list.add_pushed(message)
        self._typing.handle_notice(sender, False)
        self._state.advance_mark(sender, message["n"])  # a member who says something has read what was said before
        if sender == self._callout.user_id:
            self._sender.handle_push(message["client_id"])
        if self._list.early and (self._resuming is None or self._resuming.done()):
            self._resuming = self._background.start(self._fill_hole())

    # resuming

    def _start_resuming(self) -> None:
        if self._resuming is not None:
            self._resuming.cancel()
        self._resuming = self._background.start(self._resume())

    async def _resume(self) -> None:
        """Read the room and its messages above the highest known number. Try again until that succeeds."""
        backoff = Backoff()
        while True:
            try:
                room = await self._pages.read_room_and_last_messages()
                break
            except Ended:
                return
            except Refusal as refusal:
                if refusal.code in NOT_MEMBER_ERROR_CODES:
                    return self._handle_no_member(refusal)
            except Unreachable:
                pass
            await asyncio.sleep(backoff.next_s())
        self._state.has_left = False
        self._state.replace_room(room)
        if self._opened is not None and not self._opened.done():
            self._opened.set_result(None)
        self._sender.start()
        self.read(self._wanted_mark)
        self._notify()

    async def _fill_hole(self) -> None:
        await asyncio.sleep(HOLE_WAIT_S)
        if self._list.early:
            with suppress(ClientError):  # if this failed, the next push or connection tries again
                await self._pages.read_newer()
                self._notify()

    def _handle_no_member(self, refusal: Refusal) -> None:
        self._state.has_left = True
        if self._opened is not None and not self._opened.done():
            self._opened.set_exception(refusal)
        self._notify()

    def _notify(self) -> None:
        self._changed(self)
