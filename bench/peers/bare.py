"""The bare script: four Redis commands that claim a job, packed and timed like Callout's claim. See ``bare.lua``."""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import Any

from engine.store.connection import Store


class BareScript:
    """The bare script, loaded into the store's Redis."""

    def __init__(self, store: Store, sha: str) -> None:
        self._store = store
        self._sha = sha

    @classmethod
    async def load(cls, store: Store) -> BareScript:
        """Load the bare script (four Redis commands) into the store's Redis."""
        sha = await store.redis.script_load((Path(__file__).parent / "bare.lua").read_text())
        return cls(store, sha)

    async def prepare_calls(self, jobs: int) -> list[tuple[Any, ...]]:
        """Create ``jobs`` small hashes as jobs, and return the calls that claim them."""
        names = [f"bare:job:{uuid.uuid4()}" for _ in range(jobs)]
        async with self._store.redis.pipeline(transaction=False) as pipe:
            for name in names:
                pipe.hset(name, mapping={"status": "broadcasted", "version": 1, "customer": "user_c", "amount": 4900})
            await pipe.execute()
        return [self._claim_call(name) for name in names]

    def _claim_call(self, job: str) -> tuple[Any, ...]:
        return ("EVALSHA", self._sha, 3, job, f"bare:req:{uuid.uuid4()}", "bare:log", "user_technician")
