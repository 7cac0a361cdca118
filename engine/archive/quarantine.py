"""The quarantine: find the rows that the database refuses, and store their events separately.

A batch with a refused value would be refused at each retry, and block all later events of the zone. So the batch is
halved until the event that causes the error is found. That event is stored without the rows derived from it. If the row
of the event itself is refused, it is not stored. The event's log entry and the error are stored in ``events_refused``,
and a metric counts them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import msgspec
import structlog
from sqlalchemy.exc import IntegrityError

from engine.archive import apply, projection
from engine.archive.foreign_rows import find_foreign_row
from engine.archive.projection import Batch
from engine.archive.reader import Checkpoint
from engine.audit.server_keys import HeadKey
from engine.clock import now_ms
from engine.events import Event
from engine.sql.database import Archive
from engine.types import Epoch, Zone

MAX_ERROR_CHARS = 500
EVENTS_PER_SLICE = 100
"""How many events are folded at once: about 3 ms, during which the other tasks of this process wait."""

log = structlog.get_logger(__name__)


class EventWriter:
    """A writer of a zone's events to SQL. It calls ``refused`` for each event that was put into quarantine."""

    def __init__(
        self,
        archive: Archive,
        zone: Zone,
        in_redis: Mapping[Epoch, int],
        refused: Callable[[Zone], None],
        head_key: HeadKey | None = None,
    ) -> None:
        self._archive = archive
        self._zone = zone
        self._in_redis = in_redis
        self._on_refused = refused
        self._head_key = head_key
        self.finished: list[str] = []
        """Jobs that finished in the events written so far."""
        self.head: str | None = None
        """The note of the last head of the audit tree that was signed with ``head_key``."""

    async def write_events(
        self, events: Sequence[Event], before: Checkpoint | None, epoch_of: Callable[[int], Epoch]
    ) -> None:
        """Write ``events``, which follow ``before``. Each part that succeeds moves the checkpoint.

        Raises the same errors as ``apply.apply_batch``, but not for a refused event: that event is put into quarantine.
        Raises LogMismatch if another program wrote a row with the seq of an event.
        """
        after = Checkpoint(epoch_of(events[-1].seq), events[-1].seq)
        try:
            await self._apply_batch(await _fold_in_slices(events), before, after)
        except apply.VALUE_REFUSED_ERRORS as error:
            if len(events) == 1:
                await self._quarantine_event(events[0], before, after, error)
                return
            half = len(events) // 2
            await self.write_events(events[:half], before, epoch_of)
            between = Checkpoint(epoch_of(events[half - 1].seq), events[half - 1].seq)
            await self.write_events(events[half:], between, epoch_of)

    async def _apply_batch(self, batch: Batch, before: Checkpoint | None, after: Checkpoint) -> None:
        here: Any = {"before": before, "after": after, "in_redis": self._in_redis, "head_key": self._head_key}
        self.head = await apply.apply_batch(self._archive, self._zone, batch, **here) or self.head
        self.finished += batch.finished

    async def _quarantine_event(
        self, event: Event, before: Checkpoint | None, after: Checkpoint, error: Exception
    ) -> None:
        """Put an event into quarantine. Raises the last refusal if the row in ``events_refused`` is refused too, and
        LogMismatch if another program wrote a row with the event's seq: then that row is the cause, not the event.
        """
        await self._check_foreign_row(event, error)
        for batch in _replacement_batches(event, error):
            try:
                await self._apply_batch(batch, before, after)
            except apply.VALUE_REFUSED_ERRORS as again:
                await self._check_foreign_row(event, again)
                last = again
                continue
            log.error("event_refused", zone=event.zone, seq=event.seq, type=event.type, error=_error_text(error))
            self._on_refused(event.zone)
            return
        raise last  # even the row for events_refused is refused, so the cause is not this event

    async def _check_foreign_row(self, event: Event, error: Exception) -> None:
        """Raise LogMismatch if the database refused the event because it already has a row with the event's seq."""
        if isinstance(error, IntegrityError) and (table := await find_foreign_row(self._archive, event)):
            raise apply.LogMismatch(
                f"{event.zone}: {table} has a row in the place of event {event.seq}, which is not archived yet: another"
                " program inserted it. Remove the row; `callout audit verify` names it"
            ) from error


async def _fold_in_slices(events: Sequence[Event]) -> Batch:
    """Fold events, and let the other tasks of this process run in between."""
    batch = Batch()
    for at in range(0, len(events), EVENTS_PER_SLICE):
        projection.fold_events(events[at : at + EVENTS_PER_SLICE], batch)
        await asyncio.sleep(0)
    return batch


def _replacement_batches(event: Event, error: Exception) -> Iterator[Batch]:
    """Yield the batches to try instead of a refused event: first the event without derived rows, then only the row for
    ``events_refused``. The state of jobs, which no later event repeats, is stored with both if the database accepts it.
    """
    whole = projection.fold_events([event])
    stored, refused = ([_quarantine_row(event, error, is_stored=is_stored)] for is_stored in (True, False))
    yield Batch(events=whole.events, channels=whole.channels, job_states=whole.job_states, quarantined=stored)
    yield Batch(job_states=whole.job_states, quarantined=refused)
    yield Batch(quarantined=refused)


def _quarantine_row(event: Event, error: Exception, *, is_stored: bool) -> projection.Row:
    """Return the row for ``events_refused``. ``is_stored`` says that the event itself is in SQL, without
    derived rows.
    """
    texts = {name: getattr(event, name).decode("utf-8", "backslashreplace") for name in ("data", "state")}
    entry = {**msgspec.structs.asdict(event), **texts}
    return {
        "zone": event.zone,
        "seq": event.seq,
        "entry": msgspec.json.encode(entry),
        "error": _error_text(error),
        "kept": is_stored,
        "refused_at": now_ms(),
    }


def _error_text(error: Exception) -> str:
    """Return the error as a text that every database accepts, at most ``MAX_ERROR_CHARS`` long."""
    text = str(getattr(error, "orig", None) or error).replace("\0", "")
    return text.encode("utf-8", "backslashreplace").decode()[:MAX_ERROR_CHARS]
