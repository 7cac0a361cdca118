"""Read a chat room and pages of its messages from the server, and add the messages to the client's list."""

from __future__ import annotations

from callout_client.callout import Callout
from callout_client.listeners import Frame
from callout_client.message_list import MessageList

PAGE_SIZE = 50


class RoomPages:
    """The messages of one room on the server. All methods raise ClientError."""

    def __init__(self, callout: Callout, room_id: str, messages: MessageList) -> None:
        self._callout, self._room_id, self._messages = callout, room_id, messages

    async def read_room_and_last_messages(self) -> Frame:
        """Return the room. Before that, add its last messages and all messages between them and the known ones. On a
        socket this joins the room, so that the socket also receives who is typing.
        """
        if self._callout.status.transport == "socket":
            joined = await self._callout.request("join", room=self._room_id)
            room: Frame = joined["room"]
            last: list[Frame] = joined["messages"]
        else:
            room = (await self._callout.http("GET", f"/v1/rooms/{self._room_id}"))["room"]
            last = (await self._read_page(""))["items"][::-1]
        known = self._messages.last_n
        if known and last and last[0]["n"] > known + 1:
            await self.read_newer()
        self._messages.add_newer(last)
        if self._messages.early:
            await self.read_newer()
        return room

    async def read_newer(self) -> None:
        """Add all messages above the highest known number."""
        early = self._messages.early
        has_more = True
        while has_more:
            page = await self._read_page(f"&after={self._messages.last_n}")
            self._messages.add_newer(page["items"])
            has_more = page["next"] is not None
        # These messages were pushed before the room was read, so no message can come before them any more.
        self._messages.close_holes(early)

    async def read_older(self) -> bool:
        """Add one page of messages below the lowest known number. Return whether there are more."""
        page = await self._read_page(f"&before={self._messages.first_n}")
        self._messages.add_older(page["items"])
        return page["next"] is not None

    async def _read_page(self, query: str) -> Frame:
        return await self._callout.http("GET", f"/v1/rooms/{self._room_id}/messages?limit={PAGE_SIZE}{query}")
