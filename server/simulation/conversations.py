"""What simulated users say to each other in the chat rooms of their jobs."""

from __future__ import annotations

import asyncio
from collections import Counter
from uuid import uuid4

from callout_client.listeners import Frame
from server.simulation.chat_lines import LINES, answer_to
from server.simulation.person import Person, job_in_event

SPEAK_PROBABILITY = 0.6
FIRST_STATUS = "accepted"
"""In this status a technician always says something: an introduction."""
MAX_ANSWERS = 20
"""The most answers to visitors in one room."""
THINK_S = (0.5, 3.0)
READ_S = (1.0, 4.0)
TYPE_S_PER_CHARACTER = 0.04


class Conversations:
    """The chat rooms of one simulated user. The user joins each room that opens, says lines that fit the job's status,
    and reads what others say.
    """

    def __init__(self, person: Person, role: str, speak_probability: float | None = None) -> None:
        self._person = person
        self._lines = LINES[role]
        self._speak_probability = SPEAK_PROBABILITY if speak_probability is None else speak_probability
        self._always_speaks_in = FIRST_STATUS if role == "technician" else "in_progress" if role == "mediator" else ""
        self._rng = person.simulation.random_for(f"chat of {person.account.name}")
        self._rooms: dict[str, str] = {}
        self._statuses: dict[str, str] = {}
        self._unread: dict[str, int] = {}
        self._role = role
        self._answers: Counter[str] = Counter()
        self._checker = person.simulation.messages

    def handle(self, event: Frame) -> None:
        """Join, speak or read, as ``event`` demands."""
        data = event.get("data", {})
        if event["type"] == "message.created":
            self._receive(data["message"])
        elif event["type"] == "room.opened":
            room = data["room"]
            self._checker.record_member(room["id"], self._person.id, room["n"])
            self._rooms[room["job"]] = room["id"]
            self._person.start(self._join(room["id"], room["job"]))
        elif event["type"] in ("room.left", "room.closed"):
            if event["type"] == "room.closed" or data["user"]["id"] == self._person.id:
                self._forget_room(data["room"])
        elif event["type"].startswith("job.") and (job := job_in_event(event)).get("status"):
            self._notice_status(job)

    def forget_all(self) -> None:
        """Forget what was received, because the server reported a gap, or the connection is closed."""
        self._checker.forget_member(self._person.id)

    def _notice_status(self, job: Frame) -> None:
        if self._statuses.get(job["id"]) != job["status"]:
            self._statuses[job["id"]] = job["status"]
            self._speak_of(job["id"])
        if job.get("phase") in ("done", "closed"):
            self._statuses.pop(job["id"])

    def _forget_room(self, room: Frame) -> None:
        self._checker.forget_member(self._person.id, room["id"])
        self._rooms.pop(room["job"], None)
        self._unread.pop(room["id"], None)

    async def _join(self, room: str, job: str) -> None:
        await self._person.client.request("join", room=room)
        self._speak_of(job)

    def _speak_of(self, job: str) -> None:
        room, status = self._rooms.get(job), self._statuses.get(job, "")
        lines = self._lines.get(status, ())
        if room and lines and (status == self._always_speaks_in or self._rng.random() < self._speak_probability):
            self._person.start(self.say(room, self._rng.choice(lines)))

    async def say_in(self, job: str, text: str) -> None:
        """Say ``text`` in the room of a job. Do nothing if it is not open."""
        if room := self._rooms.get(job):
            await self.say(room, text)

    def answer_visitor(self, message: Frame) -> None:
        """Answer a message of a person who is not simulated. Simulated people would answer each other forever."""
        room = message["room"]
        if message["sender"]["id"] in self._person.simulation.checker.receipts or self._answers[room] >= MAX_ANSWERS:
            return
        self._answers[room] += 1
        self._person.start(self.say(room, answer_to(self._role, message["text"], self._rng)))

    async def say(self, room: str, text: str) -> None:
        """Think, type, and say ``text``."""
        speed = self._person.simulation.pace.speed
        await asyncio.sleep(self._rng.uniform(*THINK_S) / speed)
        await self._person.client.send("typing", room=room, on=True)
        await asyncio.sleep(TYPE_S_PER_CHARACTER * len(text) / speed)
        said = await self._person.client.request("say", room=room, text=text, client_id=str(uuid4()))
        self._checker.record_said(room, said["message"]["n"])

    def _receive(self, message: Frame) -> None:
        room, n = message["room"], message["n"]
        self._checker.record_received(room, self._person.id, n)
        if message["sender"]["id"] != self._person.id:
            if room not in self._unread:
                self._person.start(self._read(room))
            self._unread[room] = n
            if job := next((job for job, name in self._rooms.items() if name == room), ""):
                self._person.hear(job, message)

    async def _read(self, room: str) -> None:
        await asyncio.sleep(self._rng.uniform(*READ_S))
        if n := self._unread.pop(room, 0):
            await self._person.client.request("read", room=room, n=n)
