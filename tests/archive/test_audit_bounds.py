"""The verification of an archive of any size, and with any number of contradictions, needs a bounded memory."""

from __future__ import annotations

import tracemalloc

import pytest
from sqlalchemy import delete, update

from engine.audit import row_checker, stored_rows, verifier
from engine.sql.audit_tables import audit
from engine.sql.database import Archive
from engine.sql.schema import events
from tests.archive.test_audit_verify import findings_of, tamper, verify
from tests.support.audit_log import archive_count


async def test_the_findings_and_the_memory_are_bounded(archive: Archive, monkeypatch: pytest.MonkeyPatch) -> None:
    """If somebody changes or removes every event or its salt (the random bytes in its leaf), the report names only some
    of them, so memory stays bounded. An archive of four times as many events needs no more memory to verify.
    """
    monkeypatch.setattr(stored_rows, "PAGE_SIZE", 50)
    peaks = []
    for count in (200, 600):
        await archive_count(archive, count)
        await verify(archive)
        tracemalloc.start()
        assert findings_of(await verify(archive, from_seq=1)) == []
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.3 * peaks[0]
    for module in (row_checker, verifier):
        monkeypatch.setattr(module, "MAX_FINDINGS", 3)
    await tamper(archive, lambda conn: conn.execute(update(events).values(actor="somebody")))
    assert [(seq, kind) for seq, kind in findings_of(await verify(archive)) if kind == "changed"] == [
        (seq, "changed") for seq in (1, 2, 3)
    ]
    await tamper(archive, lambda conn: conn.execute(update(audit).values(salt=None)))
    assert findings_of(await verify(archive)) == [(seq, "salt_removed") for seq in (1, 2, 3)]
    await tamper(archive, lambda conn: conn.execute(delete(events)))
    assert findings_of(await verify(archive)).count((2, "removed")) == 1
    assert len(findings_of(await verify(archive))) <= 6
