"""Requests without an answer: they outlive the connection that they were made on."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any

from callout_client.backoff import Backoff
from callout_client.failures import ClientError, Ended, Refusal, Unreachable

Frame = dict[str, Any]
KEYED = frozenset({"claim", "decline", "command", "availability", "location", "say", "read"})
"""What changes something: asked under a key, so that asking twice does it once."""
REPEATED = frozenset({"unavailable", "indeterminate", "in_flight", "rate_limited", "paused"})


class Requests:
    """By number, which is the ``id`` on the socket."""

    def __init__(self) -> None:
        self._numbers = itertools.count(1)
        self._waiting: dict[int, tuple[Frame, asyncio.Future[Frame]]] = {}
        self._over_http: set[asyncio.Task[None]] = set()

    @contextmanager
    def waiting(self, frame: Frame) -> Iterator[tuple[int, asyncio.Future[Frame]]]:
        """A number for ``frame``, and its reply to be: ``ok``, or a ClientError."""
        number = next(self._numbers)
        reply: asyncio.Future[Frame] = asyncio.get_running_loop().create_future()
        self._waiting[number] = (frame, reply)
        try:
            yield number, reply
        finally:
            del self._waiting[number]

    def open(self) -> list[tuple[int, Frame]]:
        """What waits for an answer, in the order in which it was asked."""
        return [(number, frame) for number, (frame, _) in self._waiting.items()]

    def reply(self, frame: Frame) -> None:
        """An answer from the socket; one that nobody waits for is passed over."""
        if "ok" in frame:
            self._settle(frame["id"], frame["ok"])
        else:
            self._settle(frame["id"], Refusal(frame.get("error", {})))

    def answer_by(self, number: int, work: Awaitable[Frame]) -> None:
        """Let ``work`` answer it; the first answer counts, from wherever it comes."""

        async def answer() -> None:
            try:
                self._settle(number, await work)
            except ClientError as failure:
                self._settle(number, failure)

        task = asyncio.create_task(answer())
        self._over_http.add(task)
        task.add_done_callback(self._over_http.discard)

    def _settle(self, number: int, answer: Frame | ClientError) -> None:
        _, reply = self._waiting.get(number, (None, None))
        if reply is None or reply.done():
            return
        if isinstance(answer, ClientError):
            reply.set_exception(answer)
        else:
            reply.set_result(answer)

    def refuse_all(self, text: str, code: int) -> None:
        """Nobody will answer any more."""
        for task in self._over_http:
            task.cancel()
        for number, _ in self.open():
            self._settle(number, Ended(text, code))


async def until_told(ask: Callable[[], Awaitable[Frame]]) -> Frame:
    """Ask until there is a verdict: again after a temporary refusal, or where HTTP gave no answer (by the next time
    there may be a socket). Raises ClientError.
    """
    backoff = Backoff()
    while True:
        wait = None
        try:
            return await ask()
        except Refusal as refusal:
            if refusal.code not in REPEATED:
                raise
            wait = refusal.retry_after
        except Unreachable:
            pass
        await asyncio.sleep(wait or backoff.next_s())
