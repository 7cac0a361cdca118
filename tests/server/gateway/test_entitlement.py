"""Who hears of what: no way of listening lets anybody have a frame that he is not entitled to.

By address: every type of event, to every kind of channel, before people of every role, over every way of listening, as
it happens and at replay. That scripts address each event to the right ones is test_entitlement_lived.py's.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import msgspec
import pytest

from engine.process.settings import Settings
from engine.store import scripts
from engine.types import ROLES, Principal, Role, UserId
from server.serve import running
from tests.server.gateway.conftest import Client
from tests.server.gateway.streams import Site, Source, site_of
from tests.support.epochs import epoch_name

TYPES = sorted(
    {kind.replace("*", "outage") for script in scripts.load_installed_library().values() for kind in script.emits}
)
PEOPLE: dict[str, Role] = {f"{role}_{n}": role for role in ROLES for n in (1, 2)}
ADDRESSES = (
    *(f"user:{name}" for name in PEOPLE),
    *(f"role:{role}" for role in ROLES),
    "role:ops",
    "role:managers",
    "user:nobody",
    "job:job_main_01jb4zqk3m8r5t7v9x2c6d8f0g",
    "room:room_1",
    "user:customer_1 user:technician_1 role:ops",
    "user:technician_1 user:technician_2",
)


@pytest.fixture
async def site(settings: Settings) -> AsyncIterator[Site]:
    """A gateway alone: what is appended by hand here means nothing to the others."""
    gateway = msgspec.structs.replace(settings, port=0, roles=("gateway",))
    async with running(gateway) as server, site_of(server) as opened:
        yield opened


def entitled(name: str, to: str) -> bool:
    """Whether an event addressed so is this person's: by who he is, and by nothing else."""
    return bool(set(to.split()) & set(Principal(UserId(name), PEOPLE[name]).channels))


async def by_socket(client: Client, last: int) -> list[int]:
    """All that comes up to the head, which a ping's answer counts."""
    pong = await client.ask(op="ping")
    found = client.pushes
    while len(found) < pong["ok"]["n"]:
        found.append(await client.receive())
    return [push["seq"] for push in found]


async def by_stream(source: Source, last: int) -> list[int]:
    """All that comes up to the head."""
    found: list[int] = []
    while int(source.last.rpartition(":")[2]) < last:
        block = await source.block()
        assert block is not None
        if block.data is not None and block.event == "":
            found.append(block.data["seq"])
    return found


async def test_every_type_to_every_address(site: Site) -> None:
    """Every type of event × every address × every role: each gets his own, all of it, and nothing else; over socket,
    stream and poll, live and at replay, alike. Types for gateways reach nobody.
    """
    sent: list[tuple[str, str]] = [(kind, to) for kind in TYPES for to in ADDRESSES]
    async with AsyncExitStack() as stack:
        sockets, streams = {}, {}
        for name, role in PEOPLE.items():
            sockets[name] = await stack.enter_async_context(site.node.client(name, role))
            streams[name] = await stack.enter_async_context(site.source(name, role))
        for kind, to in sent:
            data = '{"code":4002,"reason":"test","family":"none"}' if kind.startswith("session.") else "{}"
            last = await site.node.append(to, kind=kind, data=data)
        await site.node.relayed(last)
        for source in streams.values():
            next(iter(site.gateway.streams.streams_of(source.hello.data["user"]["id"]))).heartbeat()  # type: ignore[attr-defined]
        for name, role in PEOPLE.items():
            mine = [
                seq for seq, (kind, to) in enumerate(sent, 1) if entitled(name, to) and not kind.startswith("session.")
            ]
            assert mine
            assert await by_socket(sockets[name], last) == mine, name
            assert await by_stream(streams[name], last) == mine, name
            polled = await site.poll(name, role, after=f"main:{epoch_name(1)}:0", wait=0)
            assert [event["seq"] for event in polled["events"]] == mine, name
            async with site.source(name, role, last=f"main:{epoch_name(1)}:0") as source:
                assert await by_stream(source, last) == mine, name
            async with site.node.client(name, role, cursors={"main": {"epoch": epoch_name(1), "seq": 0}}) as client:
                assert await by_socket(client, last) == mine, name


async def test_naming_channels_widens_nothing(site: Site) -> None:
    """A service that names what it may hears that and no more; who may name nothing is refused, not narrowed."""
    await site.node.append("role:service")
    await site.node.append("role:ops user:service_1")
    await site.node.relayed(await site.node.append("user:service_2 role:ops"))
    told = await site.poll(
        "service_1", "service", after=f"main:{epoch_name(1)}:0", channels="user:service_1", types="test.*"
    )
    assert [event["seq"] for event in told["events"]] == [2]
    for role in sorted(set(ROLES) - {"admin", "ops_manager", "service"}):
        answer = await site.get(f"{role}_1", role, after=f"main:{epoch_name(1)}:0", channels=f"user:{role}_1")
        assert answer.status_code == 403, role
