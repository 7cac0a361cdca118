"""Steps of a job: claim, decline, cancel and whatever else its blueprint declares.

Which states, target and audience a step has is the blueprint's, and which blueprint a job has only its record
knows. Reading it first would cost every claim a round trip: so the default blueprint's table is sent along, the
script compares, and where the job is of another the step is sent once more with the right one.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

import msgspec

from engine import requests
from engine.errors import Forbidden, IllegalTransition, NotFound, OtherBlueprint, VersionConflict
from engine.requests import Outcome, located
from engine.rules.blueprint import Blueprint, Command, Relation
from engine.store import keys
from engine.store.connection import Done
from engine.technicians import lease_ms
from engine.types import OPS, JobId, Principal, RequestKey, Role, TechnicianId, Zone

if TYPE_CHECKING:
    from engine.runtime import Engine


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """A command with its arguments. ``version`` makes it conditional; ``occurred_at`` is ms since the Unix epoch."""

    command: str
    version: int | None = None
    reason: str | None = None
    code: str | None = None
    amount: int | None = None
    occurred_at: int | None = None


class Ask(msgspec.Struct, frozen=True):
    """One command on its way: what every step's script is given."""

    zone: Zone
    job: JobId
    caller: Principal
    key: RequestKey
    mark: str
    trace: str

    @property
    def actor(self) -> str:
        """As the log names the caller."""
        return f"{self.caller.role}:{self.caller.id}"

    def request(self) -> str:
        """The key of the verdict on this command."""
        return keys.request(self.zone, self.caller.id, self.key)


async def claim(
    engine: Engine,
    caller: Principal,
    job_id: str,
    *,
    key: str | None = None,
    version: int | None = None,
    trace: str = "",
) -> Outcome:
    """Take an offered job. Of all who try at once exactly one is told that it is his.

    Raises Forbidden for who is no technician, and the refusals of PROTOCOL §3 in its order.
    """
    return await command(engine, caller, job_id, Step(command="claim", version=version), key=key, trace=trace)


async def command(
    engine: Engine,
    caller: Principal,
    job_id: str,
    step: Step,
    *,
    key: str | None = None,
    trace: str = "",
) -> Outcome:
    """Take one step of the job's blueprint.

    Raises NotFound for strangers and for commands that the blueprint does not have, Forbidden for a role that may
    never give it, IllegalTransition (or the job's own answer: taken, cancelled, expired) from another state,
    VersionConflict with the present job, ReusedKey; and whatever ``Store.call`` raises.
    """
    zone, job = located(job_id)
    rest = [step.version, step.reason, step.code, step.amount, step.occurred_at]
    mark = requests.fingerprint(step.command, job, rest if any(a is not None for a in rest) else None)
    ask = Ask(zone, job, caller, requests.checked_key(key), mark, trace)
    blueprint = engine.blueprints.default
    for _ in range(2):
        try:
            return await _try(engine, ask, blueprint, step)
        except OtherBlueprint as other:
            blueprint = engine.blueprints.of(other.key)
    raise IllegalTransition("The job's blueprint is not known here")


async def _try(engine: Engine, ask: Ask, blueprint: Blueprint, step: Step) -> Outcome:
    spec = blueprint.commands.get(step.command)
    if spec is None or spec.by == ("engine",):
        await _check_blueprint(engine, ask, blueprint)
        raise NotFound(f"No such command: {step.command}")
    if not set(spec.by) & possible(ask.caller.role):
        await _check_blueprint(engine, ask, blueprint)
        raise Forbidden(f"A {ask.caller.role} may not {step.command}")
    send = _sender(blueprint, spec)
    try:
        done = await send(engine, ask, blueprint, spec, step)
    except VersionConflict as error:
        error.extra["job"] = msgspec.Raw(await _present(engine, ask))
        raise
    return await _outcome(engine, ask, blueprint, spec, done)


async def _check_blueprint(engine: Engine, ask: Ask, blueprint: Blueprint) -> None:
    found = await engine.store.run("HGET", keys.job(ask.zone, ask.job), "bp")
    if found is not None and found.decode() != blueprint.key:
        raise OtherBlueprint(found.decode())


def possible(role: Role) -> frozenset[Relation]:
    """The relations in which somebody of this role can stand to a job."""
    if role in OPS:
        return frozenset({"ops"})
    by_role: dict[Role, frozenset[Relation]] = {
        "customer": frozenset({"customer"}),
        "technician": frozenset({"offered", "holder"}),
        "service": frozenset({"service"}),
    }
    return by_role.get(role, frozenset())


Sender = Callable[["Engine", Ask, Blueprint, Command, Step], Awaitable[Done]]


def _sender(blueprint: Blueprint, spec: Command) -> Sender:
    if spec.event == "job.accepted" and "offered" in spec.by:
        return _claim
    if spec.event == "offer.declined":
        return _decline
    return _cancel if blueprint.phase(spec.to) == "closed" else _advance


def _froms(spec: Command) -> str:
    return f" {' '.join(spec.from_)} "


async def _claim(engine: Engine, ask: Ask, blueprint: Blueprint, spec: Command, step: Step) -> Done:
    zone, job, technician = ask.zone, ask.job, TechnicianId(ask.caller.id)
    return await engine.store.call(
        zone,
        "job_claim",
        [
            keys.meta(zone),
            keys.job(zone, job),
            keys.offers(zone, job),
            keys.causes(zone, job),
            keys.technician(zone, technician),
            keys.log(zone),
            ask.request(),
        ],
        [
            technician,
            ask.key,
            ask.mark,
            ask.trace,
            "" if step.version is None else step.version,
            blueprint.key,
            _froms(spec),
            spec.to,
            blueprint.phase(spec.to),
            blueprint.audience(spec.event),
            lease_ms(engine),
        ],
    )


async def _decline(engine: Engine, ask: Ask, blueprint: Blueprint, spec: Command, step: Step) -> Done:
    zone, job, technician = ask.zone, ask.job, TechnicianId(ask.caller.id)
    return await engine.store.call(
        zone,
        "offer_decline",
        [
            keys.meta(zone),
            keys.job(zone, job),
            keys.offers(zone, job),
            keys.causes(zone, job),
            keys.technician_offers(zone, technician),
            keys.log(zone),
            ask.request(),
        ],
        [
            technician,
            ask.key,
            ask.mark,
            ask.trace,
            "" if step.version is None else step.version,
            blueprint.key,
            blueprint.audience(spec.event),
            _reason(step),
            lease_ms(engine),
        ],
    )


async def _cancel(engine: Engine, ask: Ask, blueprint: Blueprint, spec: Command, step: Step) -> Done:
    zone, job = ask.zone, ask.job
    names = [
        keys.meta(zone),
        keys.job(zone, job),
        keys.offers(zone, job),
        keys.causes(zone, job),
        keys.log(zone),
        ask.request(),
    ]
    return await engine.store.call(zone, "job_cancel", names, _step_args(ask, blueprint, spec, step))


async def _advance(engine: Engine, ask: Ask, blueprint: Blueprint, spec: Command, step: Step) -> Done:
    zone, job = ask.zone, ask.job
    names = [keys.meta(zone), keys.job(zone, job), keys.causes(zone, job), keys.log(zone), ask.request()]
    return await engine.store.call(zone, "job_advance", names, _step_args(ask, blueprint, spec, step))


def _step_args(ask: Ask, blueprint: Blueprint, spec: Command, step: Step) -> list[str | int | bytes]:
    return [
        ask.actor,
        ask.key,
        ask.mark,
        ask.trace,
        "" if step.version is None else step.version,
        blueprint.key,
        step.command,
        " ".join(spec.by),
        _froms(spec),
        spec.to,
        blueprint.phase(spec.to),
        spec.event,
        blueprint.audience(spec.event),
        _reason(step),
    ]


def _reason(step: Step) -> bytes:
    return msgspec.json.encode(step.reason) if step.reason is not None else b""


async def _outcome(engine: Engine, ask: Ask, blueprint: Blueprint, spec: Command, done: Done) -> Outcome:
    if len(done.rest) > 1:
        shown = done.rest[1]
    else:
        shown = await requests.job_at(engine, ask.zone, done) or await _present(engine, ask)
    relations = tuple(sorted(set(spec.by) & possible(ask.caller.role)))
    if spec.event == "job.accepted":
        relations = ("holder",)
    actions = blueprint.actions(spec.to or (spec.from_[0]), relations) if spec.event != "offer.declined" else []
    return Outcome(
        msgspec.Raw(with_actions(shown, actions)),
        spec.message,
        done.seq,
        done.version,
        done.repeated,
        ask.key,
    )


async def _present(engine: Engine, ask: Ask) -> bytes:
    zone, technician = ask.zone, ask.caller.id if ask.caller.role == "technician" else ""
    names = [keys.meta(zone), keys.job(zone, ask.job), keys.offers(zone, ask.job)]
    done = await engine.store.call(zone, "job_read", names, [technician])
    full = ask.caller.role != "technician" or done.rest[6].decode() == ask.caller.id
    return done.rest[0] if full else done.rest[1]


def with_actions(job: bytes, actions: list[str]) -> bytes:
    """A job's JSON with what the caller may do now: in replies, never in events."""
    return job[:-1] + b',"actions":' + msgspec.json.encode(actions) + b"}"
