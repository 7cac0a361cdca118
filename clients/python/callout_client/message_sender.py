"""Send the own messages of one chat room, each until it is answered or refused."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress

from callout_client.background import BackgroundTasks
from callout_client.callout import Callout
from callout_client.errors import Ended, Refusal, Unreachable
from callout_client.listeners import Frame
from callout_client.message_list import MessageList


class MessageSender:
    """Sends the own messages of ``messages`` one by one, so that the server numbers them as they were said. ``add`` is
    called with each answer. ``changed`` is called after each answer and refusal.

    (Rejected: all at once. A message that is sent again after a cut would come behind later ones.)
    """

    def __init__(
        self,
        callout: Callout,
        room_id: str,
        messages: MessageList,
        background: BackgroundTasks,
        *,
        add: Callable[[Frame], None],
        changed: Callable[[], None],
    ) -> None:
        self._callout, self._room_id, self._messages, self._background = callout, room_id, messages, background
        self._add, self._changed = add, changed
        self._task: asyncio.Task[None] | None = None
        self._pushed: dict[str, asyncio.Event] = {}

    def start(self) -> None:
        """Start to send all messages that were neither answered nor refused. Do nothing if that is already
        under way.
        """
        if self._task is None or self._task.done():
            self._task = self._background.start(self._send_all())

    def handle_push(self, client_id: str) -> None:
        """Stop sending an own message that came as a push: its answer was lost, or is late."""
        if client_id in self._pushed:
            self._pushed[client_id].set()

    async def _send_all(self) -> None:
        with suppress(Ended):  # the next connection calls ``start`` again
            while (message := self._messages.next_unsent()) is not None:
                await self._send_one(message)
                self._changed()

    async def _send_one(self, message: Frame) -> None:
        client_id = message["client_id"]
        frame = {name: value for name in ("text", "client_id", "files") if (value := message[name])}
        event = self._pushed[client_id] = asyncio.Event()
        pushed = asyncio.create_task(event.wait())
        asking = asyncio.create_task(self._callout.request("say", room=self._room_id, **frame))
        try:
            await asyncio.wait({asking, pushed}, return_when="FIRST_COMPLETED")
            if not pushed.done():
                self._add(asking.result()["message"])
        except Refusal as refusal:
            self._messages.mark_failed(client_id, refusal.code)
        except Unreachable:
            pass  # the loop in _send_all sends it again with the same client_id
        finally:
            del self._pushed[client_id]
            for task in (asking, pushed):
                task.cancel()
            await asyncio.gather(asking, pushed, return_exceptions=True)
