"""Whether other users are online: requested at each connection, and then pushed at each change."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from contextlib import suppress
from urllib.parse import quote

from callout_client.background import BackgroundTasks
from callout_client.callout import Callout
from callout_client.errors import ClientError
from callout_client.listeners import Frame, Status


class Presence:
    """The presence of the users that ``watch`` names, over the connection of ``callout``. ``changed`` is called with
    ``{user, online, last_seen}`` when a user's presence is read or changes.
    """

    def __init__(self, callout: Callout, changed: Callable[[Frame], None] = lambda presence: None) -> None:
        self.by_user: dict[str, Frame] = {}
        """The last known presence by user id. Users whose presence this user may not see are missing."""
        self._users: dict[str, None] = {}
        self._callout, self._changed = callout, changed
        self._background = BackgroundTasks(callout.fail)
        self._asking: asyncio.Task[None] | None = None
        callout.followers.add(self)

    async def watch(self, users: Iterable[str]) -> list[Frame]:
        """Watch these users too, and return the presence of those who share a live job or an open room with this user.

        The server sends each change on a socket. A client that polls has the presence as it was at the last request.
        Raises Refusal, Unreachable, Ended.
        """
        new = list(dict.fromkeys(users))
        visible = await self._request_presence(new)
        self._users |= dict.fromkeys(new)
        return visible

    async def close(self) -> None:
        """Stop calling ``changed``. The server sends the changes to this socket until it is closed."""
        self._callout.followers.remove(self)
        await self._background.cancel()

    def handle_event(self, push: Frame) -> None:
        """Apply one push of the client."""
        if push["type"] == "presence":
            self._apply(push["data"])

    def handle_status(self, status: Status) -> None:
        """Send the watched users again at each connection, because the server forgets them when the old
        socket closes.
        """
        if status.status == "connected" and self._users:
            if self._asking is not None:
                self._asking.cancel()
            self._asking = self._background.start(self._ask_again())

    async def _ask_again(self) -> None:
        with suppress(ClientError):  # the next connection requests the presence again
            await self._request_presence(list(self._users))

    async def _request_presence(self, users: list[str]) -> list[Frame]:
        if self._callout.status.transport == "polling":
            answer = await self._callout.http("GET", f"/v1/presence?users={quote(','.join(users), safe=',')}")
        else:
            answer = await self._callout.request("presence", users=users)
        for presence in answer["items"]:
            self._apply(presence)
        return list(answer["items"])

    def _apply(self, presence: Frame) -> None:
        if self.by_user.get(presence["user"]) != presence:
            self.by_user[presence["user"]] = presence
            self._changed(presence)
