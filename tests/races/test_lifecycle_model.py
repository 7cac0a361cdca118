"""Every blueprint against a reference model: random commands by all callers, two at a time, with lost replies and the
clock advancing.

tests/support/reference_model.py computes the expected code of each command from the job's facts before it. Two
concurrent commands must answer as in one of the two orders. After every step the job's record, the indexes and the log
agree (G1). A command whose reply is lost takes effect once, for every result of its repeat (G2).
"""

from __future__ import annotations

import asyncio
import uuid
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import msgspec
from hypothesis import strategies as st
from hypothesis.stateful import initialize, invariant, rule

from engine.archive import projection
from engine.blueprint import catalogue
from engine.domain import codes, jobs
from engine.domain.commands import CommandInput
from engine.errors import Indeterminate, Refused, Unavailable
from engine.process.settings import Settings
from engine.runtime import Engine
from engine.startup import open_engine
from engine.store import keys
from engine.types import DEFAULT_ZONE, JobId, Principal, Role, TechnicianId, UserId
from engine.workers import scheduler
from engine.zone import log
from tests.races.signing_acts import ADD_PHOTOS, SIGN, facts_of_record, leads_on, other_acts, sign, signing_code
from tests.rebuild.compare import check_rebuild
from tests.support import event_log, job_keys, people
from tests.support.clock import advance
from tests.support.photos import attach_photos
from tests.support.proxy import Proxy
from tests.support.reference_model import Facts, end_reason, expected_code
from tests.support.state_machine import EngineMachine, run_examples

ZONE = DEFAULT_ZONE
SHIPPED = catalogue.load_blueprints("home_service", catalogue.shipped_folder())
BLUEPRINT_NAMES = sorted(SHIPPED.by_name)
COMMANDS = sorted({name for b in SHIPPED.by_name.values() for name in b.commands})
TECHNICIANS = ("a", "b", "c")
STAFF: tuple[Role, ...] = ("ops_manager", "service", "mediator", "onboarding_manager")
CALLERS = ("customer", "stranger", *TECHNICIANS, *STAFF)
CLOCK_JUMPS_S = (1.4, 35, 130, 910)
AT_CAPACITY = 4
EXAMPLES_PER_REBUILD = 11
"""After every such example the zone is rebuilt and compared: the blueprints come in turn, so each has its rebuild."""


class LifecycleMachine(EngineMachine):
    """One example: one job of one blueprint, three technicians, and random commands for the job."""

    lossy_engine: Engine
    proxy: Proxy
    examples = 0
    commands_run: ClassVar[set[tuple[str, str]]] = set()

    def __init__(self) -> None:
        super().__init__()
        LifecycleMachine.examples += 1
        self.tag = f"l{LifecycleMachine.examples}"
        self.booking_count = self.head = 0

    @initialize(with_technician=st.booleans())
    def begin(self, with_technician: bool) -> None:
        """A customer books a job of each blueprint in turn, perhaps with a named technician. Some jobs are led on: few
        random walks would come to a signature."""
        self.wait(self._book_job(BLUEPRINT_NAMES[LifecycleMachine.examples % len(BLUEPRINT_NAMES)], with_technician))
        for _ in range(LifecycleMachine.examples % 3 * 4):
            self.run_legal_command(1, loses_reply=False)

    async def _book_job(self, blueprint_name: str, with_technician: bool) -> None:
        engine = self.engine
        # Each check reads only the events since here: the log of all earlier jobs would make it slower and slower.
        self.head = (await log.read_head(engine.store.redis, ZONE)).seq
        self.blueprint = engine.blueprints.by_name[blueprint_name]
        self.service = await people.service(engine)
        carla = await people.customer(engine)
        self.people: dict[str, Principal] = {"customer": carla, "stranger": Principal(UserId("usr_nobody"), "customer")}
        self.people |= {role: Principal(UserId(f"a_{role}"), role) for role in STAFF}
        self.booking_count += 1
        for member in TECHNICIANS:
            name_of = f"{self.tag}{self.booking_count}{member}"
            self.people[member] = await people.technician(engine, name_of, self.service, capacity=AT_CAPACITY)
        allowed = self.blueprint.technician
        more = {"technician": self.people["a"].id} if allowed == "required" or (allowed and with_technician) else {}
        self.job: JobId = people.id_of(await people.job(engine, carla, self.service, blueprint=blueprint_name, **more))
        await self._run_due_tasks()

    async def _job_record(self) -> dict[str, str]:
        row: Any = await self.engine.store.redis.hgetall(keys.job(ZONE, self.job))  # type: ignore[misc]
        return {name.decode(): value.decode() for name, value in row.items()}

    async def _read_job(self) -> tuple[dict[str, str], dict[str, Facts]]:
        """Return the job's record and the facts of the job for each caller, by name."""
        pipe = self.engine.store.redis.pipeline(transaction=False)
        found, offers = await pipe.hgetall(keys.job(ZONE, self.job)).hgetall(keys.job_offers(ZONE, self.job)).execute()
        row = {name.decode(): value.decode() for name, value in found.items()}
        facts = facts_of_record(row)
        status_of = {who.decode(): offer.decode().split()[0] for who, offer in offers.items()}
        return row, {name: replace(facts, offer=status_of.get(self.people[name].id, "")) for name in CALLERS}

    def _full_step(self, command: str, row: dict[str, str]) -> CommandInput:
        """Return the command with all arguments that it may need."""
        spec = self.blueprint.commands.get(command)
        code = (
            codes.derive_code(self.engine, self.job, spec.code, row.get("issue", "1")) if spec and spec.code else None
        )
        taker = self.people["b"].id if spec and spec.effect == "assign" else None
        return CommandInput(command=command, code=code, technician=taker, reason="so it is")

    async def _send_command(self, engine: Engine, who: Principal, step: CommandInput, key: str) -> str:
        try:
            if step.command == SIGN:
                await sign(engine, who, self.job, key)
            else:
                await jobs.run_command(engine, who, self.job, step, key=key)
        except Refused as refused:
            return refused.code
        return ""

    # the rules

    async def _legal_commands(self, pick: int) -> list[tuple[str, str]]:
        """Return the commands that are allowed now and their callers. Those that close the job are rare, those that
        lead on are frequent, and a closed job is replaced with a new one."""
        if self.blueprint.states[(await self._job_record())["status"]].is_terminal:
            await self._book_job(BLUEPRINT_NAMES[pick % len(BLUEPRINT_NAMES)], pick % 2 == 1)
        commands = self.blueprint.commands
        row, facts = await self._read_job()
        legal = [
            (c, n) for c in commands for n in CALLERS if not expected_code(self.blueprint, self.people[n], c, facts[n])
        ]
        legal += other_acts(self.blueprint, facts, {name: self.people[name].id for name in TECHNICIANS})
        stays_open = [(c, n) for c, n in legal if c not in commands or self.blueprint.phase(commands[c].to) != "closed"]
        ahead = [each for each in stays_open if pick % 4 and leads_on(self.blueprint, row["status"], each[0])]
        return legal if pick % 7 == 0 else ahead or stays_open or legal

    @rule(pick=st.integers(0, 999), loses_reply=st.booleans())
    def run_legal_command(self, pick: int, loses_reply: bool) -> None:
        """Send a command that is allowed now. Without this rule few examples would leave the first state."""
        if legal := self.wait(self._legal_commands(pick)):
            command, name = legal[pick % len(legal)]
            self.commands_run.add((self.blueprint.name, command))
            if command == ADD_PHOTOS:
                self.wait(attach_photos(self.engine, self.people[name], self.job))
            else:
                loses_reply = loses_reply and command != SIGN  # the reply that is dropped would be that of a read
                self.wait((self._run_and_lose_reply if loses_reply else self._run_and_repeat)(command, name))

    @rule(first_pick=st.integers(0, 999), second_pick=st.integers(0, 999))
    def run_two_legal_commands(self, first_pick: int, second_pick: int) -> None:
        """Send two commands at once, each of which is allowed now."""
        known = self.blueprint.commands
        if legal := [each for each in self.wait(self._legal_commands(first_pick)) if each[0] in known]:
            (one, who), (two, whom) = legal[first_pick % len(legal)], legal[second_pick % len(legal)]
            self.wait(self._run_together((one, two), (who, whom)))

    @rule(command=st.sampled_from(COMMANDS), caller=st.sampled_from(CALLERS))
    def run_command(self, command: str, caller: str) -> None:
        """A command is answered as the blueprint says, and its repeat has the same reply."""
        self.wait(self._run_and_repeat(command, caller))

    async def _run_and_repeat(self, command: str, caller: str) -> None:
        before, facts = await self._read_job()
        who, step, key = self.people[caller], self._full_step(command, before), str(uuid.uuid4())
        code = await self._send_command(self.engine, who, step, key)
        expected_codes = self._expected_codes(facts[caller], before, who, step)
        assert code in expected_codes, (self.blueprint.name, command, who.role, facts[caller], code)
        after = await self._job_record()
        if code:
            assert after == before
        assert await self._send_command(self.engine, who, step, key) == code
        assert await self._job_record() == after
        await self._run_due_tasks()

    def _expected_codes(self, facts: Facts, row: dict[str, str], who: Principal, step: CommandInput) -> set[str]:
        """Return the codes that the command may get: the expected one, or success for a repeat of the caller's latest
        step, if the caller still has a relation to the job, and for a claim of the holder of a job that was not
        cancelled. A second assignment is no repeat: it may name another technician.
        """
        commands = self.blueprint.commands
        if step.command == SIGN:
            return {signing_code(self.blueprint, facts)}
        wanted = {expected_code(self.blueprint, who, step.command, facts)}
        spec = commands.get(step.command) or commands.get({"claim": "accept"}.get(step.command, ""))
        is_unrelated = spec is not None and spec.effect not in ("take", "refuse") and wanted == {"not_found"}
        is_new = is_unrelated or (spec is not None and spec.effect == "assign")
        name = step.command if step.command in commands else {"claim": "accept"}.get(step.command, step.command)
        is_new |= spec is not None and spec.signs  # a signature is repeated by a signature alone
        if row["last"].startswith(f"{name} {who.role}:{who.id} ") and not is_new:
            wanted = {""}
        is_over = end_reason(self.blueprint, facts.status) != ""
        if spec is not None and spec.effect == "take" and facts.holder == who.id and row["claimed"] and not is_over:
            wanted = {""}
        if spec is not None and spec.effect == "reissue":
            wanted |= {"illegal_transition"}  # the limit of new codes is reached
        return wanted

    @rule(
        commands=st.tuples(st.sampled_from(COMMANDS), st.sampled_from(COMMANDS)),
        callers=st.tuples(st.sampled_from(CALLERS), st.sampled_from(CALLERS)),
    )
    def run_two_commands(self, commands: tuple[str, str], callers: tuple[str, str]) -> None:
        """Give two commands at once: if both are refused, nothing changes; otherwise they take effect in one of the two
        orders.
        """
        self.wait(self._run_together(commands, callers))

    async def _run_together(self, commands: tuple[str, str], callers: tuple[str, str]) -> None:
        before, facts = await self._read_job()
        who = [self.people[name] for name in callers]
        steps = [self._full_step(command, before) for command in commands]
        alone = [self._expected_codes(facts[n], before, self.people[n], s) for n, s in zip(callers, steps, strict=True)]
        found = await asyncio.gather(
            *(self._send_command(self.engine, w, s, str(uuid.uuid4())) for w, s in zip(who, steps, strict=True))
        )
        if found[0] and found[1]:
            assert await self._job_record() == before
        assert found[0] in alone[0] or found[1] in alone[1], (commands, found, alone)
        assert not all(found) or any(answers != {""} for answers in alone)
        await self._run_due_tasks()

    @rule(command=st.sampled_from(COMMANDS), caller=st.sampled_from(CALLERS))
    def run_with_lost_reply(self, command: str, caller: str) -> None:
        """The reply is lost, so the outcome is unknown. The repeat under the same key returns it, and nothing is done
        twice.
        """
        self.wait(self._run_and_lose_reply(command, caller))

    async def _run_and_lose_reply(self, command: str, caller: str) -> None:
        before, facts = await self._read_job()
        who, step, key = self.people[caller], self._full_step(command, before), str(uuid.uuid4())
        self.proxy.drop_next = b'"status":"'
        while True:
            try:
                code = await self._send_command(self.lossy_engine, who, step, key)
                break
            except (Indeterminate, Unavailable):
                await asyncio.sleep(0.005)
        self.proxy.drop_next = None
        assert code in self._expected_codes(facts[caller], before, who, step)
        events = [
            e for e in await event_log.events(self.engine, job=self.job, after=self.head) if e.cause.startswith(key)
        ]
        assert len({e.seq for e in events if e.type.startswith("job.")}) <= 3
        assert int((await self._job_record())["version"]) - int(before["version"]) in (0, 1, 2)
        await self._run_due_tasks()

    @rule(seconds=st.sampled_from(CLOCK_JUMPS_S))
    def pass_time(self, seconds: float) -> None:
        """Time passes and due tasks run, while the technicians send heartbeats."""
        self.wait(self._pass_time(seconds))

    async def _pass_time(self, seconds: float) -> None:
        await advance(self.engine, seconds)
        now = await self.engine.store.redis.hget(keys.zone_meta(ZONE), "now")  # type: ignore[misc]
        pipe = self.engine.store.redis.pipeline(transaction=False)
        for member in TECHNICIANS:
            technician = TechnicianId(self.people[member].id)
            pipe.zadd(keys.last_seen(ZONE), {technician: int(now)}, xx=True)
            pipe.hset(keys.technician(ZONE, technician), "fix_at", now)
        await pipe.execute()
        await self._run_due_tasks()

    async def _run_due_tasks(self) -> None:
        """Run the tasks that are due now."""
        for _ in range(50):
            if await scheduler.run_once(self.engine, ZONE) > 0:
                return

    # the invariant

    @invariant()
    def check_agreement(self) -> None:
        """The job has one holder, known on both sides; indexes and scheduled tasks match the state; the log matches the
        record.
        """
        if hasattr(self, "job"):
            self.wait(self._check_job_and_log())

    async def _check_job_and_log(self) -> None:
        pipe, names = self.engine.store.redis.pipeline(transaction=False), [self.people[m].id for m in TECHNICIANS]
        pipe.hgetall(keys.job(ZONE, self.job)).zrange(keys.due_tasks(ZONE), 0, -1)
        pipe.zscore(keys.job_demand(ZONE, self.service), self.job).zscore(keys.map_places(ZONE), self.job)
        for name in names:
            pipe.smembers(keys.technician_jobs(ZONE, TechnicianId(name)))
            pipe.hget(keys.technician(ZONE, TechnicianId(name)), "load")
        found, due_entries, demand, place, *records = await pipe.execute()
        row = {name.decode(): value.decode() for name, value in found.items()}
        state = self.blueprint.states[row["status"]]
        for name, held_jobs, load in zip(names, records[::2], records[1::2], strict=True):
            is_holder = row["holder"] == name and not state.is_terminal and not state.frees_holder
            assert (self.job.encode() in held_jobs) == is_holder and int(load or 0) == len(held_jobs)
        seeks = state.search_mode if not row["holder"] else "none"
        due, is_listed = {entry.decode() for entry in due_entries}, demand is not None
        assert is_listed == (seeks in ("broadcast", "bids")), (row["status"], seeks)
        assert any(entry.startswith(f"wave:{self.job}:") for entry in due) == is_listed
        assert (place is not None) == (row["phase"] in ("open", "assigned", "active")), row["phase"]
        lives = seeks != "none" and self.blueprint.dispatch.job_s > 0
        assert (f"expire:{self.job}" in due) == lives
        folded = projection.fold_events(await event_log.events(self.engine, job=self.job, after=self.head)).jobs[
            self.job
        ]
        assert (folded["status"], folded["version"]) == (row["status"], int(row["version"]))
        assert (folded["technician"] or "") == row["holder"]

    def teardown(self) -> None:
        """Assert that the log determines the keys of the job, and after some of the examples that a rebuild from SQL
        leads to the same zone. Then delete the due tasks and the demand index, so that the next example is not
        influenced by this one.
        """
        if hasattr(self, "job"):
            rows = job_keys.rows_of_events(self.wait(job_keys.read_events(self.engine, after=self.head)))
            assert self.wait(job_keys.check_jobs(self.engine, rows)) == len(rows) == 1
        if LifecycleMachine.examples % EXAMPLES_PER_REBUILD == 0:
            self.wait(check_rebuild(self.engine, only_job=self.job))
        self.wait(self.engine.store.redis.delete(keys.due_tasks(ZONE), keys.job_demand(ZONE, self.service)))


def test_every_blueprint_keeps_to_its_model(settings: Settings) -> None:
    """Over all shipped blueprints, random examples of some thirty steps have the expected replies, and records, indexes
    and log agree.
    """
    Path(settings.data).mkdir(exist_ok=True)
    loop, stack = asyncio.new_event_loop(), AsyncExitStack()

    async def begin() -> None:
        LifecycleMachine.engine = await stack.enter_async_context(open_engine(settings))
        LifecycleMachine.proxy = await stack.enter_async_context(Proxy(settings.redis or ""))
        LifecycleMachine.lossy_engine = await stack.enter_async_context(
            open_engine(msgspec.structs.replace(settings, redis=LifecycleMachine.proxy.url))
        )

    try:
        LifecycleMachine.loop = loop
        loop.run_until_complete(begin())
        run_examples(LifecycleMachine, few=24, many=60, steps=30)
    finally:
        loop.run_until_complete(stack.aclose())
        loop.close()
    commands_run = LifecycleMachine.commands_run
    assert {name for name, _ in commands_run} == set(BLUEPRINT_NAMES) and len(commands_run) >= 15, sorted(commands_run)
    assert ("managed", SIGN) in commands_run, sorted(commands_run)
