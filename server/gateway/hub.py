"""The hub: it knows which sessions are subscribed to each channel, and writes their frames once per turn of the event
loop.

Fan-out only puts references into the sessions' queues. All frames of a session that wait at the end of the turn go out
in one write: at 16 events at once that is 2.5 M deliveries a second, against 0.2 M written one by one. The flush yields
to the event loop every 2 ms, so that a broadcast to very many sessions does not delay a claim.

A broadcast (one event to very many sessions) that comes while no session has a waiting push is not queued. The flush
writes it directly to its recipients, which avoids a second pass over all of them. As soon as another frame has to
follow it for any of them, the broadcast is queued after all (``queue_broadcast``). So there is one order: that of the
queues.

Each subprotocol has its own hub, so that the hot loop never reads the encoding of a session.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Collection, Iterable
from time import monotonic

from engine.events import Event
from engine.types import Zone
from server.gateway import broadcast_send
from server.gateway.counters import MIN_BROADCAST_SOCKETS, Counters
from server.gateway.frames import JsonFrames
from server.gateway.protocol import State
from server.gateway.send_buffer import SendBuffer
from server.gateway.session import Session

TIME_SLICE_S = 0.002
_SESSIONS_PER_CLOCK_READ = 64
"""How many sessions are written to between two readings of the clock."""


def name_in_hub(channel: str, zone: Zone) -> str:
    """Return the name in a hub of a `work:` channel of ``zone``. It includes the zone, because all zones share a
    hub.
    """
    return f"{channel}@{zone}"


def member_channel(room_channel: str) -> str:
    """Return the name in a hub of the channel of a large room's members. Ops may subscribe to `room:<id>` itself, which
    does not make them members.
    """
    return "member:" + room_channel.removeprefix("room:")


def channels_in_hub(event: Event) -> tuple[str, ...]:
    """Return an event's channels by their names in a hub. `work:<service>` is always the only channel of its event, and
    `room:<id>` the last one; the members of a large room have a channel of their own.
    """
    to = event.to
    if not to or not to[-1].startswith(("work:", "room:")):
        return to
    return (name_in_hub(to[0], event.zone),) if to[0].startswith("work:") else (*to, member_channel(to[-1]))


class Hub:
    """The live sessions of one subprotocol, by the channels to which they are subscribed. The hub sends each event to
    them.
    """

    __slots__ = (
        "_began",
        "_broadcast",
        "_counters",
        "_loop",
        "_recipients",
        "_scheduled",
        "_send",
        "_sent",
        "_waiting",
        "channels",
        "frames",
        "has_watchers",
    )

    def __init__(self, frames: JsonFrames, counters: Counters) -> None:
        self.frames = frames
        self._counters = counters
        self.channels: dict[str, set[Session]] = {}
        self.has_watchers = False
        """Whether any session has ever subscribed to a job or a map here."""
        self._waiting: deque[SendBuffer] = deque()
        self._broadcast = b""
        self._recipients: list[SendBuffer] = []
        """The sessions that still have to be sent the broadcast. None of them has a push in its queue."""
        self._send = broadcast_send.load_send()
        self._scheduled = False
        self._began = 0.0
        self._sent = 0
        self._loop = asyncio.get_running_loop()

    def join(self, session: Session, channels: Iterable[str]) -> None:
        """Subscribe ``session`` to ``channels`` from the next event on."""
        for channel in channels:
            self.channels.setdefault(channel, set()).add(session)
            self.has_watchers = self.has_watchers or channel.startswith(("job:", "map:"))

    def leave(self, session: Session) -> None:
        """Remove ``session``, which has ended, from the hub."""
        self.unsubscribe(session, session.channels)

    def unsubscribe(self, session: Session, channels: Iterable[str]) -> None:
        """Unsubscribe ``session`` from ``channels``. Channels that it has not joined are ignored."""
        for channel in channels:
            members = self.channels.get(channel)
            if members is not None:
                members.discard(session)
                if not members:
                    del self.channels[channel]

    def members(self, channel: str) -> Collection[Session]:
        """Return the sessions that are subscribed to ``channel`` now."""
        return self.channels.get(channel, ())

    def recipients(self, event_type: str, channels: Iterable[str], zone_channel: str) -> Collection[Session]:
        """Return the sessions that are subscribed to any of ``channels`` or to ``zone_channel`` and receive events of
        type ``event_type``, each session once.
        """
        subscribed = self.channels
        hits = [members for members in map(subscribed.get, channels) if members]
        if zone_channel in subscribed:
            hits.append(subscribed[zone_channel])
        if len(hits) == 1:
            return hits[0]
        return set().union(*hits) if hits else ()

    def deliver(self, recipients: Collection[Session], payload: bytes) -> None:
        """Queue the event with this payload (see ``PayloadEncoder``) for ``recipients``."""
        frame = self.frames.event_frame(payload)
        if len(recipients) < MIN_BROADCAST_SOCKETS or self._waiting or self._recipients:
            self.queue_broadcast()
            self._queue_frame(recipients, frame)
        else:
            self._recipients, self._broadcast = list(recipients), frame
        if not self._scheduled:
            self._schedule_turn()

    def queue_broadcast(self) -> None:
        """Queue the broadcast for the sessions that have not been sent the broadcast. Call this before another frame is
        queued behind it, and before a session ends.
        """
        if self._recipients:
            left = [session for session in self._recipients if session.state is not State.CLOSED]
            self._recipients.clear()
            self._queue_frame(left, self._broadcast)

    def _queue_frame(self, sessions: Iterable[SendBuffer], frame: bytes) -> None:
        wake = self._waiting.append
        for session in sessions:
            if session.next_frame is None:
                session.next_frame = frame
                wake(session)
            else:
                session.more_frames.append(frame)
                session.is_direct = False

    def schedule_flush(self, session: SendBuffer) -> None:
        """Flush ``session`` by the end of this turn of the loop."""
        self._waiting.append(session)
        if not self._scheduled:
            self._schedule_turn()

    def _schedule_turn(self) -> None:
        self._scheduled = True
        self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        """Write the frames of each waiting session, then the broadcast. Frames that remain after ``TIME_SLICE_S`` are
        written in the next turn.
        """
        began = monotonic()
        if not self._sent:
            self._began = began
        self._write_waiting(began + TIME_SLICE_S)
        self._write_broadcast(began + TIME_SLICE_S)
        self._scheduled = False
        if self._waiting or self._recipients:
            self._schedule_turn()
        else:
            if self._sent >= MIN_BROADCAST_SOCKETS:
                self._counters.broadcast_s.add(monotonic() - self._began)
            self._sent = 0

    def _write_waiting(self, until: float) -> None:
        """Write the frames of the waiting sessions until the monotonic time ``until``. Nearly every directed event is
        one frame for a session whose client reads fast enough. This case is handled here and not in ``Session.flush``,
        because the cost of each attribute access is visible beside the system call.
        """
        dirty = self._waiting
        turn = _SESSIONS_PER_CLOCK_READ
        frames = size = 0
        while dirty:
            session = dirty.popleft()
            frame = session.next_frame
            if frame is not None and session.is_direct:
                session.next_frame = None
                session.written_pushes += 1
                session.write(frame)
                frames += 1
                size += len(frame)
            else:
                session.flush()
            turn -= 1
            if not turn:
                turn = _SESSIONS_PER_CLOCK_READ
                if monotonic() > until:
                    break
        self._count_writes(frames, size)

    def _write_broadcast(self, until: float) -> None:
        """Write the broadcast to the sessions that have no waiting frames, and queue the broadcast for the others."""
        recipients, frame, frames = self._recipients, self._broadcast, 0
        while recipients:
            some = recipients[-_SESSIONS_PER_CLOCK_READ:]
            del recipients[-_SESSIONS_PER_CLOCK_READ:]
            others = self._send(some, frame)
            frames += len(some) - len(others)
            self._queue_frame([session for session in others if session.state is not State.CLOSED], frame)
            if monotonic() > until:
                break
        self._count_writes(frames, frames * len(frame))

    def _count_writes(self, writes: int, size: int) -> None:
        """Count ``writes`` writes to sockets, of one frame each and of ``size`` bytes in total."""
        counters = self._counters
        counters.frames_out += writes
        counters.writes += writes
        counters.bytes_out += size
        self._sent += writes
