"""Devices on both databases: a token has one owner and a device has one token, also under concurrent requests."""

from __future__ import annotations

import asyncio
import dataclasses

from sqlalchemy import insert

from engine.identity import devices
from engine.runtime import Engine
from engine.sql.database import Archive
from engine.sql.schema import users
from engine.types import Principal, UserId

CARLA, OTTO = Principal(UserId("usr_carla"), "customer"), Principal(UserId("usr_otto"), "customer")


async def put(engine: Engine, user: Principal, device: str, token: str) -> None:
    """Store a device."""
    await devices.put_device(engine, user, device, platform="ios", token=token)


async def tokens(archive: Archive) -> dict[str, set[tuple[str, str]]]:
    """Return the devices with their tokens, by user."""
    addresses = await devices.find_push_addresses(archive, [CARLA.id, OTTO.id])
    return {user: {(device.id, device.token) for device in to.devices} for user, to in addresses.items()}


async def test_a_token_has_one_owner_and_a_device_one_token(engine: Engine, archive: Archive) -> None:
    """If a device sends a new push token, the new token replaces the old one; if another device sends the same token,
    the first device loses it. Of concurrent requests any one may be the last, and only that one counts.
    """
    shared = dataclasses.replace(engine, archive=archive)
    async with archive.begin_write() as conn:
        for user in (CARLA.id, OTTO.id):
            fields = {"name": "x", "role": "customer", "active": True, "password_hash": "", "version": 1}
            await conn.execute(insert(users).values(id=user, email=user, created_at=0, **fields))
    await put(shared, CARLA, "phone", "t1")
    await put(shared, CARLA, "phone", "t2")
    await put(shared, CARLA, "tablet", "t" * 4096)
    await put(shared, OTTO, "phone", "t2")
    assert await tokens(archive) == {CARLA.id: {("tablet", "t" * 4096)}, OTTO.id: {("phone", "t2")}}
    await asyncio.gather(*(put(shared, CARLA, "phone", f"c{number}") for number in range(4)))
    await asyncio.gather(*(put(shared, user, "phone", "same") for user in (CARLA, OTTO) for _ in range(3)))
    found = await tokens(archive)
    owners = [user for user, known in found.items() if ("phone", "same") in known]
    assert len(owners) == 1 and all(len([d for d, _ in known if d == "phone"]) <= 1 for known in found.values())
