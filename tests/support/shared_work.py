"""Work that a process does once, and that the tests would repeat: each of them opens its own engine."""

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
    """Let all engines of this process share their compiled SQL statements, and all connections to Redis the version of
    the client library, which each of them parses from the package.
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
