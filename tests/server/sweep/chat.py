"""The chat of the sweep's world: messages that only the members of a room and ops may see."""

from __future__ import annotations

from typing import Any, Protocol

from engine.types import JobId, room_of

READERS = ("customer", "holder", "ops_manager", "admin")
ROOM_RELATIONS = {
    "customer": {"member"},
    "holder": {"member"},
    "ops_manager": {"ops"},
    "admin": {"ops"},
}
"""The relations of users to the room of the job `held`. The former technician has left the room."""


class ChatWorld(Protocol):
    """The methods and fields of the sweep's world that this module uses."""

    jobs: dict[str, str]
    ids: dict[str, str]

    def new_secret(self, secret_name: str, *readers: str) -> str:
        """Create a secret."""

    async def request(self, caller: str, method: str, path: str, body: Any = None) -> Any:
        """Send a request."""


async def create_messages(world: ChatWorld) -> None:
    """Let the two sides of two jobs talk, after the technician of one of the jobs has changed."""
    world.ids["room"] = room_of(JobId(world.jobs["held"]))
    for job, caller in (("held", "customer"), ("held", "holder"), ("disputed", "customer")):
        text = world.new_secret(f"what the {caller} says about {job}", *READERS)
        path = f"/v1/rooms/{room_of(JobId(world.jobs[job]))}/messages"
        await world.request(caller, "POST", path, {"text": text, "client_id": "story"})
