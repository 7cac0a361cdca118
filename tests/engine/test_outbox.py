"""The outbox: a change of an account is neither lost nor half done, whichever process dies or is away after its
commit."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from sqlalchemy import func, select

from engine.errors import CalloutError, Forbidden, Indeterminate, TokenExpired, Unauthenticated, Unavailable
from engine.identity import access, accounts, logins, outbox, tokens
from engine.identity.accounts import LoginResult, NewAccount
from engine.process.settings import Settings
from engine.runtime import Engine, open_engine
from engine.sql.schema import outbox as rows
from engine.store import keys
from engine.store.connection import Store
from engine.technicians import profile, sql
from engine.technicians.profile import ProfilePatch
from engine.types import DEFAULT_ZONE, TechnicianId
from tests.engine import staff
from tests.support import event_log, people
from tests.support.people import ADMIN


async def signed_in(engine: Engine, email: str = "ann@example.org") -> LoginResult:
    new = NewAccount(email=email, password="correct horse", name="Ann", role="customer")
    return (await accounts.register_user(engine, new)).value


async def owed(engine: Engine) -> int:
    async with engine.archive.reading() as conn:
        return int((await conn.execute(select(func.count()).select_from(rows))).scalar_one())


async def suspend(engine: Engine, who: LoginResult, **more: Any) -> Any:
    return await accounts.suspend_user(engine, ADMIN, who.user.id, reason="fraud", **more)


async def change_role(engine: Engine, who: LoginResult, **more: Any) -> Any:
    return await accounts.patch_user(engine, ADMIN, who.user.id, role="technician", **more)


async def switch_off(engine: Engine, who: LoginResult, **more: Any) -> Any:
    return await accounts.patch_user(engine, ADMIN, who.user.id, active=False, **more)


async def sign_out(engine: Engine, who: LoginResult, **_: Any) -> Any:
    return await tokens.end_session(engine, who.refresh_token)


async def end_login(engine: Engine, who: LoginResult, **more: Any) -> Any:
    caller = engine.signer.verify(who.access_token)
    return await logins.end_login(engine, caller, caller.family, **more)


Command = Callable[..., Awaitable[Any]]
COMMANDS: list[tuple[Command, int, type[CalloutError]]] = [
    (suspend, 4502, Forbidden),
    (switch_off, 4502, Forbidden),
    (change_role, 4006, TokenExpired),
    (sign_out, 4502, Unauthenticated),
    (end_login, 4502, Unauthenticated),
]


@pytest.mark.parametrize(
    ("dies_at", "command", "code", "refusal"),
    [(place, *COMMANDS[0]) for place in ("the start", "the record", "the event", "the profile", "the end")]
    + [("the event", *each) for each in COMMANDS[1:]],
)
async def test_killed_after_the_commit(
    engine: Engine,
    monkeypatch: pytest.MonkeyPatch,
    dies_at: str,
    command: Command,
    code: int,
    refusal: type[CalloutError],
) -> None:
    """If a process dies anywhere between commit and reply, any other process completes the change, and the event is
    sent once.
    """
    who = await signed_in(engine)
    await tokens.principal_of(engine, who.access_token)

    async def killed(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    place: tuple[Any, str] = {
        "the start": (outbox, "finish"),
        "the record": (access, "put"),
        "the event": (outbox, "append_revocation"),
        "the profile": (sql, "publish"),
        "the end": (outbox, "delete"),
    }[dies_at]
    with monkeypatch.context() as patch:
        patch.setattr(*place, killed if dies_at != "the end" else _dies)
        with pytest.raises(KeyboardInterrupt):
            await command(engine, who)
    assert await owed(engine) == 1
    assert await outbox.run_once(engine) == 1
    assert (await owed(engine), await outbox.run_once(engine)) == (0, 0)
    with pytest.raises(refusal):
        await tokens.principal_of(engine, who.access_token)
    (told,) = await event_log.events(engine, "session.revoked")
    assert (told.to, event_log.payload(told)["code"]) == ((f"user:{who.user.id}",), code)


def _dies(*_: Any) -> None:
    raise KeyboardInterrupt


async def reviewed(engine: Engine, who: TechnicianId) -> Any:
    return await profile.review_technician(engine, ADMIN, who, account="suspended", reason="fraud")


async def patched(engine: Engine, who: TechnicianId) -> Any:
    return await profile.patch_technician(engine, ADMIN, who, ProfilePatch(services=[]))


PLACES: list[tuple[Any, str]] = [(outbox, "finish"), (access, "put"), (sql, "publish"), (outbox, "delete")]
REVIEW = (reviewed, "account", b"suspended", ["approved", "suspended"])
PATCH = (patched, "services", b"", ["approved"])


@pytest.mark.parametrize(
    ("place", "command", "field", "value", "told"),
    [(place, *REVIEW) for place in (*PLACES, (outbox, "_append"))] + [(place, *PATCH) for place in PLACES],
)
async def test_killed_after_a_change_of_a_profile(
    engine: Engine,
    monkeypatch: pytest.MonkeyPatch,
    place: tuple[Any, str],
    command: Command,
    field: str,
    value: bytes,
    told: list[str],
) -> None:
    """A review and a change of services take effect whatever dies after the commit: waves exclude the technician,
    and the review's event is sent once, even if the maintenance task wrote the record first.
    """
    who = TechnicianId((await staff.eligible(engine, await people.service(engine))).id)

    def killed(*_: Any, **__: Any) -> Any:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(*place, killed)
        with pytest.raises(KeyboardInterrupt):
            await command(engine, who)
    assert await owed(engine) == 1
    if place[1] == "put":
        assert await sql.repair_redis(engine) == 1
    assert await outbox.run_once(engine) == 1
    assert (await owed(engine), await sql.repair_redis(engine)) == (0, 0)
    record = keys.technician(DEFAULT_ZONE, who)
    assert await engine.store.redis.hmget(record, field, "online") == [value, b""]
    events = await event_log.events(engine, "technician.reviewed")
    assert [event_log.payload(event)["account"] for event in events] == told


@pytest.mark.parametrize(("command", "code", "refusal"), COMMANDS)
async def test_redis_away_after_the_commit(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, command: Command, code: int, refusal: type[CalloutError]
) -> None:
    """A change that is committed but not in effect is *indeterminate*, never *not done*; it takes effect without
    another request, and the same key then finds its outcome.
    """
    who, key = await signed_in(engine), str(uuid.uuid4())
    await tokens.principal_of(engine, who.access_token)

    async def away(*_: Any, **__: Any) -> None:
        raise Unavailable("Redis cannot be reached")

    with monkeypatch.context() as patch:
        patch.setattr(Store, "_send", away)
        with pytest.raises(Indeterminate):
            await command(engine, who, key=key)
        assert await outbox.run_once(engine) == 0
    assert await outbox.run_once(engine) == 1
    with pytest.raises(refusal):
        await tokens.principal_of(engine, who.access_token)
    again = await command(engine, who, key=key)
    assert again is None or again.repeated
    assert [event_log.payload(event)["code"] for event in await event_log.events(engine, "session.revoked")] == [code]


async def test_a_lost_reply_sends_one_event(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """The event was appended and its reply was lost: the retry finds it under the row's key."""
    who, real = await signed_in(engine), Store._send

    async def lost(self: Store, send: Any, script: str, call: Any) -> Any:
        done = await real(self, send, script, call)
        if script == "event_append":
            raise Indeterminate("The reply was lost")
        return done

    with monkeypatch.context() as patch:
        patch.setattr(Store, "_send", lost)
        with pytest.raises(Indeterminate):
            await suspend(engine, who)
    assert await outbox.run_once(engine) == 1
    assert len(await event_log.events(engine, "session.revoked")) == 1


async def test_concurrent_commands_leave_redis_as_sql_has_it(engine: Engine) -> None:
    """Suspended, reinstated and signed out at the same time by several processes: Redis matches SQL in the end, and
    no two commands wait for each other for ever.
    """
    who = await signed_in(engine)
    for _ in range(3):
        login = await tokens.create_session(engine, who.user.id, "customer", "Ann")
        refreshed = asyncio.gather(tokens.refresh_session(engine, login.refresh_token), return_exceptions=True)
        some = (suspend(engine, who), accounts.reinstate_user(engine, ADMIN, who.user.id), change_role(engine, who))
        ended = tokens.end_session(engine, login.refresh_token)
        await asyncio.gather(*some, ended, refreshed, outbox.run_once(engine), outbox.run_once(engine))
        async with engine.archive.reading() as conn:
            record = await access.read_from_sql(conn, who.user.id)
        found = await engine.store.redis.hmget(keys.account(who.user.id), ["version", "active"])
        assert [int(value) for value in found] == [record.version, int(record.active)]
    assert await owed(engine) == 0


async def test_a_failing_entry_delays_no_other(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """A bug with one account is logged, and the changes of other accounts take effect."""
    first, second = await signed_in(engine), await signed_in(engine, "bob@example.org")
    finish = outbox.apply_rows

    async def away(*_: Any, **__: Any) -> None:
        raise Unavailable("away")

    async def breaks(engine: Engine, user: Any) -> None:
        if user == first.user.id:
            raise RuntimeError("a bug")
        await finish(engine, user)

    with monkeypatch.context() as patch:
        patch.setattr(outbox, "apply_rows", away)
        for who in (first, second):
            with pytest.raises(Indeterminate):
                await suspend(engine, who)
        patch.setattr(outbox, "apply_rows", breaks)
        assert await outbox.run_once(engine) == 1
    assert not (await access.read_access(engine, second.user.id)).active


async def test_an_older_redis_reinstates_nobody(engine: Engine) -> None:
    """When a server returns with an older file that says *active*, the record is read from SQL before it counts."""
    who = await signed_in(engine)
    await suspend(engine, who)
    older = {"role": "customer", "active": "1", "version": "99", "out": "", "life": "another"}
    await engine.store.redis.hset(keys.account(who.user.id), mapping=older)
    with pytest.raises(Forbidden):
        await tokens.principal_of(engine, who.access_token)


async def test_main_is_always_open_for_accounts(settings: Settings) -> None:
    """Whatever zones a server serves, it also opens ``main``, whose log has the events of accounts."""
    import msgspec

    async with open_engine(msgspec.structs.replace(settings, zones=("north",))) as engine:
        assert list(engine.settings.zones) == list(engine.store.zones) == ["north", "main"]
        await suspend(engine, await signed_in(engine))
        assert len(await event_log.events(engine, "session.revoked")) == 1
