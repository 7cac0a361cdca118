"""Chat rooms on two gateways while connections are cut, a gateway is killed and the database is away."""

from __future__ import annotations

import asyncio
import signal
import sqlite3
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from urllib.parse import urlsplit

import msgspec
from sqlalchemy import select

from engine.runtime import Engine
from engine.sql.room_tables import messages
from engine.store import keys
from engine.types import DEFAULT_ZONE
from tests.faults.chatters import Chats, Size, connected_chats
from tests.support.process import Server, run_server
from tests.support.wait import wait_until


async def test_each_acknowledged_message_is_there_once(engine: Engine, tmp_path: Path) -> None:
    """While sockets are cut, one of two gateways is killed (SIGKILL) and the database is away, each acknowledged
    message is stored and delivered once: the numbers of a room have no holes, every member has all of them in order,
    and nobody else has one. Clients, Redis and SQL agree.
    """
    size = Size.from_environment()
    async with AsyncExitStack() as stack:
        first = await stack.enter_async_context(run_gateway(engine, tmp_path / "one"))
        second = await stack.enter_async_context(run_gateway(engine, tmp_path / "two"))
        chats = await stack.enter_async_context(connected_chats(engine, (first.url, second.url), size))
        async with asyncio.TaskGroup() as group:
            saying = group.create_task(chats.say_all())
            steps = size.kills + 2
            await wait_for_count(chats, size.messages // steps)
            async with locked_database(engine):
                began = chats.count
                await asyncio.sleep(size.away_s)
                await wait_until(lambda: chats.count > began, within_s=30, what="a message without the database")
            for kill in range(size.kills):
                await wait_for_count(chats, size.messages * (kill + 2) // steps)
                assert not saying.done()
                await second.stop(signal.SIGKILL)
                second = await stack.enter_async_context(
                    run_gateway(engine, tmp_path / "two", urlsplit(second.url).port or 0)
                )
        assert chats.count == size.messages
        await assert_clients_have_all(chats)
        await assert_stored_once(engine, chats)
        print(size, f"{chats.repeated} repeats", f"{chats.cuts} cuts")


async def wait_for_count(chats: Chats, count: int) -> None:
    """Wait until ``count`` messages are acknowledged."""
    await wait_until(lambda: chats.count >= count, within_s=3600, what=f"{count} messages")


@asynccontextmanager
async def run_gateway(engine: Engine, data: Path, port: int = 0) -> AsyncIterator[Server]:
    """Run `callout serve` with all its work on the engine's Redis and database."""
    folder = engine.settings.data
    flags = ["--redis", str(engine.settings.redis), "--database", f"sqlite:///{folder}/callout.db"]
    flags += ["--key-file", f"{folder}/signing.key"]
    async with run_server(data, *flags, port=port, limits="off", files=f"{folder}/blobs") as server:
        yield server


@asynccontextmanager
async def locked_database(engine: Engine) -> AsyncIterator[None]:
    """Let nothing be written to the database while the block runs."""
    connection = sqlite3.connect(Path(engine.settings.data) / "callout.db", isolation_level=None, timeout=10)
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
    finally:
        connection.execute("ROLLBACK")
        connection.close()


async def assert_clients_have_all(chats: Chats) -> None:
    """Wait until every member has all messages of their rooms, and assert that each came once and in order, and that
    nobody has another."""
    for chatter in chats.members:
        expected = chats.expected_numbers(chatter)
        await wait_until(
            lambda c=chatter, e=expected: all(len(c.received[room]) >= len(e[room]) for room in e),  # type: ignore[misc]
            within_s=60,
            what="all messages",
        )
        assert chatter.received == expected
    for chatter in [*chats.members, *chats.strangers]:
        await chatter.socket.request("ping")
        assert (chatter.repeats, chatter.unrecovered) == ([], [])
        assert set(chatter.received) <= set(chatter.rooms)
    assert any(chatter.connections > 1 for chatter in chats.strangers), "the stranger of the killed gateway came back"


async def assert_stored_once(engine: Engine, chats: Chats) -> None:
    """Assert that the numbers of each room have no holes, and that SQL has each message once, and Redis the newest."""

    async def is_archived() -> bool:
        seq, archived = await engine.store.redis.hmget(keys.zone_meta(DEFAULT_ZONE), "seq", "archived")
        return int(archived or 0) >= int(seq)

    await wait_until(is_archived, within_s=120, what="the archive")
    async with engine.archive.begin_read() as connection:
        rows = (
            await connection.execute(select(messages.c.room, messages.c.n, messages.c.id, messages.c.client_id))
        ).all()
    assert len(rows) == chats.size.messages
    in_sql = {(row.room, row.n): (row.id, row.client_id) for row in rows}
    for room in chats.rooms:
        said = chats.acknowledged[room]
        assert sorted(said) == list(range(1, len(said) + 1))
        assert {n: in_sql[room, n] for n in said} == {n: (each["id"], each["client_id"]) for n, each in said.items()}
        assert int(await engine.store.redis.hget(keys.room(DEFAULT_ZONE, room), "n") or 0) == len(said)  # type: ignore[misc]
        entries = await engine.store.redis.xrange(keys.room_messages(DEFAULT_ZONE, room))
        in_redis = [msgspec.json.decode(fields[fields.index(b"data") + 1]) for _, fields in entries]
        assert in_redis == [said[n] for n in sorted(said)][-len(in_redis) :]
