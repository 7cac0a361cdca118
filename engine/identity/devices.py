"""The devices of users: the push tokens that each push to a user contains.

A token belongs to one installation of an app. If another user signs in on the same phone, the app sends the same token
for them, and the first user loses it: a push for one person must never appear on the phone of another. No reply, event
or line of a log contains a token.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from typing import TYPE_CHECKING

import msgspec
from sqlalchemy import delete, select
from sqlalchemy.ext.asyncio import AsyncConnection

from engine.clock import now_ms
from engine.errors import FieldError, Invalid, NotFound
from engine.events import rfc3339_of
from engine.idempotency import in_redis, in_sql
from engine.idempotency.in_sql import Result
from engine.identity import tokens
from engine.identity.push_subscriptions import WEB_PUSH_PLATFORM, parse_subscription
from engine.sql.database import Archive
from engine.sql.device_tables import devices
from engine.sql.insert import insert_into
from engine.sql.schema import users
from engine.types import Principal, is_id

if TYPE_CHECKING:
    from engine.runtime import Engine

MAX_DEVICES = 20
"""How many devices one user may have. A further device replaces the one whose token was sent longest ago: an app that
was reinstalled often leaves devices that nobody removes, and the phone in use must get its pushes.
"""


class Device(msgspec.Struct, frozen=True):
    """A device of a user, without its token. ``updated_at`` is when the client last sent the token."""

    id: str
    platform: str
    updated_at: str


class PushDevice(msgspec.Struct, frozen=True):
    """A device as the receiver of pushes gets it."""

    id: str
    platform: str
    token: str


class PushAddress(msgspec.Struct, frozen=True):
    """Where pushes to a user go. ``active`` is false if the account is suspended or closed."""

    active: bool
    devices: tuple[PushDevice, ...]


async def put_device(
    engine: Engine, caller: Principal, device_id: str, *, platform: str, token: str, key: str | None = None
) -> Result[Device]:
    """Store a device of the caller with its push token. The token is removed from every other device, of any user.

    Raises Invalid if ``device_id`` is no id, or the token of a browser is no push subscription.
    """
    if not is_id(device_id):
        raise Invalid(errors=[FieldError("/id", "an id: letters, digits, _ and -")])
    if platform == WEB_PUSH_PLATFORM:
        try:
            parse_subscription(token, engine.settings.web_push_origins)
        except ValueError as error:
            raise Invalid(errors=[FieldError("/token", str(error))]) from None
    token_hash, archive = hash_token(token), engine.archive

    async def run_in_transaction(conn: AsyncConnection) -> Device:
        await tokens.lock_user(conn, caller.id)  # two requests for one device must not insert it twice
        mine, at = devices.c.user == caller.id, now_ms()
        await conn.execute(delete(devices).where(mine, devices.c.id == device_id, devices.c.token_hash != token_hash))
        owner = {"user": caller.id, "id": device_id, "platform": platform, "at": at}
        row = insert_into(archive, devices).values(token_hash=token_hash, token=token, **owner)
        await conn.execute(row.on_conflict_do_update(index_elements=["token_hash"], set_=owner))
        newest = select(devices.c.id).where(mine).order_by(devices.c.at.desc(), devices.c.id).limit(MAX_DEVICES)
        await conn.execute(delete(devices).where(mine, devices.c.id != device_id, devices.c.id.not_in(newest)))
        return Device(device_id, platform, rfc3339_of(at))

    request = in_sql.new_request(caller.id, key, "put_device", device_id, platform, token_hash)
    return await in_redis.run_once(engine, request, Device, run_in_transaction)


async def remove_device(engine: Engine, caller: Principal, device_id: str, *, key: str | None = None) -> Result[str]:
    """Remove a device of the caller, so that no push contains its token any more. Raises NotFound for a device that
    the caller does not have.
    """

    async def run_in_transaction(conn: AsyncConnection) -> str:
        mine = delete(devices).where(devices.c.user == caller.id, devices.c.id == device_id)
        if (await conn.execute(mine)).rowcount == 0:
            raise NotFound("You have no such device")
        return device_id

    request = in_sql.new_request(caller.id, key, "remove_device", device_id)
    return await in_redis.run_once(engine, request, str, run_in_transaction)


async def remove_ended_device(archive: Archive, token: str) -> None:
    """Remove the device with this token, of any user, because the push service says that it has ended. Raises
    Unavailable.
    """
    async with archive.begin_write() as conn:
        await conn.execute(delete(devices).where(devices.c.token_hash == hash_token(token)))


async def find_push_addresses(archive: Archive, user_ids: Collection[str]) -> dict[str, PushAddress]:
    """Return where pushes to each of the users go. A user with neither an account nor a device is missing. Raises
    Unavailable.
    """
    columns = devices.c
    accounts = select(users.c.id, users.c.active).where(users.c.id.in_(user_ids))
    rows = select(columns.user, columns.id, columns.platform, columns.token).where(columns.user.in_(user_ids))
    async with archive.begin_read() as conn:
        active = {row.id: row.active for row in (await conn.execute(accounts)).all()}
        found = (await conn.execute(rows.order_by(columns.at))).all()
    addresses = {user: PushAddress(is_active, ()) for user, is_active in active.items()}
    for row in found:
        if active.get(row.user, True):
            known = addresses.get(row.user, PushAddress(True, ()))
            device = PushDevice(row.id, row.platform, row.token)
            addresses[row.user] = PushAddress(True, (*known.devices, device))
    return addresses


def hash_token(token: str) -> str:
    """Return the SHA-256 of a push token, under which the token is found."""
    return hashlib.sha256(token.encode()).hexdigest()
