"""What simulated users say to each other in the chat rooms of their jobs."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from uuid import uuid4

from callout_client.listeners import Frame
from server.simulation.person import Person, job_in_event

LINES: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "customer": {
        "requested": ("Hello, can you come today?", "Hello, are you free?"),
        "accepted": ("Thank you. When will you be here?", "Great. Please ring twice.", "Good, I am at home."),
        "on_the_way": ("The door is open.", "You can park in front of the house."),
        "reached": ("I am coming down.", "Second floor, on the left."),
        "in_progress": ("Do you need anything?", "How long will it take?"),
        "completed": ("It works again, thank you!", "Thank you, good bye."),
    },
    "technician": {
        "accepted": ("Hello, I have taken your job.", "Hello, I will come to you now."),
        "on_the_way": ("I am on my way.", "I have left, traffic is light."),
        "reached": ("I am at the door.", "I have arrived."),
        "in_progress": ("I have found the fault.", "This takes a few minutes."),
        "completed": ("All done. Have a good day!", "It is repaired. Good bye."),
    },
    "mediator": {"in_progress": ("Hello, I am the mediator. What has happened?",)},
}
"""What users of each role say, by the status of the job."""
SPEAK_PROBABILITY = 0.6
FIRST_STATUS = "accepted"
"""In this status a technician always says something: an introduction."""
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

    async def say(self, room: str, text: str) -> None:
        """Think, type, and say ``text``."""
        await asyncio.sleep(self._rng.uniform(*THINK_S))
        await self._person.client.send("typing", room=room, on=True)
        await asyncio.sleep(TYPE_S_PER_CHARACTER * len(text))
        said = await self._person.client.request("say", room=room, text=text, client_id=str(uuid4()))
        self._checker.record_said(room, said["message"]["n"])

    def _receive(self, message: Frame) -> None:
        room, n = message["room"], message["n"]
        self._checker.record_received(room, self._person.id, n)
        if message["sender"]["id"] != self._person.id:
            if room not in self._unread:
                self._person.start(self._read(room))
            self._unread[room] = n

    async def _read(self, room: str) -> None:
        await asyncio.sleep(self._rng.uniform(*READ_S))
        if n := self._unread.pop(room, 0):
            await self._person.client.request("read", room=room, n=n)
