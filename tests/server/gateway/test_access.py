"""Access while a socket is open: tokens that run out and are renewed, and access that is taken away, everywhere."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest
from websockets.exceptions import ConnectionClosed

from engine.errors import Indeterminate
from engine.identity import accounts, logins, outbox, tokens
from engine.identity.accounts import NewAccount
from engine.process.settings import Settings
from engine.process.signer import sign_token
from engine.store import keys
from engine.types import DEFAULT_ZONE, Principal, UserId
from server.gateway.connection import Connection
from tests.server.gateway.conftest import Client, Node, node_of
from tests.server.gateway.test_connection_slots import second
from tests.support import event_log, live_accounts
from tests.support.people import ADMIN
from tests.support.wait import wait_until

WITHIN_S = 1.0
"""In which every gateway has acted."""


@pytest.fixture
def brief(settings: Settings) -> Settings:
    """Warned two seconds before the end, closed two after it: a token ends on a whole second, up to one early."""
    return msgspec.structs.replace(settings, token_warning_s=2, token_grace_s=2, ping_s=2.5)


async def connected(client: Client, token: str) -> dict[str, Any]:
    reply = await client.ask(op="connect", token=token)
    assert "ok" in reply, reply
    return reply


def person(email: str, name: str) -> NewAccount:
    return NewAccount(email=email, password="correct horse", name=name, role="customer")


# Tokens that run out


async def test_it_is_told_and_closed_after_the_grace(brief: Settings) -> None:
    """The client is told once before its token ends, may go on in the grace, and is then closed with 4003."""
    async with node_of(brief) as node, node.raw() as client:
        ends = time.time() + 3
        await connected(client, await node.token("ann", expires_s=3))
        told = await client.receive()
        assert (told["type"], told["event"], "seq" in told, "zone" in told) == ("token.expiring",) * 2 + (False, False)
        assert 0 <= told["data"]["in_s"] <= 2
        await asyncio.sleep(max(0, ends - time.time()))
        assert "ok" in await client.ask(op="unsubscribe", channel="job:x")
        assert await client.closed() == 4003
        assert client.pushes == []
        assert time.time() >= ends + 0.9


async def test_a_refresh_in_band_goes_on(brief: Settings) -> None:
    """Under a fresh token the session outlives the old one, hears on, and is warned of the new one's end."""
    async with node_of(brief) as node, node.raw() as client:
        await connected(client, await node.token("ann", expires_s=2))
        assert (await client.receive())["type"] == "token.expiring"
        reply = await client.ask(op="refresh", token=await node.token("ann", expires_s=6))
        assert 4 <= reply["ok"]["expires_in"] <= 6
        seq = await node.append("user:ann")
        assert (await client.receive())["seq"] == seq
        assert (await client.receive())["type"] == "token.expiring"
        (session,) = node.gateway.sessions
        assert session.caller.expires > time.time()


async def test_a_refresh_that_wins_no_time_is_not_warned_of_again(brief: Settings) -> None:
    """Who shows the same token again is not asked for a better one twice, and is closed at its end."""
    async with node_of(brief) as node, node.raw() as client:
        token = await node.token("ann", expires_s=4)
        await connected(client, token)
        assert "ok" in await client.ask(op="refresh", token=token)
        assert (await client.push())["type"] == "token.expiring"
        assert "ok" in await client.ask(op="refresh", token=token)
        with pytest.raises(ConnectionClosed) as end:
            await client.push()
        assert end.value.rcvd is not None and end.value.rcvd.code == 4003


async def test_a_refresh_that_is_none(node: Node) -> None:
    """Another user's token, a forged and an expired one are refused, and the session stays what it was."""
    other, old = await node.token("bob"), await node.token("ann", expires_s=-1)
    async with node.client("ann") as client:
        for token, code in ((other, "forbidden"), ("e30.e30.e30", "unauthenticated"), (old, "token_expired")):
            assert (await client.ask(op="refresh", token=token))["error"]["code"] == code
        (session,) = node.gateway.sessions
        assert session.caller.id == "ann"
        assert "ok" in await client.ask(op="ping")


async def test_a_refresh_in_another_role(node: Node) -> None:
    """A token of another role does not change what a session hears: 4006, connect anew."""
    async with node.client("ann") as client:
        token = await node.token("cli_admin", "admin")
        (session,) = node.gateway.sessions
        session.principal = Principal(UserId("cli_admin"), "customer")
        await client.send({"id": 9, "op": "refresh", "token": token})
        assert await client.closed() == 4006


# Access that is taken away


@pytest.fixture
async def pair(settings: Settings) -> AsyncIterator[tuple[Node, Node]]:
    """Two gateways on one log."""
    async with node_of(settings) as one, node_of(second(settings)) as two:
        two.engine.signer.__dict__.update(one.engine.signer.__dict__)
        yield one, two


async def test_suspension_closes_everywhere_within_a_second(pair: tuple[Node, Node]) -> None:
    """A suspended user's sockets are closed with 4502 on every gateway, of either subprotocol."""
    one, two = pair
    async with one.client("ann") as here, two.client("ann") as there, two.client("bob") as other:
        async with asyncio.timeout(WITHIN_S):
            await live_accounts.suspend(one.engine, "ann")
            assert [await client.closed() for client in (here, there)] == [4502, 4502]
        assert "ok" in await other.ask(op="ping")


@pytest.mark.parametrize("reason", ["обман " * 80, "x" * 500, "\U0001f4a5" * 31], ids=["cyrillic", "long", "astral"])
async def test_a_long_reason_suspends_and_is_not_told(pair: tuple[Node, Node], reason: str) -> None:
    """Whatever operations staff wrote, all sockets of the person end within a second, with a phrase that is fixed."""
    one, two = pair
    pairs = (await accounts.register_user(one.engine, person("ann@example.org", "Ann"))).value
    async with one.raw() as a, one.raw() as b, two.raw() as c:
        for client in (a, b, c):
            await connected(client, pairs.access_token)
        async with asyncio.timeout(WITHIN_S):
            await accounts.suspend_user(one.engine, ADMIN, pairs.user.id, reason=reason)
            assert [await client.closed() for client in (a, b, c)] == [4502] * 3
        assert {client.socket.close_reason for client in (a, b, c)} == {"access revoked"}
    assert reason not in str(await event_log.events(one.engine, "session.revoked"))


async def test_one_session_that_fails_keeps_no_other_open(
    pair: tuple[Node, Node], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A session that cannot be closed in order is cut, and all others of the user are closed all the same."""
    one, _ = pair
    async with one.client("ann") as first, one.client("ann") as second, one.client("ann") as third:
        broken = min(one.gateway.sessions, key=lambda session: session.slot)
        real = Connection.close

        def close(self: Connection, code: int, reason: str) -> None:
            if self is broken._connection:
                raise ValueError("no way")
            real(self, code, reason)

        monkeypatch.setattr(Connection, "close", close)
        await live_accounts.suspend(one.engine, "ann")
        assert sorted([await client.closed() for client in (first, second, third)]) == [1006, 4502, 4502]
        assert not one.gateway.sessions


async def test_another_role_closes_everywhere_within_a_second(pair: tuple[Node, Node]) -> None:
    """A user whose role changed is told to prove anew who he is: 4006."""
    one, two = pair
    async with one.client("ann") as here, two.client("ann") as there:
        async with asyncio.timeout(WITHIN_S):
            await live_accounts.change_role(two.engine, "ann", "technician")
            assert [await client.closed() for client in (here, there)] == [4006, 4006]


@pytest.mark.parametrize("by", ["logout", "the other login"])
async def test_signing_out_closes_that_session_everywhere(pair: tuple[Node, Node], by: str) -> None:
    """Logout, or the end of a login in one's list, closes the sockets of that login on every gateway, and its access
    token opens none any more; those of the same user's other login stay.
    """
    one, two = pair
    kept = await accounts.register_user(one.engine, person("ann@example.org", "Ann"))
    phone = kept.value
    laptop = await accounts.login(one.engine, "ann@example.org", "correct horse")
    async with one.raw() as a, two.raw() as b, two.raw() as other, one.raw() as late:
        await connected(a, phone.access_token)
        await connected(b, phone.access_token)
        await connected(other, laptop.access_token)
        async with asyncio.timeout(WITHIN_S + 1):
            if by == "logout":
                await tokens.end_session(one.engine, phone.refresh_token)
            else:
                ended = one.engine.signer.verify(phone.access_token).family
                await logins.end_login(one.engine, one.engine.signer.verify(laptop.access_token), ended)
            assert [await client.closed() for client in (a, b)] == [4502, 4502]
        assert "ok" in await other.ask(op="ping")
        assert (await late.ask(op="connect", token=phone.access_token))["error"]["code"] == "unauthenticated"
        assert await late.closed() == 4501


async def test_signing_out_reaches_the_tickets_and_refreshed_sockets(node: Node) -> None:
    """A socket opened by a ticket, or renewed in band, belongs to the login that its proof came from."""
    kept = await accounts.register_user(node.engine, person("bob@example.org", "Bob"))
    pair = kept.value
    principal = await tokens.principal_of(node.engine, pair.access_token)
    ticket = await tokens.issue_ticket(node.engine, principal, "socket")
    plain = sign_token(node.engine.signer, principal.id, "customer")
    async with node.raw(url=f"{node.url}?ticket={ticket.ticket}") as first, node.raw() as second, node.raw() as third:
        assert "ok" in await first.ask(op="connect")
        await connected(second, plain)
        assert "ok" in await second.ask(op="refresh", token=pair.access_token)
        await connected(third, plain)
        await tokens.end_session(node.engine, pair.refresh_token)
        assert [await client.closed() for client in (first, second)] == [4502, 4502]
        assert "ok" in await third.ask(op="ping")


async def test_main_closed_still_ends_access(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    """While nothing can be appended to main's log, gateways ask for the accounts of their sessions, and close those of
    who was suspended or has another role; the outbox tells once main is open again.
    """
    engine = node.engine
    user = (await accounts.register_user(engine, person("ann@example.org", "Ann"))).value
    other = (await accounts.register_user(engine, person("bob@example.org", "Bob"))).value
    async with node.raw() as ann, node.raw() as bob, node.client("cid") as cid:
        await connected(ann, user.access_token)
        await connected(bob, other.access_token)
        epoch = await engine.store.redis.hget(keys.zone_meta(DEFAULT_ZONE), "epoch")
        await engine.store.redis.hset(keys.zone_meta(DEFAULT_ZONE), "epoch", "closed")
        with pytest.raises(Indeterminate):
            await accounts.suspend_user(engine, ADMIN, user.user.id, reason="fraud")
        with pytest.raises(Indeterminate):
            await accounts.patch_user(engine, ADMIN, other.user.id, role="technician")
        await node.gateway.revocation.check_accounts()
        assert [await client.closed() for client in (ann, bob)] == [4502, 4006]
        assert "ok" in await cid.ask(op="ping")
        await engine.store.redis.hset(keys.zone_meta(DEFAULT_ZONE), "epoch", epoch)
    await wait_until(lambda: engine.store.zones[DEFAULT_ZONE].open)
    assert await outbox.run_once(engine) == 2
    told = await event_log.events(engine, "session.revoked")
    assert sorted(event_log.payload(event)["code"] for event in told) == [4006, 4502]
