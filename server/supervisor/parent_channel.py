"""A child's connection to its parent, and the whole server as a child sees it through that connection."""

from __future__ import annotations

import asyncio
import itertools
import socket
from collections.abc import AsyncIterator
from typing import Self

from engine.errors import Unavailable
from engine.runtime import Engine
from server.health import Health
from server.supervisor.messages import (
    LENGTH,
    Answer,
    FromChild,
    FromParent,
    Question,
    Subject,
    decode_from_parent,
    encode,
)
from server.whole_server import WholeServer

ANSWER_TIMEOUT_S = 3.0
"""How long the parent may take to answer: longer than it waits for its children."""


class ParentChannel:
    """The connection to the parent. It ends when the parent ends for any reason."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.is_whole_stop = False
        """Whether the parent has requested that all processes stop."""
        self._reader = reader
        self._writer = writer
        self._ids = itertools.count(1)
        self._asked: dict[int, asyncio.Future[Answer]] = {}

    @classmethod
    async def open(cls, sock: socket.socket) -> Self:
        """Return the channel on a connected socket."""
        return cls(*await asyncio.open_unix_connection(sock=sock))

    def send(self, message: FromChild) -> None:
        """Send a message, without waiting."""
        self._writer.write(encode(message))

    async def messages(self) -> AsyncIterator[FromParent]:
        """Yield the messages of the parent until it has ended, except an ``Answer``: that is given to the caller of
        ``ask``.
        """
        try:
            while True:
                size = LENGTH.unpack(await self._reader.readexactly(LENGTH.size))[0]
                message = decode_from_parent(await self._reader.readexactly(size))
                if not isinstance(message, Answer):
                    yield message
                elif asked := self._asked.get(message.id):
                    asked.set_result(message)
        except (asyncio.IncompleteReadError, OSError):
            return

    async def ask(self, subject: Subject) -> Answer:
        """Ask the parent for the problems or the metrics of the whole server. Raises Unavailable without an answer."""
        number = next(self._ids)
        asked: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._asked[number] = asked
        try:
            self.send(Question(number, subject))
            async with asyncio.timeout(ANSWER_TIMEOUT_S):
                return await asked
        except TimeoutError:
            raise Unavailable("the parent process does not answer") from None
        finally:
            del self._asked[number]


class SupervisedServer(WholeServer):
    """The whole server, of which this process is one child."""

    def __init__(self, engine: Engine, health: Health, channel: ParentChannel) -> None:
        super().__init__(engine, health)
        self._channel = channel

    @property
    def is_stopping(self) -> bool:  # type: ignore[override]
        """Whether the parent stops all its children."""
        return self._channel.is_whole_stop

    async def find_problems(self) -> list[str]:
        """Return the problems of all processes, each with the name of its process."""
        try:
            return (await self._channel.ask("readiness")).problems
        except Unavailable as error:
            return [str(error)]

    async def render_metrics(self) -> bytes:
        """Return the metrics of all processes. Raises Unavailable if the parent does not answer."""
        return (await self._channel.ask("metrics")).metrics
