"""Rows that the database does not take, found and set aside.

A batch that is refused as data would be refused again for ever, and hold up all that follows it in the zone. It is
halved down to the event at fault. That one is kept without what follows from it, or where it is itself refused not
at all; its entry and the error stand in ``events_refused``, and an alarm is raised.
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
    """Takes events into SQL; ``refused`` is told of each that was set aside."""

    def __init__(
        self, archive: Archive, zone: Zone, lives: Mapping[Epoch, int], refused: Callable[[Zone], None]
    ) -> None:
        self._archive = archive
        self._zone = zone
        self._lives = lives
        self._refused = refused
        self.finished: list[str] = []
        """Jobs that were over by the end of what was taken so far."""

    async def take(self, events: Sequence[Event], before: Checkpoint | None, epoch_of: Callable[[int], Epoch]) -> None:
        """Take ``events``, which follow ``before``; each part that is taken moves the checkpoint. Raises as
        ``apply.apply``, but for refusals.
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
        await apply.apply(self._archive, self._zone, batch, before=before, after=after, lives=self._lives)
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
        raise last  # not even the bare note of it is taken: then it is not this event that is at fault


def _without(event: Event, error: Exception) -> Iterator[Batch]:
    """What is tried in the place of a refused event: it alone, then nothing of it but the note."""
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
    """The error as text that every database takes."""
    told = str(getattr(error, "orig", None) or error).replace("\0", "")
    return told.encode("utf-8", "backslashreplace").decode()[:ERROR_CHARS]
