"""Encode frames as they are sent, once for all recipients: the WebSocket header and the payload in one bytes object.

The server does not mask its frames, so every session of a subprotocol is sent the same bytes object, and a session only
holds a reference to it. In JSON an event's ``data`` is forwarded as the log contains it, without parsing.

MessagePack is converted from that JSON, once an event and only if a recipient uses it. So both subprotocols have the
same content by construction. (Rejected: a second encoder, from the event's parts. It saves 2 µs an event, but each
field would have to be defined twice.)
"""

from __future__ import annotations

import functools
from collections.abc import Iterable
from typing import Any

import msgspec
import structlog

from engine.blueprint.catalogue import Blueprints
from engine.events import Event, rfc3339_of
from engine.rules.receipts import client_data
from engine.types import Cursor, Zone

INTERNAL_PREFIXES = ("session.", "audit.", "subject.", "log.")
"""The prefixes of the types of internal events, which are never sent to a client: those for gateways (``session.``),
and those that are in the log for the audit tree."""

log = structlog.get_logger(__name__)

_TEXT, _BINARY = b"\x81", b"\x82"
_SHORT_TEXT_HEADERS = tuple(_TEXT + bytes((size,)) for size in range(126))


def text_frame(payload: bytes) -> bytes:
    """Return ``payload`` as one unfragmented, unmasked text frame."""
    size = len(payload)
    return _SHORT_TEXT_HEADERS[size] + payload if size < 126 else _TEXT + _extended_length(size) + payload


def binary_frame(payload: bytes) -> bytes:
    """Return ``payload`` as one unfragmented, unmasked binary frame."""
    return _BINARY + _extended_length(len(payload)) + payload


def _extended_length(size: int) -> bytes:
    if size < 126:
        return bytes((size,))
    return b"\x7e" + size.to_bytes(2, "big") if size < 65_536 else b"\x7f" + size.to_bytes(8, "big")


class PayloadEncoder:
    """The encoder of a gateway's pushes into JSON without a frame. The payload is the same for every transport."""

    def __init__(self, blueprints: Blueprints) -> None:
        self._view = blueprints.client_event

    def encode_event(self, event: Event) -> bytes:
        """Return the payload of one event of the log, with the event name that its blueprint defines."""
        data = client_data(event.type, event.data)
        try:
            name, data = self._view(event.blueprint_key, event.type, data)
        except (ValueError, KeyError, TypeError) as error:
            # Clients get an event even if its blueprint does not fit it.
            log.error("view_failed", type=event.type, bp=event.blueprint_key, seq=event.seq, error=repr(error))
            name = event.type
        opening = _payload_start(event.type, name, event.zone)
        return b'%b%d,"at":"%b","data":%b}' % (opening, event.seq, rfc3339_of(event.at).encode(), data)

    def encode_live_push(self, push_type: str, at_ms: int, data: Any, blueprint_key: str = "") -> bytes:
        """Return the payload of a push that is in no log: it has no zone and no seq, and is never replayed. ``at_ms``
        is in ms (Unix time). ``blueprint_key`` is the blueprint that defines the push's event name, "" if the push is
        not about a job."""
        name, encoded = self._view(blueprint_key, push_type, msgspec.json.encode(data))
        return msgspec.json.encode(
            {"type": push_type, "event": name, "at": rfc3339_of(at_ms), "data": msgspec.Raw(encoded)}
        )


class JsonFrames:
    """The encoder for the subprotocol ``callout.v1.json``: compact JSON in text frames. Each subprotocol has its own
    hub.
    """

    subprotocol = "callout.v1.json"
    binary = False
    """Whether the frames of both directions are binary."""
    pong = b"{}"
    """The content of a ping and of the client's reply to a ping."""

    def __init__(self, payloads: PayloadEncoder) -> None:
        self.payloads = payloads

    def frame(self, payload: bytes) -> bytes:
        """Return ``payload``, one JSON object, as a frame."""
        return text_frame(payload)

    def event_frame(self, payload: bytes) -> bytes:
        """Return the frame of one event, given its payload. The hubs call this for each event that the relay hands to
        them.
        """
        return self.frame(payload)

    def encode_event(self, event: Event) -> bytes:
        """Return the frame of one event for a replay."""
        return self.frame(self.payloads.encode_event(event))

    def head_frame(self, zone: Zone, head: Cursor) -> bytes:
        """Return the frame ``{"zone","epoch","seq"}``. It states that the recipient was sent every event up to this seq
        that is for the recipient.
        """
        return self.frame(msgspec.json.encode({"zone": zone, "epoch": head.epoch, "seq": head.seq}))

    def head_frames(self, heads: Iterable[tuple[Zone, Cursor]]) -> bytes:
        """Return the frames of the given heads, one for each zone, as one bytes object."""
        return b"".join(self.head_frame(zone, head) for zone, head in heads)

    def heartbeat_frames(self, heads: Iterable[tuple[Zone, Cursor]]) -> bytes:
        """Return the bytes that every session is sent once a ping interval: the head of each zone, then the ping."""
        return self.head_frames(heads) + self.frame(b"{}")

    def reply_frame(self, request: int | str | None, ok: Any) -> bytes:
        """Return the reply to a request that succeeded, with ``repeated`` if the result is that of an earlier request
        with the same request key.
        """
        return self.frame(
            msgspec.json.encode({"id": request, "ok": ok, **_repeated_member(getattr(ok, "repeated", False))})
        )

    def refusal_frame(self, request: int | str | None, problem: dict[str, Any]) -> bytes:
        """Return the reply to a request that failed, without an ``id`` if the request had none."""
        body = {"error": problem} if request is None else {"id": request, "error": problem}
        return self.frame(msgspec.json.encode({**body, **_repeated_member(problem.get("repeated", False))}))


class MsgpackFrames(JsonFrames):
    """The encoder for the subprotocol ``callout.v1.msgpack``: the same objects, keys and values, as MessagePack in
    binary frames.
    """

    subprotocol = "callout.v1.msgpack"
    binary = True
    pong = b"\x80"

    def frame(self, payload: bytes) -> bytes:
        """Return ``payload``, one JSON object, as a frame of MessagePack."""
        return binary_frame(msgspec.msgpack.encode(msgspec.json.decode(payload)))


def _repeated_member(is_repeated: bool) -> dict[str, bool]:
    """Return the member ``repeated`` of a reply, or no member if the reply is the first."""
    return {"repeated": True} if is_repeated else {}


@functools.lru_cache(maxsize=1024)
def _payload_start(event_type: str, client_event: str, zone: Zone) -> bytes:
    words = (msgspec.json.encode(word) for word in (event_type, client_event, zone))
    return b'{"type":%b,"event":%b,"zone":%b,"seq":' % tuple(words)
