"""The sequential specification of one job: which outcomes a command may have in a state, and the state after it.

The codes come from the reference model (tests/support/reference_model.py), the target states from the blueprint.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

from engine.blueprint import catalogue
from engine.blueprint.schema import Blueprint
from engine.types import Principal, UserId
from tests.nemesis.history import UNKNOWN, Operation
from tests.support.reference_model import Facts, expected_code, has_relation

BLUEPRINTS = catalogue.load_blueprints("home_service", catalogue.shipped_folder())
INITIAL_STATUS = {"home_service": "broadcasted"}

OFFER, EXPIRE, CUT = "engine.offer", "engine.expire", "engine.cut"
"""What happens without a command: the engine offers the job to a technician; the job expires; a fault takes the newest
changes away."""

FINISHED_PHASES = frozenset({"done", "closed"})
LAPSED_CODES = frozenset({"expired", "not_offered"})


class JobState(NamedTuple):
    """A job. ``status`` "": it is not booked. ``offers``: technician and status. ``last``: command and actor of the
    last step. ``claimed``: the version that the claim of the holder made. ``answers``: the outcomes stored under
    idempotency keys, as far as the history repeats a key. ``past``: the states of the versions
    before, if a fault may bring them back.
    """

    status: str = ""
    holder: str = ""
    version: int = 0
    offers: frozenset[tuple[str, str]] = frozenset()
    last: str = ""
    claimed: int = 0
    answers: frozenset[tuple[str, str, str, int]] = frozenset()
    past: tuple[JobState, ...] = ()


class Outcome(NamedTuple):
    """The result of a command: its code ``out``, the job's ``version`` (0: any), and the job's state after it."""

    out: str
    version: int
    state: JobState


class JobModel:
    """The specification of one job of ``customer``. ``repeated_keys`` are the keys with more than one attempt.
    ``lapses``: enough time passed for offers to end. ``cuts``: faults may undo changes. ``rewritten_from``: from this
    time on (nanoseconds) the zone may have been rebuilt, without its finished jobs.
    """

    def __init__(
        self,
        customer: str,
        repeated_keys: frozenset[str] = frozenset(),
        *,
        blueprint: str = "home_service",
        lapses: bool = False,
        cuts: bool = False,
        rewritten_from: float = math.inf,
    ) -> None:
        self.blueprint: Blueprint = BLUEPRINTS.by_name[blueprint]
        self.customer, self.repeated_keys, self.lapses, self.cuts = customer, repeated_keys, lapses, cuts
        self.rewritten_from = rewritten_from

    def successors(self, state: JobState, op: Operation) -> Iterator[tuple[JobState, int]]:
        """Yield each state that may follow if ``op`` takes effect in ``state``, with its cost: the number of commands
        that are taken away.
        """
        if op.cmd == CUT:
            yield state, 0
            for lost in range(1, len(state.past) + 1):
                before = state.past[-lost]
                yield before._replace(past=state.past[:-lost]), state.version - before.version
            return
        for after in self._states_after(state, op):
            is_new_version = self.cuts and after.version != state.version
            yield (after._replace(past=(*state.past, state._replace(past=()))) if is_new_version else after), 0

    def _states_after(self, state: JobState, op: Operation) -> Iterator[JobState]:
        if op.cmd.startswith("engine."):
            yield from self._engine_states(state, op)
            return
        for key, request, out, version in state.answers:
            if key == op.key:
                if op.out == UNKNOWN or _is_answer(op, request, out, version):
                    yield state
                return
        outcome = self._run(state, op)
        if op.out == UNKNOWN:
            if outcome.out == "ok" or op.key in self.repeated_keys:
                yield self._with_answer(op, outcome)
        elif op.out == outcome.out and (op.version == outcome.version or not op.version or not outcome.version):
            yield self._with_answer(op, outcome)
        elif op.out in LAPSED_CODES and self._may_have_lapsed(state, op, outcome):
            yield self._with_answer(op, Outcome(op.out, 0, state))
        elif op.out == "not_found" and op.end >= self.rewritten_from and self._is_stranger(state, op):
            yield state  # like the server, the model does not store this answer

    def _is_stranger(self, state: JobState, op: Operation) -> bool:
        """Return whether the job is finished and the caller is a technician who never had a relation to it. If Redis
        does not have the job, such a caller does not learn its state in SQL (engine/domain/job_restore.py).
        """
        user = op.actor.partition(":")[2]
        if op.cmd not in ("claim", "decline") or not state.status:
            return False
        is_finished = self.blueprint.states[state.status].phase in FINISHED_PHASES
        return is_finished and user != state.holder and user not in dict(state.offers)

    def _may_have_lapsed(self, state: JobState, op: Operation, outcome: Outcome) -> bool:
        """Return whether the offer of the caller may have ended: the model does not know when it does."""
        if op.cmd not in ("claim", "decline") or state.holder or not self._is_open(state):
            return False
        return outcome.out in LAPSED_CODES or self.lapses or self.cuts

    def _with_answer(self, op: Operation, outcome: Outcome) -> JobState:
        if op.key not in self.repeated_keys:
            return outcome.state
        stored = (op.key, _request_of(op), outcome.out, outcome.version)
        return outcome.state._replace(answers=outcome.state.answers | {stored})

    def _engine_states(self, state: JobState, op: Operation) -> Iterator[JobState]:
        if op.cmd == OFFER and self._is_open(state) and not state.holder:
            yield _with_offer(state, op.actor.partition(":")[2], "sent")
        if op.cmd == EXPIRE and self._is_open(state) and not state.holder:
            yield state._replace(status="expired", version=state.version + 1, last="expire engine")

    def _is_open(self, state: JobState) -> bool:
        return state.status != "" and self.blueprint.states[state.status].phase == "open"

    def _run(self, state: JobState, op: Operation) -> Outcome:
        """Return the outcome of a command that is sent for the first time."""
        if op.cmd == "book":
            if state.status:
                return Outcome("booked twice", 0, state)
            status = INITIAL_STATUS[self.blueprint.name]
            return Outcome("ok", 1, state._replace(status=status, version=1, last=f"create {op.actor}"))
        if not state.status:
            return Outcome("not_found", 0, state)
        role, _, user = op.actor.partition(":")
        facts = Facts(state.status, state.holder, self.customer, offer=dict(state.offers).get(user, ""))
        who = Principal(UserId(user), role)  # type: ignore[arg-type]
        if self._is_same_step(state, op, who, facts):
            return Outcome("ok", state.claimed if op.cmd == "claim" else 0, state)
        code = expected_code(self.blueprint, who, op.cmd, facts)
        if not code and op.args.get("version", state.version) != state.version:
            code = "version_conflict"
        return Outcome(code, 0, state) if code else self._step(state, op, user)

    def _is_same_step(self, state: JobState, op: Operation, who: Principal, facts: Facts) -> bool:
        """Return whether the command is a repeat: the caller took the same step last, so the reply is the same."""
        if op.cmd == "claim":
            return state.claimed > 0 and state.holder == who.id and state.status != "cancelled"
        spec = self.blueprint.commands.get(op.cmd)
        if spec is None or spec.effect == "assign":  # a second reassignment may name another technician
            return False
        relations = spec.by
        return state.last == f"{op.cmd} {op.actor}" and any(has_relation(who, each, facts) for each in relations)

    def _step(self, state: JobState, op: Operation, user: str) -> Outcome:
        """Return the outcome of a command that the caller may give in this state."""
        spec = self.blueprint.commands[op.cmd]
        if spec.effect == "refuse":
            return Outcome("ok", 0, _with_offer(state, user, "rejected"))
        taker = {"take": user, "assign": op.args.get("technician", "")}.get(spec.effect, "")
        if spec.effect == "assign" and taker == state.holder:
            return Outcome("ok", 0, state)
        after = state._replace(version=state.version + 1, status=spec.to or state.status, last=f"{op.cmd} {op.actor}")
        if (taker or spec.effect == "release") and state.holder:
            after = _with_offer(after, state.holder, "left")._replace(holder="", claimed=0)
        if spec.effect == "release":
            closed = {(who, "expired" if status == "sent" else status) for who, status in after.offers}
            after = after._replace(offers=frozenset(closed))
        if taker:
            after = after._replace(holder=taker, claimed=after.version if spec.effect == "take" else 0)
        return Outcome("ok", after.version, after)


def _request_of(op: Operation) -> str:
    """Return the parts of a request that its fingerprint (a hash of the content) covers."""
    return f"{op.cmd} {sorted(op.args.items())}"


def _is_answer(op: Operation, request: str, out: str, version: int) -> bool:
    """Return whether the reply to ``op`` fits its reused key: the first reply again, or a refusal because the request
    is another.
    """
    if request != _request_of(op):
        return op.out == "reused_key"
    return op.out == out and (not op.version or not version or op.version == version)


def _with_offer(state: JobState, technician: str, status: str) -> JobState:
    others = {(who, is_) for who, is_ in state.offers if who != technician}
    return state._replace(offers=frozenset(others | {(technician, status)}))
