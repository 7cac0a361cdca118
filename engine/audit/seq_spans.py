"""Sets of seqs that are stored as spans. They are small if most seqs follow each other, as those of the events that
retention removed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

Span = tuple[int, int]
"""The first and the last seq of a span."""


class SeqSpans:
    """A set of seqs. It is small if most seqs are added in order."""

    def __init__(self) -> None:
        self._spans: list[Span] = []

    def add(self, seq: int) -> None:
        """Add a seq that was not added before."""
        if self._spans and self._spans[-1][1] == seq - 1:
            self._spans[-1] = (self._spans[-1][0], seq)
        else:
            self._spans.append((seq, seq))

    def outside(self, excluded: Sequence[Span]) -> Iterator[int]:
        """Yield the seqs that are in none of the ``excluded`` spans, which are the result of ``merge_spans``."""
        at = 0
        for first, last in sorted(self._spans):
            seq = first
            while seq <= last:
                while at < len(excluded) and excluded[at][1] < seq:
                    at += 1
                if at < len(excluded) and excluded[at][0] <= seq:
                    seq = excluded[at][1] + 1
                else:
                    yield seq
                    seq += 1


def merge_spans(spans: Iterable[Span]) -> list[Span]:
    """Return the spans in order. Spans that touch or overlap are joined into one."""
    merged: list[Span] = []
    for first, last in sorted(spans):
        if merged and first <= merged[-1][1] + 1:
            merged[-1] = (merged[-1][0], max(merged[-1][1], last))
        else:
            merged.append((first, last))
    return merged
