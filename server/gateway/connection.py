"""One WebSocket after its handshake: converts bytes to messages and back, on the transport itself.

Nearly every incoming frame is a whole, masked, unfragmented text frame. This module splits those itself, in a few
slices. It passes all other frames (control frames, fragments, frames that break the protocol) as whole frames to the
sans-I/O ``Protocol`` of websockets, which is created at the first such frame. So no rule of RFC 6455 is implemented
twice, and an idle connection needs no memory for a parser (2 KiB).

The caller encodes outgoing frames. A session writes only while the transport is empty (the transport's write limits are
0), so a client that does not read fills the socket's buffers and the session's bounded queue, never the transport's
buffer.
"""

from __future__ import annotations

import asyncio
import codecs
from typing import Any
from typing import Protocol as Interface

from websockets.frames import Close, Frame, Opcode
from websockets.protocol import Protocol, Side, State
from websockets.speedups import apply_mask

MAX_MESSAGE_BYTES = 65_536
MAX_REASON_BYTES = 123
"""The most bytes of a close frame's reason (RFC 6455 §5.5: a control frame has at most 125 bytes, two are the code)."""
CLOSE_WAIT_S = 5.0
"""How many seconds to wait for the peer's close frame. Then the transport is aborted, even with unsent bytes."""

_BINARY_FRAME = 0x82
_UNFRAGMENTED_FRAMES = frozenset({0x81, _BINARY_FRAME})
"""The first bytes of unfragmented text and binary frames."""
_MASK_BIT = 0x80

MAX_FRAMES_PER_LOOP_TURN = 128
"""How many frames of one connection are split in one turn of the event loop. One read may return 40,000 frames of six
bytes. At 10 µs each, their sender would stop all other connections for half a second, again and again.
"""


class Receiver(Interface):
    """The owner of a connection. The connection calls its methods with each message and at each change."""

    def handle_message(self, data: bytes, binary: bool) -> None:
        """Handle one whole message. Text is valid UTF-8. Must not raise."""

    def pause(self) -> None:
        """Write nothing until ``resume``. Called when the transport holds unsent bytes."""

    def resume(self) -> None:
        """Continue to write. Called when the transport is empty again."""

    def note_alive(self) -> None:
        """Note that the peer is alive. Called when a ping or pong arrived."""

    def handle_end(self, code: int) -> None:
        """End the receiver. Called once when the peer closed, disappeared or broke the protocol: no message follows,
        and nothing may be written.
        """


class _NullReceiver:
    def ignore(self, *_: Any) -> None:
        """Ignore callbacks after the connection is closed."""

    handle_message = pause = resume = note_alive = handle_end = ignore


_NULL_RECEIVER = _NullReceiver()


class Connection(asyncio.Protocol):
    """The protocol object of a transport after the response 101. uvicorn calls ``shutdown`` when the server stops."""

    __slots__ = (
        "_closing",
        "_connections",
        "_end_reported",
        "_fragments",
        "_parser",
        "_paused",
        "_pong",
        "_reading_paused",
        "_receiver",
        "_split_is_scheduled",
        "_timer",
        "_unread",
        "transport",
    )

    def __init__(
        self, transport: asyncio.Transport, receiver: Receiver, connections: set[Any], early_bytes: bytes = b""
    ) -> None:
        self.transport = transport
        self._receiver = receiver
        self._connections = connections
        self._unread = early_bytes
        self._split_is_scheduled = False
        """Whether ``_unread`` holds more frames than one turn may split. Reading is paused until they are split."""
        self._reading_paused = False
        self._parser: Protocol | None = None
        self._fragments: tuple[codecs.BufferedIncrementalDecoder | None, list[bytes]] | None = None
        self._paused = False
        self._pong = b""
        self._closing = False
        self._end_reported = False
        self._timer: asyncio.TimerHandle | None = None
        transport.set_write_buffer_limits(high=0)

    # in

    def data_received(self, data: bytes) -> None:
        """Split the bytes into messages. Incomplete frames are stored until more bytes arrive, and frames beyond
        ``MAX_FRAMES_PER_LOOP_TURN`` until the next turn of the event loop.
        """
        self._split_frames(self._unread + data if self._unread else data)

    def _split_frames(self, data: bytes) -> None:
        size, at, left = len(data), 0, MAX_FRAMES_PER_LOOP_TURN
        while size - at >= 2:
            if not left:
                self._split_frames_later()
                break
            left -= 1
            first, second = data[at], data[at + 1]
            if first not in _UNFRAGMENTED_FRAMES or second < _MASK_BIT or self._fragments is not None:
                end = self._pass_to_parser(data, at)
            else:
                end = self._handle_whole_frame(data, at, first, second - _MASK_BIT)
            if end < 0:
                break
            at = end
        self._unread = data[at:] if at else data

    def _split_frames_later(self) -> None:
        if not self._split_is_scheduled:
            self._split_is_scheduled = True
            self._update_reading()
            asyncio.get_running_loop().call_soon(self._split_remaining_frames)

    def _split_remaining_frames(self) -> None:
        self._split_is_scheduled = False
        self._split_frames(self._unread)
        if not self._split_is_scheduled:
            self._update_reading()

    def pause_reading(self) -> None:
        """Stop reading until ``resume_reading``. Further bytes stay in the client's own socket."""
        self._reading_paused = True
        self._update_reading()

    def resume_reading(self) -> None:
        """Continue to read from the transport."""
        self._reading_paused = False
        self._update_reading()

    def _update_reading(self) -> None:
        if self.transport.is_closing():
            return
        if self._split_is_scheduled or (self._reading_paused and not self._closing):
            self.transport.pause_reading()
        else:
            self.transport.resume_reading()

    def _handle_whole_frame(self, data: bytes, frame_start: int, first_byte: int, length: int) -> int:
        """Deliver a message in one frame and return the frame's end in ``data``, -1 if the frame is incomplete."""
        body = frame_start + 6
        if length > 125:
            if length == 127:
                return self._pass_to_parser(data, frame_start)
            body = frame_start + 8
            length = int.from_bytes(data[frame_start + 2 : frame_start + 4], "big")
        end = body + length
        if end > len(data):
            return -1
        if not self._closing:
            message = apply_mask(data[body:end], data[body - 4 : body])
            if first_byte == _BINARY_FRAME or message.isascii() or _is_utf8(message):
                self._receiver.handle_message(message, first_byte == _BINARY_FRAME)
            else:
                self._fail_connection(1007, "not UTF-8")
        return end

    def _pass_to_parser(self, data: bytes, frame_start: int) -> int:
        """Pass a frame that is not a whole message to the parser of websockets when the frame is complete, or at once
        if its header is wrong. Return the frame's end in ``data``, -1 if it is incomplete.
        """
        end = _frame_end(data, frame_start)
        if end < 0 or (end > len(data) and end - frame_start <= MAX_MESSAGE_BYTES + 14):
            return -1
        parser = self._get_parser()
        if parser.state is State.CLOSED or parser.parser_exc is not None or parser.eof_sent:
            return len(data)
        parser.receive_data(data[frame_start:end])
        for frame in parser.events_received():
            if isinstance(frame, Frame):
                self._handle_parsed_frame(frame)
        self._send_parser_output(parser)
        return min(end, len(data))

    def _handle_parsed_frame(self, frame: Frame) -> None:
        if frame.opcode is Opcode.CLOSE:
            self._report_end(self._get_parser().close_rcvd)
        elif frame.opcode is Opcode.PING or frame.opcode is Opcode.PONG:
            self._receiver.note_alive()
        else:
            self._collect_fragment(frame)

    def _collect_fragment(self, frame: Frame) -> None:
        """Collect one fragment of a message. Text is checked as it arrives, so that a long message fails at its first
        wrong byte.
        """
        if self._fragments is None:
            is_text = frame.opcode is Opcode.TEXT
            self._fragments = (codecs.getincrementaldecoder("utf-8")() if is_text else None, [])
        checker, parts = self._fragments
        if frame.data:  # empty fragments do not count in any size limit: a list of them would grow forever
            parts.append(bytes(frame.data))
        if checker is not None:
            try:
                checker.decode(frame.data, frame.fin)
            except UnicodeDecodeError:
                return self._fail_connection(1007, "not UTF-8")
        if frame.fin:
            self._fragments = None
            if not self._closing:
                self._receiver.handle_message(b"".join(parts), checker is None)
        return None

    def _send_parser_output(self, parser: Protocol) -> None:
        """Send what the RFC requires: pongs, the close frame, the end of the stream."""
        broken = parser.parser_exc
        if broken is not None and not self._closing:
            self._report_end(parser.close_sent)
        out = parser.data_to_send()
        if not out:
            return
        data = b"".join(out)
        if parser.state is State.OPEN and self._paused:
            self._pong = data  # only the latest ping needs an answer: a flood must not fill the buffer
        elif data:
            self.transport.write(data)
        if parser.eof_sent:
            self._close_tcp(linger=broken is not None)

    def _fail_connection(self, code: int, reason: str) -> None:
        parser = self._get_parser()
        parser.fail(code, reason)
        self._report_end(parser.close_sent)
        self.transport.write(b"".join(parser.data_to_send()))
        self._close_tcp(linger=True)

    def _get_parser(self) -> Protocol:
        if self._parser is None:
            self._parser = Protocol(Side.SERVER, max_size=MAX_MESSAGE_BYTES)
        return self._parser

    # out

    @property
    def is_closing(self) -> bool:
        """Return whether a close frame was sent or received, or the transport is closed. Nothing may be written
        then.
        """
        return self._closing

    def close(self, code: int, reason: str) -> None:
        """Send a close frame and wait for the peer's, ``CLOSE_WAIT_S`` at most. Only the first call has an effect. The
        receiver's ``handle_end`` is not called.
        """
        if self._closing:
            return
        self._closing = self._end_reported = True
        parser = self._get_parser()
        if parser.state is State.OPEN:
            parser.send_close(code, fit_reason(reason))
            self.transport.write(b"".join(parser.data_to_send()))
        self._update_reading()
        self._abort_later(CLOSE_WAIT_S)

    def abort(self) -> None:
        """Abort the transport without a close frame, if closing failed. The receiver's ``handle_end`` is called."""
        self.transport.abort()

    def shutdown(self) -> None:
        """Close at once, without waiting for the peer. uvicorn calls this when the server stops."""
        if not self._closing:
            self._receiver.handle_end(1012)
            self.close(1012, "")
        self.transport.close()

    def _close_tcp(self, *, linger: bool) -> None:
        """Close the TCP side. After an error the peer may still be sending. Closing with unread bytes resets the
        connection before the peer has read the reason. So with ``linger`` this side is closed first, and the rest is
        read until the peer has finished.
        """
        if linger and self.transport.can_write_eof():
            self.transport.write_eof()
            self._update_reading()
        else:
            self.transport.close()
        self._abort_later(CLOSE_WAIT_S)

    def _abort_later(self, seconds: float) -> None:
        if self._timer is None:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(seconds, self.transport.abort)

    def _report_end(self, close: Close | None) -> None:
        self._closing = True
        if not self._end_reported:
            self._end_reported = True
            self._receiver.handle_end(close.code if close else 1006)

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
        """Release everything that the connection uses. asyncio calls this when the connection has ended, from either
        side.
        """
        self._connections.discard(self)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._report_end(None)
        self._unread = b""
        self._parser = None
        self._receiver = _NULL_RECEIVER  # breaks a reference cycle: no session waits for the garbage collector


def fit_reason(reason: str) -> str:
    """Return as many whole characters of ``reason`` as fit into a close frame. Every close uses this function: for a
    longer reason the frame's encoder raises, and the socket would stay open.
    """
    return reason.encode("utf-8", "replace")[:MAX_REASON_BYTES].decode("utf-8", "ignore")


def _is_utf8(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


def _frame_end(data: bytes, frame_start: int) -> int:
    """Return the end of the frame that begins at ``frame_start``, -1 while the frame's length is unknown."""
    masked, length = divmod(data[frame_start + 1], _MASK_BIT)
    head = 2
    if length > 125:
        wide = 2 if length == 126 else 8
        head += wide
        if len(data) - frame_start < head:
            return -1
        length = int.from_bytes(data[frame_start + 2 : frame_start + 2 + wide], "big")
    return frame_start + head + 4 * masked + length
