"""``callout audit``: verify the audit trees of a database, and watch those of a server from another machine."""

from __future__ import annotations

import asyncio
import base64
import binascii
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from engine.process.datadir import CannotStart
from engine.process.settings import Settings, SettingsError
from server.cli import options
from server.cli.audit_witness import witness

if TYPE_CHECKING:
    from engine.audit.row_checker import Finding
    from engine.audit.signed_note import Head
    from engine.audit.verifier import Report

PUBLIC_KEY_BYTES = 32
MAX_PRINTED = 20
"""The most findings of a zone that are printed."""


@click.group(commands=[witness])
def audit() -> None:
    """Verify the audit trees of a database, or watch those of a server from another machine."""


@audit.command
@options.data
@options.database
@click.option("--head", metavar="FILE", help="An older head, stored elsewhere: the database must still contain it.")
@click.option("--from", "from_seq", metavar="SEQ", type=click.IntRange(0), default=0, help="Verify from here on.")
@click.option(
    "--public-key", "keys", metavar="KEY", multiple=True, help="Only heads of this key are good (base64; repeatable)."
)
@options.as_json
def verify(
    *, data: str | None, database: str | None, head: str | None, from_seq: int, keys: tuple[str, ...], as_json: bool
) -> int:
    """Verify all events in a database against the audit trees and their signed heads.

    It reads the database, and the last signed head from the data directory: no Redis and no server is needed. Without
    --public-key, the keys in the database count: an attacker who can write to the database can add a key. The exit code
    is 1 if anything does not match; the first line then names the first seq and what is wrong there.
    """
    settings = options.load_settings(data=data, database=database)
    if settings.database is None and not (Path(settings.data) / "callout.db").exists():
        raise CannotStart(f"no database in {settings.data}: give another --data, or --database")
    known = [_read_key(key) for key in keys]
    reports = asyncio.run(_verify(settings, read_head_file(head) if head else None, known, from_seq))
    if as_json:
        print(json.dumps({"ok": not any(report.findings for report in reports), "zones": [*map(_as_json, reports)]}))
    else:
        for report in reports:
            _print_report(report)
    return 1 if any(report.findings for report in reports) else 0


def read_head_file(file: str) -> Head:
    """Return the head in a file. Raises SettingsError."""
    from engine.audit.signed_note import MAX_NOTE_BYTES, parse_head

    try:
        with Path(file).open(encoding="utf-8") as text:
            return parse_head(text.read(MAX_NOTE_BYTES))
    except OSError as error:
        raise SettingsError(f"--head {file}: {error.strerror}") from None
    except ValueError as error:
        raise SettingsError(f"--head {file}: {error}") from None


def _read_key(text: str) -> bytes:
    try:
        key = base64.b64decode(text, validate=True)
    except binascii.Error:
        key = b""
    if len(key) != PUBLIC_KEY_BYTES:
        raise SettingsError(f"--public-key {text}: 32 bytes in base64, please")
    return key


async def _verify(settings: Settings, head: Head | None, keys: list[bytes], from_seq: int) -> list[Report]:
    from sqlalchemy import select

    from engine.audit.extra_rows import read_zones
    from engine.audit.stored_rows import read_ranges
    from engine.audit.verifier import verify_zone
    from engine.sql.database import open_archive
    from engine.sql.schema import deployment

    archive = await open_archive(settings)
    try:
        async with archive.begin_read() as conn:
            own = (await conn.execute(select(deployment.c.id))).scalar()
        if head and (head.deployment != own or head.zone not in settings.all_zones):
            raise SettingsError(f"--head: {head.origin} is a head of another installation or zone")
        ranges = await read_ranges(archive)
        if ranges and from_seq > max(last for _, last in ranges.values()):
            known = ", ".join(f"{zone} has {first} to {last}" for zone, (first, last) in sorted(ranges.items()))
            raise SettingsError(f"--from {from_seq}: nothing is there to verify: {known}")
        reports = []
        for zone in await read_zones(archive, settings.all_zones):
            published, wrong = _read_published(settings, zone, own)
            with _progress_bar(zone) as show:
                at: dict[str, Any] = {"from_seq": from_seq, "public_keys": keys, "progress": show}
                at |= {"head": head if head and head.zone == zone else None, "published": published}
                report = await verify_zone(archive, zone, **at)
            reports.append(report._replace(findings=[*report.findings, *wrong(report.last_seq + 1)]))
        return reports
    finally:
        await archive.close()


def _read_published(
    settings: Settings, zone: str, own: str | None
) -> tuple[Head | None, Callable[[int], list[Finding]]]:
    """Return the signed head that the server has stored beside the database, and a function that returns what is wrong
    with the head's file, as findings at a given seq. With --database, the file of another installation is ignored.
    """
    from engine.audit import heads
    from engine.audit.row_checker import Finding

    path = heads.file_path(settings.data, zone)
    try:
        head = heads.read_file(settings.data, zone)
    except (OSError, ValueError) as error:
        text = f"{path} cannot be read: {getattr(error, 'strerror', None) or error}"
        return None, lambda seq: [Finding(seq, "unreadable", text)]
    if head is None or (head.deployment, head.zone) == (own, zone):
        return head, lambda seq: []
    if settings.database is not None:
        return None, lambda seq: []
    return None, lambda seq: [Finding(seq, "forged_head", f"{path} has a head of {head.origin}")]


@contextmanager
def _progress_bar(zone: str) -> Iterator[Callable[[int, int], None]]:
    """Show a progress bar on stderr, if it is a terminal, while the block runs."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn(zone), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task(zone, total=None)
        yield lambda done, total: progress.update(task, completed=done, total=max(done, total))


def _as_json(report: Report) -> dict[str, Any]:
    return {**report._asdict(), "findings": [finding._asdict() for finding in report.findings]}


def _print_report(report: Report) -> None:
    # an attacker may have inserted a row with any text as its zone
    zone = report.zone.encode("utf-8", "backslashreplace").decode()
    for finding in report.findings[:MAX_PRINTED]:
        print(f"{zone}: seq {finding.seq}: {finding.kind}: {finding.text}")
    more = len(report.findings) - MAX_PRINTED
    if more > 0:
        print(f"{zone}: and {more} more")
    if not report.trees and not report.findings:
        print(f"{zone}: no audit tree yet: it begins with the next event that is archived")
    else:
        trees = f", {report.trees} trees" if report.trees > 1 else ""
        erased = f", {report.erased} of them erased" if report.erased else ""
        result = "does NOT verify" if report.findings else "verifies"
        print(
            f"{zone}: {result}: {report.entries} entries{erased}, seq {report.first_seq} to {report.last_seq},"
            f" {report.heads} signed heads{trees}"
        )
