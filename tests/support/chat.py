"""Open chat rooms, say messages, and read what happened in a room, for the engine's tests."""

from __future__ import annotations

import uuid
from typing import Any, NamedTuple

import msgspec

from engine.domain import jobs, message_history, messages, rooms
from engine.domain.commands import CommandInput
from engine.domain.message_history import MessageQuery
from engine.domain.messages import MessageDraft
from engine.identity import accounts
from engine.identity.accounts import NewAccount
from engine.runtime import Engine
from engine.store import keys
from engine.types import DEFAULT_ZONE, JobId, Principal, Role, RoomId, ServiceId, UserId, room_of
from tests.support import event_log, people


class Chat(NamedTuple):
    """A job of `direct_booking` with its room and the room's two members."""

    service: ServiceId
    job: JobId
    room: RoomId
    customer: Principal
    technician: Principal


async def book_with_room(engine: Engine, technician: str = "tom") -> Chat:
    """Book a technician by name: the room opens with the booking."""
    service, carla = await people.service(engine), await people.customer(engine)
    tom = await people.technician(engine, technician, service, capacity=100)
    booked = await people.job(engine, carla, service, blueprint="direct_booking", technician=technician)
    job = people.id_of(booked)
    return Chat(service, job, room_of(job), carla, tom)


async def accepted_job(engine: Engine) -> Chat:
    """Book a job of `home_service` that the technician tom has accepted: the room opens with the acceptance."""
    service, carla = await people.service(engine), await people.customer(engine)
    tom = await people.technician(engine, "tom", service, capacity=100)
    job = await people.offered_job(engine, carla, service)
    await send_command(engine, tom, job, "claim")
    return Chat(service, job, room_of(job), carla, tom)


async def send_command(engine: Engine, who: Principal, job: str, command: str, **arguments: Any) -> None:
    """Send a command of the blueprint for a job."""
    await jobs.run_command(engine, who, job, CommandInput(command=command, **arguments))


async def staff(engine: Engine, role: Role = "mediator") -> Principal:
    """Create the account of a member of staff, by default a mediator, and return the caller for it."""
    email = f"{uuid.uuid4().hex}@example.org"
    new = NewAccount(email=email, password="correct horse", name=f"The {role}", role=role)
    user = (await accounts.create_user(engine, people.ADMIN, new)).value
    return Principal(user.id, role, user.name)


async def say(engine: Engine, who: Principal, room: str, text: str, client_id: str = "", **more: Any) -> dict[str, Any]:
    """Say a message and return it. Without ``client_id`` it gets a new one."""
    draft = MessageDraft(text=text, client_id=client_id or uuid.uuid4().hex, **more)
    message: dict[str, Any] = msgspec.json.decode((await messages.say(engine, who, room, draft)).message)
    return message


async def texts(engine: Engine, who: Principal, room: str, **query: Any) -> list[str]:
    """Return the texts of the messages on one page of a room."""
    page = await message_history.list_messages(engine, who, room, MessageQuery(**query))
    return [msgspec.json.decode(item)["text"] for item in page.items]


async def read_room(engine: Engine, who: Principal, room: str) -> dict[str, Any]:
    """Return the room as the caller sees it."""
    document: dict[str, Any] = msgspec.json.decode(await rooms.read_room(engine, who, room))
    return document


async def room_events(engine: Engine, room: str) -> list[tuple[str, set[str], dict[str, Any]]]:
    """Return type, channels and data of the events of a room, in the order of the log."""
    found = [
        e
        for e in await event_log.events(engine)
        if e.type.startswith(("room.", "message.")) and room.encode() in e.data
    ]
    return [(e.type, set(e.to), event_log.payload(e)) for e in found]


async def fill_room(engine: Engine, room: str, count: int) -> list[UserId]:
    """Make ``count`` mediators without accounts members of a room, and return their ids."""
    users = [UserId(f"s{number}") for number in range(count)]
    for user in users:
        names = {"room": keys.room(DEFAULT_ZONE, RoomId(room)), "log": keys.log(DEFAULT_ZONE)}
        names |= {"meta": keys.zone_meta(DEFAULT_ZONE)}
        names |= {"req": keys.idempotency_record(DEFAULT_ZONE, UserId("a"), user)}
        args = {"user": user, "name": '"S"', "role": "mediator", "actor": "admin:a", "key": user, "fingerprint": user}
        await engine.store.run(DEFAULT_ZONE, "room_member_add", keys=names, args={**args, "trace": ""})
    return users
