"""``callout ledger check`` compares the ledger with the archived events."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path

from tests.support.migrated import create_data_dir
from tests.support.process import run_callout

EVENT = (
    'INSERT INTO events (zone, seq, type, "to", at, actor, bp, data, cause, trace) VALUES'
    " ('main', 1, 'payment.received', '', 5, 'service:x', '', ?, '', '')"
)
ENTRY = (
    "INSERT INTO ledger_entries (zone, seq, kind, cause, at, job) VALUES"
    " ('main', 9, 'captured', 'captured pay_9', 5, 'job_main_1')"
)
PAYMENT = {"id": "pay_1", "status": "captured", "amount": 7, "currency": "USD"}


async def test_books_without_an_event_are_found(tmp_path: Path) -> None:
    """Without a database the command fails. An empty ledger has no error. The command names an archived capture that is
    not in the ledger, and an entry of the ledger that no event explains.
    """
    missing = await run_callout("ledger", "check", "--data", str(tmp_path / "none"))
    assert missing.code != 0 and "no database" in missing.err
    data = tmp_path / "data"
    create_data_dir(data)
    good = await run_callout("ledger", "check", "--json", "--data", str(data))
    assert (good.code, json.loads(good.out)) == (0, {"ok": True, "events": 0, "problems": []})
    with closing(sqlite3.connect(data / "callout.db")) as database, database:
        database.execute(EVENT, (json.dumps({"job": {"id": "job_main_1"}, "payment": PAYMENT}),))
        database.execute("INSERT INTO ledger_progress VALUES ('main', 1)")
        for n, (account, amount) in enumerate((("clearing", -5), ("job:job_main_1", 5)), 1):
            line = ("main", 9, "captured", n, account, "USD", amount, 5)
            database.execute(f"INSERT INTO ledger_lines VALUES ({', '.join('?' * len(line))})", line)
        database.execute(ENTRY)
    wrong = await run_callout("ledger", "check", "--data", str(data))
    assert wrong.code == 1
    assert wrong.out.splitlines() == [
        "main:1 payment.received: the ledger does not have what the event says",
        "main:9 captured: no event explains the entry 'captured pay_9'",
        "1 events about money compared, 2 problems",
    ]
