"""Read from SQL which users have blocked which, as the keys for Redis. Each zone has these keys of all users."""

from __future__ import annotations

from collections.abc import AsyncIterator

from sqlalchemy import select

from engine.rebuild.contents import Contents, KeyContent, merge
from engine.sql.database import Archive
from engine.sql.schema import blocks
from engine.store import keys
from engine.types import UserId, Zone

PAGE_SIZE = 1_000


async def read_contents(archive: Archive, zone: Zone) -> AsyncIterator[Contents]:
    """Yield, in pages, for each user the users whom they have blocked or who have blocked them. Raises Unavailable."""
    columns, last = blocks.c, ("", "")
    while True:
        after = (columns.user > last[0]) | ((columns.user == last[0]) & (columns.other > last[1]))
        query = select(columns.user, columns.other, columns.active).where(after)
        async with archive.begin_read() as conn:
            rows = (await conn.execute(query.order_by(columns.user, columns.other).limit(PAGE_SIZE))).all()
        if not rows:
            return
        contents: Contents = {}
        for row in rows:
            if row.active:
                for one, other in ((row.user, row.other), (row.other, row.user)):
                    key = keys.user_blocks(zone, UserId(one))
                    merge(contents, {key: KeyContent("set", frozenset({other}))})
        yield contents
        last = (rows[-1].user, rows[-1].other)
