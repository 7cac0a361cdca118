"""Tests of how many events the archiver reads for one batch (``engine/workers/log_reader.py``), on a real Redis."""

from __future__ import annotations

import pytest

from engine.runtime import Engine
from engine.sql.schema import events
from engine.types import DEFAULT_ZONE
from engine.workers import archiver
from engine.workers.log_reader import LogReader
from tests.archive.test_archiver import append_events, archived_seq, count_rows


async def test_an_archiver_that_lags_takes_several_pages(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """A batch has as many pages as one transaction takes, the last one cut. The next batch continues after it, and
    every event is archived once.
    """
    monkeypatch.setattr("engine.workers.log_reader.PAGE_EVENTS", 2)
    monkeypatch.setattr("engine.workers.log_reader.MAX_BATCH_EVENTS", 5)
    head = await append_events(engine, 8)
    reader, found, after = LogReader(engine.store), [], 0
    while batch := await reader.read({DEFAULT_ZONE: after}, 1):
        found.append([event.seq for event in batch[DEFAULT_ZONE].events])
        after = found[-1][-1]
    await reader.close()
    assert found == [list(range(1, 6)), list(range(6, head + 1))]
    assert await archiver.run_once(engine) == head
    assert (await archived_seq(engine), await count_rows(engine, events)) == (head, head)
