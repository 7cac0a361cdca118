"""Share work between the engines of one test process. Each test opens its own engine, which would repeat this work."""

from __future__ import annotations

import functools
from typing import Any

import redis.utils
from sqlalchemy.dialects.postgresql.asyncpg import PGDialect_asyncpg
from sqlalchemy.dialects.sqlite.aiosqlite import SQLiteDialect_aiosqlite
from sqlalchemy.ext.asyncio import AsyncEngine
from sqlalchemy.util import LRUCache

from engine.sql import database

MAX_STATEMENTS = 2_000


def share() -> None:
    """Let all engines of this process share one cache of compiled SQL statements. Read the version of the Redis client
    library once, and not for each connection.
    """
    redis.utils.get_lib_version = functools.cache(redis.utils.get_lib_version)
    statements: LRUCache[Any, Any] = LRUCache(MAX_STATEMENTS)
    create_engine = database._create_engine

    def create(url: database.URL) -> AsyncEngine:
        engine = create_engine(url)
        engine.sync_engine._compiled_cache = statements
        return engine

    database._create_engine = create
    for dialect in (SQLiteDialect_aiosqlite, PGDialect_asyncpg):  # a part of the key of each statement
        dialect.__eq__ = lambda self, other: type(self) is type(other)  # type: ignore[method-assign]
        dialect.__hash__ = lambda self: hash(type(self))  # type: ignore[method-assign]
