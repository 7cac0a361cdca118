"""The faults that a visitor of a demo may cause: the kill of a gateway, a pause of Redis, and lost connections of
phones.

The faults are real: the process gets SIGKILL, the embedded Valkey pauses its clients, and the sockets of simulated
users are aborted. The counters of the demo show that nothing is lost.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import time
from collections.abc import Callable, Sequence
from contextlib import suppress

from server.demo.control import Refused, json_answer
from server.demo.counters import pause_redis
from server.simulation.person import Person
from server.web.demo_relay import Answer, Visit

KILL_EVERY_S = 12.0
"""The least time between two kills. A server ends if a gateway ends five times in a row within 10 s of its start."""
ANSWER_S = 0.3
"""The delay of the kill (s), so that the answer reaches the visitor first: it is relayed by the gateway that is
killed."""
PAUSE_S = 5.0
CUT_SHARE = 0.3


class Faults:
    """The faults of one demo. ``server_pid`` is the parent of the gateways, and ``redis`` the URL of the embedded
    Valkey; None if the demo uses another Redis. ``people`` returns the simulated users.
    """

    def __init__(self, server_pid: int, redis: str | None, people: Callable[[], Sequence[Person]]) -> None:
        self._server_pid, self._redis, self._people = server_pid, redis, people
        self._next_at_s: dict[str, float] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._rng = random.Random()

    async def kill_gateway(self, visit: Visit) -> Answer:
        """Kill the gateway that relayed this request, as soon as the answer is sent. Raises Refused."""
        if visit.pid == self._server_pid:
            raise Refused("unavailable", "This server has one process; start the demo with `--workers 2`")
        self._wait_turn("kill_gateway", KILL_EVERY_S)
        self._tasks.add(task := asyncio.create_task(_kill_later(visit.pid)))
        task.add_done_callback(self._tasks.discard)
        return json_answer({"fault": "kill_gateway", "pid": visit.pid})

    async def pause_redis(self, visit: Visit) -> Answer:
        """Let Redis pause. Raises Refused if it is not the demo's own."""
        if self._redis is None:
            raise Refused("unavailable", "This demo uses a Redis of yours, which it does not pause")
        self._wait_turn("pause_redis", 2 * PAUSE_S)
        await pause_redis(self._redis, PAUSE_S)
        return json_answer({"fault": "pause_redis", "seconds": PAUSE_S})

    async def cut_phones(self, visit: Visit) -> Answer:
        """Abort the sockets of some of the simulated users."""
        people = [person for person in self._people() if person.client.status.status == "connected"]
        chosen = self._rng.sample(people, round(CUT_SHARE * len(people)))
        for person in chosen:
            await person.client.cut()
        return json_answer({"fault": "cut_phones", "cut": len(chosen), "of": len(people)})

    def _wait_turn(self, fault: str, every_s: float) -> None:
        """Raise Refused if the same fault was caused a moment ago."""
        rest_s = self._next_at_s.get(fault, 0.0) - time.monotonic()
        if rest_s > 0:
            raise Refused("rate_limited", f"Again in {rest_s:.0f} s", rest_s)
        self._next_at_s[fault] = time.monotonic() + every_s


async def _kill_later(pid: int) -> None:
    await asyncio.sleep(ANSWER_S)
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
