"""The fixtures of the engine's tests. Each event that a test causes must match the schema of its type in
``/asyncapi.json``, and each technician's summary and place on the map their record.
"""

from __future__ import annotations

from collections.abc import AsyncIterator

import msgspec
import pytest

from engine.runtime import Engine
from server.schemas import payloads
from tests.support import event_log, job_keys
from tests.support.map_index import check_people
from tests.support.summaries import check_summaries


@pytest.fixture
def records_by_hand() -> None:
    """Mark a test that writes or deletes keys of jobs by itself: its log does not say what they are."""


@pytest.fixture
async def engine(engine: Engine, request: pytest.FixtureRequest) -> AsyncIterator[Engine]:
    """Yield a new engine. After the test, assert that each event in its log matches the schema of the event's type, and
    that each summary repeats its technician's record. The map has everybody, and the log determines the keys of jobs.
    """
    yield engine
    for event in await event_log.events(engine):
        if not event.type.startswith(("session.", "audit.")):
            shape = payloads.data_struct_of(event.type)
            assert msgspec.json.decode(event.data, type=shape) is not None, event.type
    await check_summaries(engine)
    await check_people(engine)
    if "records_by_hand" not in request.fixturenames:
        await job_keys.check_jobs(engine, job_keys.rows_of_events(await job_keys.read_events(engine)))
