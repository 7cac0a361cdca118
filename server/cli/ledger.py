"""``callout ledger``: check the ledger of a database."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import click

from engine.process.datadir import CannotStart
from engine.process.settings import Settings
from server.cli import options


@click.group
def ledger() -> None:
    """Check the ledger of a database."""


@ledger.command
@options.data
@options.database
@options.as_json
def check(*, data: str | None, database: str | None, as_json: bool) -> int:
    """Check that all accounts sum to 0 in each currency, that each entry balances, and that the archived events about
    money give the same lines.

    The command only reads the database and needs neither Redis nor a server. The exit code is 1 if anything is wrong.
    """
    settings = options.load_settings(data=data, database=database)
    if settings.database is None and not (Path(settings.data) / "callout.db").exists():
        raise CannotStart(f"no database in {settings.data}: give another --data, or --database")
    compared, problems = asyncio.run(_check(settings))
    if as_json:
        print(json.dumps({"ok": not problems, "events": compared, "problems": problems}))
    else:
        print("\n".join([*problems, f"{compared:,} events about money compared, {len(problems)} problems"]))
    return 1 if problems else 0


async def _check(settings: Settings) -> tuple[int, list[str]]:
    from engine.archive import ledger_checker
    from engine.sql.database import open_archive

    archive = await open_archive(settings)
    try:
        return await ledger_checker.find_problems(archive)
    finally:
        await archive.close()
