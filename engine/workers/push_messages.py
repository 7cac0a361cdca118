"""The pushes of an event: one message for each user who receives an offer or a notification."""

from __future__ import annotations

import msgspec

from engine.blueprint.schema import OFFER_EVENT
from engine.events import Event, ms_of, rfc3339_of
from engine.workers.push_delivery import PushMessage

MESSAGE_EVENT = "message.created"


class _OfferDeadline(msgspec.Struct):
    expires_at: str | None = None


class _OfferEventData(msgspec.Struct):
    offer: msgspec.Raw


def push_messages(event: Event, notice: dict[str, str] | None = None) -> list[PushMessage]:
    """Return the pushes of an event: one message for each user who receives the offer or notification. ``notice`` is
    the text that the blueprint declares for an offer.
    """
    if event.type == OFFER_EVENT:
        offer = msgspec.json.decode(event.data, type=_OfferEventData).offer
        until = msgspec.json.decode(offer, type=_OfferDeadline).expires_at
        deadline = ms_of(until) if until else 0
        named = {"offer": offer, **({"notice": msgspec.Raw(msgspec.json.encode(notice))} if notice else {})}
        return [PushMessage("offer", _push_body(event, user, named), deadline, user) for user in _recipients(event)]
    if event.type == "notification":
        named = {"notification": msgspec.Raw(event.data)}
        return [PushMessage("notification", _push_body(event, user, named), user=user) for user in _recipients(event)]
    return []


def _recipients(event: Event) -> list[str]:
    return [channel.removeprefix("user:") for channel in event.to if channel.startswith("user:")]


def _push_body(event: Event, user: str, named: dict[str, msgspec.Raw]) -> bytes:
    """Return the body of a push. ``zone`` and ``seq`` identify the event, so that a receiver can drop repeats."""
    where = {"type": event.type, "zone": event.zone, "seq": event.seq, "at": rfc3339_of(event.at), "user": user}
    return msgspec.json.encode(where | named)


class _RoomOfMessage(msgspec.Struct):
    room: str


class _MessageEventData(msgspec.Struct):
    message: _RoomOfMessage


def rooms_of_messages(events: list[Event]) -> list[str]:
    """Return the rooms in which messages were said, each once. engine/domain/chat_notifications.py notifies them."""
    found = (event.data for event in events if event.type == MESSAGE_EVENT)
    return list(dict.fromkeys(msgspec.json.decode(data, type=_MessageEventData).message.room for data in found))
