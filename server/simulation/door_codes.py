"""Confirmation codes at the door: the customer sends them in the chat, and the technician reads them there.

Real people would say a code aloud. Only the chat works between a simulated person and a visitor.
"""

from __future__ import annotations

import asyncio
import re
from collections import defaultdict
from random import Random

from callout_client import Refusal
from callout_client.listeners import Frame
from server.simulation.conversations import Conversations
from server.simulation.person import Person, job_in_event

PURPOSES = {"scheduled": "start", "in_progress": "completion"}
"""The code that the next step needs, by the status of the job."""
CODE_STEPS = {("marketplace", "start"), ("marketplace", "complete")}
QUESTIONS = {"start": "I am here. What is the code, please?", "complete": "All done. May I have the second code?"}
SAYINGS = {"start": "The code to begin is {}.", "completion": "Thank you! The code to finish is {}."}
FIND_S = (1.0, 3.0)
ANSWER_S, POLL_S = 45.0, 0.5
_CODE = re.compile(r"\b\d{6}\b")
_ASKS = re.compile(r"\bcode\b", re.IGNORECASE)


class HeardCodes:
    """The codes that one technician has read in the chats of their jobs."""

    def __init__(self, conversations: Conversations) -> None:
        self._conversations = conversations
        self._unused: dict[str, list[str]] = defaultdict(list)
        self._used: dict[str, set[str]] = defaultdict(set)

    def hear(self, job: str, text: str) -> None:
        """Store the codes in a message."""
        self._unused[job] += [code for code in _CODE.findall(text) if code not in self._used[job]]

    def forget(self, job: str) -> None:
        """Forget the codes of a job that is no longer held."""
        self._unused.pop(job, None)
        self._used.pop(job, None)

    async def ask(self, job: str, step: str) -> str | None:
        """Ask for a code, and return the newest unused one; None if nobody answers."""
        if not self._unused[job]:
            await self._conversations.say_in(job, QUESTIONS[step])
        for _ in range(round(ANSWER_S / POLL_S)):
            if self._unused[job]:
                code = self._unused[job].pop()
                self._used[job].add(code)
                return code
            await asyncio.sleep(POLL_S)
        return None


class CodeSayer:
    """A customer who says the codes of their jobs when the technician asks for them."""

    def __init__(self, person: Person, conversations: Conversations, rng: Random) -> None:
        self._person, self._conversations, self._rng = person, conversations, rng

    def hear(self, job: str, text: str) -> None:
        """Answer a message that asks for a code."""
        if _ASKS.search(text):
            self._person.start(self._say_code(job))

    def handle(self, event: Frame) -> None:
        """Send the first code when the technician has arrived, because a visitor may not know that they must ask."""
        if event["type"] == "technician.arrived" and (job := job_in_event(event).get("id")):
            self._person.start(self._say_code(job))

    async def _say_code(self, job: str) -> None:
        await asyncio.sleep(self._rng.uniform(*FIND_S) / self._person.simulation.pace.speed)
        try:
            view = (await self._person.account.request("GET", f"/v1/jobs/{job}"))["job"]
        except Refusal:
            return
        purpose = PURPOSES.get(view["status"], "")
        if code := (view.get("codes") or {}).get(purpose):
            await self._conversations.say_in(job, SAYINGS[purpose].format(code))
