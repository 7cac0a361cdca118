"""Each command in each state by each caller, for every shipped blueprint. A legal command moves the job; any other is
refused with the right code and changes nothing.

The expected code comes from tests/support/reference_model.py, which reads only the TOML. The test writes the fields of
the job for each state, as the history of the job would have left them.
"""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest

from engine.blueprint import catalogue
from engine.blueprint.schema import Blueprint
from engine.domain import codes, jobs
from engine.domain.commands import CommandInput
from engine.errors import CalloutError
from engine.events import rfc3339_of
from engine.runtime import Engine
from engine.store import keys
from engine.technicians import live
from engine.types import DEFAULT_ZONE, JobId, Principal, Role, ServiceId, UserId
from tests.support import people
from tests.support.reference_model import Facts, expected_code

SHIPPED = catalogue.load_blueprints("home_service", catalogue.shipped_folder())
BLUEPRINT_NAMES = sorted(SHIPPED.by_name)
UNKNOWN_COMMAND = "explode"
REASON = "so it is"
ROLES: tuple[Role, ...] = ("onboarding_manager", "ops_manager", "admin", "service", "mediator")


def all_marks(blueprint: Blueprint) -> set[str]:
    """Return all marks that a job of this blueprint can have."""
    return {mark for c in blueprint.commands.values() for mark in (*c.needs, c.marks) if mark}


def all_files(blueprint: Blueprint) -> dict[str, int]:
    """Return the most files of each kind that a command of this blueprint needs."""
    needs = [item for command in blueprint.commands.values() for item in command.needs_files.items()]
    return {kind: max(number for other, number in needs if other == kind) for kind, _ in needs}


def photos_json(files: dict[str, int]) -> str:
    """Return the field of the job's record with ``files`` photos of each kind."""
    kinds = [kind for kind, count in files.items() for _ in range(count)]
    same = {"bytes": 1, "width": 1, "height": 1, "by": {"id": "holder", "role": "technician"}, "at": rfc3339_of(0)}
    made = [{"id": f"file_{at}", "sha256": f"{at:064}", "kind": kind, **same} for at, kind in enumerate(kinds)]
    return msgspec.json.encode(made).decode()


class JobSetup:
    """A job that the test puts into any state of its blueprint, and a caller for each relation to the job."""

    def __init__(self, engine: Engine, blueprint: Blueprint, job: JobId, customer: Principal) -> None:
        self.engine, self.blueprint, self.job = engine, blueprint, job
        self.callers: dict[str, Principal] = {
            "customer": customer,
            "stranger": Principal(UserId("usr_stranger"), "customer"),
            "holder": people.technician_without_account("holder"),
            "offered": people.technician_without_account("offered"),
            "other": people.technician_without_account("other"),
            **{role: Principal(UserId(f"a_{role}"), role) for role in ROLES},
        }

    @property
    def key(self) -> str:
        """Return the Redis key of the job."""
        return keys.job(DEFAULT_ZONE, self.job)

    async def put_state(self, state: str, *, held: bool, marked: bool, frozen: bool) -> None:
        """Write the job's record as it would be in ``state``. ``held``: it has a holder. ``marked``: it has all marks
        and files. ``frozen``: a dispute freezes it.
        """
        spec = self.blueprint.states[state]
        seeks = spec.search_mode != "none" and not held
        phase = "assigned" if spec.phase == "open" and held else spec.phase
        names = (state, *sorted(all_marks(self.blueprint) if marked else ()))
        at = ",".join(f'"{name}":"2026-01-01T00:00:00.000Z"' for name in names)
        fields = {"status": state, "phase": phase, "mode": spec.search_mode, "entered": "1", "version": "7", "at": at}
        fields |= {"holder": "holder" if held else "", "last": "nothing nobody 0", "claimed": "", "expires": "0"}
        fields |= {"photos": photos_json(all_files(self.blueprint)) if marked else "[]"}
        fields |= {"card": '{"id":"holder"}' if held else "", "frozen": "dsp_1" if frozen else "", "issue": "1"}
        offers, causes = keys.job_offers(DEFAULT_ZONE, self.job), keys.job_causes(DEFAULT_ZONE, self.job)
        held_jobs = keys.technician_jobs(DEFAULT_ZONE, live.TechnicianId(UserId("holder")))
        await self.send_to_redis(
            ("DEL", offers, causes),
            ("HSET", self.key, *(part for pair in fields.items() for part in pair)),
            *((("HSET", offers, "offered", "sent 1 0 9999999999999 10"),) if seeks else ()),
            ("SADD" if held else "SREM", held_jobs, self.job),
        )

    async def send_to_redis(self, *commands: tuple[str, ...]) -> list[Any]:
        """Send the commands in one write on the connection of the scripts, because the client library takes many times
        as long. Return the replies.
        """
        return await asyncio.gather(*(self.engine.store.command(*command) for command in commands))

    async def send_command(self, caller: str, command: str) -> str:
        """Send the command as ``caller``, and return the error code, or "" for success."""
        spec = self.blueprint.commands.get(command)
        code = codes.derive_code(self.engine, self.job, spec.code, "1") if spec and spec.code else None
        taker = "other" if spec and spec.effect == "assign" else None
        try:
            await jobs.run_command(
                self.engine,
                self.callers[caller],
                self.job,
                CommandInput(command=command, code=code, technician=taker, reason=REASON),
            )
        except CalloutError as error:
            return error.code
        return ""

    async def snapshot(self) -> tuple[Any, ...]:
        """Return what a refused command must not change: the job's record and offers, the number of scheduled tasks,
        and the log's head.
        """
        record, offers, *rest = await self.send_to_redis(
            ("HGETALL", self.key),
            ("HGETALL", keys.job_offers(DEFAULT_ZONE, self.job)),
            ("ZCARD", keys.due_tasks(DEFAULT_ZONE)),
            ("HGET", keys.zone_meta(DEFAULT_ZONE), "seq"),
        )
        return (*(dict(zip(row[::2], row[1::2], strict=True)) for row in (record, offers)), *rest)


def facts_for(setup: JobSetup, caller: str, state: str, *, held: bool, marked: bool, frozen: bool) -> Facts:
    """Return the facts of the job that ``put_state`` wrote, for the reference model."""
    seeks = setup.blueprint.states[state].search_mode != "none" and not held
    return Facts(
        status=state,
        holder="holder" if held else "",
        customer=setup.callers["customer"].id,
        offer="sent" if caller == "offered" and seeks else "",
        at=frozenset({state, *(all_marks(setup.blueprint) if marked else ())}),
        frozen=frozen,
        files=all_files(setup.blueprint) if marked else {},
    )


@pytest.mark.parametrize("name", BLUEPRINT_NAMES)
@pytest.mark.usefixtures("records_by_hand")
async def test_each_command_is_accepted_or_refused_as_the_blueprint_says(engine: Engine, name: str) -> None:
    """In more than 500 attempts for each blueprint, every reply has the code that the reference model expects, and a
    refused command changes nothing.
    """
    blueprint = engine.blueprints.by_name[name]
    setup = await _create_setup(engine, blueprint)
    tried, moved = 0, 0
    for state, spec in blueprint.states.items():
        for held in (
            (False, True) if spec.phase == "open" and _may_have_holder(blueprint, state) else (spec.phase != "open",)
        ):
            for command in (*blueprint.commands, UNKNOWN_COMMAND):
                for marked, frozen in _held_and_marked_variants(blueprint, command, state):
                    for who in setup.callers:
                        await setup.put_state(state, held=held, marked=marked, frozen=frozen)
                        before = await setup.snapshot()
                        facts = facts_for(setup, who, state, held=held, marked=marked, frozen=frozen)
                        wanted = expected_code(blueprint, setup.callers[who], command, facts)
                        code = await setup.send_command(who, command)
                        assert code == wanted, (name, state, command, who, held, marked, frozen)
                        tried += 1
                        if wanted:
                            assert await setup.snapshot() == before, (name, state, command, who)
                        else:
                            await _assert_moved(setup, command, state)
                            moved += 1
    assert tried > 500 and moved > 10


async def _create_setup(engine: Engine, blueprint: Blueprint) -> JobSetup:
    """Create a job of the blueprint, with three technicians."""
    service, carla = await people.service(engine), await people.customer(engine)
    for who in ("holder", "offered", "other"):
        await people.technician(engine, who, ServiceId(service), capacity=1000)
    fields = {"technician": "offered"} if blueprint.technician == "required" else {}
    job = people.id_of(await people.job(engine, carla, service, blueprint=blueprint.name, **fields))
    return JobSetup(engine, blueprint, job, carla)


def _may_have_holder(blueprint: Blueprint, state: str) -> bool:
    """Return whether a job in this open state can have a holder, because an assignment does not change the state."""
    return any(state in c.from_ and not c.to for c in blueprint.commands.values() if c.effect in ("assign", "take"))


def _held_and_marked_variants(blueprint: Blueprint, command: str, state: str) -> list[tuple[bool, bool]]:
    """Return pairs ``(marked, frozen)`` to try: both values of each, if they can make a difference for the command in
    this state.
    """
    spec = blueprint.commands.get(command)
    disputes = any(state in (*c.from_, c.to) for c in blueprint.commands.values() if c.effect == "freeze")
    has_guards = spec is not None and bool(spec.needs or spec.unless or spec.needs_files)
    return [
        (m, f) for m in ((False, True) if has_guards else (False,)) for f in ((False, True) if disputes else (False,))
    ]


async def _assert_moved(setup: JobSetup, command: str, state: str) -> None:
    """Assert that after a successful command the job is in the state that the blueprint declares, and that its version
    has risen.
    """
    spec, blueprint = setup.blueprint.commands[command], setup.blueprint
    row = (await setup.snapshot())[0]
    ends = spec.to or state
    ends = blueprint.states[ends].next_state or ends
    assert row[b"status"].decode() == ends
    if not (spec.effect == "refuse" and not spec.to):
        assert int(row[b"version"]) > 7
    job_view = msgspec.json.decode(await _read_job(setup))
    assert job_view["status"] == ends
    if spec.effect == "release":
        assert row[b"holder"] == b"" and job_view["technician"] is None


async def _read_job(setup: JobSetup) -> bytes:
    """Return the job as `job_read` returns it."""
    names = {"meta": keys.zone_meta(DEFAULT_ZONE), "job": setup.key, "offers": keys.job_offers(DEFAULT_ZONE, setup.job)}
    reply = await setup.engine.store.read(DEFAULT_ZONE, "job_read", keys=names, args={"technician": ""})
    return reply.values[0]
