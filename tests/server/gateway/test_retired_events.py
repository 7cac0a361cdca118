"""A client whose cursor is older than the events that retention deleted gets `too_old`, over a socket, a poll and a
stream."""

from __future__ import annotations

from collections.abc import AsyncIterator

import msgspec
import pytest
from sqlalchemy import update

from engine.clock import now_ms
from engine.process.settings import Settings
from engine.runtime import Engine
from engine.sql.schema import events
from engine.startup import open_engine
from engine.store import keys
from engine.types import DEFAULT_ZONE
from engine.workers import archiver
from engine.workers import retention as retention_work
from server.serve import run_server
from tests.server.gateway.conftest import Node
from tests.server.gateway.streams import EventServer, open_event_server
from tests.support.epochs import epoch_name

RETIRED, LATER, DAYS_3_MS = 10, 5, 3 * 86_400_000
TOO_OLD = {"recovered": False, "reason": "too_old"}


async def retire_first_events(settings: Settings) -> int:
    """Append events for the user ann. Retention deletes the first ``RETIRED`` of them from SQL, and Redis has only the
    last event. Return the last seq.
    """
    async with open_engine(settings) as engine:
        node = Node(engine, None, 0)  # type: ignore[arg-type]
        await node.append("user:ann", times=RETIRED, data='{"job":null}')
        await archiver.run_once(engine)
        async with engine.archive.begin_write() as conn:
            await conn.execute(update(events).values(at=now_ms() - DAYS_3_MS))
        await node.append("user:ann", times=LATER, data='{"job":null}')
        await archiver.run_once(engine)
        assert await retention_work.run_once(engine) == 0, "announced, and not deleted yet"
        await archiver.run_once(engine)
        assert await retention_work.run_once(engine) == RETIRED
        return await forget_log(engine)


async def forget_log(engine: Engine) -> int:
    """Trim the log in Redis to its last event, as happens to old events, and return the seq of that event."""
    head = int(await engine.store.command("HGET", keys.zone_meta(DEFAULT_ZONE), "seq"))
    await engine.store.redis.xtrim(keys.log(DEFAULT_ZONE), minid=f"{head}-0", approximate=False)
    return head


@pytest.fixture
async def retired_site(settings: Settings) -> AsyncIterator[tuple[EventServer, int]]:
    """Run a server whose zone has no longer its first events, because retention deleted them. Yield the server and the
    seq of the log's newest event.
    """
    head = await retire_first_events(msgspec.structs.replace(settings, keep_events_days=1))
    async with run_server(settings) as running, open_event_server(running) as site:
        yield site, head


async def test_a_cursor_below_retired_events_is_too_old(retired_site: tuple[EventServer, int]) -> None:
    """With a cursor before a retired event, the socket, the poll and the stream return `recovered` false and `too_old`,
    no missed event, and the head from which the client continues. A cursor at the last retired event can be resumed.
    """
    site, head = retired_site
    await site.node.wait_until_relayed(head)
    epoch = site.gateway.relay.tails[DEFAULT_ZONE].epoch
    for seq in (0, RETIRED - 1):
        cursor = {"epoch": epoch_name(1), "seq": seq}
        async with site.node.connect("ann", cursors={DEFAULT_ZONE: cursor}) as client:
            assert client.hello["zones"][DEFAULT_ZONE] == {"epoch": epoch, "seq": head} | TOO_OLD  # type: ignore[attr-defined]
            new = await site.node.append("user:ann")
            assert await client.next_seqs(1) == [new]
            head = new
        text = f"{DEFAULT_ZONE}:{epoch_name(1)}:{seq}"
        assert (
            await site.poll("ann", after=text) == {"events": [], "cursor": f"{DEFAULT_ZONE}:{epoch}:{head}"} | TOO_OLD
        )
        async with site.open_stream("ann", last=text) as stream:
            hello = stream.hello.data["zones"][DEFAULT_ZONE]  # type: ignore[attr-defined]
            assert (hello["recovered"], hello["reason"]) == (False, "too_old")
    reply = await site.poll("ann", after=f"{DEFAULT_ZONE}:{epoch_name(1)}:{RETIRED}")
    assert reply["recovered"] and [each["seq"] for each in reply["events"]][:LATER] == [
        *range(RETIRED + 1, RETIRED + LATER + 1)
    ]
