"""Compare the leaves of a zone's audit tree with its events, and classify each mismatch."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice
from typing import Any, Literal, NamedTuple

import msgspec

from engine.audit.leaves import Entry, EntryFields, leaf_of
from engine.audit.seq_spans import SeqSpans, merge_spans

MAX_COMPARED_MISMATCHES = 200
"""How many leaves that do not match are compared with each other to find swapped events."""
MAX_FINDINGS = 10_000
"""The most contradictions of one kind that are noted. An attacker who changes every event must not fill the verifier's
memory.
"""
ERASED_TYPE, RETIRED_TYPE = "subject.erased", "log.retired"
_REMOVAL_TYPES = (ERASED_TYPE, RETIRED_TYPE)

FindingKind = Literal[
    "changed",
    "removed",
    "inserted",
    "swapped",
    "cut",
    "salt_removed",
    "forged_head",
    "rewritten",
    "node_changed",
    "unreadable",
]


class Finding(NamedTuple):
    """A contradiction: the first seq that it concerns, its kind, and a sentence about it."""

    seq: int
    kind: FindingKind
    text: str


class _Mismatch(NamedTuple):
    leaf: bytes
    salt: bytes
    entry: Entry


class _Erased(msgspec.Struct):
    seqs: list[int] = []


class _Retired(msgspec.Struct):
    first_seq: int = msgspec.field(name="from")
    last_seq: int = msgspec.field(name="to")


_erased_decoder, _retired_decoder = msgspec.json.Decoder(_Erased), msgspec.json.Decoder(_Retired)


class RowChecker:
    """Compares the leaves of a zone's audit tree with the events in SQL. Two types of events explain missing data:
    ``subject.erased {seqs}`` names events whose personal data and salts were erased, and ``log.retired {from, to}``
    names events that were removed because of their age. These two events count as an explanation only if they match
    their own leaves.
    """

    def __init__(self, zone: str) -> None:
        self._zone = zone
        self._mismatches: list[_Mismatch] = []
        self._unsalted = SeqSpans()
        self._absent = SeqSpans()
        self._new_absent: list[int] = []
        self._retired: list[tuple[int, int]] = []
        self._unreadable: list[Finding] = []
        self.erased: set[int] = set()

    def check_row(self, row: Any) -> None:
        """Compare a leaf with its event. ``row``: seq, leaf, salt, at, type, actor, job, cause, to, data."""
        seq, leaf, salt, at, kind, actor, job, cause, to, data = row
        if at is None:
            self._new_absent.append(seq)
        elif (
            salt is None
            or self._leaf_of((seq, at, kind, actor, job, cause, to, data), salt) != leaf
            or kind in _REMOVAL_TYPES
        ):
            self.check_entry(leaf, salt, Entry(seq, at, kind, actor, job, cause, to, data))

    def check_entry(self, leaf: bytes, salt: bytes | None, entry: Entry) -> None:
        """Compare a leaf with its entry."""
        if salt is None:
            self._unsalted.add(entry.seq)
        elif self._leaf_of(entry, salt) != leaf:
            if len(self._mismatches) < MAX_FINDINGS:
                self._mismatches.append(_Mismatch(leaf, salt, entry))
        elif entry.type in _REMOVAL_TYPES:
            self._note_removal(entry)

    def take_absent(self) -> list[int]:
        """Return the seqs of leaves without an event that were found since the last call. The caller searches these
        events in the quarantine and among the accepted holes. It passes the seqs of events that it does not find to
        ``add_absent``.
        """
        found, self._new_absent = self._new_absent, []
        return found

    def add_absent(self, seqs: Iterable[int]) -> None:
        """Record the seqs of leaves whose events are nowhere in SQL. Somebody has removed these events, unless
        retention deleted them because of their age.
        """
        for seq in seqs:
            self._absent.add(seq)

    def mismatched_seqs(self) -> set[int]:
        """Return the seqs of the events that do not match their leaves."""
        return {mismatch.entry.seq for mismatch in self._mismatches}

    def findings(self) -> list[Finding]:
        """Return the contradictions between leaves and events. Call this after the last event, because the event that
        explains a removal is later in the log.
        """
        found = [*self._unreadable, *map(self._judge_mismatch, self._mismatches)]
        retired = merge_spans(self._retired)
        absent = islice(self._absent.outside(retired), MAX_FINDINGS)
        found += [Finding(seq, "removed", "the leaf has no event") for seq in absent]
        text = f"the salt is gone and no {ERASED_TYPE} names this event"
        gone = (seq for seq in self._unsalted.outside(retired) if seq not in self.erased)
        return found + [Finding(seq, "salt_removed", text) for seq in islice(gone, MAX_FINDINGS)]

    def _note_removal(self, entry: Entry) -> None:
        try:
            if entry.type == ERASED_TYPE:
                self.erased.update(_erased_decoder.decode(entry.data).seqs)
            else:
                retired = _retired_decoder.decode(entry.data)
                self._retired.append((retired.first_seq, retired.last_seq))
        except (msgspec.DecodeError, TypeError) as error:
            self._unreadable.append(Finding(entry.seq, "unreadable", f"{entry.type} cannot be read: {error}"))

    def _judge_mismatch(self, one: _Mismatch) -> Finding:
        """Return a finding about an event that does not match its leaf. It is *swapped* if the event matches the leaf
        of another such event; otherwise it is *changed*.
        """
        for other in self._mismatches[:MAX_COMPARED_MISMATCHES]:
            if other is not one and self._belongs_at(one, other):
                return Finding(one.entry.seq, "swapped", f"this is the event {other.entry.seq}")
        return Finding(one.entry.seq, "changed", "the event does not match its leaf")

    def _belongs_at(self, one: _Mismatch, other: _Mismatch) -> bool:
        """Return whether the event of ``one`` matches the leaf of ``other``, or would match its own leaf if it had the
        seq of ``other``.
        """
        entry = one.entry._replace(seq=other.entry.seq)
        return any(self._leaf_of(entry, salt) in (one.leaf, other.leaf) for salt in (one.salt, other.salt))

    def _leaf_of(self, entry: Entry | EntryFields, salt: bytes) -> bytes | None:
        """Return the leaf of an entry; None if a column has a value of a wrong type, which SQLite does not prevent."""
        try:
            return leaf_of(self._zone, entry, salt)
        except (TypeError, AttributeError, ValueError, OverflowError):
            return None
