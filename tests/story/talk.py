"""A booking of `direct_booking` with its chat room, for the story of the chat."""

from __future__ import annotations

from typing import Any

from callout_client.listeners import Frame
from tests.story.conftest import Person, Scenario
from tests.support.socket_client import SocketClient

PLACE = {"lat": 40.7512, "lon": -73.9921, "address": "1 Main St"}


class Talk:
    """The people of a booking with its room. The customer has two sockets at the first gateway: a phone and a laptop.
    The technician is at the second one.
    """

    def __init__(self, scenario: Scenario) -> None:
        self.scenario = scenario

    async def create(self, second_url: str) -> Talk:
        """Create the customer and the technician, both connected, and four users who have no part in the room: a
        customer, a technician, a mediator, and ops who follow the zone. Then book the technician.
        """
        scenario = self.scenario
        service = await scenario.create_service()
        self.carla = await scenario.create_person("customer", "Carla")
        self.otto = await scenario.create_person("customer", "Otto")
        self.mia = await scenario.create_person("mediator", "Mia")
        self.olga = await scenario.create_person("ops_manager", "Olga")
        for person in (self.carla, self.otto, self.mia, self.olga):
            await person.socket.open()
        assert "ok" in await self.olga.socket.request("subscribe", channel="zone:main")
        self.tom = await scenario.create_technician("Tom", service)
        self.tara = await scenario.create_technician("Tara", service)
        await self.tom.socket.close()
        self.tom.socket = await SocketClient(second_url, self.tom.bearer).open()
        self.laptop = await SocketClient(self.carla.socket.url, self.carla.bearer).open()
        booked = await self.carla.post("/v1/jobs", {"service": service, "technician": self.tom.id, **PLACE})
        assert booked.status_code == 201, booked.text
        self.booked: dict[str, Any] = booked.json()
        self.room: str = self.booked["room"]["id"]
        self.job: str = self.booked["job"]["id"]
        await self.tom.socket.wait_for("room.opened")
        return self

    async def say(self, person: Person, text: str, client_id: str) -> Frame:
        """Say a message over the person's socket, and return the reply."""
        return await person.socket.request("say", room=self.room, text=text, client_id=client_id)

    @property
    def sockets(self) -> tuple[SocketClient, ...]:
        """The connections of the customer and the technician, at both gateways."""
        return self.carla.socket, self.laptop, self.tom.socket

    async def close(self) -> None:
        """Close the second socket of the customer."""
        await self.laptop.close()

    def assert_nobody_else_heard(self) -> None:
        """Assert that users who have no part in the room received no event of it, except ops, who received the events
        without text."""
        for person in (self.otto, self.tara, self.mia):
            assert not [push for push in person.socket.pushes if self.room in str(push)], person.user["name"]
        for push in self.olga.socket.received("new_message"):
            assert not {"text", "files"} & set(push["data"]["message"])


def texts_of(socket: SocketClient) -> list[str]:
    """Return the texts that a socket has received as `new_message`, in order."""
    return [push["data"]["message"]["text"] for push in socket.received("new_message")]
