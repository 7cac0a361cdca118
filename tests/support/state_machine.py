"""State machines of hypothesis that run against a real engine: the same examples in each run, without a deadline.
With ``CALLOUT_TEST_SEED`` the examples are those of this seed.
"""

from __future__ import annotations

import asyncio
import os
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import RuleBasedStateMachine, run_state_machine_as_test

from engine.runtime import Engine
from tests.support.sizes import choose_size

Record = dict[str, str]
T = TypeVar("T")


class EngineMachine(RuleBasedStateMachine):
    """A state machine with an engine. Its rules and invariants run coroutines on ``loop``."""

    loop: asyncio.AbstractEventLoop
    engine: Engine
    _rebuild_differs = False

    def __init__(self) -> None:
        super().__init__()
        self._replies: dict[tuple[Any, ...], Any] = {}

    def wait(self, work: Awaitable[T]) -> T:
        """Run one coroutine to its end, and return its result."""
        return self.loop.run_until_complete(work)

    def compare_rebuild_at(self, is_due: bool, check: Callable[[], Awaitable[None]]) -> bool:
        """Compare the zone with its rebuild after this example if ``is_due``; ``check`` fails if they differ.
        Hypothesis runs an example in which they differ again. The repeat is compared even if ``is_due`` is False,
        because hypothesis would otherwise report a flaky example in place of the difference. Return whether they were
        compared.
        """
        if is_due or type(self)._rebuild_differs:
            type(self)._rebuild_differs = True
            self.wait(check())
            type(self)._rebuild_differs = False
            return True
        return False

    @contextmanager
    def reading(self, commands: Iterable[tuple[Any, ...]]) -> Iterator[None]:
        """Send the ``commands``, which only read, in one round trip. In the block ``read`` returns their replies."""

        async def send(every: list[tuple[Any, ...]]) -> list[Any]:
            return await asyncio.gather(*(self._send(*command) for command in every))

        every = list(commands)
        self._replies = dict(zip(every, self.wait(send(every)), strict=True))
        try:
            yield
        finally:
            self._replies = {}

    def read(self, *command: Any) -> Any:
        """Return the reply to a command that only reads."""
        known = command in self._replies
        return self._replies[command] if known else self.wait(self._send(*command))

    def _send(self, *command: Any) -> Awaitable[Any]:
        store = self.engine.store
        has_key = len(command) > 1  # the command TIME has no key
        return store.command(*command) if has_key else store.command_on(next(iter(store.shards.all)), *command)

    def live_hash(self, key: str) -> Record:
        """Return the fields of a Redis hash, decoded to text."""
        row = self.read("HGETALL", key)
        return {row[i].decode(): row[i + 1].decode() for i in range(0, len(row), 2)}

    def members(self, key: str) -> set[str]:
        """Return the members of a sorted set of Redis."""
        return {member.decode() for member in self.read("ZRANGE", key, 0, -1)}


MAX_SERIES = 10


def run_examples(
    machine: type[RuleBasedStateMachine], *, few: int, many: int, steps: int, series: int | None = None
) -> None:
    """Run random sequences of at most ``steps`` rules of ``machine``: ``few``, or ``many`` in a long run. They are the
    same in each run; each ``series`` has others.
    """
    seed = os.environ.get("CALLOUT_TEST_SEED", "" if series is None else str(series))
    if seed:
        machine._hypothesis_internal_use_seed = int(seed)  # type: ignore[attr-defined]  # what @seed sets
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=choose_size(few, many),
            stateful_step_count=steps,
            derandomize=not seed,
            phases=[Phase.generate],
            deadline=None,
            database=None,
            suppress_health_check=list(HealthCheck),
        ),
    )


def run_until_seen(
    machine: type[RuleBasedStateMachine], seen: Counter[str], wanted: set[str], *, few: int, many: int, steps: int
) -> None:
    """Run series of examples until ``machine`` has counted each of ``wanted`` in ``seen``, at most ``MAX_SERIES``.

    Which events a series has changes with each change of a rule. A run with a seed of its own is one series.
    """
    seen.clear()
    has_seed = "CALLOUT_TEST_SEED" in os.environ
    for series in range(1 if has_seed else MAX_SERIES):
        run_examples(machine, few=few, many=many, steps=steps, series=series)
        if wanted <= {name for name, times in seen.items() if times}:
            return
    assert has_seed, f"never seen: {sorted(name for name in wanted if not seen[name])}"
