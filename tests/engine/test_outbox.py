"""The outbox: a committed change of an account takes full effect, even if the process dies or Redis is not available
after the commit.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from sqlalchemy import func, select

from engine.domain import profile
from engine.domain.profile import ProfilePatch
from engine.errors import CalloutError, Forbidden, Indeterminate, TokenExpired, Unauthenticated, Unavailable
from engine.identity import access, accounts, logins, outbox, tokens
from engine.identity.accounts import LoginResult, NewAccount
from engine.process.settings import Settings
from engine.runtime import Engine
from engine.sql.schema import outbox as rows
from engine.startup import open_engine
from engine.store import keys
from engine.store.connection import Store
from engine.technicians import sql
from engine.types import DEFAULT_ZONE, TechnicianId
from tests.engine import staff
from tests.support import event_log, people
from tests.support.people import ADMIN


async def register_customer(engine: Engine, email: str = "ann@example.org") -> LoginResult:
    """Register a customer and return the reply, which contains the tokens."""
    new = NewAccount(email=email, password="correct horse", name="Ann", role="customer")
    return (await accounts.register_user(engine, new)).value


async def outbox_size(engine: Engine) -> int:
    """Return the number of rows in the outbox: changes that have not taken full effect yet."""
    async with engine.archive.begin_read() as conn:
        return int((await conn.execute(select(func.count()).select_from(rows))).scalar_one())


async def suspend(engine: Engine, user: LoginResult, **more: Any) -> Any:
    """Suspend the user as an admin."""
    return await accounts.suspend_user(engine, ADMIN, user.user.id, reason="fraud", **more)


async def change_role(engine: Engine, user: LoginResult, **more: Any) -> Any:
    """Change the user's role to `technician` as an admin."""
    return await accounts.patch_user(engine, ADMIN, user.user.id, role="technician", **more)


async def deactivate(engine: Engine, user: LoginResult, **more: Any) -> Any:
    """Set the user's account to inactive as an admin."""
    return await accounts.patch_user(engine, ADMIN, user.user.id, active=False, **more)


async def sign_out(engine: Engine, user: LoginResult, **_: Any) -> Any:
    """End the user's session by the refresh token."""
    return await tokens.end_login_of_token(engine, user.refresh_token)


async def end_login(engine: Engine, user: LoginResult, **more: Any) -> Any:
    """End the login that the access token belongs to, as its user."""
    caller = engine.signer.verify(user.access_token)
    return await logins.end_login(engine, caller, caller.family, **more)


AccountCommand = Callable[..., Awaitable[Any]]
COMMANDS: list[tuple[AccountCommand, int, type[CalloutError]]] = [
    (suspend, 4502, Forbidden),
    (deactivate, 4502, Forbidden),
    (change_role, 4006, TokenExpired),
    (sign_out, 4502, Unauthenticated),
    (end_login, 4502, Unauthenticated),
]
"""Commands on an account, each with the close code of its `session.revoked` and the error that the access token gets
afterwards.
"""


@pytest.mark.parametrize(
    ("killed_at", "command", "code", "refusal"),
    [(place, *COMMANDS[0]) for place in ("the start", "the record", "the event", "the profile", "the end")]
    + [("the event", *each) for each in COMMANDS[1:]],
)
async def test_a_change_takes_effect_after_a_kill(
    engine: Engine,
    monkeypatch: pytest.MonkeyPatch,
    killed_at: str,
    command: AccountCommand,
    code: int,
    refusal: type[CalloutError],
) -> None:
    """If the process dies anywhere between the commit of a change and the reply, `outbox.run_once` of any process
    completes the change, and `session.revoked` is appended once.
    """
    who = await register_customer(engine)
    await tokens.principal_of(engine, who.access_token)

    async def raise_interrupt(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    place: tuple[Any, str] = {
        "the start": (outbox, "apply_rows"),
        "the record": (access, "write_to_redis"),
        "the event": (outbox, "append_revocation"),
        "the profile": (sql, "publish_to_redis"),
        "the end": (outbox, "delete"),
    }[killed_at]
    with monkeypatch.context() as patch:
        patch.setattr(*place, raise_interrupt if killed_at != "the end" else _raise_interrupt)
        with pytest.raises(KeyboardInterrupt):
            await command(engine, who)
    assert await outbox_size(engine) == 1
    assert await outbox.run_once(engine) == 1
    assert (await outbox_size(engine), await outbox.run_once(engine)) == (0, 0)
    with pytest.raises(refusal):
        await tokens.principal_of(engine, who.access_token)
    (revoked,) = await event_log.events(engine, "session.revoked")
    assert (revoked.to, event_log.payload(revoked)["code"]) == ((f"user:{who.user.id}",), code)


def _raise_interrupt(*_: Any) -> None:
    """Raise `KeyboardInterrupt`, as if the process were killed here."""
    raise KeyboardInterrupt


async def suspend_by_review(engine: Engine, technician: TechnicianId) -> Any:
    """Suspend the technician by a review."""
    return await profile.review_technician(engine, ADMIN, technician, account="suspended", reason="fraud")


async def remove_services(engine: Engine, technician: TechnicianId) -> Any:
    """Remove all services from the technician's profile."""
    return await profile.patch_technician(engine, ADMIN, technician, ProfilePatch(services=[]))


KILL_POINTS: list[tuple[Any, str]] = [
    (outbox, "apply_rows"),
    (access, "write_to_redis"),
    (sql, "publish_to_redis"),
    (outbox, "delete"),
]
"""The functions in which the process is killed: before, between and after the writes that follow the commit."""
PROFILE_REVIEW = (suspend_by_review, "account", b"suspended", ["approved", "suspended"])
"""A review: the command, the field of the record, the field's new value, and the account status in each
`technician.reviewed`.
"""
PROFILE_PATCH = (remove_services, "services", b"", ["approved"])
"""Same as ``PROFILE_REVIEW``, for a change of the profile."""


@pytest.mark.parametrize(
    ("place", "command", "field", "value", "decisions"),
    [(place, *PROFILE_REVIEW) for place in (*KILL_POINTS, (outbox, "append_event"))]
    + [(place, *PROFILE_PATCH) for place in KILL_POINTS],
)
async def test_a_change_of_a_profile_takes_effect_after_a_kill(
    engine: Engine,
    monkeypatch: pytest.MonkeyPatch,
    place: tuple[Any, str],
    command: AccountCommand,
    field: str,
    value: bytes,
    decisions: list[str],
) -> None:
    """If the process dies after the commit of a review or of a change of services, the outbox completes it: the
    technician is offline, and the review's event is appended once, even if the maintenance task wrote the record first.
    """
    who = TechnicianId((await staff.create_eligible_technician(engine, await people.service(engine))).id)

    def raise_interrupt(*_: Any, **__: Any) -> Any:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(*place, raise_interrupt)
        with pytest.raises(KeyboardInterrupt):
            await command(engine, who)
    assert await outbox_size(engine) == 1
    if place[1] == "write_to_redis":
        assert await sql.repair_redis(engine) == 1
    assert await outbox.run_once(engine) == 1
    assert (await outbox_size(engine), await sql.repair_redis(engine)) == (0, 0)
    record = keys.technician(DEFAULT_ZONE, who)
    assert await engine.store.redis.hmget(record, field, "online") == [value, b""]
    events = await event_log.events(engine, "technician.reviewed")
    assert [event_log.payload(event)["account"] for event in events] == decisions


@pytest.mark.parametrize(("command", "code", "refusal"), COMMANDS)
async def test_without_redis_a_committed_change_is_indeterminate(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, command: AccountCommand, code: int, refusal: type[CalloutError]
) -> None:
    """If Redis fails after the commit, the command raises `Indeterminate`, because the change is stored and has not
    taken effect. The outbox completes it, and a repeat under the same key is marked as repeated.
    """
    who, key = await register_customer(engine), str(uuid.uuid4())
    await tokens.principal_of(engine, who.access_token)

    async def raise_unavailable(*_: Any, **__: Any) -> None:
        raise Unavailable("Redis cannot be reached")

    with monkeypatch.context() as patch:
        patch.setattr(Store, "send_call", raise_unavailable)
        with pytest.raises(Indeterminate):
            await command(engine, who, key=key)
        assert await outbox.run_once(engine) == 0
    assert await outbox.run_once(engine) == 1
    with pytest.raises(refusal):
        await tokens.principal_of(engine, who.access_token)
    again = await command(engine, who, key=key)
    assert again is None or again.repeated
    assert [event_log.payload(event)["code"] for event in await event_log.events(engine, "session.revoked")] == [code]


async def test_a_lost_reply_appends_one_event(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """If the event was appended and Redis' reply was lost, the retry recognises the event by the key of the outbox row
    and appends no second one.
    """
    who, real = await register_customer(engine), Store.send_call

    async def lose_reply(self: Store, send: Any, script: str, call: Any) -> Any:
        done = await real(self, send, script, call)
        if script == "event_append":
            raise Indeterminate("The reply was lost")
        return done

    with monkeypatch.context() as patch:
        patch.setattr(Store, "send_call", lose_reply)
        with pytest.raises(Indeterminate):
            await suspend(engine, who)
    assert await outbox.run_once(engine) == 1
    assert len(await event_log.events(engine, "session.revoked")) == 1


async def test_concurrent_commands_leave_redis_as_sql_has_it(engine: Engine) -> None:
    """When a user is suspended, reinstated, changed and signed out at the same time, the record in Redis matches SQL in
    the end, and no two commands block each other.
    """
    who = await register_customer(engine)
    for _ in range(3):
        login = await tokens.create_login(engine, who.user.id, "customer", "Ann")
        refreshed = asyncio.gather(tokens.refresh_token_pair(engine, login.refresh_token), return_exceptions=True)
        commands = (suspend(engine, who), accounts.reinstate_user(engine, ADMIN, who.user.id), change_role(engine, who))
        logout = tokens.end_login_of_token(engine, login.refresh_token)
        await asyncio.gather(*commands, logout, refreshed, outbox.run_once(engine), outbox.run_once(engine))
        async with engine.archive.begin_read() as conn:
            record = await access.read_from_sql(conn, who.user.id)
        values = await engine.store.redis.hmget(keys.account(who.user.id), ["version", "active"])
        assert [int(value) for value in values] == [record.version, int(record.active)]
    assert await outbox_size(engine) == 0


async def test_a_failing_entry_delays_no_other(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """If an error prevents one account's change from taking effect, the changes of other accounts still take effect."""
    first, second = await register_customer(engine), await register_customer(engine, "bob@example.org")
    finish = outbox.apply_rows

    async def raise_unavailable(*_: Any, **__: Any) -> None:
        raise Unavailable("away")

    async def fail_for_first_user(engine: Engine, user: Any) -> None:
        if user == first.user.id:
            raise RuntimeError("a bug")
        await finish(engine, user)

    with monkeypatch.context() as patch:
        patch.setattr(outbox, "apply_rows", raise_unavailable)
        for who in (first, second):
            with pytest.raises(Indeterminate):
                await suspend(engine, who)
        patch.setattr(outbox, "apply_rows", fail_for_first_user)
        assert await outbox.run_once(engine) == 1
    assert not (await access.read_access(engine, second.user.id)).active


async def test_a_restored_redis_reinstates_no_user(engine: Engine) -> None:
    """If Redis restarts with an older file in which a suspended account is active, the engine reads the account from
    SQL first, and the user's token is refused.
    """
    who = await register_customer(engine)
    await suspend(engine, who)
    older = {"role": "customer", "active": "1", "version": "99", "out": "", "life": "another"}
    await engine.store.redis.hset(keys.account(who.user.id), mapping=older)
    with pytest.raises(Forbidden):
        await tokens.principal_of(engine, who.access_token)


async def test_the_zone_main_is_always_open(settings: Settings) -> None:
    """A server that is configured for other zones also opens ``main``, because its log contains the
    events of accounts.
    """
    import msgspec

    async with open_engine(msgspec.structs.replace(settings, zones=("north",))) as engine:
        assert list(engine.settings.zones) == list(engine.store.zones) == ["north", "main"]
        await suspend(engine, await register_customer(engine))
        assert len(await event_log.events(engine, "session.revoked")) == 1


async def test_a_slow_process_deletes_no_row_of_a_later_command(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two processes apply the same row. Before the slower one deletes the row, a suspension adds a row that gets the
    same id from SQLite. The row stays until its revocation is in the log.
    """
    user = await register_customer(engine)
    publish, other_process_is_done = sql.publish_to_redis, False

    async def publish_slowly(*args: Any, **more: Any) -> None:
        nonlocal other_process_is_done
        await publish(*args, **more)
        if not other_process_is_done:
            other_process_is_done = True
            await outbox.apply_rows(engine, user.user.id)
            async with engine.archive.begin_write() as conn:
                await outbox.add_row(conn, user.user.id, code=4502)

    async with engine.archive.begin_write() as conn:
        await outbox.add_row(conn, user.user.id)
    monkeypatch.setattr(sql, "publish_to_redis", publish_slowly)
    await outbox.apply_rows(engine, user.user.id)
    assert other_process_is_done and await outbox_size(engine) == 1
    await outbox.run_once(engine)
    assert await outbox_size(engine) == 0
    assert [event.type for event in await event_log.events(engine)] == ["session.revoked"]
