"""The quarantine: find the rows that the database refuses, and set them aside.

A batch with a refused value would be refused at each retry, and block all later events of the zone. So it is halved
until the event at fault is found. That event is stored without the rows derived from it, or, if the event itself is
refused, not at all. Its entry and the error are stored in ``events_refused``, and a metric counts it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

import msgspec
import structlog

from engine.archive import apply, projection
from engine.archive.projection import Batch
from engine.archive.reader import Checkpoint
from engine.clock import now_ms
from engine.events import Event
from engine.sql.database import Archive
from engine.types import Epoch, Zone

ERROR_CHARS = 500

log = structlog.get_logger(__name__)


class Taking:
    """Writes events to SQL; calls ``refused`` for each event that was set aside."""

    def __init__(
        self, archive: Archive, zone: Zone, in_redis: Mapping[Epoch, int], refused: Callable[[Zone], None]
    ) -> None:
        self._archive = archive
        self._zone = zone
        self._in_redis = in_redis
        self._refused = refused
        self.finished: list[str] = []
        """Jobs that finished in the events written so far."""

    async def take(self, events: Sequence[Event], before: Checkpoint | None, epoch_of: Callable[[int], Epoch]) -> None:
        """Write ``events``, which follow ``before``; each part that succeeds moves the checkpoint.

        Raises as ``apply.apply``, except for refusals.
        """
        after = Checkpoint(epoch_of(events[-1].seq), events[-1].seq)
        try:
            await self._apply(projection.fold(events), before, after)
        except apply.REFUSALS as error:
            if len(events) == 1:
                await self._set_aside(events[0], before, after, error)
                return
            half = len(events) // 2
            await self.take(events[:half], before, epoch_of)
            between = Checkpoint(epoch_of(events[half - 1].seq), events[half - 1].seq)
            await self.take(events[half:], between, epoch_of)

    async def _apply(self, batch: Batch, before: Checkpoint | None, after: Checkpoint) -> None:
        await apply.apply(self._archive, self._zone, batch, before=before, after=after, in_redis=self._in_redis)
        self.finished += batch.finished

    async def _set_aside(self, event: Event, before: Checkpoint | None, after: Checkpoint, error: Exception) -> None:
        for batch in _without(event, error):
            try:
                await self._apply(batch, before, after)
            except apply.REFUSALS as again:
                last = again
                continue
            log.error("event_refused", zone=event.zone, seq=event.seq, type=event.type, error=_short(error))
            self._refused(event.zone)
            return
        raise last  # even the note is refused, so this event is not the cause


def _without(event: Event, error: Exception) -> Iterator[Batch]:
    """The replacements for a refused event, in order: the event without derived rows, then only the note."""
    whole = projection.fold([event])
    yield Batch(events=whole.events, channels=whole.channels, refused=[_note(event, error, kept=True)])
    yield Batch(refused=[_note(event, error, kept=False)])


def _note(event: Event, error: Exception, *, kept: bool) -> projection.Row:
    entry = {**msgspec.structs.asdict(event), "data": event.data.decode("utf-8", "backslashreplace")}
    return {
        "zone": event.zone,
        "seq": event.seq,
        "entry": msgspec.json.encode(entry),
        "error": _short(error),
        "kept": kept,
        "refused_at": now_ms(),
    }


def _short(error: Exception) -> str:
    """The error as a text that every database accepts."""
    text = str(getattr(error, "orig", None) or error).replace("\0", "")
    return text.encode("utf-8", "backslashreplace").decode()[:ERROR_CHARS]
