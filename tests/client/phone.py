"""The Python client, with a record of everything that its listeners received."""

from __future__ import annotations

from typing import Any

from callout_client import Backoff, Callout, Listeners, Status, Sync
from callout_client.listeners import Frame
from engine.runtime import Engine
from engine.types import DEFAULT_ZONE, Principal
from engine.zone import log
from tests.support.wait import wait_until


class Phone:
    """A client that records its events, statuses and snapshots. ``tokens``: what its token hook returns, the last one
    when a fresh token is requested. ``asked`` records whether each request was for a fresh token.
    """

    def __init__(self, url: str, *tokens: str, **options: Any) -> None:
        self.events: list[Frame] = []
        self.repeats: list[Frame] = []
        self.statuses: list[Status] = []
        self.syncs: list[Sync] = []
        self.begun: list[dict[str, int]] = []
        self.joins: list[Frame] = []
        self.asked: list[bool] = []
        self._tokens = tokens
        on = Listeners(
            self.events.append, self.statuses.append, self._record_sync, self.joins.append, self.repeats.append
        )
        self.client = Callout(url, self._next_token if tokens else None, on, **options)
        self.client._backoff = Backoff(first_s=0.02, max_s=0.1)

    async def _next_token(self, fresh: bool) -> str:
        """Return the first token, or the last one if a fresh token is requested."""
        self.asked.append(fresh)
        return self._tokens[-1] if fresh else self._tokens[0]

    def _record_sync(self, sync: Sync) -> None:
        """Record a snapshot, and the cursors at which it was delivered."""
        self.syncs.append(sync)
        self.begun.append({zone: place["seq"] for zone, place in self.client.cursors.items()})

    @property
    def seqs(self) -> list[int]:
        """The seqs of the logged events, in the order in which they were delivered."""
        return [event["seq"] for event in self.events if "seq" in event]

    def status_words(self) -> list[str]:
        """Return status and transport of each change, without repeats: `connected socket`."""
        words = [f"{status.status} {status.transport or ''}".strip() for status in self.statuses]
        return [word for n, word in enumerate(words) if n == 0 or words[n - 1] != word]

    async def wait_for_status(self, status: str, transport: str | None = None) -> None:
        """Wait until the client has this status and this transport."""
        await wait_until(
            lambda: (self.client.status.status, self.client.status.transport) == (status, transport),
            within_s=20,
            what=f"{status} {transport}",
        )

    async def reconnect(self) -> None:
        """Cut the connection, and wait for the next one. It counts connections, because the client may be connected
        again before a test could see it disconnected."""
        joins = len(self.joins)
        await self.client.cut()
        await wait_until(lambda: len(self.joins) > joins, within_s=20, what="the next connection")

    async def check_caught_up(self, engine: Engine, who: Principal) -> None:
        """Wait until the client has received the newest event for ``who``. Assert that since the first snapshot it
        received exactly the events of the log, in order and once.
        """
        last = (await _expected_seqs(engine, who))[-1]
        await wait_until(lambda: self.seqs and self.seqs[-1] >= last, within_s=20, what=f"event {last}")
        seqs = self.seqs
        assert seqs == [seq for seq in await _expected_seqs(engine, who) if self.begun[0]["main"] < seq <= seqs[-1]]
        # Events between joining and the snapshot are in the snapshot, so they are not counted as repeats here.
        assert [event for event in self.repeats if event["seq"] > self.begun[0]["main"]] == []


async def _expected_seqs(engine: Engine, who: Principal) -> list[int]:
    """Return the seqs of all events of the log that are for ``who``."""
    entries: list[Any] = await log.read_range(engine.store.redis, DEFAULT_ZONE, 0, 10_000)
    return [entry.seq for entry in entries if f"user:{who.id}" in entry.to and not entry.type.startswith("session.")]
