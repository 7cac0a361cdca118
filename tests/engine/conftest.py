"""The fixtures of the engine's tests. Each event that a test causes must match the schema of its type in
``/asyncapi.json``, and each technician's summary and place on the map their record.
"""

from __future__ import annotations

from collections.abc import AsyncIterator

import msgspec
import pytest

from engine.runtime import Engine
from server.schemas import payloads
from tests.support import event_log
from tests.support.map_index import check_people
from tests.support.summaries import check_summaries


@pytest.fixture
async def engine(engine: Engine) -> AsyncIterator[Engine]:
    """Yield a new engine. After the test, assert that each event in its log matches the schema of the event's type, and
    that each summary repeats its technician's record. The map has everybody.
    """
    yield engine
    for event in await event_log.events(engine):
        if not event.type.startswith(("session.", "audit.")):
            shape = payloads.data_struct_of(event.type)
            assert msgspec.json.decode(event.data, type=shape) is not None, event.type
    await check_summaries(engine)
    await check_people(engine)
