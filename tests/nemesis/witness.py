"""The witness check: the log at the end of a run must be a legal order of all commands. Its time is linear in the
length of the history.

Each acknowledged command is in the log once. Each idempotency key in the log was sent by a client. A command that was
refused or answered with `unavailable` is not in the log. The versions of a job rise by one. A command that ended before
another began precedes it. Each step is legal.
"""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Iterator

from engine.types import Principal, UserId
from tests.nemesis.chat import READING_OPS
from tests.nemesis.history import NOT_DONE, UNKNOWN, Entry, Flaw, History, Operation
from tests.nemesis.job_model import BLUEPRINTS
from tests.support.reference_model import Facts, has_relation

Attempts = dict[tuple[str, str], list[Operation]]


class Witness:
    """Compares the log of a run with the attempts of its clients, which are grouped by actor and idempotency key."""

    def __init__(self, history: History) -> None:
        self.history = history
        self.attempts: Attempts = defaultdict(list)
        for op in history.operations:
            if op.cmd not in READING_OPS:
                self.attempts[op.actor, op.key].append(op)
        self.reused = {op.key for op in history.operations if op.out == "reused_key"}
        """The keys that were sent with several requests: the attempts are those of one request no longer."""
        self.by_seq = {entry.seq: entry for entry in history.entries}
        self.caused: dict[str, list[Entry]] = defaultdict(list)
        self.by_job: dict[str, list[Entry]] = defaultdict(list)
        for entry in history.entries:
            if entry.key:
                self.caused[entry.key].append(entry)
            if entry.job and entry.version and entry.type.startswith("job."):
                self.by_job[entry.job].append(entry)

    def flaws(self) -> Iterator[Flaw]:
        """Yield an error for each place where the log and the attempts contradict each other."""
        yield from self._missing_seqs()
        yield from self._attempt_flaws()
        yield from self._cause_flaws()
        yield from self._order_flaws()
        for job, entries in self.by_job.items():
            yield from self._version_flaws(job, entries)
            yield from self._step_flaws(job, entries)
        yield from self._record_flaws()

    def undone(self) -> list[Operation]:
        """Return the acknowledged commands that are not in the log."""
        done = (op for op in self.history.operations if op.out == "ok" and op.cmd not in READING_OPS)
        return [op for op in done if not self._is_logged(op)]

    def _is_logged(self, op: Operation) -> bool:
        """Return whether the event of an acknowledged command is in the log. The reply to a repeated step names the
        event of the first one.
        """
        if op.cmd == "book":  # after a loss the same key may have made another job
            return any(entry.job == op.job for entry in self.caused.get(op.key, ()))
        if op.cmd == "say" and not op.seq:
            return any((each.job, each.version) == (op.job, op.version) for each in self.caused.get(op.key, ()))
        if not op.seq:  # replies over HTTP contain none
            return op.repeated or op.key in self.caused
        entry = self.by_seq.get(op.seq)
        if entry is None or (op.job and entry.job != op.job) or (entry.version and entry.version < op.version):
            return False
        if op.repeated:
            return entry.actor == op.actor or op.cmd == "reassign"
        return entry.key == op.key or not op.key

    def _missing_seqs(self) -> Iterator[Flaw]:
        seqs = [entry.seq for entry in self.history.entries]
        for before, after in itertools.pairwise(seqs):
            if after != before + 1:
                yield Flaw("hole", f"the log continues at {after} after {before}")

    def _attempt_flaws(self) -> Iterator[Flaw]:
        """Compare the attempts that have the same idempotency key with each other and with the log."""
        undone = {id(op) for op in self.undone()}
        for (actor, key), attempts in self.attempts.items():
            done = [op for op in attempts if op.out == "ok"]
            if key in self.reused:
                continue
            kept = [op for op in done if id(op) not in undone]
            yield from (
                Flaw("undone", f"{actor} {op.cmd} {op.job} seq {op.seq} v{op.version}")
                for op in done
                if id(op) in undone
            )
            if len({op.job for op in kept}) > 1 or len({op.seq for op in kept if op.seq}) > 1:
                yield Flaw("done_twice", f"{actor} {kept[0].cmd}: the key {key} has several outcomes")
            if not done and not any(op.out == UNKNOWN for op in attempts) and key in self.caused:
                kind = "unavailable_but_done" if {op.out for op in attempts} == {NOT_DONE} else "refused_but_done"
                yield Flaw(kind, f"{actor} {attempts[0].cmd} {attempts[0].job}: the log has it")
            yield from (Flaw("internal_error", f"{actor} {op.cmd} {op.job}") for op in attempts if op.out == "internal")

    def _cause_flaws(self) -> Iterator[Flaw]:
        """Check that each idempotency key in the log was sent by a client and caused one step only."""
        keys = {key for _, key in self.attempts}
        for key, entries in self.caused.items():
            steps = {(e.job, e.version) for e in entries if e.version and e.type.startswith(("job.", "message."))}
            if len(steps) > 1:
                yield Flaw("done_twice", f"the key {key} caused {sorted(steps)}")
            is_known = any(entry.job in self.by_job or entry.type == "message.created" for entry in entries)
            if key not in keys and is_known and entries[0].job:
                yield Flaw("never_invoked", f"{entries[0].type} {entries[0].seq}: nobody sent the key {key}")

    def _order_flaws(self) -> Iterator[Flaw]:
        """Check that a command that ended before another began has the lower seq."""
        done = [op for op in self.history.operations if op.out == "ok" and op.seq and not op.repeated and op.t1]
        done = [op for op in done if self._is_logged(op)]
        ended = sorted(done, key=lambda op: op.t1 or 0)
        highest, place = 0, 0
        for op in sorted(done, key=lambda op: op.t0):
            while place < len(ended) and (ended[place].t1 or 0) < op.t0:
                highest, place = max(highest, ended[place].seq), place + 1
            if op.seq <= highest:
                yield Flaw("not_real_time", f"{op.actor} {op.cmd} has seq {op.seq} and began after {highest} had ended")

    def _version_flaws(self, job: str, entries: list[Entry]) -> Iterator[Flaw]:
        version, key, kind = 0, "", ""
        for entry in entries:
            is_new = entry.version != version
            if not is_new and entry.key and entry.key == key and entry.type == kind:
                yield Flaw("done_twice", f"{job}: two {kind} of version {version} at {entry.seq}")
            if is_new and entry.version != version + 1:
                yield Flaw("version", f"{job}: version {entry.version} after {version}")
            if not is_new and entry.key and key and entry.key != key and entry.type != "job.searching":
                yield Flaw("version", f"{job}: two steps have version {version}")
            version, key, kind = entry.version, entry.key or key, entry.type

    def _step_flaws(self, job: str, entries: list[Entry]) -> Iterator[Flaw]:
        """Check that each change of state is one that the blueprint declares for the actor, and that no technician gets
        a job that another holds.
        """
        status, holder, version = "", "", 0
        customer = next((e.actor.partition(":")[2] for e in entries if e.type == "job.created"), "")
        for entry in entries:
            if entry.version == version:
                continue
            if entry.type == "job.accepted" and holder and entry.holder != holder:
                yield Flaw("two_holders", f"{job}: {entry.holder} got it at {entry.seq} while {holder} held it")
            if status and not _is_legal(entry, status, holder, customer):
                yield Flaw("illegal_step", f"{job}: {status} to {entry.status} by {entry.actor} at {entry.seq}")
            status, holder, version = entry.status, entry.holder, entry.version

    def _record_flaws(self) -> Iterator[Flaw]:
        """Compare the jobs in Redis and in SQL with the log."""
        for record in self.history.records:
            entries = self.by_job.get(record.job)
            last = entries[-1] if entries else Entry(0, "", "")
            logged = (last.status, last.version, last.holder)
            if (record.status, record.version, record.holder) != logged:
                yield Flaw("stores_differ", f"{record.job}: {record.store} has {record}, the log {logged}")


def _is_legal(entry: Entry, status: str, holder: str, customer: str) -> bool:
    """Return whether a command of the blueprint leads from this state and holder to those of the event."""
    role, _, user = entry.actor.partition(":")
    facts = Facts(status, holder, customer)
    who = Principal(UserId(user), role)  # type: ignore[arg-type]
    for command in BLUEPRINTS.by_name["home_service"].commands.values():
        is_engine = role == "engine" and command.by == ("engine",)
        by_offer = role == "technician" and command.by == ("offered",)
        may = is_engine or by_offer or any(has_relation(who, relation, facts) for relation in command.by)
        holder_after = {"take": user, "release": "", "assign": entry.holder}.get(command.effect, holder)
        if may and status in command.from_ and (command.to or status, holder_after) == (entry.status, entry.holder):
            return True
    return False
