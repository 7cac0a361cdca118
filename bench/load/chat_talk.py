"""Members of chat rooms say messages over WebSockets. For each message this module records when it is answered and when
each member of its room receives it.

The load shares its core with Redis. To save processor time, it parses only the number of a message, which is its
``client_id``, and no other part of a frame.
"""

from __future__ import annotations

import asyncio
import gc
import itertools
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import NamedTuple

import msgspec

from bench.load.openloop import SEND_PAUSE_S
from bench.load.sockets import text_frame
from bench.load.swarm import Client, Handshake
from bench.rig import BenchError

TIMEOUT_S = 30.0
TEXT = "I am at the gate of the second yard, which bell is yours?"
_CLIENT_ID, _DIGITS = b'"client_id":"', 10
_numbers = itertools.count(1)
"""The numbers of all messages of a run. No number is used twice, because a server would answer the second use with the
first message.
"""


class Dialect(NamedTuple):
    """The wire format of a server. ``say`` is the payload of a frame, a template for the number and the message. A
    reply begins with ``reply``, then the number, then ``accepted``. A delivered message begins with ``delivery``.
    """

    say: bytes
    reply: bytes
    accepted: bytes
    delivery: bytes


CALLOUT = Dialect(b'{"id":%d,"op":"say",%b}', b'{"id":', b',"ok"', b'{"type":"message.created"')
SOCKETIO = Dialect(b'42%d["say",{%b}]', b"43", b"[", b'42["message.created"')


class Member(Client):
    """The connection of a member of the room ``room``. It passes replies and messages to the current ``talk``."""

    talk: Talk | None = None

    def __init__(self, handshake: Handshake, dialect: Dialect, room: str) -> None:
        super().__init__(handshake)
        self.room = room
        self._dialect = dialect

    def say(self, number: int) -> None:
        """Say the message ``number``. Its text begins with the present time."""
        at = datetime.now(UTC).isoformat(timespec="milliseconds")
        said = b'"text":"%bZ %b","room":"%b","client_id":"%010d"' % (
            at[:23].encode(),
            TEXT.encode(),
            self.room.encode(),
            number,
        )
        self.write(text_frame(self._dialect.say % (number, said)))

    def on_payload(self, data: bytes, start: int, end: int) -> None:
        """Pass a reply or a delivered message to the talk. Ignore all other payloads."""
        talk, dialect = self.talk, self._dialect
        if talk is None:
            return
        if data.startswith(dialect.delivery, start):
            at = data.index(_CLIENT_ID, start, end) + len(_CLIENT_ID)
            talk.on_delivery(int(data[at : at + _DIGITS]), self)
        elif data.startswith(dialect.reply, start):
            at = start + len(dialect.reply)
            stop = data.index(dialect.accepted[:1], at, end)
            if data.startswith(dialect.accepted, stop):
                talk.on_reply(int(data[at:stop]))
            else:
                talk.fail(f"a message was refused: {data[start:end]!r}")

    def connection_lost(self, exc: Exception | None) -> None:
        """Fail the run: no connection may be lost during a run."""
        super().connection_lost(exc)
        if self.talk is not None:
            self.talk.fail(f"a member's socket was lost: {exc or 'closed'}")


class _Message:
    """A message that was said: who said it, when it was due, and how many replies and deliveries it still needs."""

    __slots__ = ("due", "left", "sender")

    def __init__(self, sender: Member, due: float, left: int) -> None:
        self.sender, self.due, self.left = sender, due, left


class TalkTimes(msgspec.Struct):
    """The result of a talk: the number of messages that every member received, the seconds of the run, the processor
    seconds of the load, and the milliseconds of each message until its reply and until each other member received it.
    """

    messages: int = 0
    elapsed_s: float = 0.0
    load_s: float = 0.0
    answered_ms: list[float] = []
    delivered_ms: list[float] = []

    @property
    def per_second(self) -> float:
        return self.messages / self.elapsed_s


class Talk:
    """One run of talking in all rooms. ``rooms`` are the connected members of each room. Without ``rate``, every member
    says the next message as soon as all have the last one, for ``seconds``. With ``rate``, that many messages a second
    are said at fixed times, by one member after the other, and the delays count from those times.
    """

    def __init__(self, rooms: Sequence[Sequence[Member]], seconds: float, rate: float | None = None) -> None:
        self.times = TalkTimes()
        self._members = [member for row in itertools.zip_longest(*rooms) for member in row if member is not None]
        self._sizes = {room[0].room: len(room) for room in rooms}
        self._seconds, self._rate = seconds, rate
        self._open: dict[int, _Message] = {}
        self._is_over = False
        self._done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def run(self) -> TalkTimes:
        """Say the messages, and wait until each has its reply and reached all members. Raise BenchError when one is
        refused or received twice, or does not come within ``TIMEOUT_S``.
        """
        for member in self._members:
            member.talk = self
        gc.collect()
        gc.disable()
        began, cpu = time.perf_counter(), time.process_time()
        try:
            async with asyncio.timeout(self._seconds + TIMEOUT_S):
                await (self._say_at_rate(self._rate) if self._rate else self._say_in_turn())
                self._is_over = True
                if self._open or self._done.done():
                    await self._done
        except TimeoutError:
            raise BenchError(f"{len(self._open)} messages were not answered or not delivered") from None
        finally:
            gc.enable()
            for member in self._members:
                member.talk = None
        self.times.elapsed_s, self.times.load_s = time.perf_counter() - began, time.process_time() - cpu
        return self.times

    async def _say_in_turn(self) -> None:
        for member in self._members:
            self._say(member, time.perf_counter())
        await asyncio.wait([self._done], timeout=self._seconds)

    async def _say_at_rate(self, rate: float) -> None:
        began, said, count = time.perf_counter(), 0, int(rate * self._seconds)
        while said < count and not self._done.done():
            due = min(count, int((time.perf_counter() - began) * rate) + 1)
            for number in range(said, due):
                self._say(self._members[number % len(self._members)], began + number / rate)
            said = due
            await asyncio.sleep(SEND_PAUSE_S)

    def _say(self, member: Member, due: float) -> None:
        number = next(_numbers)
        self._open[number] = _Message(member, due, 1 + self._sizes[member.room])
        member.say(number)

    def on_reply(self, number: int) -> None:
        """Record that a message was answered."""
        message = self._find(number)
        if message is not None:
            self.times.answered_ms.append((time.perf_counter() - message.due) * 1000)
            self._finish_part(number, message)

    def on_delivery(self, number: int, receiver: Member) -> None:
        """Record that a member received a message."""
        message = self._find(number)
        if message is not None:
            if receiver is not message.sender:
                self.times.delivered_ms.append((time.perf_counter() - message.due) * 1000)
            self._finish_part(number, message)

    def _find(self, number: int) -> _Message | None:
        message = self._open.get(number)
        if message is None:
            self.fail(f"the message {number} came once more")
        return message

    def _finish_part(self, number: int, message: _Message) -> None:
        message.left -= 1
        if message.left:
            return
        del self._open[number]
        self.times.messages += 1
        if self._rate is None and not self._is_over:
            self._say(message.sender, time.perf_counter())
        elif self._is_over and not self._open and not self._done.done():
            self._done.set_result(None)

    def fail(self, reason: str) -> None:
        """End the run with an error."""
        if not self._done.done():
            self._done.set_exception(BenchError(reason))
