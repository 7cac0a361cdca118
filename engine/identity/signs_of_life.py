"""The last sign of life of each user, over all gateways and devices: a frame, a pong or an authenticated request.

Each process collects the signs that it sees and writes them once a second in one batch, each user at most
``WRITES_PER_LEASE`` times in a lease. A sign that came in between is written when its turn comes, with its true age; so
the stored sign is at most 10 s late. The key of a user expires one lease after the sign. So a gateway that dies takes
nobody offline who comes back within the lease.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from time import monotonic
from typing import TYPE_CHECKING, Any

import structlog

from engine.errors import CalloutError
from engine.process.loops import not_cancelled
from engine.store import keys
from engine.store.error_replies import LibraryNotLoaded, Moved
from engine.types import UserId

if TYPE_CHECKING:
    from engine.runtime import Engine

WRITE_INTERVAL_S = 1.0
WRITES_PER_LEASE = 9
"""How often a user's sign of life is written in a lease at most, so that a busy user costs Redis hardly more than an
idle one."""
MAX_PER_BATCH = 500
"""The most signs in one batch. Other work of the process and of Redis runs between two batches."""

log = structlog.get_logger(__name__)


class SignsOfLife:
    """The signs of life that this process has seen and not written yet. ``time`` returns seconds of a monotonic
    clock."""

    def __init__(self, engine: Engine, time: Callable[[], float] = monotonic) -> None:
        self._engine = engine
        self._time = time
        self._seen: dict[str, float] = {}
        self._written: dict[str, float] = {}
        """When a sign of each user was last written, the oldest first, for the last ``interval_s``."""
        self.interval_s = engine.settings.lease_s / WRITES_PER_LEASE
        self._lease_ms = round(engine.settings.lease_s * 1000)

    def note(self, user: str, at: float | None = None) -> None:
        """Note a sign of life of ``user`` at the time ``at`` (now, if None). This never waits."""
        at = self._time() if at is None else at
        if at > self._seen.get(user, float("-inf")):
            self._seen[user] = at

    async def run(self) -> None:
        """Write the signs once a second, until cancelled. Signs that could not be written are written later."""
        while not_cancelled():
            await asyncio.sleep(WRITE_INTERVAL_S)
            try:
                await self.write()
            except CalloutError as error:
                log.warning("signs_of_life_wait", error=str(error), users=len(self._seen))
            except Exception:  # the task must go on after an error of any type
                log.exception("signs_of_life_failed")

    async def write(self) -> None:
        """Write the signs of the users of whom none was written for ``interval_s``. Raises the errors of the calls
        after all other signs are written; the failed signs stay noted.
        """
        now = self._time()
        while self._written and next(iter(self._written.values())) <= now - self.interval_s:
            del self._written[next(iter(self._written))]
        due = [user for user in self._seen if user not in self._written]
        failure: BaseException | None = None
        for start in range(0, len(due), MAX_PER_BATCH):
            batch = [(user, self._seen.pop(user)) for user in due[start : start + MAX_PER_BATCH]]
            done = await asyncio.gather(*(self._submit_sign(*sign) for sign in batch), return_exceptions=True)
            for (user, at), result in zip(batch, done, strict=True):
                if isinstance(result, BaseException):
                    failure = result
                    self.note(user, at)
                else:
                    self._written[user] = now
        if isinstance(failure, LibraryNotLoaded):  # a server was restarted: the next turn finds the library
            await self._engine.store.load_libraries()
        elif isinstance(failure, Moved):  # the next turn sends the sign to the right shard
            await self._engine.store.shards.follow(failure)
        elif failure is not None:
            raise failure

    def _submit_sign(self, user: str, at: float) -> Awaitable[Any]:
        """Queue the write of one sign. It is no task of its own, since a gateway writes a thousand signs a second."""
        store, age_ms = self._engine.store, max(0, round((self._time() - at) * 1000))
        args, key = {"age_ms": age_ms, "lease_ms": self._lease_ms}, keys.presence(UserId(user))
        call = store.scripts["presence_touch"].call({"presence": key}, args)
        return store.shards.shard_of(key).pipeline.submit(*call)


async def read_signs(engine: Engine, users: Sequence[str]) -> dict[str, int]:
    """Return the last sign of life (ms since the Unix epoch) of those of ``users`` who are online: who gave one within
    the lease. Raises Unavailable.
    """
    found = await engine.store.read_connection.get_each([keys.presence(UserId(user)) for user in users])
    return {user: int(value) for user, value in zip(users, found, strict=True) if value is not None}
