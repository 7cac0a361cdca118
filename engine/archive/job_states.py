"""Make rows of the table ``job_states`` from the field ``state`` of log entries, which has the changes of jobs that no
event's data contains.
"""

from __future__ import annotations

from typing import Any

import msgspec
import structlog

from engine.events import Event

_state_decoder = msgspec.json.Decoder(dict[str, msgspec.Raw])

log = structlog.get_logger(__name__)


def state_rows(event: Event) -> list[dict[str, Any]]:
    """Return a row for each job that the script of ``event`` changed.

    All rows of a job are kept in their order. Each has only the changes, so all of them together determine the job's
    keys (engine/rebuild/job_state.py). (Rejected: the whole state in each event, and only the latest row kept. A claim
    would read and write 25 more fields.)
    """
    if not event.state:
        return []
    try:
        changed = _state_decoder.decode(event.state)
    except msgspec.DecodeError as error:
        log.error("state_not_archived", zone=event.zone, seq=event.seq, type=event.type, error=str(error))
        return []
    return [
        {"job": job, "seq": event.seq, "zone": event.zone, "state": bytes(text).decode("utf-8", "replace")}
        for job, text in changed.items()
    ]
