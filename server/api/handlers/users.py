"""Accounts: the caller's own and, for admins, those of others."""

from __future__ import annotations

import msgspec

from engine.domain import sync
from engine.identity import accounts
from engine.identity.accounts import NewAccount, UserQuery
from engine.rules.fixes import IDLE_RATE
from engine.technicians import live
from engine.types import UserId
from server.api.endpoint import RequestContext
from server.http import responses
from server.http.polling import POLL_INTERVALS_S
from server.http.responses import Response
from server.schemas.decode import Body, NoBody, NoQuery
from server.schemas.users import NewUser, PatchUser, Suspend, UsersQuery


async def me(call: RequestContext[Body, NoQuery]) -> Response:
    """Return the caller's account, a technician's profile, and how often to poll and to send a fix."""
    account = await sync.read_own_account(call.engine, call.caller)
    technician = {"technician": account.technician} if account.technician else {}
    state = await live.read_presence(call.engine, call.caller)
    clock = {"clock_offset_s": state.clock_offset_s} if state and state.clock_offset_s else {}
    fix = state.fix if state else IDLE_RATE
    return responses.json_response({"user": account.user, **technician, "poll": POLL_INTERVALS_S, "fix": fix, **clock})


async def find(call: RequestContext[Body, UsersQuery]) -> Response:
    """Return all accounts, the newest first."""
    query = msgspec.convert(call.query, UserQuery, from_attributes=True)
    page = await accounts.find_users(call.engine, call.caller, query)
    return responses.page_response(call.next_link, page.items, page.next)


async def create(call: RequestContext[NewUser, NoQuery]) -> Response:
    """Create an account with any role, also for staff."""
    new = msgspec.convert(call.body, NewAccount, from_attributes=True)
    return responses.creation_response(
        "user", await accounts.create_user(call.engine, call.caller, new, key=call.key), "/v1/users"
    )


async def patch(call: RequestContext[PatchUser, NoQuery]) -> Response:
    """Change a role, or deactivate or activate an account."""
    role, active = call.body.role, call.body.active
    user = UserId(call.id)
    done = await accounts.patch_user(call.engine, call.caller, user, role=role, active=active, key=call.key)
    return responses.stored_response("user", done)


async def suspend(call: RequestContext[Suspend, NoQuery]) -> Response:
    """Remove all access of a user: after the answer, requests and claims are refused and sockets are closed.

    With `jobs: reassign` the jobs that the user holds are offered to others, if the job's blueprint still allows ops to
    reassign the job. For each other job ops receive `job.stalled`.
    """
    user, body = UserId(call.id), call.body
    done = await accounts.suspend_user(call.engine, call.caller, user, reason=body.reason, jobs=body.jobs, key=call.key)
    return responses.stored_response("user", done)


async def reinstate(call: RequestContext[NoBody, NoQuery]) -> Response:
    """Restore a user's access; the user must sign in again."""
    done = await accounts.reinstate_user(call.engine, call.caller, UserId(call.id), key=call.key)
    return responses.stored_response("user", done)
