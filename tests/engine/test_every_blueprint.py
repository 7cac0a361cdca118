"""Random blueprints. For every combination of guards and effects that a command may declare, the scripts, the actions
that callers see and tests/support/reference_model.py agree. A command takes effect once under its key, and causes no
event that the linter does not know."""

from __future__ import annotations

import asyncio
import itertools
import uuid
from collections.abc import Awaitable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import msgspec
import orjson
from hypothesis import HealthCheck, Phase, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from engine.blueprint.linter import check_blueprint
from engine.blueprint.schema import Blueprint, Command, relations
from engine.blueprint.vocabulary import event_sources
from engine.domain import bids, codes, jobs, payments, waves
from engine.domain import commands as steps
from engine.errors import CalloutError
from engine.events import Event
from engine.process.settings import Settings
from engine.runtime import Engine, open_engine
from engine.store import keys
from engine.types import DEFAULT_ZONE, ServiceId
from engine.workers import scheduled_tasks
from engine.zone import log
from tests.engine.test_every_step import REASON, Stage
from tests.support import event_log, people
from tests.support.reference_model import Facts, expected_code, refusal, search_mode

Z = DEFAULT_ZONE
MODES = ("broadcast", "direct", "bids", "allocate")
MARKS = ("a", "b", "c")
GIVER = {"offered": "offered", "holder": "holder", "ops": "admin", "technician": "other", "engine": ""}
PRICE = 5
PART = 3
"""What was captured of the price before, where that is not all of it."""
ANSWER = {"to": ["customer", "holder", "ops"]}

one_or_none = st.sampled_from((("a",), ("b",), ("c",), ()))
declared = st.fixed_dictionaries(
    {
        "needs": one_or_none,
        "unless": one_or_none,
        "marks": st.sampled_from(("", *MARKS)),
        "locks_price": st.booleans(),
        "charges": st.booleans(),
        "refunds": st.booleans(),
        "code": st.sampled_from(("door", "")),
    }
)


def states(mode: str) -> dict[str, Any]:
    """Draw states in which a job is open, held, worked on and completed, or closed before."""
    found: dict[str, Any] = {
        "wanted": {"phase": "open", "seeks": mode},
        "held": {"phase": "assigned"},
        "working": {"phase": "active", "timers": [{"after_s": 100, "command": "pause"}]},
        "finished": {"phase": "done"},
        "off": {"phase": "closed"},
        "late": {"phase": "closed"},
        **({"left": {"phase": "closed"}} if mode == "direct" else {}),
    }
    return {name: {"says": name, **state} for name, state in found.items()}


def commands(mode: str) -> dict[str, dict[str, Any]]:
    """Draw a command of each kind that a mode allows, each with its own event."""
    running, ops = ["wanted", "held", "working"], ["ops", "engine"] if mode == "allocate" else ["ops"]
    found: dict[str, dict[str, Any]] = {
        "assign": {"does": "assign", "by": ops, "from": ["wanted", "held"], "to": "held", "event": "job.assigned"},
        "release": {"does": "release", "by": ["holder"], "from": ["held", "working"], "to": "wanted"},
        "work": {"by": ["holder"], "from": ["held"], "to": "working"},
        "pause": {"by": ["engine"], "from": ["working"], "to": "held"},
        "finish": {"by": ["customer", "holder"], "from": ["working"], "to": "finished"},
        "cancel": {"by": ["customer", "ops"], "from": running, "to": "off", "only": {"customer": ["wanted"]}},
        "expire": {"by": ["engine"], "from": ["wanted"], "to": "late", "event": "job.expired"},
        "dispute": {"does": "freeze", "by": ["customer"], "from": ["held"]},
        "resume": {"does": "thaw", "by": ["mediator"], "from": ["held"], "resolves": "resume"},
        "bill": {"by": ["customer"], "from": ["working"], "event": "payment.requested"},
        "capture": {"does": "capture", "by": ["service"], "from": ["working"], "to": "finished"},
        "anew": {"does": "reissue", "by": ["customer"], "from": ["held", "working"], "event": "job.updated"},
        **{f"mark_{mark}": {"by": ["ops"], "from": running, "marks": mark} for mark in MARKS},
    }
    found["capture"]["event"] = "payment.received"
    if mode in ("broadcast", "direct"):
        found["take"] = {"does": "take", "by": ["offered"], "from": ["wanted", "held"], "to": "held"}
        found["take"]["event"] = "job.accepted"
    if mode == "bids":
        found["bid"] = {"does": "bid", "by": ["technician"], "from": ["wanted"], "event": "bid.created"}
        found["withdraw"] = {"does": "withdraw", "by": ["technician"], "from": ["wanted"], "event": "bid.closed"}
        found["award"] = {"does": "award", "by": ["customer"], "from": ["wanted", "held"], "to": "held"}
    if mode != "allocate":
        moves = {"to": "left"} if mode == "direct" else {"event": "offer.declined"}
        found["no"] = {"does": "refuse", "by": ["offered"], "from": ["wanted", "held"], **moves}
    return {name: {"event": f"job.{name}", **command} for name, command in found.items()}


@st.composite
def blueprints(draw: st.DrawFn, mode: str) -> Blueprint:
    """Draw a blueprint that passes the linter, with guards and effects wherever it allows them."""
    made = commands(mode)
    for name in made.keys() & {"take", "assign", "award"}:
        made[name]["to"] = draw(st.sampled_from(("held", "working")))
    made["capture"]["from"] = draw(st.sampled_from((["working"], ["held", "working"])))
    for name, command in made.items():
        more = draw(declared)
        more["unless"] = [mark for mark in more["unless"] if mark not in more["needs"]]
        if name.startswith("mark_"):
            continue
        if command.get("does") in ("bid", "withdraw") or command["event"] == "offer.declined":
            more = {"needs": more["needs"], "unless": more["unless"]}
        else:
            more["refunds"] = command["from"][:1] if more["refunds"] else []
            more["charges"] = more["charges"] or name == "bill"
            more["code"] = "door" if name == "work" else more["code"] if command["by"] == ["holder"] else ""
        if command["event"] == "job.expired":
            del more["needs"], more["unless"]
        command.update(more)
    raw = {"name": "drawn", "version": 1, "title": "Drawn", "states": states(mode), "commands": made}
    events = {command["event"] for command in made.values()} | {"job.created", "job.status", "job.unassigned"}
    events |= {"payment.requested"} | ({"bid.accepted"} if mode == "bids" else set())
    events |= {"job.searching"} if mode in ("bids", "broadcast") else set()
    raw |= {"events": dict.fromkeys(events, ANSWER), "codes": {"purposes": ["door"]}}
    return msgspec.convert(raw | ({"technician": "required"} if mode == "direct" else {}), Blueprint)


class Case(msgspec.Struct, frozen=True):
    """The situation of a job before a command is given. ``paid``: its price was captured before."""

    state: str
    marked: frozenset[str]
    early: bool = False
    frozen: bool = False
    paid: bool = False


class Drawn:
    """A job in a state of a random blueprint, and one command of a caller who may give it."""

    number = itertools.count(100)

    def __init__(self, stage: Stage, blueprint: Blueprint) -> None:
        # The job has its own version of the blueprint, because its documents contain the name.
        self.blueprint = msgspec.structs.replace(blueprint, name="home_service", version=next(self.number))
        self.stage, self.engine, self.redis = stage, stage.engine, stage.engine.store.redis
        self.engine.blueprints.add_versions([self.blueprint])
        stage.blueprint = self.blueprint
        self.emitted: set[str] = set()

    async def put(self, case: Case) -> None:
        """Write the job as its history would have left it, with an open bid if the blueprint has bids."""
        state, job = case.state, self.stage.job
        held = self.blueprint.states[state].phase not in ("open", "closed")
        await self.stage.put(state, held=held, marked=False, frozen=case.frozen)
        at = ",".join(f'"{name}":"2026-01-01T00:00:00.000Z"' for name in sorted({state, *case.marked}))
        fields = {
            "at": at,
            "bp": self.blueprint.key,
            "price_locked": "",
            "wave": 0,
            "walk": "",
            "expires": 1 if self.wants_time else 0,
            "amount": PRICE,
            "paid": PRICE if case.paid else PART,
            "refunded": 0,
            "asked_back": 0,
            "reissued": 0,
            "tries:holder": "",
            "begins": 9999999999999 if case.early else 0,
        }
        seconds, _ = await self.redis.time()
        async with self.redis.pipeline(transaction=False) as pipe:
            # No grace period starts, however slow the machine is.
            pipe.hset(keys.zone_meta(Z), mapping={"now": seconds * 1000, "opened_at": 0})
            pipe.hset(self.stage.key, mapping=fields)
            pipe.delete(keys.job_bids(Z, job), keys.job_payments(Z, job))
            if state == "held":  # the offer from before the job had a holder
                pipe.hset(keys.job_offers(Z, job), "offered", "sent 1 0 9999999999999 10")
            if "award" in self.blueprint.commands:
                bid = 'open bid_1 1 - "technician":{"id":"offered"},"note":null'
                pipe.hset(keys.job_bids(Z, job), "offered", bid)
            await pipe.execute()

    wants_time = False

    async def head(self) -> int:
        """Return the sequence number of the last event."""
        return int(await self.redis.hget(keys.zone_meta(Z), "seq") or 0)  # type: ignore[misc]

    async def events_after(self, seq: int) -> list[Event]:
        """Return the events of this blueprint's jobs after ``seq``."""
        found = await log.read_range(self.redis, Z, seq, 1000)
        return [event for event in found if event.bp == self.blueprint.key]

    async def give(self, name: str, who: str, key: str, *, code: str = "") -> tuple[Any, ...]:
        """Send the command. Return its code ("" for success, "not done" if the engine leaves it) and its reply
        without the mark of a repeat.
        """
        try:
            if not who:
                return (await self.by_the_engine(name, self.blueprint.commands[name]),)
            return "", *_parts(await self._ask(name, who, key, code))
        except CalloutError as error:
            return (error.code,)

    async def _ask(self, name: str, who: str, key: str, code: str) -> Any:
        spec, job, engine = self.blueprint.commands[name], self.stage.job, self.engine
        caller = self.stage.callers[who]
        if spec.does == "bid":
            return await bids.create(engine, caller, job, bids.BidTerms(), key=key)
        if spec.does == "withdraw":
            return await bids.withdraw(engine, caller, job, "bid_1", key=key)
        if spec.does == "award":
            return await bids.accept(engine, caller, job, "bid_1", key=key)
        if spec.does == "capture":
            word = payments.Payment(reference=f"pi_{key}", status="captured", amount=PRICE, currency="USD")
            return await payments.put_payment(engine, caller, job, word, key=key)
        given = code or (codes.derive_code(engine, job, spec.code, "1") if spec.code else None)
        taker = "other" if spec.does == "assign" else None
        return await jobs.run_command(
            engine, caller, job, jobs.Step(command=name, code=given, technician=taker, reason=REASON), key=key
        )

    async def by_the_engine(self, name: str, spec: Command) -> str:
        job, plan = self.stage.job, self.engine.plans.of(self.blueprint, name)
        assert plan is not None
        before = await self.redis.hget(self.stage.key, "version")  # type: ignore[misc]
        if spec.does == "assign":
            await waves.allocate_job(self.engine, Z, f"allocate:{job}:1", job, "1")
        elif spec.event == "job.expired":
            await scheduled_tasks.run_task(self.engine, Z, f"expire:{job}")
        else:
            await steps.send_engine_command(
                self.engine, Z, job, self.blueprint, plan, f"timer:{job}:1:0", "1", reason="timer"
            )
        return "" if await self.redis.hget(self.stage.key, "version") != before else "not done"  # type: ignore[misc]


def _parts(answer: Any) -> tuple[Any, ...]:
    """Return the parts of a reply that its repeat must contain too."""
    names = ("job", "bid", "payment", "message", "seq", "version")
    parts = [getattr(answer, name, None) for name in names]
    return tuple(orjson.loads(bytes(part)) if isinstance(part, msgspec.Raw) else part for part in parts)


def situations(spec: Command, data: st.DataObject) -> list[Case]:
    """Draw situations in which the guards allow the command, in which one of them does not, before the job's time,
    during a dispute, paid or not.
    """
    fit, first = frozenset(spec.needs), spec.from_[0]
    found = [Case(first, fit), Case(data.draw(st.sampled_from([*spec.from_, "held", "off"])), fit)]
    found += [Case(first, fit - {mark}) for mark in spec.needs]
    found += [Case(first, fit | {mark}) for mark in spec.unless]
    found += [Case(first, fit, early=True), Case(spec.from_[-1], fit, paid=True)]
    return found + ([Case("held", fit, frozen=True)] if "held" in spec.from_ else [])


def wanted_of(drawn: Drawn, name: str, who: str, facts: Facts) -> str:
    """Return the expected code; for a captured payment, which is never refused, whether the job moves by it."""
    blueprint, spec = drawn.blueprint, drawn.blueprint.commands[name]
    if not who:
        return "not done" if refusal(blueprint, spec, ["engine"], facts) else ""
    if spec.does in ("bid", "award"):
        wrong = "" if search_mode(blueprint, facts) == "bids" else "illegal_transition"
        return refusal(blueprint, spec, spec.by, facts) or wrong
    if spec.does in ("withdraw", "capture"):
        return refusal(blueprint, spec, spec.by, facts)
    return expected_code(blueprint, drawn.stage.callers[who], name, facts)


async def attempt(drawn: Drawn, name: str, case: Case) -> None:
    """Let every caller whom the command names give it: the reply is as the reference model says, the command is
    among the actions exactly if it succeeds, and its effects occur together and once.
    """
    spec, stage, state = drawn.blueprint.commands[name], drawn.stage, case.state
    for relation in spec.by:
        if relation == "engine" and spec.does == "assign" and state != "wanted":
            continue
        who = "offered" if spec.does == "withdraw" else GIVER.get(relation, relation)
        drawn.wants_time = spec.event == "job.expired" and state == "wanted"
        await drawn.put(case)
        held = drawn.blueprint.states[state].phase not in ("open", "closed")
        offer = "sent" if who == "offered" and state in ("wanted", "held") else ""
        customer, at = stage.callers["customer"].id, case.marked | {state}
        facts = Facts(state, "holder" if held else "", customer, offer, at, case.frozen, early=case.early)
        wanted, seq, key = wanted_of(drawn, name, who, facts), await drawn.head(), str(uuid.uuid4())
        if spec.code and not wanted:
            assert (await drawn.give(name, who, str(uuid.uuid4()), code="none"))[0] == "wrong_code"
        found = await drawn.give(name, who, key)
        assert found[0] == ("" if spec.does == "capture" else wanted), (name, spec, who, case)
        if who and (spec.does != "refuse" or offer):
            _shown(drawn, name, who, facts, done=not wanted)
        if not found[0]:
            await _done(drawn, spec, case, seq, moves=not wanted)
            await _once(drawn, name, who, key, found)


async def _once(drawn: Drawn, name: str, who: str, key: str, first: tuple[Any, ...]) -> None:
    """Assert that a repeat has the same reply and appends no event, and that the engine does not repeat a task."""
    seq = await drawn.head()
    again = await drawn.give(name, who, key)
    assert again == (first if who else ("not done",)), (name, who)
    assert await drawn.head() == seq, (name, who)


def _shown(drawn: Drawn, name: str, who: str, facts: Facts, *, done: bool) -> None:
    caller, takes = drawn.stage.callers[who], search_mode(drawn.blueprint, facts) == "bids"
    stands = relations(
        caller.role,
        caller.id,
        customer=facts.customer,
        holder=facts.holder,
        offered=facts.offer == "sent",
        frozen=facts.frozen,
        bids=takes,
    )
    held = facts.holder != ""
    shown = drawn.blueprint.actions(
        facts.status, stands, at=facts.at, frozen=facts.frozen, held=held, early=facts.early
    )
    assert (name in shown) == done, (name, facts, shown)


async def _done(drawn: Drawn, spec: Command, case: Case, seq: int, *, moves: bool) -> None:
    """Assert the effects of a step: no event that the linter does not know, and each due payment request once."""
    events = await drawn.events_after(seq)
    known = {event for _, event in event_sources(drawn.blueprint)}
    drawn.emitted |= {event.type for event in events}
    assert drawn.emitted <= known, (spec, drawn.emitted - known)
    row = await drawn.redis.hgetall(drawn.stage.key)  # type: ignore[misc]
    if not moves or spec.does in ("bid", "withdraw") or spec.event == "offer.declined":
        assert row[b"status"].decode() == case.state
        return
    status, names, locked, asked = expected(drawn.blueprint, spec, case)
    assert row[b"status"].decode() == status, (spec, case)
    assert set(orjson.loads(b"{" + row[b"at"] + b"}")) == names
    assert (row[b"price_locked"] == b"1") == locked
    told = [event_log.payload(event)["payment"] for event in events if event.type == "payment.requested"]
    assert [payment["kind"] for payment in told] == asked
    assert len({payment["id"] for payment in told}) == len(told)


def expected(blueprint: Blueprint, spec: Command, case: Case) -> tuple[str, set[str], bool, list[str]]:
    """Return status, marks and states reached, whether the price is locked, and which payments are requested after a
    step. This implements docs/money.md and docs/blueprints.md a second time.
    """
    status, kept = spec.to or case.state, (PRICE if case.paid else PART) + PRICE * (spec.does == "capture")
    names = {*case.marked, case.state, status, spec.marks} - {""}
    asked = ["charge"] * (spec.charges and kept < PRICE)
    if case.state in spec.refunds:
        asked, kept = [*asked, "refund"], 0
    last = blueprint.commands["capture"]
    fits = names.issuperset(last.needs) and names.isdisjoint(last.unless) and status in last.from_
    if spec.does in ("capture", "freeze") or not fits or kept < PRICE:
        return status, names, spec.locks_price, asked
    # A payment that was captured before pays the job in the same step.
    asked += ["refund"] * (status in last.refunds)
    return last.to, (names | {last.to, last.marks}) - {""}, spec.locks_price or last.locks_price, asked


async def _stage(engine: Engine) -> Stage:
    serves, carla = await people.service(engine), await people.customer(engine)
    for who in ("holder", "offered", "other"):
        await people.technician(engine, who, ServiceId(serves), capacity=100_000)
    job = people.id_of(await people.job(engine, carla, serves))
    return Stage(engine, engine.blueprints.default, job, carla)


def test_what_a_blueprint_declares_is_enforced(settings: Settings) -> None:
    """Guards hold and effects occur for every kind of command: take, refuse, assign, bid, withdraw, award,
    allocation, timers, expiry, disputes, codes, captured payments and moves; actions show what is possible, a repeat
    changes nothing, and the linter knows each event.
    """
    Path(settings.data).mkdir(exist_ok=True)
    loop, stack, emitted = asyncio.new_event_loop(), AsyncExitStack(), set[str]()

    def wait(work: Awaitable[Any]) -> Any:
        return loop.run_until_complete(work)

    try:
        stage = wait(_stage(wait(stack.enter_async_context(open_engine(settings)))))

        @hypothesis_settings(
            max_examples=3,
            derandomize=True,
            phases=[Phase.generate],
            deadline=None,
            database=None,
            suppress_health_check=list(HealthCheck),
        )
        @given(data=st.data())
        def every(data: st.DataObject) -> None:
            for mode in MODES:
                blueprint = data.draw(blueprints(mode))
                assert check_blueprint(blueprint) == []
                drawn = Drawn(stage, blueprint)
                for name, spec in drawn.blueprint.commands.items():
                    for case in situations(spec, data):
                        wait(attempt(drawn, name, case))
                emitted.update(drawn.emitted)

        every()
        # This includes events whose name is not that of a command.
        assert {"job.status", "job.unassigned", "offer.closed", "bid.accepted", "code.failed"} <= emitted
        assert {"bid.closed", "payment.requested", "payment.received", "payment.unexpected"} <= emitted
    finally:
        loop.run_until_complete(stack.aclose())
        loop.close()
