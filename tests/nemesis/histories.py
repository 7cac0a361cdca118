"""Histories that are made by hand, for the tests of the checker."""

from __future__ import annotations

from tests.nemesis.history import UNKNOWN, Entry, Heard, History, Joined, Operation, Record

JOB, CARLA, TOM, TARA, OPS = "job_main_1", "customer:carla", "technician:tom", "technician:tara", "admin:ops"
E1, E2 = "e1-00000001", "e2-00000002"


def operation(t0: int, t1: int | None, actor: str, cmd: str, **more: object) -> Operation:
    """Return one attempt of a command that began at ``t0`` and ended at ``t1``, with an idempotency key of its own."""
    fields = {"job": JOB, "key": f"{cmd}-{actor.partition(':')[2]}-{t0}", "epoch": E1, **more}
    return Operation(actor, t0, t0, t1, actor=actor, cmd=cmd, **fields)  # type: ignore[arg-type]


def entry(seq: int, kind: str, op: Operation | None, version: int = 0, status: str = "", holder: str = "") -> Entry:
    """Return the log's event of a command, addressed to the customer and to both technicians."""
    cause = f"{op.key}:0" if op else ""
    actor = op.actor if op else "engine"
    return Entry(seq, E1, kind, "user:carla user:tom user:tara", actor, cause, JOB, version, status, holder)


def good_history() -> History:
    """Return a correct history: Tom wins a job, Tara loses it, and Tom sends his first step twice with one key."""
    book = operation(10, 20, CARLA, "book", seq=1, version=1)
    claim = operation(40, 60, TOM, "claim", seq=3, version=2)
    lost = operation(45, 70, TARA, "claim", out="taken")
    depart = operation(80, None, TOM, "depart", out=UNKNOWN, key="d")
    again = operation(90, 95, TOM, "depart", key="d", seq=5, version=3)
    log = [
        entry(1, "job.created", book, 1, "broadcasted"),
        entry(2, "offer.created", None),
        entry(3, "job.accepted", claim, 2, "accepted", "tom"),
        entry(4, "offer.closed", claim),
        entry(5, "job.status", again, 3, "on_the_way", "tom"),
    ]
    history = History([book, claim, lost, depart, again, *log])
    for person in (CARLA, TOM, TARA):
        history.add(Joined(person, person, "main", E1, 0, False, 1))
        for each in log:
            history.add(Heard(person, "main", E1, each.seq, each.type, 20 + each.seq * 15 - 14 * (each.seq < 3), JOB))
    for store in ("redis", "sql"):
        history.add(Record(store, JOB, "on_the_way", 3, "tom"))
    return history


def op_of(history: History, actor: str, cmd: str) -> Operation:
    """Return the last attempt of this command by this actor."""
    return [op for op in history.operations if (op.actor, op.cmd) == (actor, cmd)][-1]
