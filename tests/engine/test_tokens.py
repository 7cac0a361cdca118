"""Tests of access tokens, refresh tokens and tickets: which are refused, when they expire, and what replaces them."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from engine import clock
from engine.errors import Forbidden, TokenExpired, Unauthenticated, Unavailable
from engine.identity import access, accounts, tokens
from engine.identity.accounts import LoginResult, NewAccount
from engine.process import signer
from engine.process.signer import sign_token
from engine.runtime import Engine
from engine.sql.database import Archive
from engine.store import keys
from engine.types import Principal, UserId
from tests.support.people import ADMIN

USER_ID = UserId("usr_me")


class TokenClock:
    """A clock for the modules that create and check tokens. It runs `ahead_s` seconds ahead of the real one."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.ahead_s = 0.0
        real = clock.now_ms
        for module in (tokens, signer, access):
            monkeypatch.setattr(module, "now_ms", lambda: real() + round(self.ahead_s * 1000))


@pytest.fixture
def token_clock(monkeypatch: pytest.MonkeyPatch) -> TokenClock:
    """Return a clock that the test can set ahead with its `ahead_s`."""
    return TokenClock(monkeypatch)


async def register_customer(engine: Engine) -> LoginResult:
    """Register a customer and return their first tokens."""
    new = NewAccount(email="a@example.org", password="correct horse", name="A", role="customer")
    return (await accounts.register_user(engine, new)).value


# Access tokens


async def test_refuses_a_token_without_an_account(engine: Engine) -> None:
    """A token with a valid signature but without an account is refused with `unauthenticated`."""
    for role in ("customer", "admin"):
        with pytest.raises(Unauthenticated):
            await tokens.principal_of(engine, sign_token(engine.signer, USER_ID, role))
    with pytest.raises(Unauthenticated):
        await tokens.principal_of(engine, sign_token(engine.signer, UserId("cli_admin"), "customer"))


async def test_the_cli_principal_needs_no_account(engine: Engine) -> None:
    """The principal `cli_<role>` in its own role is always active and needs no account."""
    token = sign_token(engine.signer, ADMIN.id, "admin")
    assert (await tokens.principal_of(engine, token)).is_ops


async def test_a_stale_account_record_does_not_undo_a_suspension(engine: Engine) -> None:
    """If an account record is read before a suspension and written to Redis after it, the write has no effect."""
    login = await register_customer(engine)
    stale = access.AccountRecord(id=login.user.id, role="customer", active=True, version=1)
    await accounts.suspend_user(engine, ADMIN, login.user.id, reason="…")
    assert not (await access.write_to_redis(engine, stale)).active
    with pytest.raises(Forbidden):
        await tokens.principal_of(engine, login.access_token)


async def test_a_lost_account_record_is_restored_from_sql(engine: Engine) -> None:
    """If Redis has lost an account's record, the next request copies it from SQL, including a suspension."""
    login = await register_customer(engine)
    name = keys.account(login.user.id)
    for _ in range(2):
        await engine.store.redis.delete(name)
        assert (await tokens.principal_of(engine, login.access_token)).id == login.user.id
        assert await engine.store.redis.hget(name, "active") == b"1"
    await accounts.suspend_user(engine, ADMIN, login.user.id, reason="…")
    await engine.store.redis.delete(name)
    with pytest.raises(Forbidden):
        await tokens.principal_of(engine, login.access_token)


# Refresh tokens


async def test_refuses_a_forged_refresh_token(engine: Engine) -> None:
    """A malformed refresh token and one with a guessed part are refused, and the login stays valid."""
    login = await register_customer(engine)
    family, number, proof = login.refresh_token.split(".")
    for bad in ("", "x", "a.b.c", f"{family}.0.{proof}", f"{family}.2.{proof}", f"ses_x.{number}.{proof}", "a.1.é"):
        with pytest.raises(Unauthenticated):
            await tokens.refresh_token_pair(engine, bad)
    assert await tokens.refresh_token_pair(engine, login.refresh_token)


async def test_an_older_token_ends_the_login(engine: Engine) -> None:
    """A refresh token whose successor was used counts as stolen: all tokens of its login are refused from then on."""
    first = (await register_customer(engine)).refresh_token
    second = (await tokens.refresh_token_pair(engine, first)).refresh_token
    third = (await tokens.refresh_token_pair(engine, second)).refresh_token
    with pytest.raises(Unauthenticated):
        await tokens.refresh_token_pair(engine, first)
    for ended in (third, second, first):
        with pytest.raises(Unauthenticated, match="ended"):
            await tokens.refresh_token_pair(engine, ended)


async def test_the_previous_token_ends_the_login_after_ten_minutes(engine: Engine, token_clock: TokenClock) -> None:
    """The previous refresh token returns the same successor for `REPEAT_WINDOW_S`; later it ends the login."""
    first = (await register_customer(engine)).refresh_token
    second = (await tokens.refresh_token_pair(engine, first)).refresh_token
    token_clock.ahead_s = tokens.REPEAT_WINDOW_S - 5
    assert (await tokens.refresh_token_pair(engine, first)).refresh_token == second
    token_clock.ahead_s = tokens.REPEAT_WINDOW_S + 5
    with pytest.raises(Unauthenticated):
        await tokens.refresh_token_pair(engine, first)
    with pytest.raises(Unauthenticated):
        await tokens.refresh_token_pair(engine, second)


@pytest.mark.parametrize("used", ["its access token", "its refresh token"])
async def test_the_previous_token_ends_the_login_once_its_successor_was_used(engine: Engine, used: str) -> None:
    """After a use of the successor, the previous refresh token ends the login at once: two parties have the tokens."""
    first = (await register_customer(engine)).refresh_token
    second = await tokens.refresh_token_pair(engine, first)
    assert (await tokens.refresh_token_pair(engine, first)).refresh_token == second.refresh_token
    if used == "its access token":
        await tokens.principal_of(engine, second.access_token)
    else:
        await tokens.refresh_token_pair(engine, second.refresh_token)
    with pytest.raises(Unauthenticated, match="ended"):
        await tokens.refresh_token_pair(engine, first)
    for refused in (
        tokens.refresh_token_pair(engine, second.refresh_token),
        tokens.principal_of(engine, second.access_token),
    ):
        with pytest.raises(Unauthenticated, match="ended"):
            await refused


async def test_a_thief_who_uses_the_token_after_its_owner_ends_the_login(engine: Engine) -> None:
    """A thief who uses a refresh token after its owner used the new access token ends the login."""
    token = (await register_customer(engine)).refresh_token
    pair = await tokens.refresh_token_pair(engine, token)
    await tokens.principal_of(engine, pair.access_token)
    with pytest.raises(Unauthenticated, match="ended"):
        await tokens.refresh_token_pair(engine, token)
    with pytest.raises(Unauthenticated, match="ended"):
        await tokens.refresh_token_pair(engine, pair.refresh_token)


async def test_the_first_use_is_recorded_and_never_fails_the_request(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first use of an access token is recorded once. While SQL is away the request succeeds without the record."""
    first = (await register_customer(engine)).refresh_token
    second = await tokens.refresh_token_pair(engine, first)
    await tokens.principal_of(engine, (await tokens.refresh_token_pair(engine, first)).access_token)
    engine.recorded_generations.clear()
    assert await access.read_access(engine, engine.signer.verify(second.access_token).id)

    def raise_unavailable() -> Any:
        raise Unavailable("away")

    with monkeypatch.context() as patch:
        patch.setattr(Archive, "begin_write", lambda self: raise_unavailable())
        await tokens.principal_of(engine, second.access_token)
        assert not engine.recorded_generations
        await tokens.principal_of(engine, second.access_token)
    await tokens.principal_of(engine, second.access_token)
    assert list(engine.recorded_generations.values()) == [2]


async def test_an_unused_refresh_token_expires_and_is_deleted(engine: Engine, token_clock: TokenClock) -> None:
    """A refresh token expires after thirty days without a rotation, and maintenance deletes its login in SQL."""
    token = (await register_customer(engine)).refresh_token
    token_clock.ahead_s = tokens.REFRESH_TOKEN_S - 60
    token = (await tokens.refresh_token_pair(engine, token)).refresh_token
    token_clock.ahead_s += tokens.REFRESH_TOKEN_S - 60
    token = (await tokens.refresh_token_pair(engine, token)).refresh_token
    token_clock.ahead_s += tokens.REFRESH_TOKEN_S + 1
    with pytest.raises(TokenExpired):
        await tokens.refresh_token_pair(engine, token)
    assert await tokens.delete_expired_logins(engine) == 1
    with pytest.raises(Unauthenticated):
        await tokens.refresh_token_pair(engine, token)


async def test_two_refreshes_at_once_give_the_same_successor(engine: Engine) -> None:
    """Concurrent refreshes with one token return the same successor, so that two tabs can both continue."""
    first = (await register_customer(engine)).refresh_token
    pairs = await asyncio.gather(*(tokens.refresh_token_pair(engine, first) for _ in range(6)))
    assert len({pair.refresh_token for pair in pairs}) == 1
    third = await tokens.refresh_token_pair(engine, pairs[0].refresh_token)
    assert (await tokens.principal_of(engine, third.access_token)).role == "customer"


async def test_logout_ends_the_login(engine: Engine) -> None:
    """A logout ends the login; a repeat has no further effect, and a forged token ends nothing."""
    login = await register_customer(engine)
    second = (await tokens.refresh_token_pair(engine, login.refresh_token)).refresh_token
    for invalid in ("nonsense", second[:-2] + "xx"):
        await tokens.end_login_of_token(engine, invalid)
    assert (await tokens.refresh_token_pair(engine, login.refresh_token)).refresh_token == second
    for _ in range(2):
        await tokens.end_login_of_token(engine, second)
    with pytest.raises(Unauthenticated):
        await tokens.refresh_token_pair(engine, second)


async def test_an_ended_login_stays_ended_after_redis_was_emptied(engine: Engine) -> None:
    """The access token of an ended login is refused also after Redis lost the account, because SQL stores the end."""
    ended_login = await register_customer(engine)
    other_login = await accounts.login(engine, "a@example.org", "correct horse")
    await tokens.end_login_of_token(engine, ended_login.refresh_token)
    for _ in range(2):
        with pytest.raises(Unauthenticated, match="ended"):
            await tokens.principal_of(engine, ended_login.access_token)
        assert await tokens.principal_of(engine, other_login.access_token)
        await engine.store.redis.delete(keys.account(ended_login.user.id))


async def test_redis_forgets_ended_logins(engine: Engine, token_clock: TokenClock) -> None:
    """Redis stores an ended login only for the lifetime of its access tokens (`ACCESS_TOKEN_S`)."""
    for ahead_s in (0, access.ACCESS_TOKEN_S + 1):
        token_clock.ahead_s = ahead_s
        login = (
            await register_customer(engine)
            if not ahead_s
            else await accounts.login(engine, "a@example.org", "correct horse")
        )
        await tokens.end_login_of_token(engine, login.refresh_token)
        out = await engine.store.redis.hget(keys.account(login.user.id), "out")
        assert out.decode() == login.refresh_token.partition(".")[0]


# Tickets


async def test_refuses_a_used_or_unknown_ticket(engine: Engine) -> None:
    """A ticket for a socket is accepted once; an unknown one, or one for events, is refused with `token_expired`."""
    for bad in ("", "nonsense"):
        with pytest.raises(TokenExpired):
            await tokens.redeem_ticket(engine, bad)
    events = (await tokens.issue_ticket(engine, _admin_principal(), "events")).ticket
    with pytest.raises(TokenExpired):
        await tokens.redeem_ticket(engine, events)
    once = (await tokens.issue_ticket(engine, _admin_principal(), "socket")).ticket
    assert await tokens.redeem_ticket(engine, once) == _admin_principal()
    with pytest.raises(TokenExpired):
        await tokens.redeem_ticket(engine, once)


async def test_concurrent_uses_of_one_ticket_are_accepted_once(engine: Engine) -> None:
    """Of ten concurrent uses of one socket ticket exactly one is accepted."""
    ticket = (await tokens.issue_ticket(engine, _admin_principal(), "socket")).ticket
    tries = (tokens.redeem_ticket(engine, ticket) for _ in range(10))
    results = await asyncio.gather(*tries, return_exceptions=True)
    assert sum(isinstance(each, Principal) for each in results) == 1


async def test_a_ticket_for_events_is_accepted_for_reconnections(engine: Engine) -> None:
    """A ticket for events is accepted for 15 minutes, because EventSource reconnects with the same address."""
    issued = await tokens.issue_ticket(engine, _admin_principal(), "events")
    assert issued.expires_in == 900
    for _ in range(3):
        assert (await tokens.redeem_ticket(engine, issued.ticket, "events")).id == ADMIN.id


async def test_redis_stores_the_digest_of_a_ticket_until_it_expires(engine: Engine) -> None:
    """Redis stores the digest of a ticket and not the ticket, for the 30 seconds that `expires_in` states."""
    issued = await tokens.issue_ticket(engine, _admin_principal(), "socket")
    stored = [key async for key in engine.store.redis.scan_iter("*ticket*")]
    assert len(stored) == 1
    assert issued.ticket.encode() not in stored[0]
    assert 0 < await engine.store.redis.ttl(stored[0]) <= issued.expires_in == 30


async def test_a_ticket_of_a_suspended_user_is_refused(engine: Engine) -> None:
    """A ticket of a user who was suspended after its creation is refused with `forbidden`."""
    login = await register_customer(engine)
    who = await tokens.principal_of(engine, login.access_token)
    ticket = (await tokens.issue_ticket(engine, who, "socket")).ticket
    await accounts.suspend_user(engine, ADMIN, who.id, reason="…")
    with pytest.raises(Forbidden):
        await tokens.redeem_ticket(engine, ticket)


def _admin_principal() -> Principal:
    """Return the principal of the admin, whose token expires far in the future."""
    return Principal(ADMIN.id, "admin", "Admin", 9_999_999_999.0)
