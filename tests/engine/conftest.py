"""The fixtures of the engine's tests. After each test, its events must match the schemas in ``/asyncapi.json``, and
each technician's summary and place on the map must match the technician's record.
"""

from __future__ import annotations

from collections.abc import AsyncIterator

import msgspec
import pytest

from engine.rules.receipts import client_data
from engine.runtime import Engine
from server.schemas import payloads
from tests.support import event_log, job_keys
from tests.support.map_index import check_people
from tests.support.summaries import check_summaries


@pytest.fixture
def records_by_hand() -> None:
    """Mark a test that writes or deletes keys of jobs by itself. After such a test the keys of jobs are not compared
    with the log.
    """


@pytest.fixture
async def engine(engine: Engine, request: pytest.FixtureRequest) -> AsyncIterator[Engine]:
    """Yield a new engine. After the test, assert that each event in its log matches the schema of the event's type,
    that each technician's summary and entry in the map's index match the record, and that the keys of jobs are those
    that the log determines.
    """
    yield engine
    for event in await event_log.events(engine):
        if not event.type.startswith(("session.", "audit.")):
            shape = payloads.data_struct_of(event.type)
            assert msgspec.json.decode(client_data(event.type, event.data), type=shape) is not None, event.type
    await check_summaries(engine)
    await check_people(engine)
    if "records_by_hand" not in request.fixturenames:
        await job_keys.check_jobs(engine, job_keys.rows_of_events(await job_keys.read_events(engine)))
