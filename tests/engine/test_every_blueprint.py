"""Random blueprints. For each combination of guards and effects that a command may declare, the scripts, the actions in
job views and tests/support/reference_model.py agree. A command takes effect once under its key, and appends only events
that the linter knows.
"""

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
from engine.blueprint.relation import relations
from engine.blueprint.schema import Blueprint, Command
from engine.blueprint.vocabulary import event_sources
from engine.clock import now_ms
from engine.domain import bids, codes, commands, jobs, payments, signing, waves
from engine.domain.signing import Signature
from engine.errors import CalloutError
from engine.events import Event, rfc3339_of
from engine.process.settings import Settings
from engine.runtime import Engine
from engine.startup import open_engine
from engine.store import keys
from engine.types import DEFAULT_ZONE, ServiceId
from engine.workers import scheduled_tasks
from engine.zone import log
from tests.engine.test_every_step import REASON, JobSetup
from tests.support import event_log, people
from tests.support.expected_effects import PARTIAL_AMOUNT, PRICE, JobCase, expected_effects
from tests.support.job_views import view_of_job
from tests.support.random_blueprints import NEEDED_PHOTOS, random_blueprint
from tests.support.reference_model import Facts, expected_code, refusal_code, search_mode
from tests.support.signatures import make_png

ZONE = DEFAULT_ZONE
SEARCH_MODES = ("broadcast", "direct", "bids", "allocate")
CALLER_OF_RELATION = {"offered": "offered", "holder": "holder", "ops": "admin", "technician": "other", "engine": ""}
SIGNED_STATE = "agreed"
SIGNED_TEXT = orjson.dumps({"receipt": "rcp_1", "sha256": "0" * 64, "at": "2026-01-01T00:00:01.000Z"}).decode()
HOLD_RECORDS = {"asked": f"pay_0_hold {PRICE} -", "authorized": f'pay_0_hold {PRICE} "pi_held"'}
"""The field ``hold`` of a job."""


class BlueprintTrial:
    """A random blueprint, and a job of it that the test puts into any state before it sends a command."""

    number = itertools.count(100)

    def __init__(self, setup: JobSetup, blueprint: Blueprint) -> None:
        # Each trial has its own version of the blueprint, because the job's documents contain its name and version.
        self.blueprint = msgspec.structs.replace(blueprint, name="home_service", version=next(self.number))
        self.setup, self.engine, self.redis = setup, setup.engine, setup.engine.store.redis
        self.engine.blueprints.add_versions([self.blueprint])
        setup.blueprint = self.blueprint
        self.emitted: set[str] = set()
        self.requested: set[str] = set()  # the kinds of payments

    async def put_case(self, case: JobCase) -> None:
        """Write the job's record as it is in this case. If the blueprint has bids, the job has an open bid."""
        state, job = case.state, self.setup.job
        held = self.blueprint.states[state].phase not in ("open", "closed")
        await self.setup.put_state(state, held=held, marked=False, frozen=case.frozen)
        at = ",".join(f'"{name}":"2026-01-01T00:00:00.000Z"' for name in sorted({state, *case.marked}))
        fields = {
            "at": at,
            "bp": self.blueprint.key,
            "price_locked": "",
            "wave": 0,
            "walk": "",
            "expires": 1 if self.has_expired else 0,
            "amount": PRICE,
            "paid": PRICE if case.paid else PARTIAL_AMOUNT,
            "refunded": 0,
            "asked_back": 0,
            "reissued": 0,
            "tries:holder": "",
            "begins": 9999999999999 if case.early else 0,
            "photos": orjson.dumps(photos_of(case.photos)).decode(),
            "signed": SIGNED_TEXT if state == SIGNED_STATE else "",
        }
        seconds, _ = await self.redis.time()
        async with self.redis.pipeline(transaction=False) as pipe:
            # No grace period starts, even on a slow machine.
            pipe.hset(keys.zone_meta(ZONE), mapping={"now": seconds * 1000, "opened_at": 0})
            pipe.hset(self.setup.key, mapping=fields)
            pipe.hdel(self.setup.key, "hold", "payee")
            pipe.hset(self.setup.key, mapping={"hold": HOLD_RECORDS[case.hold]}) if case.hold else None
            pipe.delete(keys.job_bids(ZONE, job), keys.job_payments(ZONE, job))
            if state == "held":  # the offer from before the job had a holder
                pipe.hset(keys.job_offers(ZONE, job), "offered", "sent 1 0 9999999999999 10")
            if "award" in self.blueprint.commands:
                bid = 'open bid_1 1 - "technician":{"id":"offered"},"note":null'
                pipe.hset(keys.job_bids(ZONE, job), "offered", bid)
            await pipe.execute()

    has_expired = False

    async def last_seq(self) -> int:
        """Return the seq of the last event in the log."""
        return int(await self.redis.hget(keys.zone_meta(ZONE), "seq") or 0)  # type: ignore[misc]

    async def events_after(self, seq: int) -> list[Event]:
        """Return the events of this blueprint's jobs with a seq above ``seq``."""
        events = await log.read_range(self.redis, ZONE, seq, 1000)
        return [event for event in events if event.blueprint_key == self.blueprint.key]

    async def send(self, command: str, who: str, key: str, *, code: str = "", by_name: bool = False) -> tuple[Any, ...]:
        """Send ``command`` as the caller ``who`` ("": as the engine). Return a tuple of the code and the parts of the
        reply. The code is "" for success, and "not done" if the engine did not run the command. ``by_name``: send it by
        the function for commands, whatever its kind is.
        """
        try:
            if not who:
                return (await self.run_as_engine(command, self.blueprint.commands[command]),)
            send = self._send_by_name if by_name else self._send_as_caller
            return "", *_reply_parts(await send(command, who, key, code))
        except CalloutError as error:
            return (error.code,)

    async def _send_as_caller(self, command: str, who: str, key: str, code: str) -> Any:
        """Send the command by the function of its kind: bid, withdrawal, award, payment or any other command."""
        spec, job, engine = self.blueprint.commands[command], self.setup.job, self.engine
        caller = self.setup.callers[who]
        if spec.effect == "bid":
            return await bids.create_bid(engine, caller, job, bids.BidTerms(), key=key)
        if spec.effect == "withdraw":
            return await bids.withdraw_bid(engine, caller, job, "bid_1", key=key)
        if spec.effect == "award":
            return await bids.accept_bid(engine, caller, job, "bid_1", key=key)
        if spec.effect == "capture":
            word = payments.Payment(reference=f"pi_{key}", status="captured", amount=PRICE, currency="USD")
            return await payments.put_payment(engine, caller, job, word, key=key)
        if spec.signs:
            shown = await signing.read_record(engine, caller, job)
            signature = Signature(shown.sha256, "Carla", make_png(), "png")
            return await signing.sign_job(engine, caller, job, signature, key=key)
        return await self._send_by_name(command, who, key, code)

    async def _send_by_name(self, command: str, who: str, key: str, code: str) -> Any:
        """Send the command by its name."""
        spec, job, engine = self.blueprint.commands[command], self.setup.job, self.engine
        sent_code = code or (codes.derive_code(engine, job, spec.code, "1") if spec.code else None)
        taker = "other" if spec.effect == "assign" else None
        sent = jobs.CommandInput(command=command, code=sent_code, technician=taker, reason=REASON)
        return await jobs.run_command(engine, self.setup.callers[who], job, sent, key=key)

    async def run_as_engine(self, command: str, spec: Command) -> str:
        """Run the command as a scheduled task does. Return "" if the job changed, else "not done"."""
        job, plan = self.setup.job, self.engine.plans.find_plan(self.blueprint, command)
        assert plan is not None
        before = await self.redis.hget(self.setup.key, "version")  # type: ignore[misc]
        if spec.effect == "assign":
            await waves.allocate_job(self.engine, ZONE, f"allocate:{job}:1", job, "1")
        elif spec.event == "job.expired":
            await scheduled_tasks.run_task(self.engine, ZONE, f"expire:{job}")
        else:
            await commands.send_engine_command(
                self.engine, ZONE, job, self.blueprint, plan, f"timer:{job}:1:0", "1", reason="timer"
            )
        return "" if await self.redis.hget(self.setup.key, "version") != before else "not done"  # type: ignore[misc]


def _reply_parts(answer: Any) -> tuple[Any, ...]:
    """Return the parts of a reply that its repeat must contain too."""
    names = ("job", "bid", "payment", "message", "seq", "version")
    parts = [getattr(answer, name, None) for name in names]
    return tuple(orjson.loads(bytes(part)) if isinstance(part, msgspec.Raw) else part for part in parts)


def photos_of(number: int) -> list[dict[str, Any]]:
    """Return ``number`` photos."""
    return [{"id": f"file_{each}", "sha256": f"{each:064x}", "kind": "photo"} for each in range(number)]


def draw_cases(blueprint: Blueprint, spec: Command, data: st.DataObject) -> list[JobCase]:
    """Return cases for a command: its guards permit it or one of them does not, the job is too early,
    frozen, or paid, or money is held for it.
    """
    fit, first = frozenset(spec.needs), spec.from_[0]
    cases = [JobCase(first, fit), JobCase(data.draw(st.sampled_from([*spec.from_, "held", "off"])), fit)]
    cases += [JobCase(first, fit - {mark}) for mark in spec.needs]
    cases += [JobCase(first, fit | {mark}) for mark in spec.unless]
    cases += [JobCase(first, fit, photos=NEEDED_PHOTOS - 1)] * bool(spec.needs_files)
    cases += [JobCase(first, fit, early=True), JobCase(spec.from_[-1], fit, paid=True)]
    last = spec.from_[-1]
    if blueprint.may_hold and blueprint.phase(last) in ("assigned", "active"):
        cases += [JobCase(last, fit, hold=hold, paid=data.draw(st.booleans())) for hold in ("asked", "authorized")]
    return cases + ([JobCase("held", fit, frozen=True)] if "held" in spec.from_ else [])


def expected_code_of(trial: BlueprintTrial, command: str, who: str, facts: Facts) -> str:
    """Return the code that the reference model expects. A captured payment is never refused, so for it the code says
    whether the payment moves the job.
    """
    blueprint, spec = trial.blueprint, trial.blueprint.commands[command]
    if not who:
        return "not done" if refusal_code(blueprint, spec, ["engine"], facts) else ""
    if spec.effect in ("bid", "award"):
        takes_bids = search_mode(blueprint, facts) == "bids"
        code = refusal_code(blueprint, spec, spec.by, facts) or ("" if takes_bids else "illegal_transition")
        is_lost = spec.effect == "bid" and facts.holder and blueprint.states[facts.status].search_mode == "none"
        return "taken" if is_lost and code == "illegal_transition" else code
    if spec.effect in ("withdraw", "capture") or spec.signs:
        return refusal_code(blueprint, spec, spec.by, facts, signature=spec.signs)
    return expected_code(blueprint, trial.setup.callers[who], command, facts)


async def check_command(trial: BlueprintTrial, command: str, case: JobCase) -> None:
    """Send the command as each caller that it declares. Assert that the reply is as the reference model says, that the
    actions contain the command exactly if it succeeds, and that its effects occur together and once.
    """
    spec, setup, state = trial.blueprint.commands[command], trial.setup, case.state
    for relation in spec.by:
        if relation == "engine" and spec.effect == "assign" and state != "wanted":
            continue
        who = "offered" if spec.effect == "withdraw" else CALLER_OF_RELATION.get(relation, relation)
        trial.has_expired = spec.event == "job.expired" and state == "wanted"
        await trial.put_case(case)
        held = trial.blueprint.states[state].phase not in ("open", "closed")
        offer = "sent" if who == "offered" and state in ("wanted", "held") else ""
        customer, at = setup.callers["customer"].id, case.marked | {state}
        files = {"photo": case.photos}
        facts = Facts(state, "holder" if held else "", customer, offer, at, case.frozen, early=case.early, files=files)
        wanted, seq, key = expected_code_of(trial, command, who, facts), await trial.last_seq(), str(uuid.uuid4())
        if spec.signs:
            unsigned = expected_code(trial.blueprint, setup.callers[who], command, facts)
            assert (await trial.send(command, who, str(uuid.uuid4()), by_name=True))[0] == unsigned, (spec, case)
        if spec.code and not wanted:
            assert (await trial.send(command, who, str(uuid.uuid4()), code="none"))[0] == "wrong_code"
        reply = await trial.send(command, who, key)
        assert reply[0] == ("" if spec.effect == "capture" else wanted), (command, spec, who, case)
        if who and (spec.effect != "refuse" or offer):
            _assert_actions(trial, command, who, facts, done=not wanted)
        if not reply[0]:
            await _assert_effects(trial, spec, case, seq, moves=not wanted)
            await _assert_idempotent(trial, command, who, key, reply)


async def _assert_idempotent(trial: BlueprintTrial, command: str, who: str, key: str, first: tuple[Any, ...]) -> None:
    """Assert that a repeat has the same reply and appends no event, and that the engine does not run a task twice."""
    seq = await trial.last_seq()
    again = await trial.send(command, who, key)
    assert again == (first if who else ("not done",)), (command, who)
    assert await trial.last_seq() == seq, (command, who)


def _assert_actions(trial: BlueprintTrial, command: str, who: str, facts: Facts, *, done: bool) -> None:
    """Assert that the caller's actions contain the command exactly if it succeeded."""
    caller, takes = trial.setup.callers[who], search_mode(trial.blueprint, facts) == "bids"
    time = rfc3339_of(9999999999999) if facts.early else None
    job = view_of_job(
        trial.blueprint,
        facts.status,
        at=facts.at,
        customer=facts.customer,
        holder=facts.holder,
        frozen=facts.frozen,
        scheduled_for=time,
        photos=facts.files["photo"],
    )
    caller_relations = relations(caller, job, offered=facts.offer == "sent", bids=takes)
    actions = trial.blueprint.actions(job, caller_relations, now=now_ms())
    assert (command in actions) == done, (command, facts, actions)


async def _assert_effects(trial: BlueprintTrial, spec: Command, case: JobCase, seq: int, *, moves: bool) -> None:
    """Assert the state, the marks and the payments after a step, and that the linter knows each event of the step."""
    events = await trial.events_after(seq)
    declared_types = {event for _, event in event_sources(trial.blueprint)}
    trial.emitted |= {event.type for event in events if event.type != "session.ledger"}  # only for gateways
    assert trial.emitted <= declared_types, (spec, trial.emitted - declared_types)
    row = await trial.redis.hgetall(trial.setup.key)  # type: ignore[misc]
    if not moves or spec.effect in ("bid", "withdraw") or spec.event == "offer.declined":
        assert row[b"status"].decode() == case.state
        return
    effects = expected_effects(trial.blueprint, spec, case)
    assert row[b"status"].decode() == effects.status, (spec, case)
    assert set(orjson.loads(b"{" + row[b"at"] + b"}")) == effects.names
    assert (row[b"price_locked"] == b"1") == effects.locked
    requested_payments = [event_log.payload(event)["payment"] for event in events if event.type == "payment.requested"]
    assert [payment["kind"] for payment in requested_payments] == effects.kinds, (spec, case)
    assert len({payment["id"] for payment in requested_payments}) == len(requested_payments)
    trial.requested |= set(effects.kinds)
    held = row.get(b"hold", b"").decode()
    assert ("authorized" if '"' in held else "asked" if held else "") == effects.hold, (spec, case, held)
    earned = [event_log.payload(event) for event in events if event.type == "session.ledger"]
    assert [(each["amount"], each["fee"]) for each in earned] == effects.earned, (spec, case)


async def _create_setup(engine: Engine) -> JobSetup:
    """Create a job of the default blueprint, with three technicians."""
    service, carla = await people.service(engine), await people.customer(engine)
    for who in ("holder", "offered", "other"):
        await people.technician(engine, who, ServiceId(service), capacity=100_000)
    job = people.id_of(await people.job(engine, carla, service))
    return JobSetup(engine, engine.blueprints.default, job, carla)


def test_a_random_blueprint_is_enforced(settings: Settings) -> None:
    """For random blueprints of each search mode, every kind of command obeys its guards and has its effects. The
    actions contain the commands that succeed, a repeat changes nothing, and the linter knows each event.
    """
    Path(settings.data).mkdir(exist_ok=True)
    loop, stack, emitted, requested = asyncio.new_event_loop(), AsyncExitStack(), set[str](), set[str]()

    def run_until_done(work: Awaitable[Any]) -> Any:
        return loop.run_until_complete(work)

    try:
        setup = run_until_done(_create_setup(run_until_done(stack.enter_async_context(open_engine(settings)))))

        @hypothesis_settings(
            max_examples=3,
            derandomize=True,
            phases=[Phase.generate],
            deadline=None,
            database=None,
            suppress_health_check=list(HealthCheck),
        )
        @given(data=st.data())
        def check_random_blueprints(data: st.DataObject) -> None:
            for number, mode in enumerate(SEARCH_MODES, data.draw(st.integers(0, 1))):
                blueprint = data.draw(random_blueprint(mode, signs=number % 2 == 0))
                assert check_blueprint(blueprint) == []
                trial = BlueprintTrial(setup, blueprint)
                for name, spec in trial.blueprint.commands.items():
                    for case in draw_cases(trial.blueprint, spec, data):
                        run_until_done(check_command(trial, name, case))
                emitted.update(trial.emitted)
                requested.update(trial.requested)

        check_random_blueprints()
        # This includes events whose name is not that of a command.
        assert {"job.status", "job.unassigned", "offer.closed", "bid.accepted", "code.failed"} <= emitted
        assert {"bid.closed", "payment.requested", "payment.received", "payment.unexpected", "job.signed"} <= emitted
        assert requested == {"charge", "refund", "hold", "release"}
    finally:
        loop.run_until_complete(stack.aclose())
        loop.close()
