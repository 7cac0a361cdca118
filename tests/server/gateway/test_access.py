"""Access to an open socket: tokens that expire and are refreshed, and access that is revoked on all gateways."""

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
from tests.server.gateway.conftest import Client, Node, running_node
from tests.server.gateway.test_connection_slots import second_settings
from tests.support import event_log, live_accounts
from tests.support.people import ADMIN
from tests.support.wait import wait_until

REVOKED_WITHIN_S = 1.0
"""Seconds within which every gateway must have closed the sockets."""


@pytest.fixture
def warning_settings(settings: Settings) -> Settings:
    """Return settings that warn two seconds before a token ends, and close two seconds after its end. A token ends on a
    whole second, so its end may be up to one second earlier.
    """
    return msgspec.structs.replace(settings, token_warning_s=2, token_grace_s=2, ping_s=2.5)


async def connect_with(client: Client, token: str) -> dict[str, Any]:
    """Send ``connect`` with this token, assert that the reply is ok, and return the reply."""
    reply = await client.request(op="connect", token=token)
    assert "ok" in reply, reply
    return reply


def new_account(email: str, name: str) -> NewAccount:
    """Return the registration of a customer."""
    return NewAccount(email=email, password="correct horse", name=name, role="customer")


# Tokens that expire


async def test_a_session_is_warned_and_closed_after_the_grace(warning_settings: Settings) -> None:
    """A client gets one ``token.expiring`` before its token ends, may still send requests during the grace, and is then
    closed with 4003.
    """
    async with running_node(warning_settings) as node, node.open_socket() as client:
        ends = time.time() + 3
        await connect_with(client, await node.token("ann", expires_s=3))
        push = await client.receive()
        assert (push["type"], push["event"], "seq" in push, "zone" in push) == ("token.expiring",) * 2 + (False, False)
        assert 0 <= push["data"]["in_s"] <= 2
        await asyncio.sleep(max(0, ends - time.time()))
        assert "ok" in await client.request(op="unsubscribe", channel="job:x")
        assert await client.wait_for_close() == 4003
        assert client.pushes == []
        assert time.time() >= ends + 0.9


async def test_a_session_continues_after_a_refresh(warning_settings: Settings) -> None:
    """A session that was refreshed remains open after its old token has ended, receives events, and is warned before
    the new token ends.
    """
    async with running_node(warning_settings) as node, node.open_socket() as client:
        await connect_with(client, await node.token("ann", expires_s=2))
        assert (await client.receive())["type"] == "token.expiring"
        reply = await client.request(op="refresh", token=await node.token("ann", expires_s=6))
        assert 4 <= reply["ok"]["expires_in"] <= 6
        seq = await node.append("user:ann")
        assert (await client.receive())["seq"] == seq
        assert (await client.receive())["type"] == "token.expiring"
        (session,) = node.gateway.sessions
        assert session.caller.expires > time.time()


async def test_a_refresh_with_the_same_token_sends_no_second_warning(warning_settings: Settings) -> None:
    """A client that refreshes with the same token gets no second ``token.expiring``, and is closed with 4003 when the
    token ends.
    """
    async with running_node(warning_settings) as node, node.open_socket() as client:
        token = await node.token("ann", expires_s=4)
        await connect_with(client, token)
        assert "ok" in await client.request(op="refresh", token=token)
        assert (await client.next_push())["type"] == "token.expiring"
        assert "ok" in await client.request(op="refresh", token=token)
        with pytest.raises(ConnectionClosed) as end:
            await client.next_push()
        assert end.value.rcvd is not None and end.value.rcvd.code == 4003


async def test_a_refresh_with_a_wrong_token_is_refused(node: Node) -> None:
    """A refresh with another user's token, a forged token or an expired token is refused, and the session does not
    change.
    """
    other, old = await node.token("bob"), await node.token("ann", expires_s=-1)
    async with node.connect("ann") as client:
        for token, code in ((other, "forbidden"), ("e30.e30.e30", "unauthenticated"), (old, "token_expired")):
            assert (await client.request(op="refresh", token=token))["error"]["code"] == code
        (session,) = node.gateway.sessions
        assert session.caller.id == "ann"
        assert "ok" in await client.request(op="ping")


async def test_a_refresh_in_another_role(node: Node) -> None:
    """A refresh with a token of another role closes the socket with 4006, so that the client connects again."""
    async with node.connect("ann") as client:
        token = await node.token("cli_admin", "admin")
        (session,) = node.gateway.sessions
        session.principal = Principal(UserId("cli_admin"), "customer")
        await client.send({"id": 9, "op": "refresh", "token": token})
        assert await client.wait_for_close() == 4006


# Access that is revoked


@pytest.fixture
async def two_nodes(settings: Settings) -> AsyncIterator[tuple[Node, Node]]:
    """Run two gateways on the same log."""
    async with running_node(settings) as one, running_node(second_settings(settings)) as two:
        two.engine.signer.__dict__.update(one.engine.signer.__dict__)
        yield one, two


async def test_suspension_closes_everywhere_within_a_second(two_nodes: tuple[Node, Node]) -> None:
    """A suspension closes the user's sockets on all gateways with 4502 within a second. Other users' sockets remain
    open.
    """
    one, two = two_nodes
    async with one.connect("ann") as first, two.connect("ann") as second, two.connect("bob") as other:
        async with asyncio.timeout(REVOKED_WITHIN_S):
            await live_accounts.suspend(one.engine, "ann")
            assert [await client.wait_for_close() for client in (first, second)] == [4502, 4502]
        assert "ok" in await other.request(op="ping")


@pytest.mark.parametrize("reason", ["обман " * 80, "x" * 500, "\U0001f4a5" * 31], ids=["cyrillic", "long", "astral"])
async def test_a_long_reason_suspends_and_is_not_sent(two_nodes: tuple[Node, Node], reason: str) -> None:
    """Whatever reason ops wrote, all sockets of the suspended user are closed within a second. The close frame has a
    fixed reason instead.
    """
    one, two = two_nodes
    pairs = (await accounts.register_user(one.engine, new_account("ann@example.org", "Ann"))).value
    async with one.open_socket() as first, one.open_socket() as second, two.open_socket() as third:
        for client in (first, second, third):
            await connect_with(client, pairs.access_token)
        async with asyncio.timeout(REVOKED_WITHIN_S):
            await accounts.suspend_user(one.engine, ADMIN, pairs.user.id, reason=reason)
            assert [await client.wait_for_close() for client in (first, second, third)] == [4502] * 3
        assert {client.socket.close_reason for client in (first, second, third)} == {"access revoked"}
    assert reason not in str(await event_log.events(one.engine, "session.revoked"))


async def test_a_session_that_cannot_be_closed_does_not_stop_the_others(
    two_nodes: tuple[Node, Node], monkeypatch: pytest.MonkeyPatch
) -> None:
    """If the close of one session raises an error, that session is cut, and all other sessions of the suspended user
    are closed with 4502.
    """
    one, _ = two_nodes
    async with one.connect("ann") as first, one.connect("ann") as second, one.connect("ann") as third:
        broken = min(one.gateway.sessions, key=lambda session: session.slot)
        real = Connection.close

        def close(self: Connection, code: int, reason: str) -> None:
            if self is broken._connection:
                raise ValueError("no way")
            real(self, code, reason)

        monkeypatch.setattr(Connection, "close", close)
        await live_accounts.suspend(one.engine, "ann")
        assert sorted([await client.wait_for_close() for client in (first, second, third)]) == [1006, 4502, 4502]
        assert not one.gateway.sessions


async def test_another_role_closes_everywhere_within_a_second(two_nodes: tuple[Node, Node]) -> None:
    """A change of a user's role closes the user's sockets on all gateways with 4006 within a second."""
    one, two = two_nodes
    async with one.connect("ann") as first, two.connect("ann") as second:
        async with asyncio.timeout(REVOKED_WITHIN_S):
            await live_accounts.change_role(two.engine, "ann", "technician")
            assert [await client.wait_for_close() for client in (first, second)] == [4006, 4006]


@pytest.mark.parametrize("by", ["logout", "the other login"])
async def test_signing_out_closes_that_session_everywhere(two_nodes: tuple[Node, Node], by: str) -> None:
    """A logout, or a deletion from the user's list of logins, closes the sockets of that login on all gateways with
    4502. Its access token is refused afterwards. The sockets of the user's other login remain open.
    """
    one, two = two_nodes
    phone = (await accounts.register_user(one.engine, new_account("ann@example.org", "Ann"))).value
    laptop = await accounts.login(one.engine, "ann@example.org", "correct horse")
    async with (
        one.open_socket() as here,
        two.open_socket() as there,
        two.open_socket() as other,
        one.open_socket() as late,
    ):
        await connect_with(here, phone.access_token)
        await connect_with(there, phone.access_token)
        await connect_with(other, laptop.access_token)
        async with asyncio.timeout(REVOKED_WITHIN_S + 1):
            if by == "logout":
                await tokens.end_login_of_token(one.engine, phone.refresh_token)
            else:
                login_id = one.engine.signer.verify(phone.access_token).family
                await logins.end_login(one.engine, one.engine.signer.verify(laptop.access_token), login_id)
            assert [await client.wait_for_close() for client in (here, there)] == [4502, 4502]
        assert "ok" in await other.request(op="ping")
        assert (await late.request(op="connect", token=phone.access_token))["error"]["code"] == "unauthenticated"
        assert await late.wait_for_close() == 4501


async def test_signing_out_closes_sockets_opened_by_ticket_or_refreshed(node: Node) -> None:
    """A logout closes the sockets that were opened with a ticket of that login, or refreshed with its token. A socket
    with another token remains open.
    """
    pair = (await accounts.register_user(node.engine, new_account("bob@example.org", "Bob"))).value
    principal = await tokens.principal_of(node.engine, pair.access_token)
    ticket = await tokens.issue_ticket(node.engine, principal, "socket")
    plain_token = sign_token(node.engine.signer, principal.id, "customer")
    async with (
        node.open_socket(url=f"{node.url}?ticket={ticket.ticket}") as first,
        node.open_socket() as second,
        node.open_socket() as third,
    ):
        assert "ok" in await first.request(op="connect")
        await connect_with(second, plain_token)
        assert "ok" in await second.request(op="refresh", token=pair.access_token)
        await connect_with(third, plain_token)
        await tokens.end_login_of_token(node.engine, pair.refresh_token)
        assert [await client.wait_for_close() for client in (first, second)] == [4502, 4502]
        assert "ok" in await third.request(op="ping")


async def test_access_ends_while_the_zone_main_is_closed(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    """While the zone ``main`` is closed, no ``session.revoked`` can be appended to its log. The gateways then read the
    accounts of their sessions, and close those that are suspended (4502) or have another role (4006). The outbox
    appends the events when ``main`` is open again.
    """
    engine = node.engine
    user = (await accounts.register_user(engine, new_account("ann@example.org", "Ann"))).value
    other = (await accounts.register_user(engine, new_account("bob@example.org", "Bob"))).value
    async with node.open_socket() as ann, node.open_socket() as bob, node.connect("cid") as cid:
        await connect_with(ann, user.access_token)
        await connect_with(bob, other.access_token)
        epoch = await engine.store.redis.hget(keys.zone_meta(DEFAULT_ZONE), "epoch")
        await engine.store.redis.hset(keys.zone_meta(DEFAULT_ZONE), "epoch", "closed")
        with pytest.raises(Indeterminate):
            await accounts.suspend_user(engine, ADMIN, user.user.id, reason="fraud")
        with pytest.raises(Indeterminate):
            await accounts.patch_user(engine, ADMIN, other.user.id, role="technician")
        await node.gateway.revocation.check_accounts()
        assert [await client.wait_for_close() for client in (ann, bob)] == [4502, 4006]
        assert "ok" in await cid.request(op="ping")
        await engine.store.redis.hset(keys.zone_meta(DEFAULT_ZONE), "epoch", epoch)
    await wait_until(lambda: engine.store.zones[DEFAULT_ZONE].open)
    assert await outbox.run_once(engine) == 2
    revocations = await event_log.events(engine, "session.revoked")
    assert sorted(event_log.payload(event)["code"] for event in revocations) == [4006, 4502]
