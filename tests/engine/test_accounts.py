"""Accounts: which requests are refused, that a failed login does not show whether an account exists, and that a
suspension has taken effect when its reply arrives.
"""

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

OPS_MANAGER = Principal(UserId("cli_ops_manager"), "ops_manager")


def new_account(email: str = "Ann@Example.org", role: Role = "customer", **changes: Any) -> NewAccount:
    """Return the data of a new account; the keyword arguments replace fields."""
    fields = {"email": email, "password": "correct horse", "name": "Ann", "role": role, **changes}
    return NewAccount(**fields)


async def create_account(engine: Engine, email: str, role: Role) -> Principal:
    """Create an account as an admin and return its user as a principal."""
    user = (await accounts.create_user(engine, ADMIN, new_account(email, role))).value
    return Principal(user.id, user.role, user.name)


# Refusals


async def test_refuses_an_email_that_has_an_account(engine: Engine) -> None:
    """A registration with the email address of an existing account is refused as `duplicate`. Addresses are equal if
    they differ only in case, outer spaces or Unicode compatibility forms.
    """
    await accounts.register_user(engine, new_account())
    for same in ("ann@example.org", "  ANN@example.ORG ", "ａnn@example.org"):
        with pytest.raises(Duplicate):
            await accounts.register_user(engine, new_account(same))


@pytest.mark.parametrize(
    ("changes", "pointer"),
    [({"email": "nobody"}, "/email"), ({"email": "a@b" + "c" * 260}, "/email"), ({"password": "short"}, "/password")],
)
async def test_an_invalid_address_or_password_is_refused(engine: Engine, changes: dict[str, Any], pointer: str) -> None:
    """A registration with an invalid address or too short a password is refused, and the error names the field."""
    with pytest.raises(Invalid) as refusal:
        await accounts.register_user(engine, new_account(**changes))
    assert refusal.value.errors[0][0] == pointer


async def test_staff_cannot_register_themselves(engine: Engine) -> None:
    """Only customers and technicians may register themselves; a registration as `admin` is forbidden."""
    with pytest.raises(Forbidden):
        await accounts.register_user(engine, new_account(role="admin"))


async def test_only_admins_manage_users(engine: Engine) -> None:
    """Only admins may list, create, change and reinstate users. Ops managers may suspend users, and other roles may
    not.
    """
    someone = await create_account(engine, "b@example.org", "customer")
    for role in ("customer", "technician", "mediator", "onboarding_manager", "ops_manager", "service"):
        caller = Principal(UserId(f"cli_{role}"), role)
        for refused in (
            accounts.find_users(engine, caller, UserQuery()),
            accounts.create_user(engine, caller, new_account()),
            accounts.patch_user(engine, caller, someone.id, active=False),
            accounts.reinstate_user(engine, caller, someone.id),
        ):
            with pytest.raises(Forbidden):
                await refused
        if role != "ops_manager":
            with pytest.raises(Forbidden):
                await accounts.suspend_user(engine, caller, someone.id, reason="…")


async def test_users_cannot_suspend_themselves_and_ops_cannot_suspend_admins(engine: Engine) -> None:
    """Admins cannot suspend themselves or change their own role, and an ops manager cannot suspend an admin. An admin
    can suspend another admin.
    """
    admin = await create_account(engine, "admin@example.org", "admin")
    with pytest.raises(Forbidden):
        await accounts.suspend_user(engine, admin, admin.id, reason="…")
    with pytest.raises(Forbidden):
        await accounts.patch_user(engine, admin, admin.id, role="customer")
    with pytest.raises(Forbidden):
        await accounts.suspend_user(engine, OPS_MANAGER, admin.id, reason="…")
    assert (await accounts.suspend_user(engine, ADMIN, admin.id, reason="…")).value.active is False


async def test_an_unknown_user_is_not_found(engine: Engine) -> None:
    """A suspension, a change and a read of a user who does not exist are refused with `not_found`."""
    for missing in (
        accounts.suspend_user(engine, ADMIN, UserId("usr_x"), reason="…"),
        accounts.patch_user(engine, ADMIN, UserId("usr_x"), role="admin"),
        accounts.read_user(engine, UserId("usr_x")),
    ):
        with pytest.raises(NotFound):
            await missing


async def test_a_wrong_password_and_an_unknown_address_get_the_same_refusal(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A login with a wrong password and one with an unknown address get the same refusal, and both compare the password
    once. The refusal therefore does not show whether an account exists.
    """
    await accounts.register_user(engine, new_account())
    had_hash: list[bool] = []
    real = passwords._is_correct_password

    def count_and_compare(stored: str | None, password: str) -> bool:
        """Record whether there is a stored hash, and compare the password as usual."""
        had_hash.append(stored is not None)
        return real(stored, password)

    monkeypatch.setattr(passwords, "_is_correct_password", count_and_compare)
    refusals = []
    for email, password in (("ann@example.org", "wrong horse"), ("nobody@example.org", "correct horse")):
        with pytest.raises(Unauthenticated) as refusal:
            await accounts.login(engine, email, password)
        refusals.append((refusal.value.code, refusal.value.detail))
    assert refusals[0] == refusals[1]
    assert had_hash == [True, False]


@pytest.mark.usefixtures("costly_passwords")
async def test_an_unknown_address_takes_as_long_as_a_wrong_password() -> None:
    """If there is no stored hash, the server compares the password with a dummy hash, so that the reply takes about as
    long, and refuses it.
    """
    loop = asyncio.get_running_loop()
    stored = await passwords.hash_password("correct horse")
    assert stored.startswith("$argon2id$v=19$m=19456,t=2,p=1$")
    await passwords.is_correct_password(None, "warm up")
    durations_s = []
    for password_hash in (stored, None):
        start = loop.time()
        for _ in range(5):
            assert not await passwords.is_correct_password(password_hash, "a password that nobody has")
        durations_s.append(loop.time() - start)
    assert durations_s[1] > durations_s[0] / 3


# Registration and sign-in


async def test_a_registration_returns_valid_tokens(engine: Engine) -> None:
    """The reply to a registration contains the account and valid tokens. SQL stores only an Argon2 hash of the
    password.
    """
    registration = (await accounts.register_user(engine, new_account(phone="+1 555"))).value
    assert (registration.user.email, registration.user.role, registration.user.active, registration.user.phone) == (
        "Ann@Example.org",
        "customer",
        True,
        "+1 555",
    )
    who = await tokens.principal_of(engine, registration.access_token)
    assert (who.id, who.role, who.name) == (registration.user.id, "customer", "Ann")
    assert (await accounts.read_own_user(engine, who)) == registration.user
    async with engine.archive.begin_read() as conn:
        stored = (await conn.execute(select(users.c.password_hash))).scalar() or ""
    assert stored.startswith("$argon2id$")
    assert b"correct horse" not in msgspec.json.encode(registration)


async def test_a_repeated_registration_needs_the_password(engine: Engine) -> None:
    """A repeat of a registration with another password is refused as `reused_key`, so the key alone returns no tokens.
    With the same password the reply is that of the first request.
    """
    key = str(uuid.uuid4())
    first = await accounts.register_user(engine, new_account(), key=key)
    with pytest.raises(ReusedKey):
        await accounts.register_user(engine, new_account(password="another one"), key=key)
    again = await accounts.register_user(engine, new_account(), key=key)
    assert (again.repeated, again.value.user) == (True, first.value.user)


@pytest.mark.usefixtures("costly_passwords")
async def test_a_login_does_not_block_the_event_loop(engine: Engine) -> None:
    """While four logins compute password hashes, the event loop continues to run."""
    await accounts.register_user(engine, new_account())
    work = asyncio.gather(*(accounts.login(engine, "ann@example.org", "correct horse") for _ in range(4)))
    turns = 0
    while not work.done():
        turns += 1
        await asyncio.sleep(0)
    assert turns > 50
    assert all(done.token_type == "Bearer" for done in await work)


async def test_a_new_technician_has_a_live_record_and_is_not_eligible(engine: Engine) -> None:
    """After a registration Redis has a record of the technician in the zone `main`; KYC and account are `pending`, so
    the technician is not eligible.
    """
    registration = (await accounts.register_user(engine, new_account(role="technician"))).value
    row = await sql.read_row(engine, registration.user.id)  # type: ignore[arg-type]
    assert (row.zone, row.kyc, row.account, row.capacity) == ("main", "pending", "pending", 1)
    assert await live.read_zone(engine, registration.user.id) == "main"


# Administration


async def test_users_are_listed_newest_first_in_pages(engine: Engine) -> None:
    """The pages of the list contain each account once. The list can be filtered by role and by active accounts; an
    invalid limit or cursor is refused.
    """
    ids = [
        (await create_account(engine, f"u{n}@example.org", "customer" if n % 2 else "mediator")).id for n in range(5)
    ]
    await accounts.suspend_user(engine, ADMIN, ids[0], reason="…")
    listed_ids: list[UserId] = []
    cursor = None
    while True:
        page = await accounts.find_users(engine, ADMIN, UserQuery(limit=2, cursor=cursor))
        listed_ids += [user.id for user in page.items]
        if (cursor := page.next) is None:
            break
    assert sorted(listed_ids) == sorted(ids)
    assert len((await accounts.find_users(engine, ADMIN, UserQuery(role="mediator", active=True))).items) == 2
    for wrong in (UserQuery(limit=0), UserQuery(limit=201), UserQuery(cursor="?")):
        with pytest.raises(Invalid):
            await accounts.find_users(engine, ADMIN, wrong)


async def test_a_repeat_by_key_makes_one_account(engine: Engine) -> None:
    """A repeat under the same key creates no second account. The same key with another account is refused as
    `reused_key`.
    """
    key = str(uuid.uuid4())
    first = await accounts.create_user(engine, ADMIN, new_account(role="service"), key=key)
    again = await accounts.create_user(engine, ADMIN, new_account(role="service"), key=key)
    assert (again.value, again.repeated) == (first.value, True)
    with pytest.raises(ReusedKey):
        await accounts.create_user(engine, ADMIN, new_account("other@example.org"), key=key)


async def test_a_changed_role_needs_a_new_token(engine: Engine) -> None:
    """When the role of a user changes, their access token expires at once, their sockets are closed with code 4006, and
    a refresh returns a token with the new role.
    """
    registration = (await accounts.register_user(engine, new_account())).value
    await tokens.principal_of(engine, registration.access_token)
    await accounts.patch_user(engine, ADMIN, registration.user.id, role="technician")
    with pytest.raises(TokenExpired):
        await tokens.principal_of(engine, registration.access_token)
    (revocation,) = await event_log.events(engine, "session.revoked")
    assert (revocation.to, event_log.payload(revocation)["code"]) == ((f"user:{registration.user.id}",), 4006)
    fresh = await accounts.refresh_login(engine, registration.refresh_token)
    assert fresh.user.role == "technician"
    assert (await tokens.principal_of(engine, fresh.access_token)).role == "technician"
    assert (await sql.read_row(engine, registration.user.id)).kyc == "pending"  # type: ignore[arg-type]


# Suspension


async def test_a_suspension_takes_effect_at_once(engine: Engine) -> None:
    """When the reply to a suspension arrives, the user's tokens, refreshes and logins are refused and `session.revoked`
    (4502) is in the log. After a reinstatement the user can log in again.
    """
    registration = (await accounts.register_user(engine, new_account())).value
    await tokens.principal_of(engine, registration.access_token)
    suspension = await accounts.suspend_user(engine, OPS_MANAGER, registration.user.id, reason="fraud")
    assert suspension.value.active is False
    with pytest.raises(Forbidden):
        await tokens.principal_of(engine, registration.access_token)
    with pytest.raises(Forbidden):
        await accounts.refresh_login(engine, registration.refresh_token)
    with pytest.raises(Forbidden):
        await accounts.login(engine, "ann@example.org", "correct horse")
    with pytest.raises(Unauthenticated):
        await accounts.login(engine, "ann@example.org", "wrong horse")
    (revocation,) = await event_log.events(engine, "session.revoked")
    assert (event_log.payload(revocation), revocation.actor) == (
        {"code": 4502},
        "ops_manager:cli_ops_manager",
    )
    await accounts.reinstate_user(engine, ADMIN, registration.user.id)
    with pytest.raises(Unauthenticated):
        await accounts.refresh_login(engine, registration.refresh_token)
    fresh = await accounts.login(engine, "ann@example.org", "correct horse")
    assert (await tokens.principal_of(engine, fresh.access_token)).id == registration.user.id


async def test_a_suspended_technician_claims_nothing_and_keeps_their_jobs(engine: Engine) -> None:
    """A claim by a suspended technician is refused with `account_not_approved`. The technician is offline and still
    holds the jobs from before.
    """
    who, job, second = await _technician_with_two_offers(engine)
    await jobs.claim(engine, who, job)
    await accounts.suspend_user(engine, ADMIN, who.id, reason="…")
    with pytest.raises(AccountNotApproved):
        await jobs.claim(engine, who, second)
    record = keys.technician(DEFAULT_ZONE, TechnicianId(who.id))
    assert await engine.store.redis.hmget(record, "load", "online") == [b"1", b""]


async def test_no_claim_succeeds_after_a_suspension(engine: Engine) -> None:
    """A claim at the same time as a suspension may succeed; after the reply to the suspension every
    claim is refused.
    """
    who, job, second = await _technician_with_two_offers(engine)
    raced = asyncio.create_task(jobs.claim(engine, who, job))
    await accounts.suspend_user(engine, ADMIN, who.id, reason="…")
    await asyncio.gather(raced, return_exceptions=True)
    with pytest.raises(AccountNotApproved):
        await jobs.claim(engine, who, second)


async def _technician_with_two_offers(engine: Engine) -> tuple[Principal, JobId, JobId]:
    """Create a technician with a capacity of two and two offers. Return the technician and both jobs."""
    service = await people.service(engine)
    who = await staff.create_eligible_technician(engine, service, capacity=2)
    customer = await people.customer(engine)
    return who, await people.offered_job(engine, customer, service), await people.offered_job(engine, customer, service)


async def test_the_command_lines_principal_can_be_read(engine: Engine) -> None:
    """`accounts.me` returns a user for the principal of the command line, which has no account."""
    user = await accounts.read_own_user(engine, ADMIN)
    assert (user.id, user.role, user.active, ADMIN.role in ADMINS) == ("cli_admin", "admin", True, True)
