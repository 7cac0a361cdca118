"""The history of a run: one JSON line for each attempt, event and fault. A file of such lines can be checked again
without the server.

Times (``t``, ``t0``, ``t1``) are nanoseconds of the monotonic clock of one machine. An actor is ``role:id``.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec

NOT_DONE = "unavailable"
UNKNOWN = "indeterminate"


class Operation(msgspec.Struct, tag_field="line", tag="op", omit_defaults=True):
    """One attempt of the client ``p`` to run a command: its ``n``th. ``out`` is ``ok``, the code of a refusal,
    ``unavailable`` (nothing was done) or ``indeterminate`` (unknown; ``t1`` is None). ``repeated``: the server answered
    from an earlier request. ``epoch`` is the epoch that the client knew when the reply came.
    """

    p: str
    n: int
    t0: int
    t1: int | None
    job: str
    actor: str
    cmd: str
    args: dict[str, Any] = {}
    key: str = ""
    out: str = "ok"
    seq: int = 0
    version: int = 0
    epoch: str = ""
    repeated: bool = False

    @property
    def end(self) -> float:
        """Return the latest time at which the command can have taken effect."""
        return math.inf if self.t1 is None else self.t1


class Heard(msgspec.Struct, tag_field="line", tag="heard", omit_defaults=True):
    """An event that the client ``p`` received on its socket. ``epoch`` is the epoch that the server had named last."""

    p: str
    zone: str
    epoch: str
    seq: int
    type: str
    t: int
    job: str = ""
    version: int = 0
    status: str = ""
    holder: str = ""


class Joined(msgspec.Struct, tag_field="line", tag="joined", omit_defaults=True):
    """A connect reply. Without ``recovered`` the client continues after ``seq``. ``after`` is the client's cursor."""

    p: str
    actor: str
    zone: str
    epoch: str
    seq: int
    recovered: bool
    t: int
    reason: str = ""
    after: int = 0


class Fault(msgspec.Struct, tag_field="line", tag="fault"):
    """The begin (``on`` is true) or the end of a fault that the suite caused."""

    name: str
    on: bool
    t: int


class Entry(msgspec.Struct, tag_field="line", tag="entry", omit_defaults=True):
    """An event of the log at the end of the run. For a message, ``job`` is the room and ``version`` the message's
    number. For another event of a room, ``holder`` is the user whom the event names.
    """

    seq: int
    epoch: str
    type: str
    to: str = ""
    actor: str = ""
    cause: str = ""
    job: str = ""
    version: int = 0
    status: str = ""
    holder: str = ""
    client_id: str = ""

    @property
    def key(self) -> str:
        """Return the idempotency key of the request that caused the event; "" if the engine did."""
        return self.cause.partition(":")[0]


class Record(msgspec.Struct, tag_field="line", tag="record", omit_defaults=True):
    """A job at the end of the run, as ``store`` (`redis` or `sql`) has it."""

    store: str
    job: str
    status: str
    version: int
    holder: str = ""


class Flaw(msgspec.Struct, tag_field="line", tag="flaw"):
    """An error that was found at the end of the run, such as a key without a TTL. ``kind`` is one of checker.KINDS."""

    kind: str
    text: str


class End(msgspec.Struct, tag_field="line", tag="end"):
    """The head of the log when the clients were disconnected. No client receives later events."""

    seq: int


Line = Operation | Heard | Joined | Fault | Entry | Record | Flaw | End
LIST_NAMES: dict[type, str] = {
    Operation: "operations",
    Heard: "heard",
    Joined: "joined",
    Fault: "faults",
    Entry: "entries",
    Record: "records",
    Flaw: "flaws",
    End: "ends",
}
"""The attribute of a History that has the lines of each kind."""


class History:
    """All lines of a run, grouped by kind, in the order in which they were recorded."""

    def __init__(self, lines: Iterable[Line] = ()) -> None:
        self.operations: list[Operation] = []
        self.heard: list[Heard] = []
        self.joined: list[Joined] = []
        self.faults: list[Fault] = []
        self.entries: list[Entry] = []
        self.records: list[Record] = []
        self.flaws: list[Flaw] = []
        self.ends: list[End] = []
        self.add(*lines)

    def add(self, *lines: Line) -> None:
        """Append lines to the history of the run."""
        for line in lines:
            getattr(self, LIST_NAMES[type(line)]).append(line)

    def write(self, path: Path) -> None:
        """Write the history to a file, one JSON line for each entry."""
        lines = [line for name in LIST_NAMES.values() for line in getattr(self, name)]
        path.write_bytes(b"".join(msgspec.json.encode(line) + b"\n" for line in lines))

    @staticmethod
    def read(path: Path) -> History:
        """Read a history from a file that ``write`` has written."""
        return History(msgspec.json.decode(text, type=Line) for text in path.read_bytes().splitlines())

    def epochs(self) -> dict[str, int]:
        """Return the first seq of each epoch that has an event in the log, in order."""
        first: dict[str, int] = {}
        for entry in self.entries:
            first.setdefault(entry.epoch, entry.seq)
        return first
