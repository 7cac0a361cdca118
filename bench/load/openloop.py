"""Claims at fixed times: each is sent at its own time, whether or not earlier claims were answered.

A client that waits for its replies slows down with its server and never measures the queue that it avoids. Here the
times are fixed beforehand, and the latency of a claim counts from the time at which it was due, whenever it was sent.
"""

from __future__ import annotations

import asyncio
import gc
import time
import uuid
from collections.abc import Sequence

import msgspec

from bench.load import swarm
from bench.load.claimants import claim_frame
from bench.load.seed import Town, in_batches, member, muster
from bench.load.swarm import Client, Opening
from bench.rig import BenchError, Rig
from engine.process.signer import Signer, sign_token
from engine.types import JobId, UserId

TICK_S = 0.001
"""The loop's clock has whole milliseconds: half of one would be none, and the load would spin on the core that it
shares with Redis."""
PATIENCE_S = 60.0
_DAY_MS = 86_400_000
_REPLY, _WON, _AT = b'{"id":', b'{"type":"job.accepted"', b'"at":"'


class Timed(msgspec.Struct):
    """Milliseconds: of each claim from when it was due to its reply, of each winner's event from commit to socket.

    The commit is known by the event's ``at``, in whole milliseconds cut off: those are up to 1 ms too long.
    """

    claims: list[float] = msgspec.field(default_factory=list)
    events: list[float] = msgspec.field(default_factory=list)


class Claimer(Client):
    """One technician's connection. What he is answered is noted in the run that he is given."""

    run: Timetable | None = None

    def __init__(self, opening: Opening) -> None:
        super().__init__(opening)

    def heard(self, data: bytes, start: int, end: int) -> None:
        """A reply, or the event of a claim that was won; all else is passed over."""
        run = self.run
        if run is None:
            return
        if data.startswith(_REPLY, start):
            at = start + len(_REPLY)
            stop = data.index(b",", at, end)
            run.answered(int(data[at:stop]), data.startswith(b',"ok"', stop), data[start:end])
        elif data.startswith(_WON, start):
            at = data.index(_AT, start, end) + len(_AT)
            run.told(data[at : at + 24])

    def connection_lost(self, exc: Exception | None) -> None:
        """Nobody is to lose his connection during a run."""
        super().connection_lost(exc)
        if self.run is not None:
            self.run.fail(f"a claimant's socket was lost: {exc or 'closed'}")


class Timetable:
    """One run: claims ``rate`` to the second, each by the one of ``claimers`` to whose squad its job was offered."""

    def __init__(self, claimers: Sequence[Claimer], jobs: Sequence[tuple[JobId, int]], rate: float) -> None:
        self.timed = Timed()
        self._claimers = claimers
        self._frames = [claim_frame(n, job, str(uuid.uuid4())) for n, (job, _) in enumerate(jobs)]
        self._senders = [claimers[squad].write for _, squad in jobs]
        self._rate = rate
        self._began = 0.0
        self._done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def keep(self) -> Timed:
        """Send all in their time, and wait until the last has its reply and its event. Raises BenchError."""
        for claimer in self._claimers:
            claimer.run = self
        gc.collect()
        gc.disable()
        try:
            await self._send()
            async with asyncio.timeout(PATIENCE_S):
                await self._done
        except TimeoutError:
            raise BenchError(f"{len(self.timed.claims)} of {len(self._frames)} claims were answered") from None
        finally:
            gc.enable()
            for claimer in self._claimers:
                claimer.run = None
        return self.timed

    async def _send(self) -> None:
        self._began = time.perf_counter()
        sent, count = 0, len(self._frames)
        while sent < count and not self._done.done():
            due = min(count, int((time.perf_counter() - self._began) * self._rate) + 1)
            for number in range(sent, due):
                self._senders[number](self._frames[number])
            sent = due
            await asyncio.sleep(TICK_S)

    def answered(self, number: int, won: bool, said: bytes) -> None:
        """The reply to a claim came."""
        if not won:
            return self.fail(f"a claim was refused: {said!r}")
        self.timed.claims.append((time.perf_counter() - self._began - number / self._rate) * 1000)
        return self._look()

    def told(self, at: bytes) -> None:
        """The winner's event came; it was committed ``at``."""
        self.timed.events.append(since(at))
        self._look()

    def _look(self) -> None:
        whole = len(self._frames)
        if len(self.timed.claims) == len(self.timed.events) == whole and not self._done.done():
            self._done.set_result(None)

    def fail(self, why: str) -> None:
        """It is no use going on."""
        if not self._done.done():
            self._done.set_exception(BenchError(why))


def since(at: bytes) -> float:
    """Milliseconds from ``at`` (RFC 3339, UTC, this or the last day) until now by the clock of this machine."""
    of_day = (int(at[11:13]) * 3_600 + int(at[14:16]) * 60 + int(at[17:19])) * 1000 + int(at[20:23])
    return (time.time() * 1000 - of_day) % _DAY_MS


async def claimers(rig: Rig, town: Town, port: int, count: int) -> list[Claimer]:
    """The first of each of ``count`` squads, connected; their squads are online."""
    await muster(town, count)
    users = [UserId(member(squad)) for squad in range(count)]
    await in_batches(town.account(user, "technician") for user in users)
    signer = Signer.load_or_create(rig.folder / "data" / "signing.key")
    found = []
    for user in users:
        token = sign_token(signer, user, "technician", name=user)
        found.append(await swarm.entered(port, Claimer(swarm.callout_opening(port, token))))
    return found


async def offered(town: Town, squads: int, count: int) -> list[tuple[JobId, int]]:
    """``count`` new jobs, each offered to the ten of a squad in its turn."""
    await muster(town, squads)
    turns = [number % squads for number in range(count)]
    return list(zip(await in_batches(town.offered_job(squad) for squad in turns), turns, strict=True))


def percentile(took: Sequence[float], share: float) -> float:
    """The value within which ``share`` of ``took`` are."""
    ordered = sorted(took)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]
