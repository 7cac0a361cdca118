"""The recipients of an event by its audience: no connection delivers an event to a user who may not receive it.

Every type of event is appended to every kind of channel. Users of every role read by socket, stream and poll, live and
in a replay. That scripts choose the right audience is tested in test_entitlement_lived.py.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import msgspec
import pytest

from engine.process.settings import Settings
from engine.store import scripts
from engine.types import ROLES, Principal, Role, UserId
from server.gateway.frames import INTERNAL_PREFIXES
from server.serve import run_server
from tests.server.gateway.conftest import Client
from tests.server.gateway.streams import EventServer, EventStream, open_event_server
from tests.support.epochs import epoch_name

EVENT_TYPES = sorted(
    {kind.replace("*", "outage") for script in scripts.load_installed_library().values() for kind in script.emits}
)
ROLE_OF_USER: dict[str, Role] = {f"{role}_{n}": role for role in ROLES for n in (1, 2)}
AUDIENCES = (
    *(f"user:{name}" for name in ROLE_OF_USER),
    *(f"role:{role}" for role in ROLES),
    "role:ops",
    "role:managers",
    "user:nobody",
    "job:job_main_01jb4zqk3m8r5t7v9x2c6d8f0g",
    "room:room_1",
    "user:customer_1 user:technician_1 role:ops",
    "user:technician_1 user:technician_2",
)


APPENDED_AT_ONCE = 32
"""How many events are appended at once, in order: one by one takes so long that the unread streams are closed."""
INTERNAL_DATA = '{"code":4002,"reason":"test","family":"none","room":"room_1","is_member":false}'
"""Data that fits every `session.*` event and changes nothing."""


@pytest.fixture
async def site(settings: Settings) -> AsyncIterator[EventServer]:
    """Run a server with the role `gateway` only: no worker reads the test's invented events."""
    gateway = msgspec.structs.replace(settings, port=0, roles=("gateway",))
    async with run_server(gateway) as server, open_event_server(server) as opened:
        yield opened


def data_of(kind: str) -> str:
    """Return the data of an invented event."""
    return INTERNAL_DATA if kind.startswith("session.") else "{}"


def is_entitled(name: str, channel: str) -> bool:
    """Return whether an event with the channels ``channel`` is for this user, whose own channels follow from user id
    and role."""
    return bool(set(channel.split()) & set(Principal(UserId(name), ROLE_OF_USER[name]).channels))


async def seqs_from_socket(client: Client, last_seq: int) -> list[int]:
    """Return the seqs of all pushes that the socket has received, as many as the reply to a ping counts."""
    pong = await client.request(op="ping")
    pushes = client.pushes
    while len(pushes) < pong["ok"]["n"]:
        pushes.append(await client.receive())
    return [push["seq"] for push in pushes]


async def seqs_from_stream(source: EventStream, last_seq: int) -> list[int]:
    """Return the seqs of all events of the stream up to the head ``last_seq``."""
    seqs: list[int] = []
    while int(source.last.rpartition(":")[2]) < last_seq:
        block = await source.next_block()
        assert block is not None
        if block.data is not None and block.event == "":
            seqs.append(block.data["seq"])
    return seqs


async def test_every_type_to_every_address(site: EventServer) -> None:
    """Each user receives every event of their own channels and no other event: by socket, stream and poll, live and in
    a replay. Internal events reach no client. A replay has no event of a chat room, since nobody is a member of one.
    """
    sent: list[tuple[str, str]] = [(kind, to) for kind in EVENT_TYPES for to in AUDIENCES]
    async with AsyncExitStack() as stack:
        sockets, streams = {}, {}
        for name, role in ROLE_OF_USER.items():
            sockets[name] = await stack.enter_async_context(site.node.connect(name, role))
            streams[name] = await stack.enter_async_context(site.open_stream(name, role))
        for first in range(0, len(sent), APPENDED_AT_ONCE):
            batch = sent[first : first + APPENDED_AT_ONCE]
            await asyncio.gather(*(site.node.append(to, kind=kind, data=data_of(kind)) for kind, to in batch))
        last = len(sent)
        await site.node.wait_until_relayed(last)
        for source in streams.values():
            next(iter(site.gateway.streams.streams_of(source.hello.data["user"]["id"]))).heartbeat()  # type: ignore[attr-defined]
        for name, role in ROLE_OF_USER.items():
            expected_seqs = [
                seq
                for seq, (kind, to) in enumerate(sent, 1)
                if is_entitled(name, to) and not kind.startswith(INTERNAL_PREFIXES)
            ]
            assert expected_seqs
            assert await seqs_from_socket(sockets[name], last) == expected_seqs, name
            assert await seqs_from_stream(streams[name], last) == expected_seqs, name
            replayed_seqs = [seq for seq in expected_seqs if not sent[seq - 1][0].startswith(("room.", "message."))]
            polled = await site.poll(name, role, after=f"main:{epoch_name(1)}:0", wait=0)
            assert [event["seq"] for event in polled["events"]] == replayed_seqs, name
            async with site.open_stream(name, role, last=f"main:{epoch_name(1)}:0") as source:
                assert await seqs_from_stream(source, last) == replayed_seqs, name
            async with site.node.connect(name, role, cursors={"main": {"epoch": epoch_name(1), "seq": 0}}) as client:
                assert await seqs_from_socket(client, last) == replayed_seqs, name


async def test_naming_channels_widens_nothing(site: EventServer) -> None:
    """A service that names channels receives only events of channels that it may read. A role that may not name
    channels gets 403.
    """
    await site.node.append("role:service")
    await site.node.append("role:ops user:service_1")
    await site.node.wait_until_relayed(await site.node.append("user:service_2 role:ops"))
    reply = await site.poll(
        "service_1", "service", after=f"main:{epoch_name(1)}:0", channels="user:service_1", types="test.*"
    )
    assert [event["seq"] for event in reply["events"]] == [2]
    for role in sorted(set(ROLES) - {"admin", "ops_manager", "service"}):
        answer = await site.request_events(
            f"{role}_1", role, after=f"main:{epoch_name(1)}:0", channels=f"user:{role}_1"
        )
        assert answer.status_code == 403, role
