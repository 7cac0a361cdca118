"""The record of a job, and its signature by the customer.

The customer signs the digest that they were shown. This module reads the job, computes the record and compares the
digest. The step runs only on the version of the job that was read. If a photo, a price or an edit changed the job
meanwhile, the script refuses the step, and the record is computed again. If the record is unchanged (for example, only
a payment was recorded), the step is repeated; otherwise the customer gets the new record.
"""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from engine.archive.receipt_projection import EventReceipt
from engine.blueprint.compiler import Plan
from engine.blueprint.relation import possible_relations
from engine.blueprint.schema import Blueprint
from engine.blueprint.vocabulary import SIGNING_ROUTE_WORD
from engine.domain import job_queries, jobs
from engine.domain.commands import CommandContext, CommandInput, encode_step_arguments, new_context
from engine.domain.missing_files import naming_missing_files
from engine.domain.own_blueprint import run_with_own_blueprint
from engine.errors import Forbidden, IllegalTransition, NotFound, Refused, Unavailable, VersionConflict
from engine.idempotency import in_redis
from engine.idempotency.in_redis import Outcome
from engine.rules import job_document
from engine.rules.canonical import digest_of
from engine.rules.job_record import JobRecord, record_of_job
from engine.rules.receipts import SALT_BYTES
from engine.store.connection import ScriptReply
from engine.types import Principal
from engine.vault.images import SignatureImage

if TYPE_CHECKING:
    from engine.runtime import Engine

MAX_ATTEMPTS = 16
COMMAND = "sign"
"""The name of the command in the fingerprint of the request; the blueprint may call it otherwise."""
MOVED, READY = b"seen", b"ready"
"""What the script says beside VERSION_CONFLICT: the job has changed since it was read; a probe passed all checks."""


class Signature(NamedTuple):
    """The customer's signature: the digest that they were shown, the name that they typed, and the image without
    metadata or the canonical strokes. ``kind`` is `png` or `strokes`.
    """

    sha256: str
    name: str
    image: bytes
    kind: str


class _Attempt(NamedTuple):
    """What the customer sent, the digest of the image, and the image as it is stored."""

    signature: Signature
    digest: str
    image: SignatureImage


async def read_record(engine: Engine, caller: Principal, job_id: str) -> JobRecord:
    """Return the record of a job. Raises NotFound for callers who are neither a party nor ops, and for a signed record
    whose data was erased.
    """
    return (await _read_job_and_record(engine, caller, job_id))[1]


async def _read_job_and_record(engine: Engine, caller: Principal, job_id: str) -> tuple[bytes, JobRecord]:
    job = await job_queries.read_job(engine, caller, job_id)
    if job_document.decode_job(job).customer is None:
        raise NotFound("No such job")
    record = record_of_job(job)
    if record is None:
        raise NotFound("The record was erased")
    return job, record


async def sign_job(
    engine: Engine, caller: Principal, job_id: str, signature: Signature, *, key: str | None = None, trace: str = ""
) -> Outcome:
    """Sign the record of a job, and run the command of its blueprint that signs.

    Raises VersionConflict with the present ``record`` and its ``sha256`` if the digest differs, NotFound for another
    customer's job, IllegalTransition if the job is signed with another image or name, and the same errors as
    ``jobs.run_command``. A refused step stores no image.
    """
    if "customer" not in possible_relations(caller.role):
        raise Forbidden("Only the customer signs")
    digest = await asyncio.to_thread(digest_of, signature.image)
    context = new_context(engine, caller, job_id, COMMAND, [signature.sha256, signature.name, digest], key, trace)
    image = SignatureImage(engine, caller, receipt_id(job_id), digest, signature.image, signature.kind)
    attempt = _Attempt(signature, digest, image)
    try:
        for _ in range(MAX_ATTEMPTS):
            try:
                return await run_with_own_blueprint(
                    engine, context, lambda blueprint: _sign_with(engine, context, blueprint, attempt)
                )
            except VersionConflict as error:
                if error.reply[:1] != [MOVED]:
                    raise
        raise Unavailable("The job changes faster than it can be signed")
    except (Refused, Unavailable):
        await image.discard()
        raise


async def _sign_with(engine: Engine, context: CommandContext, blueprint: Blueprint, attempt: _Attempt) -> Outcome:
    """Compare the digest with that of the present record, and run the step on the version that was read. All checks of
    the step run first, without any effect, so that a refused step stores no image.
    """
    await jobs.check_blueprint(engine, context, blueprint)
    plan = signing_plan(engine, blueprint)
    if plan is None:
        raise NotFound("No command of this job signs")
    job, record = await _read_job_and_record(engine, context.caller, context.job)
    if record.sha256 != attempt.signature.sha256:
        raise VersionConflict(record=msgspec.Raw(record.text), sha256=record.sha256, job=msgspec.Raw(job))
    arguments = _signature_arguments(attempt, record)
    try:
        done = await _run_step(engine, context, plan, blueprint, {**arguments, "probe": True})
    except VersionConflict as error:
        if error.reply[:1] != [READY]:
            raise
        await attempt.image.store()
        done = await _run_step(engine, context, plan, blueprint, arguments)
    attempt.image.keep()
    if done.repeated:
        await _check_same_signature(engine, context, done, attempt)
    return await jobs.command_outcome(engine, context, blueprint, plan, done)


async def _run_step(
    engine: Engine, context: CommandContext, plan: Plan, blueprint: Blueprint, signature: dict[str, object]
) -> ScriptReply:
    arguments = encode_step_arguments(CommandInput(command=COMMAND), signature=signature)
    args = {"actor": context.actor, **context.common_arguments(None), "bp": blueprint.key}
    with naming_missing_files():
        return await engine.store.run(
            context.zone,
            "job_step",
            keys=context.script_keys(),
            args={**args, "plan": plan.plan_json, "args": arguments},
        )


async def _check_same_signature(engine: Engine, context: CommandContext, done: ScriptReply, attempt: _Attempt) -> None:
    """Raise IllegalTransition if the job was signed with another image or name: the receipt has the first ones."""
    members = await in_redis.read_payload_members(engine, context.zone, done.seq)
    if "receipt" not in members:  # a signature of an earlier release
        return
    receipt = msgspec.json.decode(members["receipt"], type=EventReceipt)
    if (receipt.image.sha256, receipt.name) != (attempt.digest, attempt.signature.name):
        raise IllegalTransition("The job is signed already, with another image or name")


def _signature_arguments(attempt: _Attempt, record: JobRecord) -> dict[str, object]:
    """Return the arguments of lua/lib/signature.lua. ``members`` are the members of the receipt in the event."""
    signature = attempt.signature
    members = {
        "sha256": record.sha256,
        "image": {"sha256": attempt.digest, "kind": signature.kind},
        "name": signature.name,
        "salt": os.urandom(SALT_BYTES).hex(),
        "record": record.text.decode(),
    }
    text = msgspec.json.encode(members)[1:-1].decode()
    return {"seen": record.version, "sha256": record.sha256, "members": text}


def receipt_id(job_id: str) -> str:
    """Return the id of a job's receipt, in the same way as lua/lib/signature.lua. A job has one receipt, because it is
    signed once.
    """
    return f"rcp{job_id[3:]}"


def signing_plan(engine: Engine, blueprint: Blueprint) -> Plan | None:
    """Return the plan of the command that signs; None if there is none. A blueprint of an earlier release declares an
    ordinary command of this name, which its live jobs still need.
    """
    names = [name for name, command in blueprint.commands.items() if command.signs] or [SIGNING_ROUTE_WORD]
    return engine.plans.find_plan(blueprint, names[0])
