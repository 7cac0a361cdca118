"""The engine against a small model: commands in any order, repeats, technicians who leave, and jumps of the clock.

The model predicts the reply to each command from the record and the clock before it. After every step the record, the
indexes, the counters, the scheduled tasks and the log must agree. All callers take idempotency keys from one pool, so
that repeats, reused keys and two callers with the same key all occur.
"""

from __future__ import annotations

import asyncio
import uuid
from collections import Counter
from collections.abc import Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import orjson
from hypothesis import strategies as st
from hypothesis.stateful import initialize, invariant, precondition, rule

from engine.archive import projection
from engine.domain import jobs, offers
from engine.domain.jobs import CommandInput
from engine.errors import Refused
from engine.idempotency.in_redis import Outcome
from engine.process.settings import Settings
from engine.startup import open_engine
from engine.store import keys
from engine.technicians import live
from engine.technicians.live import Fix, TechnicianRecord
from engine.types import DEFAULT_ZONE, JobId, Principal, ServiceId, TechnicianId, UserId
from engine.workers import scheduler
from tests.rebuild.compare import check_rebuild
from tests.support import job_keys, people
from tests.support.clock import advance, advance_unobserved
from tests.support.state_machine import EngineMachine, Record, run_examples

ZONE = DEFAULT_ZONE
LEASE_MS = 90_000
STATUS_BEFORE = {"depart": "accepted", "arrive": "on_the_way", "start": "reached", "complete": "in_progress"}
"""The status in which each of these commands is allowed."""
STATUSES_WITH_LOAD = {"accepted", "on_the_way", "reached", "in_progress"}
"""The statuses in which a job counts towards the load of its holder."""
CANCELLABLE_STATUSES = {"broadcasted", "accepted", "on_the_way", "reached"}
CLOCK_JUMPS_S = (1.4, 7, 35, 63, 98, 910)
"""Seconds by which the clock is advanced: multiples of 0.7 s. No sum of them equals a lease or the lifetime of an offer
or a job, so that the model never has to predict the exact moment of an end.
"""
LAST_SEEN = ("ZRANGE", keys.last_seen(ZONE), 0, -1, "WITHSCORES")
REQUEST_KEYS = [str(uuid.UUID(int=n)) for n in range(6)]
PEOPLE = ("a", "b", "c")

Verdict = tuple[Any, ...]


def outcome(reply: Outcome) -> Verdict:
    """Return all parts of a reply that a repeat must return again."""
    assert reply.job is not None
    return ("ok", bytes(reply.job), reply.message, reply.seq, reply.version)


EXAMPLES_PER_REBUILD = 12
"""After every such example the zone is rebuilt and compared."""


class Model(EngineMachine):
    """One example of the test: random actions of three technicians and a customer on the jobs of a new service."""

    examples = log_begins = 0
    """How many examples there were, and the seq up to which the log is empty since a rebuild."""
    is_all_in_sql = True
    """Whether SQL has everything that the rules write, so that a rebuild can be compared."""

    def __init__(self) -> None:
        super().__init__()
        Model.examples += 1
        self.tag = f"m{Model.examples}"
        self.jobs: list[JobId] = []
        self.verdicts: dict[tuple[str, str], tuple[tuple[str, str], Verdict]] = {}
        self.claims: dict[str, tuple[str, Verdict]] = {}
        self.last: dict[str, tuple[str, str, Verdict]] = {}
        self.versions: Counter[str] = Counter()
        self.head = 0
        """The seq before this example, which reads only its own events: reading all would cost more each time."""

    # the state of the engine

    def job_record(self, job: JobId) -> Record:
        """Return a job's record."""
        return self.live_hash(keys.job(ZONE, job))

    def technician_record(self, technician: str) -> Record:
        """Return a technician's record."""
        return self.live_hash(keys.technician(ZONE, TechnicianId(UserId(technician))))

    def clock(self) -> tuple[int, int]:
        """Return the zone's time and the time at which it opened (ms), as the next script will compute them."""
        seconds, micros = self.read("TIME")
        meta = self.live_hash(keys.zone_meta(ZONE))
        now = int(seconds) * 1000 + int(micros) // 1000 + int(meta.get("skew", 0))
        unseen = now > int(meta["now"]) + 5000
        return max(now, int(meta["now"])), now if unseen else int(meta["opened_at"])

    def has_passed(self, time_ms: int) -> bool:
        """Return whether the time ``time_ms`` has passed, including the grace period after the zone opened."""
        now, opened = self.clock()
        return now > time_ms > 0 and (opened == 0 or now > opened + LEASE_MS)

    def principal_of(self, technician: str) -> Principal:
        """Return the principal of a technician of this example."""
        return people.technician_without_account(f"{self.tag}{technician}")

    # the expected replies

    def expected_code(self, who: Principal, job: JobId, command: str) -> str:
        """Return the code that the command must get, or ``ok``."""
        record = self.job_record(job)
        if command == "cancel":
            code_of_status = {"cancelled": "cancelled", "expired": "expired"}
            ok = record["status"] in CANCELLABLE_STATUSES
            return "ok" if ok else code_of_status.get(record["status"], "illegal_transition")
        if command in STATUS_BEFORE:
            if record["holder"] != who.id:
                return "not_found"
            return "ok" if record["status"] == STATUS_BEFORE[command] else "illegal_transition"
        return self.expected_offer_code(who, job, command, record)

    def expected_offer_code(self, who: Principal, job: JobId, command: str, record: Record) -> str:
        """Return the code that a claim or a decline must get: first the caller is checked, then the job, then the
        offer.
        """
        tech = self.technician_record(who.id)
        if command == "claim" and tech["account"] != "approved":
            return "account_not_approved"
        offer = self.live_hash(keys.job_offers(ZONE, job)).get(who.id, "").split()
        if command == "decline" and offer and offer[0] == "rejected":
            return "ok"
        if record["status"] in ("cancelled", "expired"):
            return record["status"]
        if command == "claim" and record["phase"] == "open" and self.has_passed(int(record["expires"])):
            return "expired"
        if record["holder"]:
            return "taken"
        if not offer or offer[0] in ("rejected", "withdrawn"):
            return "not_offered"
        if offer[0] != "sent" or self.has_passed(int(offer[3])):
            return "expired"
        full = int(tech["load"]) >= int(tech["capacity"])
        return "at_capacity" if command == "claim" and full else "ok"

    def send_and_compare(self, who: Principal, job: JobId, command: str, key: str) -> None:
        """Send a command and compare the reply with the expected one."""
        request = (command, job)
        before = self.verdicts.get((who.id, key))
        first_reply = self.claims[job][1] if command == "claim" and self.holds(who, job) else None
        if job in self.last and self.last[job][:2] == (command, who.id):
            first_reply = self.last[job][2]
        wanted = self.expected_code(who, job, command)
        if command == "claim" and wanted in ("account_not_approved", "cancelled", "expired"):
            first_reply = None
        verdict = self.wait(self.send_command(who, job, command, key))
        if before is not None:
            assert verdict == (before[1] if before[0] == request else ("reused_key",)), (request, before)
            return
        self.verdicts[who.id, key] = (request, verdict)
        if first_reply is not None:
            assert verdict == first_reply
            return
        assert verdict[0] == wanted, (request, verdict, wanted)
        if wanted == "ok" and command != "decline":
            self.last[job] = (command, who.id, verdict)
            if command == "claim":
                self.claims[job] = (who.id, verdict)
                assert orjson.loads(verdict[1])["technician"]["id"] == who.id

    def holds(self, who: Principal, job: JobId) -> bool:
        """Return whether ``who`` received the reply that they hold the job."""
        return job in self.claims and self.claims[job][0] == who.id

    async def send_command(self, who: Principal, job: JobId, command: str, key: str) -> Verdict:
        """Send a command and return its reply in a form that can be compared."""
        try:
            return outcome(await jobs.run_command(self.engine, who, job, CommandInput(command=command), key=key))
        except Refused as refused:
            return (refused.code,)

    # the rules

    @initialize()
    def begin(self) -> None:
        """Create a customer, a service, and three technicians online, one of whom may hold two jobs at once."""
        self.head = int(self.live_hash(keys.zone_meta(ZONE)).get("seq", 0))
        self.service: ServiceId = self.wait(people.service(self.engine))
        self.carla = self.wait(people.customer(self.engine))
        for name in PEOPLE:
            self.write_profile(name, 2 if name == "c" else 1, "approved")
            self.go_online(name)

    @rule()
    @precondition(lambda self: len(self.jobs) < 5)
    def book_job(self) -> None:
        """Book a job and open its first wave."""
        self.jobs.append(self.wait(people.offered_job(self.engine, self.carla, self.service)))

    @rule(
        technician=st.sampled_from(PEOPLE),
        which=st.integers(0, 4),
        command=st.sampled_from(["claim", "claim", "claim", "decline"]),
        key=st.sampled_from(REQUEST_KEYS),
    )
    @precondition(lambda self: self.jobs)
    def answer_offer(self, technician: str, which: int, command: str, key: str) -> None:
        """Claim or decline a job as a technician, whether or not they have an offer."""
        self.send_and_compare(self.principal_of(technician), self.jobs[which % len(self.jobs)], command, key)

    @rule(which=st.integers(0, 4), command=st.sampled_from(list(STATUS_BEFORE)), fresh=st.booleans())
    @precondition(lambda self: self.jobs)
    def send_work_command(self, which: int, command: str, fresh: bool) -> None:
        """Send a command of the work as the holder of a job, if any: the next one if ``fresh``, otherwise another."""
        job = JobId((list(self.claims) or self.jobs)[which % (len(self.claims) or len(self.jobs))])
        status = self.job_record(job)["status"]
        if fresh and status in STATUS_BEFORE.values():
            command = next(c for c, at in STATUS_BEFORE.items() if at == status)
        holder = Principal(UserId(self.claims[job][0] if job in self.claims else "nobody"), "technician")
        self.send_and_compare(holder, job, command, str(uuid.uuid4()))

    @rule(which=st.integers(0, 4), key=st.sampled_from(REQUEST_KEYS))
    @precondition(lambda self: self.jobs)
    def cancel_job(self, which: int, key: str) -> None:
        """Cancel a job as the customer, in any state of the job."""
        self.send_and_compare(self.carla, self.jobs[which % len(self.jobs)], "cancel", key)

    @rule(technician=st.sampled_from(PEOPLE))
    def go_online(self, technician: str) -> None:
        """Bring a technician online, and assert that only a suspended technician is refused."""
        who = self.principal_of(technician)
        try:
            self.wait(live.set_availability(self.engine, who, who.id, online=True, position=people.HERE))
        except Refused as refused:
            assert refused.code == "account_not_approved" == self.refusal_of_account(technician)

    def refusal_of_account(self, technician: str) -> str:
        """Return the error code with which a suspended technician is refused; "" for any other technician."""
        record = self.technician_record(self.principal_of(technician).id)
        return "" if record["account"] == "approved" else "account_not_approved"

    @rule(technician=st.sampled_from(PEOPLE))
    def go_offline(self, technician: str) -> None:
        """Set a technician offline."""
        who = self.principal_of(technician)
        self.wait(live.set_availability(self.engine, who, who.id, online=False))

    @rule(
        technician=st.sampled_from(PEOPLE),
        capacity=st.integers(1, 2),
        account=st.sampled_from(["approved", "suspended"]),
    )
    def write_profile(self, technician: str, capacity: int, account: str) -> None:
        """Write a technician's record with this capacity, suspended or approved."""
        who = TechnicianId(UserId(f"{self.tag}{technician}"))
        self.versions[technician] += 1
        record = TechnicianRecord(
            id=who,
            version=self.versions[technician],
            name='T \' "%s"',
            phone=None,
            services=[self.service],
            complete=True,
            kyc="approved",
            account=account,
            capacity=capacity,
        )
        self.wait(live.write_record(self.engine, record))

    @rule(technician=st.sampled_from(PEOPLE), north=st.sampled_from([0.0, 0.002, 0.05, 1.0]))
    def move_technician(self, technician: str, north: float) -> None:
        """Store a fix of a technician, ``north`` degrees away from the jobs."""
        who = self.principal_of(technician)
        fix = Fix(lat=people.HERE.lat + north, lon=people.HERE.lon)
        self.wait(live.store_fixes(self.engine, who, who.id, [fix]))

    @rule(seconds=st.sampled_from(CLOCK_JUMPS_S), asleep=st.booleans())
    def pass_time(self, seconds: float, asleep: bool) -> None:
        """Advance the clock. If ``asleep``, no process of Callout ran in this time; otherwise run the due tasks."""
        self.wait((advance_unobserved if asleep else advance)(self.engine, seconds))
        if not asleep:
            self.run_due_tasks(6)

    @rule()
    def renew_leases(self) -> None:
        """Renew the technicians' leases, as a gateway does."""
        self.wait(live.renew_leases(self.engine, ZONE, [self.principal_of(name).id for name in PEOPLE]))

    @rule(turns=st.integers(1, 4))
    def run_due_tasks(self, turns: int) -> None:
        """Run the due tasks, and assert that no lease and no job ended before its time."""
        with self.reading(("HGETALL", keys.job(ZONE, job)) for job in self.jobs):
            before = {job: self.job_record(job) for job in self.jobs}
        for _ in range(turns):
            seen_before = dict(self.last_seen())
            self.wait(scheduler.run_once(self.engine, ZONE))
            for name in PEOPLE:
                who = self.principal_of(name).id
                if who in seen_before and who not in dict(self.last_seen()):
                    assert self.has_passed(seen_before[who] + LEASE_MS)
        for job, was in before.items():
            now = self.job_record(job)
            if now["status"] != was["status"]:
                assert (was["status"], now["status"]) == ("broadcasted", "expired")
                assert self.has_passed(int(was["expires"]))

    def last_seen(self) -> list[tuple[str, int]]:
        """Return the time (ms) of each technician's last sign of life."""
        rows = self.read(*LAST_SEEN)
        return [(rows[i].decode(), int(float(rows[i + 1]))) for i in range(0, len(rows), 2)]

    # the invariant

    @invariant()
    def check_agreement(self) -> None:
        """Assert that holders, loads, supply, demand, offers, scheduled tasks and log agree."""
        if hasattr(self, "service"):
            with self.reading(self.commands_for_check()):
                self.check_records()

    def commands_for_check(self) -> Iterator[tuple[Any, ...]]:
        """Yield the commands that read what ``check_records`` compares."""
        for job in self.jobs:
            yield ("HGETALL", keys.job(ZONE, job))
            yield ("HGETALL", keys.job_offers(ZONE, job))
        for index in (keys.job_demand(ZONE, self.service), keys.technician_supply(ZONE, self.service)):
            yield ("ZRANGE", index, 0, -1)
        yield from (("ZRANGE", keys.due_tasks(ZONE), 0, -1), LAST_SEEN, ("TIME",))
        yield from (("HGETALL", keys.zone_meta(ZONE)), ("XLEN", keys.log(ZONE)))
        for name in PEOPLE:
            who = TechnicianId(self.principal_of(name).id)
            yield ("HGETALL", keys.technician(ZONE, who))
            yield ("SMEMBERS", keys.technician_jobs(ZONE, who))
            yield ("ZRANGE", keys.technician_offers(ZONE, who), 0, -1)

    def check_records(self) -> None:
        """Assert the invariants of the jobs, then those of each technician."""
        records = {job: self.job_record(job) for job in self.jobs}
        is_open = {job for job, record in records.items() if record["status"] == "broadcasted"}
        assert self.members(keys.job_demand(ZONE, self.service)) == is_open
        due = self.members(keys.due_tasks(ZONE))
        for job, record in records.items():
            waves = {entry for entry in due if entry.startswith(f"wave:{job}:")}
            assert waves == ({f"wave:{job}:{int(record['wave']) + 1}"} if job in is_open else set())
            assert (f"expire:{job}" in due) == (job in is_open)
            assert record["holder"] == (self.claims[job][0] if job in self.claims else "")
        supply = self.members(keys.technician_supply(ZONE, self.service))
        for name in PEOPLE:
            self.check_technician(self.principal_of(name).id, records, is_open, supply)
        meta = self.live_hash(keys.zone_meta(ZONE))
        assert self.read("XLEN", keys.log(ZONE)) == int(meta["seq"]) - Model.log_begins

    def check_technician(
        self, technician: str, records: dict[JobId, Record], is_open: set[JobId], supply: set[str]
    ) -> None:
        """Assert the invariants of one technician."""
        tech, name = self.technician_record(technician), TechnicianId(UserId(technician))
        held_jobs = {
            job for job, r in records.items() if r["holder"] == technician and r["status"] in STATUSES_WITH_LOAD
        }
        listed_jobs = self.read("SMEMBERS", keys.technician_jobs(ZONE, name))
        assert {job.decode() for job in listed_jobs} == held_jobs and int(tech["load"]) == len(held_jobs)
        fit = tech.get("online") == "1" and tech["account"] == "approved" and len(held_jobs) < int(tech["capacity"])
        assert (technician in supply) == fit
        assert tech.get("online") != "1" or technician in dict(self.last_seen())
        pull = self.members(keys.technician_offers(ZONE, name))
        for job in is_open:
            offer = self.live_hash(keys.job_offers(ZONE, job)).get(technician, "").split()
            if offer and offer[0] == "sent":
                assert tech.get("online") == "1" and job in pull
        who = people.technician_without_account(technician)
        for item in self.wait(offers.find_open_offers(self.engine, who)).items:
            job = JobId(orjson.loads(item)["job"]["id"])
            assert job in is_open and self.expected_code(who, job, "decline") == "ok"

    def teardown(self) -> None:
        """Assert that the log gives the same status, version and holder of each job as its record, and the same keys.
        After some of the examples, assert that a rebuild from SQL gives the same zone. Then cancel the jobs of this
        example and set its technicians offline.
        """
        if not self.jobs:
            return
        events = self.wait(job_keys.read_events(self.engine, after=self.head))
        folded = projection.fold_events(events)
        assert self.wait(job_keys.check_jobs(self.engine, job_keys.rows_of_events(events))) == len(self.jobs)
        for job in self.jobs:
            record, row = self.job_record(job), folded.jobs[job]
            assert (row["status"], row["version"]) == (record["status"], int(record["version"]))
            assert (row["technician"] or "") == record["holder"]
            accepted = [e for e in folded.events if e["job"] == job and e["type"] == "job.accepted"]
            assert len(accepted) == (job in self.claims)
        is_due = self.is_all_in_sql and Model.examples % EXAMPLES_PER_REBUILD == 0
        if self.compare_rebuild_at(is_due, lambda: check_rebuild(self.engine)):
            Model.log_begins = int(self.live_hash(keys.zone_meta(ZONE))["seq"])
        for job in filter(self.job_record, self.jobs):  # a rebuild does not restore finished jobs
            self.wait(self.send_command(people.ADMIN, job, "cancel", str(uuid.uuid4())))
        for name in PEOPLE:
            self.go_offline(name)


def test_the_engine_keeps_to_its_model(settings: Settings) -> None:
    """In examples of some forty steps replies are as predicted, repeats have the first reply, and all records agree."""
    Path(settings.data).mkdir(exist_ok=True)
    loop, stack = asyncio.new_event_loop(), AsyncExitStack()
    try:
        Model.loop, Model.log_begins = loop, 0
        Model.engine = loop.run_until_complete(stack.enter_async_context(open_engine(settings)))
        run_examples(Model, few=25, many=60, steps=40)
    finally:
        loop.run_until_complete(stack.aclose())
        loop.close()
