"""The progress of long work: a bar on a terminal, otherwise a plain line every few seconds."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

PRINT_EVERY_S = 5.0
UpdateProgress = Callable[[int, str], None]


@contextmanager
def show_progress(console: Console, label: str, total: int) -> Iterator[UpdateProgress]:
    """Yield a function that shows how many of ``total`` are done, with a remark beside the number."""
    if console.is_terminal:
        with _bar(console) as bar:
            task = bar.add_task(label, total=total, remark="")
            yield lambda done, remark: bar.update(task, completed=done, remark=remark)
    else:
        yield _line_printer(console, label, total)


@contextmanager
def count_progress(console: Console, label: str, total: int) -> Iterator[Callable[[], None]]:
    """Yield a function to call after each of the ``total`` pieces of work. It shows how many are done."""
    counter = itertools.count(1)
    with show_progress(console, label, total) as update:
        yield lambda: update(next(counter), "")


def _bar(console: Console) -> Progress:
    remark = TextColumn("{task.fields[remark]}")
    label = TextColumn("{task.description}")
    return Progress(label, BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), remark, console=console)


def _line_printer(console: Console, label: str, total: int) -> UpdateProgress:
    printed_at = [time.monotonic()]

    def update(count: int, remark: str) -> None:
        now = time.monotonic()
        if now - printed_at[0] >= PRINT_EVERY_S or count == total:
            printed_at[0] = now if count < total else float("inf")
            console.print(f"{label}: {count}/{total} {remark}".rstrip(), highlight=False, soft_wrap=True)

    return update
