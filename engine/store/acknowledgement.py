"""When a command counts as acknowledged: at level ``sql`` a reply waits until SQL has the command's event.

A process reads in ``meta.archived`` how far the archive has copied the log: one read for all callers that wait,
``POLL_S`` seconds after the read before. The archiver notifies the callers in its own process immediately. At level
``replica`` the packed connection waits (engine/store/pipeline.py).
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextvars import ContextVar

from engine.errors import CalloutError, Indeterminate
from engine.process.levels import Level, LevelReport
from engine.types import Cursor, Epoch, Zone, epoch_number

ARCHIVE_TIMEOUT_S = 2.0
"""How long a reply waits for the archive. After that, the outcome is indeterminate."""
POLL_S = 0.002
"""The pause between two reads of ``meta.archived``: shorter than a commit, and no load on Redis."""
SHORT_LIVED_SCRIPTS = frozenset(
    [
        "limit_take",
        "presence_touch",
        "room_typing",
        "socket_close",
        "socket_open",
        "socket_settle",
        "socket_touch",
        "stats_add",
        "technician_locate",
        "technician_touch",
    ]
)
"""Scripts whose effect is short-lived: nobody is promised that it lasts, so no reply to them waits."""

_waits_for_level: ContextVar[bool] = ContextVar("waits_for_level", default=True)


@contextlib.contextmanager
def without_acknowledgement() -> Iterator[None]:
    """Run the block, and the tasks that it starts, without waiting for the acknowledgement level. This is for
    background work: nobody waits for its reply.
    """
    token = _waits_for_level.set(False)
    try:
        yield
    finally:
        _waits_for_level.reset(token)


class Acknowledgements:
    """The acknowledgement level of a process, and the callers that wait for it."""

    def __init__(
        self, level: Level, replicas: int, zones: Iterable[Zone], read_archived: Callable[[Zone], Awaitable[Cursor]]
    ) -> None:
        self.level = level
        self.replicas = replicas if level == "replica" else 0
        self.read_report: Callable[[], LevelReport] = LevelReport
        """Returns the result of checking the servers of the present connections."""
        self._archives = {zone: _ArchiveProgress(zone, read_archived) for zone in zones}

    @property
    def report(self) -> LevelReport:
        """The result of checking whether the connected Redis servers can give the acknowledgement level."""
        return self.read_report()

    @property
    def holds_back(self) -> bool:
        """Whether events of the log may be unacknowledged, so that the relay and the notifier must hold them back."""
        return self.level in ("replica", "sql")

    def needs_replicas(self, script: str = "") -> bool:
        """Return whether the reply to a command waits for the replicas."""
        return self.replicas > 0 and script not in SHORT_LIVED_SCRIPTS and _waits_for_level.get()

    async def wait_for_reply(self, zone: Zone, script: str, at: Cursor) -> None:
        """Wait until the event ``at`` of a reply is acknowledged. Raises Indeterminate after ``ARCHIVE_TIMEOUT_S``."""
        if self.level != "sql" or at.seq <= 0 or script in SHORT_LIVED_SCRIPTS or not _waits_for_level.get():
            return
        archive = self._archives[zone]
        if not await archive.wait(at, ARCHIVE_TIMEOUT_S):
            archive.late = at
            raise Indeterminate("Done, but not yet stored safely; repeat with the same key")

    async def wait_for_archive(self, zone: Zone, at: Cursor, within_s: float) -> int | None:
        """Wait until the archive has passed ``at``. Return the last archived seq, None if it is below ``at`` or of
        another epoch."""
        archive = self._archives[zone]
        return archive.known.seq if await archive.wait(at, within_s) else None

    def problems(self) -> list[str]:
        """Return why commands cannot be acknowledged now: one sentence each."""
        late = [zone for zone, archive in self._archives.items() if archive.late]
        behind = f"level sql: the archive is more than {ARCHIVE_TIMEOUT_S:g} s behind: is an archiver running?"
        return [*self.report.problems, *(f"zone {zone}: {behind}" for zone in late)]

    async def check_archives(self) -> None:
        """Read again how far the archive has copied the log of each zone in which a reply waited too long for it.
        Raises CalloutError.
        """
        for archive in self._archives.values():
            if archive.late:
                await archive.read()

    def note_archived(self, zone: Zone, archived: Cursor) -> None:
        """Wake the callers whose events are archived. The archiver of this process calls this after each commit."""
        self._archives[zone].note(archived)

    async def close(self) -> None:
        """Stop the task that reads the archive's progress in the logs."""
        for archive in self._archives.values():
            await archive.close()


class _ArchiveProgress:
    """How far the archive is in one zone's log, and the callers that wait for it.

    A caller waits for an event of an epoch. After a failover, another epoch may have another event with the same seq:
    its archiving proves nothing, so the wait ends without success.
    """

    def __init__(self, zone: Zone, read_archived: Callable[[Zone], Awaitable[Cursor]]) -> None:
        self.known = Cursor(Epoch(""), 0)
        """The last archived position that this process knows of."""
        self.late: Cursor | None = None
        """An event that the archive did not have when its reply should have left, and does not have yet."""
        self._zone = zone
        self._read_archived = read_archived
        self._waiting: dict[asyncio.Future[bool], Cursor] = {}
        self._poller: asyncio.Task[None] | None = None

    def note(self, archived: Cursor) -> None:
        """Record that the archive has passed ``archived``. A late call with an older position changes nothing."""
        if _sort_key(archived) <= _sort_key(self.known):
            return
        self.known = archived
        if self.late and (self._has_passed(self.late) or self.late.epoch != archived.epoch):
            self.late = None
        for future, at in self._waiting.items():
            if not future.done() and self._has_passed(at):
                future.set_result(True)

    async def wait(self, at: Cursor, within_s: float) -> bool:
        """Return whether the archive has a copy of the event ``at`` within ``within_s`` seconds."""
        if self._has_passed(at):
            return True
        future: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._waiting[future] = at
        if self._poller is None or self._poller.done():
            self._poller = asyncio.create_task(self._poll(), name=f"archived:{self._zone}")
        try:
            async with asyncio.timeout(within_s):
                return await future
        except TimeoutError:
            return False
        finally:
            del self._waiting[future]

    async def read(self) -> Cursor:
        """Read how far the archive is, record and return it. Raises CalloutError."""
        archived = await self._read_archived(self._zone)
        self.note(archived)
        return archived

    async def close(self) -> None:
        """Stop the task that reads the archive's progress in the zone's log."""
        if self._poller:
            self._poller.cancel()
            await asyncio.gather(self._poller, return_exceptions=True)

    def _has_passed(self, at: Cursor) -> bool:
        return at.epoch == self.known.epoch and at.seq <= self.known.seq

    async def _poll(self) -> None:
        """Read the archived position while a caller waits. End the waits for events of another epoch."""
        while self._waiting:
            await asyncio.sleep(POLL_S)
            try:
                archived = await self.read()
            except CalloutError:
                continue
            for future, at in self._waiting.items():
                if at.epoch != archived.epoch and not future.done():
                    future.set_result(False)


def _sort_key(position: Cursor) -> tuple[int, int]:
    return epoch_number(position.epoch), position.seq
