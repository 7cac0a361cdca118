"""The output of the demo: a live table on a terminal, otherwise a plain line every few seconds."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

PRINT_EVERY_S = 5.0
ShowSummary = Callable[[dict[str, Any], Sequence[str]], None]


@contextmanager
def open_display(console: Console) -> Iterator[ShowSummary]:
    """Yield a function that shows a summary and the recent events. It may be called often."""
    if console.is_terminal:
        with Live(console=console, transient=True) as live:
            yield lambda summary, recent_events: live.update(_summary_table(summary, recent_events))
    else:
        yield _line_printer(console)


def _line_printer(console: Console) -> ShowSummary:
    printed_at = [float("-inf")]

    def show(summary: dict[str, Any], recent_events: Sequence[str]) -> None:
        if summary["jobs"] and time.monotonic() - printed_at[0] >= PRINT_EVERY_S:
            printed_at[0] = time.monotonic()
            console.print(summary_line(summary), markup=False)

    return show


def summary_line(summary: dict[str, Any]) -> str:
    """Return the most important counts of the demo as one line of text."""
    return (
        f"{summary['seconds']:.0f} s: {summary['jobs']} jobs booked, {summary['claimed']} won,"
        f" {summary['completed']} completed, {summary['cancelled']} cancelled, {summary['expired']} expired;"
        f" {summary['double_claims']} doubled, {summary['messages_lost']} lost, {summary['overlapping']} overlapping;"
        f" time to claim {_ms_text(summary['time_to_claim_ms'])}"
    )


def report(summary: dict[str, Any]) -> list[str]:
    """Return all counts of the demo, as lines of text."""
    problems = "unknown" if summary["ledger_problems"] is None else summary["ledger_problems"]
    return [
        summary_line(summary),
        f"  claims: {summary['claim_attempts']} tried, refused: {_codes_text(summary['refused'])};"
        f" bids refused: {_codes_text(summary['bids_refused'])}; event lag {_ms_text(summary['event_lag_ms'])}",
        f"  schedule: {summary['booked_ahead']} jobs booked ahead, {summary['planned']} given by day plans,"
        f" {summary['overlapping']} overlapping of {summary['visits_compared']} pairs compared",
        f"  chat: {summary['messages_said']} messages said, {summary['messages_received']} received,"
        f" {summary['messages_lost']} lost, {summary['messages_doubled']} doubled;"
        f" {summary['disputes_resolved']} disputes resolved",
        f"  proof: {summary['photos']} photos, {summary['signed']} records signed,"
        f" {summary['signatures_verified']} signatures verify; {summary['broken_prices']} quotes not kept",
        f"  money: {summary['paid']} jobs paid, {_money_text(summary['paid_amount'])} ="
        f" {_money_text(summary['earned_amount'])} of technicians + {_money_text(summary['fees_amount'])} fees"
        f" + {_money_text(summary['unearned_amount'])}; {summary['paid_out']} payouts,"
        f" {_money_text(summary['paid_out_amount'])}; ledger: {problems} problems",
    ]


def _codes_text(counts: dict[str, int]) -> str:
    return ", ".join(f"{code} {n}" for code, n in counts.items()) or "none"


def _money_text(minor_units: int | None) -> str:
    return "?" if minor_units is None else f"{minor_units / 100:.2f} EUR"


def _ms_text(figures: dict[str, float | None]) -> str:
    return "-" if figures["p50"] is None else f"{figures['p50']:.0f} ms (p99 {figures['p99']:.0f})"


def _summary_table(summary: dict[str, Any], recent_events: Sequence[str]) -> Group:
    table = Table.grid(padding=(0, 3))
    for names in (
        ("technicians", "customers", "seconds"),
        ("jobs", "claimed", "completed"),
        ("cancelled", "expired", "claim_attempts"),
        ("messages_said", "messages_received", "disputes_resolved"),
        ("messages_lost", "messages_doubled", "double_claims"),
        ("booked_ahead", "planned", "overlapping"),
    ):
        table.add_row(*(f"{name.replace('_', ' ')} [bold]{summary[name]}[/bold]" for name in names))
    table.add_row(
        f"refused: {_codes_text(summary['refused'])}",
        f"time to claim {_ms_text(summary['time_to_claim_ms'])}",
        f"event lag {_ms_text(summary['event_lag_ms'])}",
    )
    return Group(table, *(Text(text, style="dim") for text in recent_events))
