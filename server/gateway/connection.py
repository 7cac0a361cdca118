"""One WebSocket after its handshake: converts bytes to messages and back, on the transport itself.

Nearly every incoming frame is a whole, masked, unfragmented text frame. This module splits those itself, in a few
slices. It passes all other frames (control frames, fragments, frames that break the protocol) as whole frames to the
sans-I/O ``Protocol`` of websockets, which is created at the first such frame. So no rule of RFC 6455 is implemented
twice, and an idle connection needs no memory for a parser (2 KiB).

The caller encodes outgoing frames. A session writes only while the transport is empty (its limits are 0), so a client
that does not read fills the socket's buffers and the session's bounded queue, never the transport's buffer.
"""

from __future__ import annotations

import asyncio
import codecs
from typing import Any
from typing import Protocol as Interface

from websockets.frames import Close, Frame, Opcode
from websockets.protocol import Protocol, Side, State
from websockets.speedups import apply_mask

MESSAGE_BYTES = 65_536
REASON_BYTES = 123
"""The most bytes of a close frame's reason (RFC 6455 §5.5: a control frame has at most 125 bytes, two are the code)."""
CLOSE_WAIT_S = 5.0
"""How many seconds to wait for the peer's close frame. Then the transport is aborted, even with unsent bytes."""

_BINARY = 0x82
_WHOLE = frozenset({0x81, _BINARY})
"""The first bytes of unfragmented text and binary frames."""
_MASKED = 0x80

FRAMES_A_TURN = 128
"""How many frames of one connection are split in one turn of the event loop. One read may return 40,000 frames of six
bytes. At 10 µs each, their sender would stop all other connections for half a second, again and again.
"""


class Receiver(Interface):
    """The owner of a connection. The connection calls its methods with each message and at each change."""

    def message(self, data: bytes, binary: bool) -> None:
        """Handle one whole message. Text is valid UTF-8. Must not raise."""

    def pause(self) -> None:
        """Write nothing until ``resume``. Called when the transport holds unsent bytes."""

    def resume(self) -> None:
        """Continue to write. Called when the transport is empty again."""

    def alive(self) -> None:
        """Note that the peer is alive. Called when a ping or pong arrived."""

    def lost(self, code: int) -> None:
        """End. Called once when the peer closed, disappeared or broke the protocol: no message follows, and nothing may
        be written.
        """


class _NullReceiver:
    def ignore(self, *_: Any) -> None:
        """Ignore callbacks after the connection is closed."""

    message = pause = resume = alive = lost = ignore


_NULL_RECEIVER = _NullReceiver()


class Connection(asyncio.Protocol):
    """The protocol object of a transport after the response 101. uvicorn calls ``shutdown`` when the server stops."""

    __slots__ = (
        "_behind",
        "_closing",
        "_connections",
        "_lost",
        "_parts",
        "_paused",
        "_pong",
        "_reading_paused",
        "_receiver",
        "_rules",
        "_timer",
        "_unread",
        "transport",
    )

    def __init__(
        self, transport: asyncio.Transport, receiver: Receiver, connections: set[Any], early: bytes = b""
    ) -> None:
        self.transport = transport
        self._receiver = receiver
        self._connections = connections
        self._unread = early
        self._behind = False
        """Whether ``_unread`` holds more frames than one turn may split. Reading is paused until they are split."""
        self._reading_paused = False
        self._rules: Protocol | None = None
        self._parts: tuple[codecs.BufferedIncrementalDecoder | None, list[bytes]] | None = None
        self._paused = False
        self._pong = b""
        self._closing = False
        self._lost = False
        self._timer: asyncio.TimerHandle | None = None
        transport.set_write_buffer_limits(high=0)

    # in

    def data_received(self, data: bytes) -> None:
        """Split the bytes into messages. The rest is stored until more bytes arrive, or until the next turn of the
        loop.
        """
        self._split(self._unread + data if self._unread else data)

    def _split(self, data: bytes) -> None:
        size, at, left = len(data), 0, FRAMES_A_TURN
        while size - at >= 2:
            if not left:
                self._split_later()
                break
            left -= 1
            first, second = data[at], data[at + 1]
            if first not in _WHOLE or second < _MASKED or self._parts is not None:
                end = self._other(data, at)
            else:
                end = self._whole(data, at, first, second - _MASKED)
            if end < 0:
                break
            at = end
        self._unread = data[at:] if at else data

    def _split_later(self) -> None:
        if not self._behind:
            self._behind = True
            self._set_reading()
            asyncio.get_running_loop().call_soon(self._split_rest)

    def _split_rest(self) -> None:
        self._behind = False
        self._split(self._unread)
        if not self._behind:
            self._set_reading()

    def pause_reading(self) -> None:
        """Stop reading until ``resume_reading``. Further bytes stay in the client's own socket."""
        self._reading_paused = True
        self._set_reading()

    def resume_reading(self) -> None:
        """Continue to read from the transport."""
        self._reading_paused = False
        self._set_reading()

    def _set_reading(self) -> None:
        if self.transport.is_closing():
            return
        if self._behind or (self._reading_paused and not self._closing):
            self.transport.pause_reading()
        else:
            self.transport.resume_reading()

    def _whole(self, data: bytes, at: int, first: int, length: int) -> int:
        """Deliver a message in one frame and return the frame's end in ``data``, -1 if the frame is incomplete."""
        body = at + 6
        if length > 125:
            if length == 127:
                return self._other(data, at)
            body = at + 8
            length = int.from_bytes(data[at + 2 : at + 4], "big")
        end = body + length
        if end > len(data):
            return -1
        if not self._closing:
            message = apply_mask(data[body:end], data[body - 4 : body])
            if first == _BINARY or message.isascii() or _is_utf8(message):
                self._receiver.message(message, first == _BINARY)
            else:
                self._fail(1007, "not UTF-8")
        return end

    def _other(self, data: bytes, at: int) -> int:
        """Pass any other frame to the parser of the RFC when the frame is complete, or at once if its header is wrong.
        Return the frame's end in ``data``, -1 if it is incomplete.
        """
        end = _end(data, at)
        if end < 0 or (end > len(data) and end - at <= MESSAGE_BYTES + 14):
            return -1
        rules = self._judge()
        if rules.state is State.CLOSED or rules.parser_exc is not None or rules.eof_sent:
            return len(data)
        rules.receive_data(data[at:end])
        for frame in rules.events_received():
            if isinstance(frame, Frame):
                self._frame(frame)
        self._answer(rules)
        return min(end, len(data))

    def _frame(self, frame: Frame) -> None:
        if frame.opcode is Opcode.CLOSE:
            self._end(self._judge().close_rcvd)
        elif frame.opcode is Opcode.PING or frame.opcode is Opcode.PONG:
            self._receiver.alive()
        else:
            self._fragment(frame)

    def _fragment(self, frame: Frame) -> None:
        """Collect one fragment of a message. Text is checked as it arrives, so that a long message fails at its first
        wrong byte.
        """
        if self._parts is None:
            is_text = frame.opcode is Opcode.TEXT
            self._parts = (codecs.getincrementaldecoder("utf-8")() if is_text else None, [])
        checker, parts = self._parts
        if frame.data:  # empty fragments do not count in any size limit: a list of them would grow for ever
            parts.append(bytes(frame.data))
        if checker is not None:
            try:
                checker.decode(frame.data, frame.fin)
            except UnicodeDecodeError:
                return self._fail(1007, "not UTF-8")
        if frame.fin:
            self._parts = None
            if not self._closing:
                self._receiver.message(b"".join(parts), checker is None)
        return None

    def _answer(self, rules: Protocol) -> None:
        """Send what the RFC requires: pongs, the close frame, the end of the stream."""
        broken = rules.parser_exc
        if broken is not None and not self._closing:
            self._end(rules.close_sent)
        out = rules.data_to_send()
        if not out:
            return
        data = b"".join(out)
        if rules.state is State.OPEN and self._paused:
            self._pong = data  # only the latest ping needs an answer: a flood must not fill the buffer
        elif data:
            self.transport.write(data)
        if rules.eof_sent:
            self._hang_up(linger=broken is not None)

    def _fail(self, code: int, reason: str) -> None:
        rules = self._judge()
        rules.fail(code, reason)
        self._end(rules.close_sent)
        self.transport.write(b"".join(rules.data_to_send()))
        self._hang_up(linger=True)

    def _judge(self) -> Protocol:
        if self._rules is None:
            self._rules = Protocol(Side.SERVER, max_size=MESSAGE_BYTES)
        return self._rules

    # out

    @property
    def closing(self) -> bool:
        """Return whether a close frame was sent or received, or the transport is closed. Nothing may be written
        then.
        """
        return self._closing

    def close(self, code: int, reason: str) -> None:
        """Send a close frame and wait for the peer's, ``CLOSE_WAIT_S`` at most. Only the first call has an effect. The
        receiver's ``lost`` is not called.
        """
        if self._closing:
            return
        self._closing = self._lost = True
        rules = self._judge()
        if rules.state is State.OPEN:
            rules.send_close(code, fitting(reason))
            self.transport.write(b"".join(rules.data_to_send()))
        self._set_reading()
        self._cut_later(CLOSE_WAIT_S)

    def cut(self) -> None:
        """Abort the transport without a close frame, if closing failed. The receiver's ``lost`` is called."""
        self.transport.abort()

    def shutdown(self) -> None:
        """Close at once, without waiting for the peer. uvicorn calls this when the server stops."""
        if not self._closing:
            self._receiver.lost(1012)
            self.close(1012, "")
        self.transport.close()

    def _hang_up(self, *, linger: bool) -> None:
        """Close the TCP side. After an error the peer may still be sending. Closing with unread bytes resets the
        connection before the peer has read the reason. So with ``linger`` this side is closed first, and the rest is
        read until the peer has finished.
        """
        if linger and self.transport.can_write_eof():
            self.transport.write_eof()
            self._set_reading()
        else:
            self.transport.close()
        self._cut_later(CLOSE_WAIT_S)

    def _cut_later(self, seconds: float) -> None:
        if self._timer is None:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(seconds, self.transport.abort)

    def _end(self, close: Close | None) -> None:
        self._closing = True
        if not self._lost:
            self._lost = True
            self._receiver.lost(close.code if close else 1006)

    # asyncio.Protocol

    def eof_received(self) -> bool | None:
        """Return None, so that the transport closes itself when the peer has finished."""
        return None

    def pause_writing(self) -> None:
        """Pause the receiver: the transport holds unsent bytes."""
        self._paused = True
        self._receiver.pause()

    def resume_writing(self) -> None:
        """Send a pong that waits, and resume the receiver: the transport is empty again."""
        self._paused = False
        if self._pong and not self._closing:
            pong, self._pong = self._pong, b""
            self.transport.write(pong)
        if not self._paused:
            self._receiver.resume()

    def connection_lost(self, exc: Exception | None) -> None:
        """Release everything. asyncio calls this when the connection has ended, from either side."""
        self._connections.discard(self)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._end(None)
        self._unread = b""
        self._rules = None
        self._receiver = _NULL_RECEIVER  # breaks a reference cycle: no session waits for the garbage collector


def fitting(reason: str) -> str:
    """Return as many whole characters of ``reason`` as fit into a close frame. Every close uses this function: for a
    longer reason the frame's encoder raises, and the socket would stay open.
    """
    return reason.encode("utf-8", "replace")[:REASON_BYTES].decode("utf-8", "ignore")


def _is_utf8(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


def _end(data: bytes, at: int) -> int:
    """Return the end of the frame that begins at ``at``, -1 while the frame's length is unknown."""
    masked, length = divmod(data[at + 1], _MASKED)
    head = 2
    if length > 125:
        wide = 2 if length == 126 else 8
        head += wide
        if len(data) - at < head:
            return -1
        length = int.from_bytes(data[at + 2 : at + 2 + wide], "big")
    return at + head + 4 * masked + length
