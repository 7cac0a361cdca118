"""Accounts: what is refused, that a wrong guess learns nothing, and that a suspension takes effect before it is
acknowledged."""

from __future__ import annotations

import asyncio
import uuid
from typing import Any

import msgspec
import pytest
from sqlalchemy import select

from engine.domain import jobs
from engine.errors import (
    AccountNotApproved,
    Duplicate,
    Forbidden,
    Invalid,
    NotFound,
    ReusedKey,
    TokenExpired,
    Unauthenticated,
)
from engine.identity import accounts, passwords, tokens
from engine.identity.accounts import NewAccount, UserQuery
from engine.roles import ADMIN_ROLE as ADMINS
from engine.runtime import Engine
from engine.sql.schema import users
from engine.store import keys
from engine.technicians import live, sql
from engine.types import DEFAULT_ZONE, JobId, Principal, Role, TechnicianId, UserId
from tests.engine import staff
from tests.support import event_log, people
from tests.support.people import ADMIN

OPS = Principal(UserId("cli_ops_manager"), "ops_manager")


def new(email: str = "Ann@Example.org", role: Role = "customer", **changes: Any) -> NewAccount:
    fields = {"email": email, "password": "correct horse", "name": "Ann", "role": role, **changes}
    return NewAccount(**fields)


async def made(engine: Engine, email: str, role: Role) -> Principal:
    user = (await accounts.create_user(engine, ADMIN, new(email, role))).value
    return Principal(user.id, user.role, user.name)


# Refusals


async def test_refuses_an_email_that_has_an_account(engine: Engine) -> None:
    """Addresses are compared without case, spaces and compatibility forms."""
    await accounts.register_user(engine, new())
    for same in ("ann@example.org", "  ANN@example.ORG ", "ａnn@example.org"):
        with pytest.raises(Duplicate):
            await accounts.register_user(engine, new(same))


@pytest.mark.parametrize(
    ("changes", "pointer"),
    [({"email": "nobody"}, "/email"), ({"email": "a@b" + "c" * 260}, "/email"), ({"password": "short"}, "/password")],
)
async def test_refuses_bad_input(engine: Engine, changes: dict[str, Any], pointer: str) -> None:
    """An invalid address or password is refused with the name of its field."""
    with pytest.raises(Invalid) as refusal:
        await accounts.register_user(engine, new(**changes))
    assert refusal.value.errors[0][0] == pointer


async def test_refuses_staff_who_register_themselves(engine: Engine) -> None:
    """Only customers and technicians may register themselves."""
    with pytest.raises(Forbidden):
        await accounts.register_user(engine, new(role="admin"))


async def test_refuses_all_but_admins(engine: Engine) -> None:
    """Only admins list, create and change users; ops may suspend, and other roles may do nothing."""
    someone = await made(engine, "b@example.org", "customer")
    for role in ("customer", "technician", "mediator", "onboarding_manager", "ops_manager", "service"):
        caller = Principal(UserId(f"cli_{role}"), role)
        for refused in (
            accounts.find_users(engine, caller, UserQuery()),
            accounts.create_user(engine, caller, new()),
            accounts.patch_user(engine, caller, someone.id, active=False),
            accounts.reinstate_user(engine, caller, someone.id),
        ):
            with pytest.raises(Forbidden):
                await refused
        if role != "ops_manager":
            with pytest.raises(Forbidden):
                await accounts.suspend_user(engine, caller, someone.id, reason="…")


async def test_refuses_to_touch_oneself_or_an_admin_as_ops(engine: Engine) -> None:
    """Users cannot suspend themselves, and ops cannot suspend admins."""
    admin = await made(engine, "admin@example.org", "admin")
    with pytest.raises(Forbidden):
        await accounts.suspend_user(engine, admin, admin.id, reason="…")
    with pytest.raises(Forbidden):
        await accounts.patch_user(engine, admin, admin.id, role="customer")
    with pytest.raises(Forbidden):
        await accounts.suspend_user(engine, OPS, admin.id, reason="…")
    assert (await accounts.suspend_user(engine, ADMIN, admin.id, reason="…")).value.active is False


async def test_refuses_an_unknown_user(engine: Engine) -> None:
    """A user who does not exist is `not_found`."""
    for missing in (
        accounts.suspend_user(engine, ADMIN, UserId("usr_x"), reason="…"),
        accounts.patch_user(engine, ADMIN, UserId("usr_x"), role="admin"),
        accounts.read_user(engine, UserId("usr_x")),
    ):
        with pytest.raises(NotFound):
            await missing


async def test_a_wrong_password_and_an_unknown_address_are_the_same(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both get the same refusal after the same work, so that a guess does not show whether an account exists."""
    await accounts.register_user(engine, new())
    looked: list[bool] = []
    real = passwords._is_correct_password

    def counted(stored: str | None, password: str) -> bool:
        looked.append(stored is not None)
        return real(stored, password)

    monkeypatch.setattr(passwords, "_is_correct_password", counted)
    told = []
    for email, password in (("ann@example.org", "wrong horse"), ("nobody@example.org", "correct horse")):
        with pytest.raises(Unauthenticated) as refusal:
            await accounts.login(engine, email, password)
        told.append((refusal.value.code, refusal.value.detail))
    assert told[0] == told[1]
    assert looked == [True, False]


async def test_an_unknown_address_takes_as_long() -> None:
    """Without a stored hash the server checks a dummy hash, and refuses even the password of that hash."""
    loop = asyncio.get_running_loop()
    stored = await passwords.hash_password("correct horse")
    await passwords.is_correct_password(None, "warm up")
    took = []
    for known in (stored, None):
        begun = loop.time()
        for _ in range(5):
            assert not await passwords.is_correct_password(known, "a password that nobody has")
        took.append(loop.time() - begun)
    assert took[1] > took[0] / 3


# Registration and sign-in


async def test_registration_signs_in(engine: Engine) -> None:
    """The reply has the account and tokens that work, and the password is stored nowhere."""
    done = (await accounts.register_user(engine, new(phone="+1 555"))).value
    assert (done.user.email, done.user.role, done.user.active, done.user.phone) == (
        "Ann@Example.org",
        "customer",
        True,
        "+1 555",
    )
    who = await tokens.principal_of(engine, done.access_token)
    assert (who.id, who.role, who.name) == (done.user.id, "customer", "Ann")
    assert (await accounts.read_own_user(engine, who)) == done.user
    async with engine.archive.reading() as conn:
        stored = (await conn.execute(select(users.c.password_hash))).scalar() or ""
    assert stored.startswith("$argon2id$")
    assert b"correct horse" not in msgspec.json.encode(done)


async def test_a_repeated_registration_needs_the_password(engine: Engine) -> None:
    """The key alone returns no tokens; with the password the repeat has the first reply."""
    key = str(uuid.uuid4())
    first = await accounts.register_user(engine, new(), key=key)
    with pytest.raises(ReusedKey):
        await accounts.register_user(engine, new(password="another one"), key=key)
    again = await accounts.register_user(engine, new(), key=key)
    assert (again.repeated, again.value.user) == (True, first.value.user)


async def test_login_hashes_off_the_loop(engine: Engine) -> None:
    """The event loop keeps running while passwords are checked."""
    await accounts.register_user(engine, new())
    work = asyncio.gather(*(accounts.login(engine, "ann@example.org", "correct horse") for _ in range(4)))
    turns = 0
    while not work.done():
        turns += 1
        await asyncio.sleep(0)
    assert turns > 50
    assert all(done.token_type == "Bearer" for done in await work)


async def test_a_new_technician_has_a_live_record_and_is_not_eligible(engine: Engine) -> None:
    """After registration the technician's live record says that the profile is incomplete."""
    done = (await accounts.register_user(engine, new(role="technician"))).value
    row = await sql.read_row(engine, done.user.id)  # type: ignore[arg-type]
    assert (row.zone, row.kyc, row.account, row.capacity) == ("main", "pending", "pending", 1)
    assert await live.read_zone(engine, done.user.id) == "main"


# Administration


async def test_users_are_listed_newest_first_in_pages(engine: Engine) -> None:
    """Pages list every account once; role and activity filter the list."""
    ids = [(await made(engine, f"u{n}@example.org", "customer" if n % 2 else "mediator")).id for n in range(5)]
    await accounts.suspend_user(engine, ADMIN, ids[0], reason="…")
    seen: list[UserId] = []
    cursor = None
    while True:
        page = await accounts.find_users(engine, ADMIN, UserQuery(limit=2, cursor=cursor))
        seen += [user.id for user in page.items]
        if (cursor := page.next) is None:
            break
    assert sorted(seen) == sorted(ids)
    assert len((await accounts.find_users(engine, ADMIN, UserQuery(role="mediator", active=True))).items) == 2
    for wrong in (UserQuery(limit=0), UserQuery(limit=201), UserQuery(cursor="?")):
        with pytest.raises(Invalid):
            await accounts.find_users(engine, ADMIN, wrong)


async def test_a_repeat_by_key_makes_one_account(engine: Engine) -> None:
    """A repeat with the same key creates no second account, and the same key for another account is refused."""
    key = str(uuid.uuid4())
    first = await accounts.create_user(engine, ADMIN, new(role="service"), key=key)
    again = await accounts.create_user(engine, ADMIN, new(role="service"), key=key)
    assert (again.value, again.repeated) == (first.value, True)
    with pytest.raises(ReusedKey):
        await accounts.create_user(engine, ADMIN, new("other@example.org"), key=key)


async def test_a_changed_role_needs_a_new_token(engine: Engine) -> None:
    """The old token expires at once, the sockets are asked to reconnect, and a refresh returns the new role."""
    done = (await accounts.register_user(engine, new())).value
    await tokens.principal_of(engine, done.access_token)
    await accounts.patch_user(engine, ADMIN, done.user.id, role="technician")
    with pytest.raises(TokenExpired):
        await tokens.principal_of(engine, done.access_token)
    (told,) = await event_log.events(engine, "session.revoked")
    assert (told.to, event_log.payload(told)["code"]) == ((f"user:{done.user.id}",), 4006)
    fresh = await accounts.refresh_login(engine, done.refresh_token)
    assert fresh.user.role == "technician"
    assert (await tokens.principal_of(engine, fresh.access_token)).role == "technician"
    assert (await sql.read_row(engine, done.user.id)).kyc == "pending"  # type: ignore[arg-type]


# Suspension


async def test_a_suspension_takes_effect_at_once(engine: Engine) -> None:
    """When the suspension is acknowledged, tokens, refresh and login are refused and sockets are informed; a
    reinstated user can sign in.
    """
    done = (await accounts.register_user(engine, new())).value
    await tokens.principal_of(engine, done.access_token)
    kept = await accounts.suspend_user(engine, OPS, done.user.id, reason="fraud")
    assert kept.value.active is False
    with pytest.raises(Forbidden):
        await tokens.principal_of(engine, done.access_token)
    with pytest.raises(Forbidden):
        await accounts.refresh_login(engine, done.refresh_token)
    with pytest.raises(Forbidden):
        await accounts.login(engine, "ann@example.org", "correct horse")
    with pytest.raises(Unauthenticated):
        await accounts.login(engine, "ann@example.org", "wrong horse")
    (told,) = await event_log.events(engine, "session.revoked")
    assert (event_log.payload(told), told.actor) == (
        {"code": 4502},
        "ops_manager:cli_ops_manager",
    )
    await accounts.reinstate_user(engine, ADMIN, done.user.id)
    with pytest.raises(Unauthenticated):
        await accounts.refresh_login(engine, done.refresh_token)
    fresh = await accounts.login(engine, "ann@example.org", "correct horse")
    assert (await tokens.principal_of(engine, fresh.access_token)).id == done.user.id


async def test_a_suspended_technician_claims_nothing_and_keeps_their_jobs(engine: Engine) -> None:
    """Their claim is ``account_not_approved`` on every connection, and they stay the holder of their jobs."""
    who, job, second = await _working_technician(engine)
    await jobs.claim(engine, who, job)
    await accounts.suspend_user(engine, ADMIN, who.id, reason="…")
    with pytest.raises(AccountNotApproved):
        await jobs.claim(engine, who, second)
    record = keys.technician(DEFAULT_ZONE, TechnicianId(who.id))
    assert await engine.store.redis.hmget(record, "load", "online") == [b"1", b""]


async def test_a_claim_racing_a_suspension_is_before_it_or_refused(engine: Engine) -> None:
    """After the suspension is acknowledged no claim succeeds."""
    who, job, second = await _working_technician(engine)
    raced = asyncio.create_task(jobs.claim(engine, who, job))
    await accounts.suspend_user(engine, ADMIN, who.id, reason="…")
    await asyncio.gather(raced, return_exceptions=True)
    with pytest.raises(AccountNotApproved):
        await jobs.claim(engine, who, second)


async def _working_technician(engine: Engine) -> tuple[Principal, JobId, JobId]:
    serves = await people.service(engine)
    who = await staff.eligible(engine, serves, capacity=2)
    customer = await people.customer(engine)
    return who, await people.offered(engine, customer, serves), await people.offered(engine, customer, serves)


async def test_the_cli_principal_is_described(engine: Engine) -> None:
    """The principal of the command line has a description although it has no account."""
    found = await accounts.read_own_user(engine, ADMIN)
    assert (found.id, found.role, found.active, ADMIN.role in ADMINS) == ("cli_admin", "admin", True, True)
