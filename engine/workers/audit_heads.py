"""What the archiver does for a zone's audit tree beside appending: it continues the tree after another release or after
a restored database, signs heads, and stores the last head in a file.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import structlog

from engine.archive import audit_refill
from engine.archive.reader import Checkpoint
from engine.audit import heads
from engine.audit.server_keys import HeadKey
from engine.types import Zone

if TYPE_CHECKING:
    from engine.runtime import Engine

log = structlog.get_logger(__name__)


class HeadPublisher:
    """Signs the heads of audit trees for this archiver, and stores the last one of each zone in a file."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.key = HeadKey(engine.signer)
        self._due: dict[Zone, float] = {}
        self._grown: set[Zone] = set()

    async def prepare(self, zone: Zone, checkpoint: Checkpoint | None) -> None:
        """Prepare the zone's tree, so that the events after ``checkpoint`` can be appended. Raises the same errors as
        ``Archive.begin_write``.
        """
        archive, seq = self._engine.archive, checkpoint.seq if checkpoint else 0
        try:
            published = heads.read_file(self._engine.settings.data, zone)
        except ValueError as error:
            log.error("audit_head_file_unreadable", zone=zone, error=str(error))
            published = None
        if published:
            await audit_refill.begin_tree_if_restored(archive, zone, published, seq)
        await audit_refill.refill(archive, zone, seq)
        self._grown.add(zone)

    def note_batch(self, zone: Zone, note: str | None) -> None:
        """Record that the tree has grown. ``note`` is the head that was signed with the batch, or None."""
        self._grown.add(zone)
        self.store(zone, note)

    def store(self, zone: Zone, note: str | None) -> None:
        """Write a head to the zone's file, after SQL has committed it. An error is only logged, because the next head
        replaces this one.
        """
        if note is None:
            return
        self._due[zone] = _loop_time() + heads.HEAD_INTERVAL_S
        try:
            heads.write_file(self._engine.settings.data, zone, note)
        except OSError as error:
            log.error("audit_head_not_stored", zone=zone, error=str(error))

    async def sign_due(self, zone: Zone) -> None:
        """Sign a head if the last one is older than a minute and the tree has grown. Raises the same errors as
        ``Archive.begin_write``.
        """
        if zone in self._grown and self._due.get(zone, 0.0) <= _loop_time():
            self._grown.discard(zone)
            self.store(zone, await heads.sign_newest(self._engine.archive, zone, self.key))


def _loop_time() -> float:
    return asyncio.get_running_loop().time()
