"""Links to a job. A person who has a link can follow the job without an account, until the link or the job ends.

The job's record has its open links (lua/lib/shares.lua). Customers and ops create and end them;
engine/domain/shared_jobs.py reads a job through a link.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from engine.clock import now_ms
from engine.domain import commands, job_queries, share_tokens
from engine.domain.commands import CommandContext
from engine.errors import FieldError, Forbidden, IllegalTransition, Invalid, NotFound
from engine.events import ms_of, rfc3339_of
from engine.idempotency import in_redis
from engine.idempotency.in_redis import parse_job_id
from engine.rules import job_document
from engine.store import keys
from engine.store.connection import ScriptReply
from engine.types import JobId, Principal, Zone, is_id, new_id

if TYPE_CHECKING:
    from engine.runtime import Engine

MAX_OPEN = 5
"""The most open links of a job (``Shares.MAX_OPEN`` in lua/lib/shares.lua)."""
DEFAULT_S, MIN_S, MAX_S = 86_400, 60, 604_800
"""How long a link is valid (s) if its job does not end before: by default a day, at least a minute, at most a week."""
TRACK_PATH = "/track/"


class Share(msgspec.Struct, frozen=True):
    """An open link to a job. ``url`` is a path on this server."""

    id: str
    url: str
    expires_at: str


class ShareOutcome(msgspec.Struct, frozen=True):
    """The link that a request created, and whether an earlier request with the same key created it."""

    share: Share
    repeated: bool


class _ShareEvent(msgspec.Struct):
    id: str
    expires_at: str


async def create_share(
    engine: Engine,
    caller: Principal,
    job_id: str,
    *,
    valid_s: int | None = None,
    key: str | None = None,
    trace: str = "",
) -> ShareOutcome:
    """Create a link to a job for ``valid_s`` seconds, by default ``DEFAULT_S``. A repeat with the same key returns the
    same link.

    Raises Forbidden, NotFound for a caller who is neither the job's customer nor ops, IllegalTransition if the job is
    over, Invalid for another time or if ``MAX_OPEN`` links are open, ReusedKey, Unavailable.
    """
    _require_role(caller)
    wanted = DEFAULT_S if valid_s is None else valid_s
    if not MIN_S <= wanted <= MAX_S:
        raise Invalid(errors=[FieldError("/ttl_s", f"Expected {MIN_S} to {MAX_S} seconds")])
    context = commands.new_context(engine, caller, job_id, "share", valid_s, key, trace)
    share = new_id("shr")
    try:
        done = await engine.store.run(
            context.zone,
            "share_create",
            keys=_script_keys(context),
            args={**_request_args(context), "id": share, "valid_ms": wanted * 1000},
        )
    except IllegalTransition as error:
        raise IllegalTransition("The job is over", repeated=error.repeated) from error
    except Invalid as error:
        raise Invalid(f"At most {MAX_OPEN} open links", repeated=error.repeated) from error
    members = await _created_members(engine, context.zone, done)
    made = msgspec.json.decode(members["share"], type=_ShareEvent)
    return ShareOutcome(_share(engine, context.job, made.id, ms_of(made.expires_at)), done.repeated)


async def close_share(
    engine: Engine, caller: Principal, job_id: str, share: str, *, key: str | None = None, trace: str = ""
) -> bool:
    """End a link immediately. Return whether this is a repeat, or the link was already closed. Raises Forbidden,
    NotFound for a caller who is neither the job's customer nor ops, ReusedKey, Unavailable.
    """
    _require_role(caller)
    context = commands.new_context(engine, caller, job_id, "unshare", share, key, trace)
    if not is_id(share):
        raise NotFound("No such link")
    done = await engine.store.run(
        context.zone, "share_close", keys=_script_keys(context), args={**_request_args(context), "id": share}
    )
    return done.repeated


async def find_shares(engine: Engine, caller: Principal, job_id: str) -> list[Share]:
    """Return the open links of a job, the oldest first: none if the job is over. Raises Forbidden, and NotFound for a
    caller who is neither the job's customer nor ops.
    """
    _require_role(caller)
    zone, job = parse_job_id(job_id)
    view = job_document.decode_job(await job_queries.read_job(engine, caller, job_id))
    if view.phase in job_queries.FINISHED_PHASES:
        return []
    record = await engine.store.command("HGET", keys.job(zone, job), "shares")
    entries = [entry.split(" ") for entry in (record or b"").decode().split(",") if entry]
    return [_share(engine, job, name, int(at)) for name, at, _ in entries if int(at) > now_ms()]


async def read_share(engine: Engine, caller: Principal, job_id: str, share: str) -> Share:
    """Return an open link of a job. Raises the errors of ``find_shares``, and NotFound if it is not open."""
    for found in await find_shares(engine, caller, job_id):
        if found.id == share:
            return found
    raise NotFound("No such link")


def _require_role(caller: Principal) -> None:
    if caller.role != "customer" and not caller.is_ops:
        raise Forbidden(f"A {caller.role} shares no job")


def _script_keys(context: CommandContext) -> dict[str, str]:
    return {name: key for name, key in context.script_keys().items() if name in ("meta", "job", "log", "req")}


def _request_args(context: CommandContext) -> dict[str, str]:
    return {"actor": context.actor, **context.request_arguments()}


async def _created_members(engine: Engine, zone: Zone, done: ScriptReply) -> dict[str, msgspec.Raw]:
    """Return the members of the event that created a link: from the reply, or from the log if it is a repeat."""
    if done.repeated:
        return await in_redis.read_payload_members(engine, zone, done.seq)
    return msgspec.json.decode(done.values[0], type=dict[str, msgspec.Raw])


def _share(engine: Engine, job: JobId, share: str, expires: int) -> Share:
    token = share_tokens.make_token(engine.signer, job, share)
    return Share(share, TRACK_PATH + token, rfc3339_of(expires))
