"""Make the notices of an event: the notifications to people that the job's blueprint declares for it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import structlog

from engine.events import Event
from engine.types import new_id

if TYPE_CHECKING:
    from engine.runtime import Engine

NOTICE_ERRORS = (LookupError, TypeError, ValueError, AttributeError)
"""The errors when a notice cannot be made: a user's blueprint names a field that the event does not have, or the
blueprint was changed and does not have the job's state any more."""


log = structlog.get_logger(__name__)


def notices_of_event(engine: Engine, event: Event) -> list[str | bytes]:
    """Return the notices of an event as the arguments of a script. Each notice is three arguments: the receiver, the
    notification as JSON, and the blueprint. A notice that cannot be made is logged.
    """
    found: list[str | bytes] = []
    try:
        notices = engine.blueprints.notices_of_event(event.blueprint_key, event.type, event.data)
    except NOTICE_ERRORS as error:
        # A notice that cannot be made must not block all later ones.
        log.error("notice_not_made", zone=event.zone, seq=event.seq, type=event.type, error=repr(error))
        return []
    for notice in notices:
        data = {"id": new_id("ntf"), "kind": notice.kind, "title": notice.title, "body": notice.body}
        found += [notice.user, msgspec.json.encode(data | {"job": notice.job}), event.blueprint_key]
    return found
