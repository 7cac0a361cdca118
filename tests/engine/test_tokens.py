"""Tokens: what is not ours, what is over, and the one successor of each refresh token."""

from __future__ import annotations

import asyncio
import base64
import json
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from engine import clock
from engine.errors import Forbidden, TokenExpired, Unauthenticated, Unavailable
from engine.identity import access, accounts, tokens
from engine.identity.accounts import LoginResult, NewAccount
from engine.process import signer
from engine.process.settings import Settings, SettingsError
from engine.process.signer import Signer, open_signer, sign_token
from engine.runtime import Engine
from engine.sql.database import Archive
from engine.store import keys
from engine.types import Principal, UserId
from tests.support.people import ADMIN

ME = UserId("usr_me")


class Clock:
    """A clock that tests put forward."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.late_s = 0.0
        real = clock.now_ms
        for module in (tokens, signer, access):
            monkeypatch.setattr(module, "now_ms", lambda: real() + round(self.late_s * 1000))


@pytest.fixture
def later(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


async def signed_in(engine: Engine) -> LoginResult:
    new = NewAccount(email="a@example.org", password="correct horse", name="A", role="customer")
    return (await accounts.register_user(engine, new)).value


# Access tokens


def test_refuses_what_this_server_did_not_sign(tmp_path: Path) -> None:
    """Another key, no signature, another algorithm, other claims: all the same refusal."""
    ours, other = Signer.load_or_create(tmp_path / "a"), Signer.load_or_create(tmp_path / "b")
    whole = {"sub": ME, "role": "admin", "name": "", "exp": 9_999_999_999}
    unsigned = jwt.encode({**whole, "iss": "callout", "iat": 1}, "", algorithm="none")
    symmetric = jwt.encode({**whole, "iss": "callout", "iat": 1}, "x" * 32, algorithm="HS256")
    bad = [
        "",
        "a.b.c",
        other.sign(whole),
        unsigned,
        symmetric,
        ours.sign({**whole, "iss": "someone"}),
        ours.sign({**whole, "role": "emperor"}),
        ours.sign({"sub": ME}),
        ours.sign({**whole, "sub": 7}),
    ]
    for token in bad:
        with pytest.raises(Unauthenticated) as refusal:
            ours.verify(token)
        assert not isinstance(refusal.value, TokenExpired)


def test_refuses_a_token_whose_claims_were_changed(tmp_path: Path) -> None:
    """The signature covers every claim."""
    ours = Signer.load_or_create(tmp_path / "key")
    head, body, proof = sign_token(ours, ME, "customer").split(".")
    claims = json.loads(base64.urlsafe_b64decode(body + "=="))
    forged = base64.urlsafe_b64encode(json.dumps({**claims, "role": "admin"}).encode()).rstrip(b"=").decode()
    with pytest.raises(Unauthenticated):
        ours.verify(f"{head}.{forged}.{proof}")


def test_a_token_expires_also_when_it_was_seen_before(tmp_path: Path, later: Clock) -> None:
    """Good tokens are remembered, their end is looked at each time."""
    ours = Signer.load_or_create(tmp_path / "key")
    token = sign_token(ours, ME, "customer", name="Zoë", expires_s=60)
    assert ours.verify(token) == ours.verify(token)
    assert (ours.verify(token).id, ours.verify(token).name) == (ME, "Zoë")
    later.late_s = 61
    with pytest.raises(TokenExpired):
        ours.verify(token)


def test_refuses_a_key_file_that_is_none(tmp_path: Path) -> None:
    """A file that is no Ed25519 key, or cannot be read or made, is a wrong setting, said in one line."""
    (tmp_path / "key").write_text("not a key")
    for path in (tmp_path / "key", tmp_path / "key" / "inside", tmp_path):
        with pytest.raises(SettingsError, match="signing key"):
            Signer.load_or_create(path)


def test_the_key_is_made_once_and_for_its_owner_alone(tmp_path: Path) -> None:
    """0600, the same at the next start, no draft left; several servers may name one file."""
    settings = Settings(data=str(tmp_path / "data"))
    token = sign_token(open_signer(settings), ME, "customer")
    path = tmp_path / "data" / "signing.key"
    assert path.stat().st_mode & 0o777 == 0o600
    assert [p.name for p in path.parent.iterdir()] == ["signing.key"]
    assert open_signer(Settings(data="elsewhere", key_file=str(path))).verify(token).id == ME


def test_of_two_that_make_the_key_at_once_one_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A key that appears between looking and making is the key."""
    path = tmp_path / "key"
    first = Signer.load_or_create(path)
    with monkeypatch.context() as patch:
        looks = iter([False])
        real = Path.exists
        patch.setattr(Path, "exists", lambda self: next(looks, True) if self == path else real(self))
        second = Signer.load_or_create(path)
    assert second.verify(sign_token(first, ME, "admin")).role == "admin"


def test_secrets_of_different_purposes_are_different() -> None:
    """Derived from one key, never the same, always again the same."""
    key = Ed25519PrivateKey.generate()
    one, two = Signer(key), Signer(key)
    assert one.derive("a") == two.derive("a") != one.derive("b")
    assert len(one.derive("a")) == 32


async def test_refuses_a_token_of_nobody(engine: Engine) -> None:
    """Signed by us but without an account: not somebody."""
    for role in ("customer", "admin"):
        with pytest.raises(Unauthenticated):
            await tokens.principal_of(engine, sign_token(engine.signer, ME, role))
    with pytest.raises(Unauthenticated):
        await tokens.principal_of(engine, sign_token(engine.signer, UserId("cli_admin"), "customer"))


async def test_the_cli_principal_needs_no_account(engine: Engine) -> None:
    """``cli_<role>`` in that role is always active."""
    token = sign_token(engine.signer, ADMIN.id, "admin")
    assert (await tokens.principal_of(engine, token)).is_ops


async def test_a_slow_fill_does_not_undo_a_suspension(engine: Engine) -> None:
    """The record read from SQL before the suspension carries an older version, and changes nothing."""
    done = await signed_in(engine)
    stale = access.AccountRecord(id=done.user.id, role="customer", active=True, version=1)
    await accounts.suspend_user(engine, ADMIN, done.user.id, reason="…")
    assert not (await access.write_to_redis(engine, stale)).active
    with pytest.raises(Forbidden):
        await tokens.principal_of(engine, done.access_token)


async def test_a_lost_hot_record_is_filled_from_sql(engine: Engine) -> None:
    """Redis may forget an account: the next request puts it back, as SQL has it."""
    done = await signed_in(engine)
    name = keys.account(done.user.id)
    for _ in range(2):
        await engine.store.redis.delete(name)
        assert (await tokens.principal_of(engine, done.access_token)).id == done.user.id
        assert await engine.store.redis.hget(name, "active") == b"1"
    await accounts.suspend_user(engine, ADMIN, done.user.id, reason="…")
    await engine.store.redis.delete(name)
    with pytest.raises(Forbidden):
        await tokens.principal_of(engine, done.access_token)


# Refresh tokens


async def test_refuses_a_refresh_token_that_is_not_ours(engine: Engine) -> None:
    """Nonsense, another family, a guessed number: refused, and the real session lives on."""
    done = await signed_in(engine)
    family, number, proof = done.refresh_token.split(".")
    for bad in ("", "x", "a.b.c", f"{family}.0.{proof}", f"{family}.2.{proof}", f"ses_x.{number}.{proof}", "a.1.é"):
        with pytest.raises(Unauthenticated):
            await tokens.refresh_session(engine, bad)
    assert await tokens.refresh_session(engine, done.refresh_token)


async def test_an_older_token_ends_the_family(engine: Engine) -> None:
    """Once a successor is used, its predecessor is a stolen one: nobody in the family refreshes any more."""
    first = (await signed_in(engine)).refresh_token
    second = (await tokens.refresh_session(engine, first)).refresh_token
    third = (await tokens.refresh_session(engine, second)).refresh_token
    with pytest.raises(Unauthenticated):
        await tokens.refresh_session(engine, first)
    for ended in (third, second, first):
        with pytest.raises(Unauthenticated, match="ended"):
            await tokens.refresh_session(engine, ended)


async def test_the_previous_token_is_late_after_ten_minutes(engine: Engine, later: Clock) -> None:
    """Within ten minutes it gives the same successor; after that it ends the family."""
    first = (await signed_in(engine)).refresh_token
    second = (await tokens.refresh_session(engine, first)).refresh_token
    later.late_s = tokens.REPEAT_WINDOW_S - 5
    assert (await tokens.refresh_session(engine, first)).refresh_token == second
    later.late_s = tokens.REPEAT_WINDOW_S + 5
    with pytest.raises(Unauthenticated):
        await tokens.refresh_session(engine, first)
    with pytest.raises(Unauthenticated):
        await tokens.refresh_session(engine, second)


@pytest.mark.parametrize("used", ["its access token", "its refresh token"])
async def test_the_previous_token_ends_the_login_once_its_successor_was_used(engine: Engine, used: str) -> None:
    """Whoever has the successor has shown so: the token that comes back is in other hands, also within ten minutes."""
    first = (await signed_in(engine)).refresh_token
    second = await tokens.refresh_session(engine, first)
    assert (await tokens.refresh_session(engine, first)).refresh_token == second.refresh_token
    if used == "its access token":
        await tokens.principal_of(engine, second.access_token)
    else:
        await tokens.refresh_session(engine, second.refresh_token)
    with pytest.raises(Unauthenticated, match="ended"):
        await tokens.refresh_session(engine, first)
    for refused in (
        tokens.refresh_session(engine, second.refresh_token),
        tokens.principal_of(engine, second.access_token),
    ):
        with pytest.raises(Unauthenticated, match="ended"):
            await refused


async def test_a_thief_in_step_with_the_owner_is_noticed(engine: Engine) -> None:
    """Owner and thief show the same token in turn, and the owner works with what he got: the first round ends it."""
    token = (await signed_in(engine)).refresh_token
    mine = await tokens.refresh_session(engine, token)
    await tokens.principal_of(engine, mine.access_token)
    with pytest.raises(Unauthenticated, match="ended"):
        await tokens.refresh_session(engine, token)
    with pytest.raises(Unauthenticated, match="ended"):
        await tokens.refresh_session(engine, mine.refresh_token)


async def test_a_use_is_noted_once_and_never_the_callers_failure(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the database away a token works all the same, and its next use is noted; later uses cost nothing."""
    first = (await signed_in(engine)).refresh_token
    second = await tokens.refresh_session(engine, first)
    await tokens.principal_of(engine, (await tokens.refresh_session(engine, first)).access_token)
    engine.used.clear()
    assert await access.read_access(engine, engine.signer.verify(second.access_token).id)

    def away() -> Any:
        raise Unavailable("away")

    with monkeypatch.context() as patch:
        patch.setattr(Archive, "writing", lambda self: away())
        await tokens.principal_of(engine, second.access_token)
        assert not engine.used
        await tokens.principal_of(engine, second.access_token)
    await tokens.principal_of(engine, second.access_token)
    assert list(engine.used.values()) == [2]


async def test_a_refresh_token_expires_and_is_forgotten(engine: Engine, later: Clock) -> None:
    """Thirty days unused; each rotation begins them anew."""
    token = (await signed_in(engine)).refresh_token
    later.late_s = tokens.REFRESH_TOKEN_S - 60
    token = (await tokens.refresh_session(engine, token)).refresh_token
    later.late_s += tokens.REFRESH_TOKEN_S - 60
    token = (await tokens.refresh_session(engine, token)).refresh_token
    later.late_s += tokens.REFRESH_TOKEN_S + 1
    with pytest.raises(TokenExpired):
        await tokens.refresh_session(engine, token)
    assert await tokens.delete_expired_sessions(engine) == 1
    with pytest.raises(Unauthenticated):
        await tokens.refresh_session(engine, token)


async def test_two_refreshes_at_once_give_the_same_successor(engine: Engine) -> None:
    """Two tabs, or one whose reply was lost: both go on with the same token."""
    first = (await signed_in(engine)).refresh_token
    pairs = await asyncio.gather(*(tokens.refresh_session(engine, first) for _ in range(6)))
    assert len({pair.refresh_token for pair in pairs}) == 1
    third = await tokens.refresh_session(engine, pairs[0].refresh_token)
    assert (await tokens.principal_of(engine, third.access_token)).role == "customer"


async def test_logout_ends_the_session(engine: Engine) -> None:
    """With any of its tokens, again is the same, and what is not ours ends nothing."""
    done = await signed_in(engine)
    second = (await tokens.refresh_session(engine, done.refresh_token)).refresh_token
    for nothing in ("nonsense", second[:-2] + "xx"):
        await tokens.end_session(engine, nothing)
    assert (await tokens.refresh_session(engine, done.refresh_token)).refresh_token == second
    for _ in range(2):
        await tokens.end_session(engine, second)
    with pytest.raises(Unauthenticated):
        await tokens.refresh_session(engine, second)


async def test_a_login_that_ended_stays_so_after_redis_was_emptied(engine: Engine) -> None:
    """What Redis forgets SQL knows: the access token of a login that was ended is refused for as long as it is good."""
    ended, kept = await signed_in(engine), await accounts.login(engine, "a@example.org", "correct horse")
    await tokens.end_session(engine, ended.refresh_token)
    for _ in range(2):
        with pytest.raises(Unauthenticated, match="ended"):
            await tokens.principal_of(engine, ended.access_token)
        assert await tokens.principal_of(engine, kept.access_token)
        await engine.store.redis.delete(keys.account(ended.user.id))


async def test_ended_logins_are_forgotten(engine: Engine, later: Clock) -> None:
    """What Redis keeps of logins that ended is as long as their access tokens could be good, and no longer."""
    for late_s in (0, access.ACCESS_TOKEN_S + 1):
        later.late_s = late_s
        login = (
            await signed_in(engine) if not late_s else await accounts.login(engine, "a@example.org", "correct horse")
        )
        await tokens.end_session(engine, login.refresh_token)
        out = await engine.store.redis.hget(keys.account(login.user.id), "out")
        assert out.decode() == login.refresh_token.partition(".")[0]


# Tickets


async def test_refuses_a_ticket_used_or_unknown(engine: Engine) -> None:
    """One use for a socket; a ticket for events opens no socket, nor the other way round."""
    for bad in ("", "nonsense"):
        with pytest.raises(TokenExpired):
            await tokens.redeem_ticket(engine, bad)
    events = (await tokens.issue_ticket(engine, _admin(), "events")).ticket
    with pytest.raises(TokenExpired):
        await tokens.redeem_ticket(engine, events)
    once = (await tokens.issue_ticket(engine, _admin(), "socket")).ticket
    assert await tokens.redeem_ticket(engine, once) == _admin()
    with pytest.raises(TokenExpired):
        await tokens.redeem_ticket(engine, once)


async def test_one_ticket_used_by_many_at_once_lets_one_in(engine: Engine) -> None:
    """However close together they come."""
    ticket = (await tokens.issue_ticket(engine, _admin(), "socket")).ticket
    tries = (tokens.redeem_ticket(engine, ticket) for _ in range(10))
    found = await asyncio.gather(*tries, return_exceptions=True)
    assert sum(isinstance(each, Principal) for each in found) == 1


async def test_a_ticket_for_events_serves_reconnections(engine: Engine) -> None:
    """EventSource comes back with the address it was given, so the ticket lasts its 15 minutes."""
    given = await tokens.issue_ticket(engine, _admin(), "events")
    assert given.expires_in == 900
    for _ in range(3):
        assert (await tokens.redeem_ticket(engine, given.ticket, "events")).id == ADMIN.id


async def test_a_ticket_lives_as_long_as_it_says_and_is_not_stored(engine: Engine) -> None:
    """Redis holds its digest, for thirty seconds."""
    given = await tokens.issue_ticket(engine, _admin(), "socket")
    stored = [key async for key in engine.store.redis.scan_iter("*ticket*")]
    assert len(stored) == 1
    assert given.ticket.encode() not in stored[0]
    assert 0 < await engine.store.redis.ttl(stored[0]) <= given.expires_in == 30


async def test_a_ticket_of_who_was_suspended_is_refused(engine: Engine) -> None:
    """Activity is checked when it is redeemed, too."""
    done = await signed_in(engine)
    who = await tokens.principal_of(engine, done.access_token)
    ticket = (await tokens.issue_ticket(engine, who, "socket")).ticket
    await accounts.suspend_user(engine, ADMIN, who.id, reason="…")
    with pytest.raises(Forbidden):
        await tokens.redeem_ticket(engine, ticket)


def _admin() -> Principal:
    return Principal(ADMIN.id, "admin", "Admin", 9_999_999_999.0)
