"""A statement as CSV (RFC 4180).

A spreadsheet program treats a text that begins with ``=``, ``+``, ``-`` or ``@`` as a formula. No column has a text
that a user chose. Such a text would get an apostrophe before it; numbers stay numbers.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator

from engine.domain.earnings import Statement
from server.http.responses import Response

COLUMNS = (
    "at",
    "kind",
    "currency",
    "gross",
    "fee",
    "amount",
    "balance",
    "available_at",
    "job",
    "payout",
    "test",
    "final",
)
MEDIA_TYPE = b"text/csv; charset=utf-8; header=present"
_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n")

Cell = str | int | None


def csv_response(statement: Statement) -> Response:
    """Return a statement as a table: a row ``opening`` for each currency, the lines, and a row ``closing``."""
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(COLUMNS)
    for row in _rows(statement):
        writer.writerow([safe_cell(row.get(name)) for name in COLUMNS])
    name = f'attachment; filename="statement-{statement.month}.csv"'
    return Response(text.getvalue().encode(), ((b"content-disposition", name.encode()),), media=MEDIA_TYPE)


def safe_cell(value: Cell) -> Cell:
    """Return a cell that no spreadsheet program treats as a formula."""
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA_STARTS) else value


def _rows(statement: Statement) -> Iterator[dict[str, Cell]]:
    final = "true" if statement.final else "false"
    for total in statement.totals:
        yield _total_row("opening", statement.since, total.currency, total.opening) | {"final": final}
    for line in statement.lines:
        row = {name: getattr(line, name, None) for name in COLUMNS if name != "final"}
        yield row | {"test": "true" if line.test else None, "final": final}
    for total in statement.totals:
        yield _total_row("closing", statement.until, total.currency, total.closing) | {"final": final}


def _total_row(kind: str, at: str, currency: str, balance: int) -> dict[str, Cell]:
    return {"at": at, "kind": kind, "currency": currency, "balance": balance}
