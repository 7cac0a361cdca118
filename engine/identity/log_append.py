"""Append an event that changes no live state to a zone's log, once for each key."""

from __future__ import annotations

from typing import TYPE_CHECKING

from engine.store import keys
from engine.store.scripts import Args
from engine.types import DEFAULT_ZONE, UserId, Zone

if TYPE_CHECKING:
    from engine.runtime import Engine

OUTBOX_FINGERPRINT = "outbox"
OUTBOX_PRINCIPAL = UserId("outbox")
"""The principal of the idempotency records of such events, in the zone of the event."""


async def append_event(
    engine: Engine, event_type: str, *, channels: str, data: bytes, actor: str, key: str, zone: Zone = DEFAULT_ZONE
) -> int:
    """Append an event under a key. Return its seq. Raises the errors of ``Store.run``."""
    names = {
        "meta": keys.zone_meta(zone),
        "log": keys.log(zone),
        "req": keys.idempotency_record(zone, OUTBOX_PRINCIPAL, key),
    }
    event: Args = {"kind": event_type, "channels": channels, "data": data, "trace": "", "bp": ""}
    args: Args = {**event, "actor": actor, "key": key, "fingerprint": OUTBOX_FINGERPRINT}
    return (await engine.store.run(zone, "event_append", keys=names, args=args)).seq
