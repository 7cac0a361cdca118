"""The bare script: four Redis commands that take a job, packed and timed like the claim. See ``bare.lua``."""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import Any

from engine.store.connection import Store


class Bare:
    """The script loaded into the store's server."""

    def __init__(self, store: Store, sha: str) -> None:
        self._store = store
        self._sha = sha

    @classmethod
    async def loaded(cls, store: Store) -> Bare:
        """The script, loaded."""
        sha = await store.redis.script_load((Path(__file__).parent / "bare.lua").read_text())
        return cls(store, sha)

    async def prepared(self, jobs: int) -> list[tuple[Any, ...]]:
        """The calls that take so many new jobs, each a small hash of its own."""
        names = [f"bare:job:{uuid.uuid4()}" for _ in range(jobs)]
        async with self._store.redis.pipeline(transaction=False) as pipe:
            for name in names:
                pipe.hset(name, mapping={"status": "broadcasted", "version": 1, "customer": "user_c", "amount": 4900})
            await pipe.execute()
        return [self._call(name) for name in names]

    def _call(self, job: str) -> tuple[Any, ...]:
        return ("EVALSHA", self._sha, 3, job, f"bare:req:{uuid.uuid4()}", "bare:log", "user_technician")
