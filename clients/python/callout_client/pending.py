"""Requests without a reply. They remain pending when the connection is lost on which they were sent."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any

from callout_client.backoff import Backoff
from callout_client.errors import ClientError, Ended, Refusal, Unreachable

Frame = dict[str, Any]
RETRIED_ERROR_CODES = frozenset({"unavailable", "indeterminate", "in_flight", "rate_limited", "paused"})


class PendingRequests:
    """The pending requests of one client, by number. The number is the ``id`` of the frame."""

    def __init__(self) -> None:
        self._numbers = itertools.count(1)
        self._waiting: dict[int, tuple[Frame, asyncio.Future[Frame]]] = {}
        self._http_tasks: set[asyncio.Task[None]] = set()

    @contextmanager
    def register(self, frame: Frame) -> Iterator[tuple[int, asyncio.Future[Frame]]]:
        """Record ``frame`` as a pending request while the block runs. Yield its number and the future of its reply: the
        ``ok``, or a ClientError.
        """
        number = next(self._numbers)
        reply: asyncio.Future[Frame] = asyncio.get_running_loop().create_future()
        self._waiting[number] = (frame, reply)
        try:
            yield number, reply
        finally:
            del self._waiting[number]

    def unanswered(self) -> list[tuple[int, Frame]]:
        """Return the pending requests in the order in which they were made."""
        return [(number, frame) for number, (frame, _) in self._waiting.items()]

    def handle_reply(self, frame: Frame) -> None:
        """Settle a request with a reply from the socket. Ignore a reply to a request that is not pending."""
        if "ok" in frame:
            self._settle(frame["id"], frame["ok"])
        else:
            self._settle(frame["id"], Refusal(frame.get("error", {})))

    def settle_with(self, number: int, work: Awaitable[Frame]) -> None:
        """Settle a request with the result of ``work``. The first answer from any transport counts."""

        async def answer() -> None:
            try:
                self._settle(number, await work)
            except ClientError as failure:
                self._settle(number, failure)

        task = asyncio.create_task(answer())
        self._http_tasks.add(task)
        task.add_done_callback(self._http_tasks.discard)

    def _settle(self, number: int, answer: Frame | ClientError) -> None:
        _, reply = self._waiting.get(number, (None, None))
        if reply is None or reply.done():
            return
        if isinstance(answer, ClientError):
            reply.set_exception(answer)
        else:
            reply.set_result(answer)

    def fail_all(self, reason: str, code: int) -> None:
        """Fail every pending request with Ended."""
        for task in self._http_tasks:
            task.cancel()
        for number, _ in self.unanswered():
            self._settle(number, Ended(reason, code))


async def retry_until_answered(send: Callable[[], Awaitable[Frame]]) -> Frame:
    """Call ``send`` until it returns, and return its result. Raises ClientError if another attempt cannot succeed.

    It calls ``send`` again after a temporary refusal. It also does so after an HTTP request without an answer, because
    a socket may be open by then.
    """
    backoff = Backoff()
    while True:
        wait = None
        try:
            return await send()
        except Refusal as refusal:
            if refusal.code not in RETRIED_ERROR_CODES:
                raise
            wait = refusal.retry_after
        except Unreachable:
            pass
        await asyncio.sleep(wait or backoff.next_s())
