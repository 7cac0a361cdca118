"""Drawn blueprints: whatever guards and effects a command declares, of whatever kind it is, the scripts, the actions
that callers are shown and tests/oracle.py agree on it.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import msgspec
import orjson
from hypothesis import HealthCheck, Phase, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from engine import bids, due, steps, waves
from engine.errors import CalloutError
from engine.rules.checking import check
from engine.rules.lifecycle import Blueprint, Command, Does, relations
from engine.runtime import Engine, open_engine
from engine.settings import Settings
from engine.store import keys
from engine.types import DEFAULT_ZONE, ServiceId
from tests import people
from tests.engine import log_of
from tests.engine.test_every_step import Stage
from tests.oracle import Facts, refused, right, sought

Z = DEFAULT_ZONE
MODES = ("broadcast", "direct", "bids", "allocate")
MARKS = ("a", "b", "c")
GIVER = {"offered": "offered", "holder": "holder", "ops": "admin", "technician": "other", "engine": ""}
SEEKS: dict[Does, tuple[str, ...]] = {
    "take": ("broadcast", "direct"),
    "refuse": ("broadcast", "bids", "direct"),
    "bid": ("bids",),
    "award": ("bids",),
}
"""While what a command may be given, beside what it declares: PROTOCOL §4."""
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
    }
)


def states(mode: str) -> dict[str, Any]:
    """A job is wanted, held, worked on and finished; or it ends before."""
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
    """A command of each kind that a mode allows."""
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
        **{f"mark_{mark}": {"by": ["ops"], "from": running, "marks": mark} for mark in MARKS},
    }
    if mode in ("broadcast", "direct"):
        found["take"] = {"does": "take", "by": ["offered"], "from": ["wanted", "held"], "to": "held"}
        found["take"]["event"] = "job.accepted"
    if mode == "bids":
        found["bid"] = {"does": "bid", "by": ["technician"], "from": ["wanted"], "event": "bid.created"}
        found["award"] = {"does": "award", "by": ["customer"], "from": ["wanted", "held"], "to": "held"}
    if mode != "allocate":
        moves = {"to": "left"} if mode == "direct" else {"event": "offer.declined"}
        found["no"] = {"does": "refuse", "by": ["offered"], "from": ["wanted", "held"], **moves}
    return {name: {"event": "job.status", **command} for name, command in found.items()}


@st.composite
def blueprints(draw: st.DrawFn, mode: str) -> Blueprint:
    """One that passes the check, with guards and effects wherever it lets them be."""
    made = commands(mode)
    for name in made.keys() & {"take", "assign", "award"}:
        made[name]["to"] = draw(st.sampled_from(("held", "working")))
    for name, command in made.items():
        more = draw(declared)
        more["unless"] = [mark for mark in more["unless"] if mark not in more["needs"]]
        if name.startswith("mark_"):
            continue
        if command.get("does") == "bid" or command["event"] == "offer.declined":
            more = {"needs": more["needs"], "unless": more["unless"]}
        else:
            more["refunds"] = command["from"][:1] if more["refunds"] else []
        if command["event"] == "job.expired":
            del more["needs"], more["unless"]
        command.update(more)
    events = {command["event"] for command in made.values()} | {"payment.requested", "bid.accepted", "job.unassigned"}
    raw = {"name": "drawn", "version": 1, "title": "Drawn", "states": states(mode), "commands": made}
    raw |= {"events": dict.fromkeys(e for e in events if e != "bid.accepted" or mode == "bids")}
    raw["events"] = dict.fromkeys(raw["events"], ANSWER)
    return msgspec.convert(raw | ({"technician": "required"} if mode == "direct" else {}), Blueprint)


class Drawn:
    """A job put into a state of a drawn blueprint, and one command given by who may give it."""

    number = itertools.count(1)

    def __init__(self, stage: Stage, blueprint: Blueprint) -> None:
        self.blueprint = msgspec.structs.replace(blueprint, name=f"drawn{next(self.number)}")
        self.stage, self.engine, self.redis = stage, stage.engine, stage.engine.store.redis
        self.engine.blueprints.know([self.blueprint])
        stage.blueprint = self.blueprint

    async def put(self, state: str, marked: frozenset[str], *, frozen: bool, early: bool) -> None:
        """The job as its history would have left it, with an open bid where it takes bids at all."""
        held = self.blueprint.states[state].phase not in ("open", "closed")
        await self.stage.put(state, held=held, marked=False, frozen=frozen)
        at = ",".join(f'"{name}":"2026-01-01T00:00:00.000Z"' for name in sorted({state, *marked}))
        fields = {
            "at": at,
            "bp": self.blueprint.key,
            "price_locked": "",
            "wave": 0,
            "walk": "",
            "expires": 1,
            "amount": 5,
            "paid": 3,
            "refunded": 0,
            "asked_back": 0,
            "begins": 9999999999999 if early else 0,
        }
        seconds, _ = await self.redis.time()
        # Nobody was away, however slow the machine is: no grace.
        await self.redis.hset(keys.meta(Z), mapping={"now": seconds * 1000, "opened_at": 0})  # type: ignore[misc]
        fields["expires"] = 1 if self.wants_time else 0
        await self.redis.hset(self.stage.key, mapping=fields)  # type: ignore[misc]
        place = keys.bids(Z, self.stage.job)
        await self.redis.delete(place)
        if state == "held":  # what was offered before somebody had it
            offer = "sent 1 0 9999999999999 10"
            await self.redis.hset(keys.offers(Z, self.stage.job), "offered", offer)  # type: ignore[misc]
        if "award" in self.blueprint.commands:
            bid = 'open bid_1 1 - "technician":{"id":"offered"},"note":null'
            await self.redis.hset(place, "offered", bid)  # type: ignore[misc]

    wants_time = False

    async def give(self, name: str, who: str) -> str:
        """The code that the command is answered with; "" for done, and "not done" for what the engine leaves."""
        spec, stage, engine = self.blueprint.commands[name], self.stage, self.engine
        try:
            if spec.does == "bid":
                await bids.create(engine, stage.callers[who], stage.job, bids.Wanted())
            elif spec.does == "award":
                await bids.accept(engine, stage.callers[who], stage.job, "bid_1")
            elif who:
                return await stage.try_it(who, name)
            else:
                return await self.by_the_engine(name, spec)
        except CalloutError as error:
            return error.code
        return ""

    async def by_the_engine(self, name: str, spec: Command) -> str:
        job, plan = self.stage.job, self.engine.plans.of(self.blueprint, name)
        assert plan is not None
        before = await self.redis.hget(self.stage.key, "version")  # type: ignore[misc]
        if spec.does == "assign":
            await waves.allocate(self.engine, Z, f"allocate:{job}:1", job, "1")
        elif spec.event == "job.expired":
            await due.do(self.engine, Z, f"expire:{job}")
        else:
            await steps.give(self.engine, Z, job, self.blueprint, plan, f"timer:{job}:1:0", "1", reason="timer")
        return "" if await self.redis.hget(self.stage.key, "version") != before else "not done"  # type: ignore[misc]


def situations(spec: Command, data: st.DataObject) -> list[tuple[str, frozenset[str], bool]]:
    """Where a command's guards let it be given, where one of them does not, somewhere, and before the job's time."""
    fit, first = frozenset(spec.needs), spec.from_[0]
    found = [(first, fit), (data.draw(st.sampled_from([*spec.from_, "held", "off"])), fit)]
    found += [(first, fit - {mark}) for mark in spec.needs]
    found += [(first, fit | {mark}) for mark in spec.unless]
    return [(*each, False) for each in found] + [(first, fit, True)]


def wanted_of(drawn: Drawn, name: str, who: str, facts: Facts) -> str:
    """What the oracle says."""
    blueprint, spec = drawn.blueprint, drawn.blueprint.commands[name]
    if not who:
        return "not done" if refused(blueprint, spec, ["engine"], facts) else ""
    if spec.does in ("bid", "award"):
        wrong = "" if sought(blueprint, facts) == "bids" else "illegal_transition"
        return refused(blueprint, spec, spec.by, facts) or wrong
    return right(blueprint, drawn.stage.callers[who], name, facts)


async def attempt(
    drawn: Drawn, name: str, state: str, marked: frozenset[str], *, frozen: bool = False, early: bool = False
) -> None:
    """Everybody whom the command names gives it once; each is answered as the oracle says, and shown it as an action
    exactly if it is done; its effects come about together.
    """
    spec, stage = drawn.blueprint.commands[name], drawn.stage
    for relation in spec.by:
        if relation == "engine" and spec.does == "assign" and state != "wanted":
            continue
        who = GIVER.get(relation, relation)
        drawn.wants_time = spec.event == "job.expired" and state == "wanted"
        await drawn.put(state, marked, frozen=frozen, early=early)
        held = drawn.blueprint.states[state].phase not in ("open", "closed")
        offer = "sent" if who == "offered" and state in ("wanted", "held") else ""
        customer = stage.callers["customer"].id
        facts = Facts(state, "holder" if held else "", customer, offer, marked | {state}, frozen, early=early)
        wanted = wanted_of(drawn, name, who, facts)
        seq = int(await drawn.redis.hget(keys.meta(Z), "seq") or 0)  # type: ignore[misc]
        found = await drawn.give(name, who)
        assert found == wanted, (name, spec, state, who, marked, frozen, early)
        if who and (spec.does != "refuse" or offer):
            _shown(drawn, name, who, facts, done=not wanted)
        if not wanted and spec.does != "bid" and spec.event != "offer.declined":
            await _done(drawn, spec, state, marked, seq)


def _shown(drawn: Drawn, name: str, who: str, facts: Facts, *, done: bool) -> None:
    caller, takes = drawn.stage.callers[who], sought(drawn.blueprint, facts) == "bids"
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


async def _done(drawn: Drawn, spec: Command, state: str, marked: frozenset[str], seq: int) -> None:
    row = await drawn.redis.hgetall(drawn.stage.key)  # type: ignore[misc]
    names = set(orjson.loads(b"{" + row[b"at"] + b"}"))
    assert row[b"status"].decode() == (spec.to or state)
    assert names == marked | {state, spec.to or state} | ({spec.marks} if spec.marks else set())
    assert (row[b"price_locked"] == b"1") == spec.locks_price
    told = [e for e in await log_of.events(drawn.engine) if e.seq > seq and e.type == "payment.requested"]
    asked = [log_of.data(event)["payment"] for event in told]
    wanted = ["charge"] * spec.charges + ["refund"] * (state in spec.refunds)
    assert [payment["kind"] for payment in asked] == wanted
    assert len({payment["id"] for payment in asked}) == len(asked)


async def _stage(engine: Engine) -> Stage:
    serves, carla = await people.service(engine), await people.customer(engine)
    for who in ("holder", "offered", "other"):
        await people.technician(engine, who, ServiceId(serves), capacity=100_000)
    job = people.id_of(await people.job(engine, carla, serves))
    return Stage(engine, engine.blueprints.default, job, carla)


def test_what_a_blueprint_declares_is_enforced(settings: Settings) -> None:
    """Guards hold and effects come about for every kind of command: take, refuse, assign, award, allocation, timers,
    the end of a job's time, disputes and moves; and actions show what can be done.
    """
    Path(settings.data).mkdir(exist_ok=True)
    loop, stack = asyncio.new_event_loop(), AsyncExitStack()

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
                assert check(blueprint) == []
                drawn = Drawn(stage, blueprint)
                for name, spec in drawn.blueprint.commands.items():
                    for state, marked, early in situations(spec, data):
                        wait(attempt(drawn, name, state, marked, early=early))
                    if "held" in spec.from_:
                        wait(attempt(drawn, name, "held", frozenset(spec.needs), frozen=True))

        every()
    finally:
        loop.run_until_complete(stack.aclose())
        loop.close()
