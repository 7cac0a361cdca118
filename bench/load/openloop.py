"""Claims at fixed times (open loop): each is sent at its own time, whether or not earlier claims have their
replies.

A client that waits for each reply slows down together with its server. Therefore it never measures the queue that would
grow at a fixed rate. Here the times are fixed beforehand, and the latency of a claim counts from the time at which it
was due, whenever it was sent.
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
from bench.load.seed import SeededZone, bring_squads_online, gather_in_batches, member_id
from bench.load.swarm import Client, Handshake
from bench.rig import BenchError, Rig
from engine.process.signer import Signer, sign_token
from engine.types import JobId, UserId

SEND_PAUSE_S = 0.001
"""The pause between two sends. The clock of the event loop counts whole milliseconds. With a pause of half a
millisecond the load would not sleep at all, and would use up the core that it shares with Redis.
"""
TIMEOUT_S = 60.0
_DAY_MS = 86_400_000
_REPLY_PREFIX, _ACCEPTED_PREFIX, _AT_FIELD = b'{"id":', b'{"type":"job.accepted"', b'"at":"'


class ClaimLatencies(msgspec.Struct):
    """Milliseconds of each claim from its due time to its reply, and of each holder's event from the commit until it is
    received.

    The time of the commit is the event's ``at``, which is cut off to whole milliseconds: the measured times are up to 1
    ms too long.
    """

    claims: list[float] = msgspec.field(default_factory=list)
    events: list[float] = msgspec.field(default_factory=list)


class Claimer(Client):
    """The connection of one technician. It passes replies and events to the current ``schedule``, if there is one."""

    schedule: ClaimSchedule | None = None

    def __init__(self, handshake: Handshake) -> None:
        super().__init__(handshake)

    def on_payload(self, data: bytes, start: int, end: int) -> None:
        """Pass a reply, or the event of a successful claim, to the schedule. Ignore all other payloads."""
        schedule = self.schedule
        if schedule is None:
            return
        if data.startswith(_REPLY_PREFIX, start):
            at = start + len(_REPLY_PREFIX)
            stop = data.index(b",", at, end)
            schedule.on_reply(int(data[at:stop]), data.startswith(b',"ok"', stop), data[start:end])
        elif data.startswith(_ACCEPTED_PREFIX, start):
            at = data.index(_AT_FIELD, start, end) + len(_AT_FIELD)
            schedule.on_event(data[at : at + 24])

    def connection_lost(self, exc: Exception | None) -> None:
        """Fail the run: no connection may be lost during a run."""
        super().connection_lost(exc)
        if self.schedule is not None:
            self.schedule.fail(f"a claimant's socket was lost: {exc or 'closed'}")


class ClaimSchedule:
    """One run with ``rate`` claims a second. Each claim is sent by the claimer whose squad has the offers of
    the job.
    """

    def __init__(self, claimers: Sequence[Claimer], jobs: Sequence[tuple[JobId, int]], rate: float) -> None:
        self.latencies = ClaimLatencies()
        self._claimers = claimers
        self._frames = [claim_frame(n, job, str(uuid.uuid4())) for n, (job, _) in enumerate(jobs)]
        self._senders = [claimers[squad].write for _, squad in jobs]
        self._rate = rate
        self._started_s = 0.0
        self._done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def run(self) -> ClaimLatencies:
        """Send all claims at their times, and wait until each has its reply and its event. Raise BenchError after
        ``TIMEOUT_S``.
        """
        for claimer in self._claimers:
            claimer.schedule = self
        gc.collect()
        gc.disable()
        try:
            await self._send()
            async with asyncio.timeout(TIMEOUT_S):
                await self._done
        except TimeoutError:
            raise BenchError(f"{len(self.latencies.claims)} of {len(self._frames)} claims were answered") from None
        finally:
            gc.enable()
            for claimer in self._claimers:
                claimer.schedule = None
        return self.latencies

    async def _send(self) -> None:
        self._started_s = time.perf_counter()
        count_sent, count = 0, len(self._frames)
        while count_sent < count and not self._done.done():
            count_due = min(count, int((time.perf_counter() - self._started_s) * self._rate) + 1)
            for number in range(count_sent, count_due):
                self._senders[number](self._frames[number])
            count_sent = count_due
            await asyncio.sleep(SEND_PAUSE_S)

    def on_reply(self, number: int, won: bool, reply: bytes) -> None:
        """Record the latency of a claim. A refusal fails the run."""
        if not won:
            return self.fail(f"a claim was refused: {reply!r}")
        self.latencies.claims.append((time.perf_counter() - self._started_s - number / self._rate) * 1000)
        return self._finish_if_complete()

    def on_event(self, event_time: bytes) -> None:
        """Record the latency of the event of a successful claim. ``event_time`` is the time of its commit."""
        self.latencies.events.append(age_ms(event_time))
        self._finish_if_complete()

    def _finish_if_complete(self) -> None:
        frame_count = len(self._frames)
        if len(self.latencies.claims) == len(self.latencies.events) == frame_count and not self._done.done():
            self._done.set_result(None)

    def fail(self, reason: str) -> None:
        """End the run with an error."""
        if not self._done.done():
            self._done.set_exception(BenchError(reason))


def age_ms(event_time: bytes) -> float:
    """Return the milliseconds from ``event_time`` (RFC 3339, UTC, less than a day ago) until now, by this machine's
    clock.
    """
    hours, minutes, seconds, ms = (int(event_time[a:b]) for a, b in ((11, 13), (14, 16), (17, 19), (20, 23)))
    of_day = ((hours * 60 + minutes) * 60 + seconds) * 1000 + ms
    return (time.time() * 1000 - of_day) % _DAY_MS


async def connect_claimers(rig: Rig, zone: SeededZone, port: int, count: int) -> list[Claimer]:
    """Bring ``count`` squads online, and connect the first member of each."""
    await bring_squads_online(zone, count)
    users = [UserId(member_id(squad)) for squad in range(count)]
    await gather_in_batches(zone.create_account(user, "technician") for user in users)
    signer = Signer.load_or_create(rig.folder / "data" / "signing.key")
    clients = []
    for user in users:
        token = sign_token(signer, user, "technician", name=user)
        clients.append(await swarm.open_client(port, Claimer(swarm.callout_handshake(port, token))))
    return clients


async def offer_jobs(zone: SeededZone, squads: int, count: int) -> list[tuple[JobId, int]]:
    """Create ``count`` jobs, offered to the squads in turn, and return each job with the number of its squad."""
    await bring_squads_online(zone, squads)
    turns = [number % squads for number in range(count)]
    return list(zip(await gather_in_batches(zone.create_offered_job(squad) for squad in turns), turns, strict=True))


def percentile(latencies: Sequence[float], share: float) -> float:
    """Return the latency that the fraction ``share`` (0 to 1) of the claims does not exceed."""
    ordered = sorted(latencies)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]
