"""The Python client with everything that it was told, on the way to a server that may fail."""

from __future__ import annotations

from typing import Any

from callout_client import Backoff, Callout, On, Status, Sync
from callout_client.listeners import Frame
from engine.runtime import Engine
from engine.types import DEFAULT_ZONE, Principal
from engine.zone import log
from tests.support.wait import wait_until


class Phone:
    """``tokens``: what the hook gives, the last of them when it is asked for a fresh one; ``asked`` how it was."""

    def __init__(self, url: str, *tokens: str, **options: Any) -> None:
        self.events: list[Frame] = []
        self.repeats: list[Frame] = []
        self.statuses: list[Status] = []
        self.syncs: list[Sync] = []
        self.begun: list[dict[str, int]] = []
        self.joins: list[Frame] = []
        self.asked: list[bool] = []
        self._tokens = tokens
        on = On(self.events.append, self.statuses.append, self._sync, self.joins.append, self.repeats.append)
        self.client = Callout(url, self._token if tokens else None, on, **options)
        self.client._backoff = Backoff(first_s=0.02, cap_s=0.1)

    async def _token(self, fresh: bool) -> str:
        self.asked.append(fresh)
        return self._tokens[-1] if fresh else self._tokens[0]

    def _sync(self, sync: Sync) -> None:
        self.syncs.append(sync)
        self.begun.append({zone: place["seq"] for zone, place in self.client.cursors.items()})

    @property
    def seqs(self) -> list[int]:
        """Of the logged events, in the order in which they were handed on."""
        return [event["seq"] for event in self.events if "seq" in event]

    def told(self) -> list[str]:
        """Status and transport, each change once."""
        words = [f"{status.status} {status.transport or ''}".strip() for status in self.statuses]
        return [word for n, word in enumerate(words) if n == 0 or words[n - 1] != word]

    async def until(self, status: str, transport: str | None = None) -> None:
        """Wait until that is its status."""
        await wait_until(
            lambda: (self.client.status.status, self.client.status.transport) == (status, transport),
            within_s=20,
            what=f"{status} {transport}",
        )

    async def caught_up(self, engine: Engine, who: Principal) -> None:
        """Wait until it was given the newest event for ``who``; since the first snapshot it must have been given just
        what the log has, in order, once.
        """
        last = (await _due(engine, who))[-1]
        await wait_until(lambda: self.seqs and self.seqs[-1] >= last, within_s=20, what=f"event {last}")
        given = self.seqs
        assert given == [seq for seq in await _due(engine, who) if self.begun[0]["main"] < seq <= given[-1]]
        # What came between joining and the snapshot is in the snapshot: dropped, and no repeat.
        assert [event for event in self.repeats if event["seq"] > self.begun[0]["main"]] == []


async def _due(engine: Engine, who: Principal) -> list[int]:
    entries: list[Any] = await log.read_range(engine.store.redis, DEFAULT_ZONE, 0, 10_000)
    return [one.seq for one in entries if f"user:{who.id}" in one.to and not one.type.startswith("session.")]
