"""Spans of seqs (ranges of event numbers) are compared with plain sets of numbers."""

from __future__ import annotations

import itertools

from hypothesis import given, settings
from hypothesis import strategies as st

from engine.audit.seq_spans import SeqSpans, merge_spans

SEQS = st.lists(st.integers(1, 60), unique=True)
SPANS = st.lists(st.tuples(st.integers(1, 60), st.integers(0, 9)).map(lambda each: (each[0], each[0] + each[1])))


@settings(max_examples=60)
@given(SEQS, SPANS)
def test_spans_are_sets(seqs: list[int], excluded: list[tuple[int, int]]) -> None:
    """The seqs outside some spans are those that a difference of sets gives, in order. Merged spans neither touch nor
    overlap.
    """
    spans = SeqSpans()
    for seq in seqs:
        spans.add(seq)
    merged = merge_spans(excluded)
    inside = {seq for first, last in excluded for seq in range(first, last + 1)}
    assert list(spans.outside(merged)) == sorted(set(seqs) - inside)
    assert {seq for first, last in merged for seq in range(first, last + 1)} == inside
    assert all(one[1] + 1 < other[0] for one, other in itertools.pairwise(merged))
