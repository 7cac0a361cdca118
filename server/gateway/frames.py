"""Frames as they leave, built once for all who get them: WebSocket head and payload in one piece of bytes.

Server frames are not masked, so the same bytes serve every session of a subprotocol; a session only ever
holds references. In JSON an event's ``data`` is forwarded as it stands in the log: nothing is parsed to be sent.

MessagePack is made from that JSON, once an event and only where somebody listens, so that both subprotocols say
the same by construction. (Rejected: a second encoder beside the first, from the event's parts. It saves 2 µs an event,
and each field would have two homes.)
"""

from __future__ import annotations

import functools
from collections.abc import Iterable
from typing import Any

import msgspec
import structlog

from engine.blueprint.catalogue import Blueprints
from engine.events import Event, iso
from engine.types import Cursor, Zone

INTERNAL = "session."
"""Types that begin so are for gateways and are never sent to anybody."""

log = structlog.get_logger(__name__)

_TEXT, _BINARY = b"\x81", b"\x82"
_HEADS = tuple(_TEXT + bytes((size,)) for size in range(126))


def text_frame(payload: bytes) -> bytes:
    """``payload`` as one unfragmented, unmasked text frame."""
    size = len(payload)
    return _HEADS[size] + payload if size < 126 else _TEXT + _length(size) + payload


def binary_frame(payload: bytes) -> bytes:
    """The same as a binary frame."""
    return _BINARY + _length(len(payload)) + payload


def _length(size: int) -> bytes:
    if size < 126:
        return bytes((size,))
    return b"\x7e" + size.to_bytes(2, "big") if size < 65_536 else b"\x7f" + size.to_bytes(8, "big")


class PayloadEncoder:
    """The payloads of pushes, as JSON without a frame: the same for every transport. One for each gateway."""

    def __init__(self, blueprints: Blueprints) -> None:
        self._view = blueprints.view

    def encode(self, event: Event) -> bytes:
        """The payload of one event of the log, under the name that its blueprint gives it."""
        try:
            name, data = self._view(event.bp, event.type, event.data)
        except (ValueError, KeyError, TypeError) as error:
            # Clients get an event even if its blueprint does not fit it.
            log.error("view_failed", type=event.type, bp=event.bp, seq=event.seq, error=repr(error))
            name, data = event.type, event.data
        opening = _opening(event.type, name, event.zone)
        return b'%b%d,"at":"%b","data":%b}' % (opening, event.seq, _time(event.at), data)

    def live(self, kind: str, at: int, data: Any, bp: str = "") -> bytes:
        """The payload of a push that is in no log: without zone and seq, and never replayed. ``at`` is in ms. ``bp`` is
        the blueprint that names the push, where it is about a job.
        """
        name, encoded = self._view(bp, kind, msgspec.json.encode(data))
        return msgspec.json.encode({"type": kind, "event": name, "at": iso(at), "data": msgspec.Raw(encoded)})


class JsonFrames:
    """``callout.v1.json``: compact JSON in text frames. Each encoding has its own hub."""

    subprotocol = "callout.v1.json"
    binary = False
    """Whether the frames are binary, in both directions."""
    pong = b"{}"
    """The content of a ping and of the client's answer to it."""

    def __init__(self, payloads: PayloadEncoder) -> None:
        self.payloads = payloads

    def frame(self, payload: bytes) -> bytes:
        """``payload``, one JSON object, as it is sent."""
        return text_frame(payload)

    def event(self, payload: bytes) -> bytes:
        """The push of one event at the moment of its hand-off."""
        return self.frame(payload)

    def encode(self, event: Event) -> bytes:
        """The push of one event, for a replay."""
        return self.frame(self.payloads.encode(event))

    def head(self, zone: Zone, head: Cursor) -> bytes:
        """``{"zone","epoch","seq"}``: every event up to here that concerns the receiver has been sent."""
        return self.frame(msgspec.json.encode({"zone": zone, "epoch": head.epoch, "seq": head.seq}))

    def heads(self, heads: Iterable[tuple[Zone, Cursor]]) -> bytes:
        """The head of each zone, in one piece."""
        return b"".join(self.head(zone, head) for zone, head in heads)

    def heartbeat(self, heads: Iterable[tuple[Zone, Cursor]]) -> bytes:
        """What every session is sent once an interval: the heads, and the ping."""
        return self.heads(heads) + self.frame(b"{}")

    def reply(self, request: int | str | None, ok: Any) -> bytes:
        """The answer to a request that was done; ``repeated`` beside it where the verdict was remembered."""
        return self.frame(msgspec.json.encode({"id": request, "ok": ok, **_repeated(getattr(ok, "repeated", False))}))

    def refusal(self, request: int | str | None, problem: dict[str, Any]) -> bytes:
        """The answer to one that was not; without an ``id`` where the request had none."""
        body = {"error": problem} if request is None else {"id": request, "error": problem}
        return self.frame(msgspec.json.encode({**body, **_repeated(problem.get("repeated", False))}))


class MsgpackFrames(JsonFrames):
    """``callout.v1.msgpack``: the same objects, keys and words, as MessagePack in binary frames."""

    subprotocol = "callout.v1.msgpack"
    binary = True
    pong = b"\x80"

    def frame(self, payload: bytes) -> bytes:
        """``payload``, one JSON object, as MessagePack."""
        return binary_frame(msgspec.msgpack.encode(msgspec.json.decode(payload)))


def _repeated(said: bool) -> dict[str, bool]:
    return {"repeated": True} if said else {}


@functools.lru_cache(maxsize=1024)
def _opening(kind: str, name: str, zone: Zone) -> bytes:
    words = (msgspec.json.encode(word) for word in (kind, name, zone))
    return b'{"type":%b,"event":%b,"zone":%b,"seq":' % tuple(words)


def _time(ms: int) -> bytes:
    return b"%b%03dZ" % (_second(ms // 1000), ms % 1000)


@functools.lru_cache(maxsize=64)
def _second(seconds: int) -> bytes:
    return iso(seconds * 1000)[:-4].encode()
