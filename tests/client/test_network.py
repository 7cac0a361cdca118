"""The Python client against a whole server, through a proxy that cuts connections, drops replies and blocks sockets."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import msgspec
import pytest

from callout_client import Api, Ended, Refusal, Status
from engine.identity import accounts, tokens
from engine.process.settings import Settings
from engine.process.signer import sign_token
from engine.types import Principal, UserId
from server.serve import RunningServer, run_server
from tests.client.phone import Phone
from tests.server.web.network_proxy import NetworkProxy
from tests.support import event_log, people, second_server, socket_client
from tests.support.wait import wait_until

TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
UNKNOWN_JOB = "job_main_01jb4zqk3m8r5t7v9x2c6d8f0g"


class Scene(NamedTuple):
    """A customer and an online technician, both with accounts, a service, and the proxy to the server."""

    running: RunningServer
    network: NetworkProxy
    customer: Principal
    technician: Principal
    service: Any

    def bearer_token(self, who: Principal, expires_s: float = 3600) -> str:
        """Return an access token of ``who``."""
        return sign_token(self.running.engine.signer, UserId(who.id), who.role, name=who.name, expires_s=expires_s)

    async def book_job(self, times: int = 1) -> str:
        """Book ``times`` jobs as the customer and return the id of the last."""
        jobs = [await people.job(self.running.engine, self.customer, self.service) for _ in range(times)]
        return str(people.id_of(jobs[-1]))

    async def offer_job(self) -> str:
        """Book a job and open its first wave. Return its id."""
        return str(await people.offered_job(self.running.engine, self.customer, self.service))

    @asynccontextmanager
    async def connect_phone(self, *credentials: str, **options: Any) -> AsyncIterator[Phone]:
        """Connect a client through the proxy and wait for its first snapshot."""
        phone = Phone(self.network.origin, *credentials, **options)
        try:
            await phone.client.open()
            await wait_until(lambda: phone.syncs, what="the first snapshot")
            yield phone
        finally:
            await phone.client.close()


@pytest.fixture
async def scene(server: RunningServer) -> AsyncIterator[Scene]:
    """Create the users and the service on a running server, and start the proxy."""
    service = await people.service(server.engine)
    customer = await people.customer(server.engine)
    technician = await people.technician(server.engine, f"tech{uuid.uuid4().hex[:8]}", service)
    await socket_client.token(server.engine, technician)
    async with NetworkProxy(server.url) as network:
        yield Scene(server, network, customer, technician, service)


async def test_credentials_that_will_never_work_are_not_tried_again(scene: Scene) -> None:
    """After 4501 the client is offline with that code. Its requests raise Ended, and no fresh token is requested."""
    phone = Phone(scene.network.origin, "no token of ours")
    with pytest.raises(Ended) as ended:
        await phone.client.open()
    assert ended.value.code == 4501
    assert phone.status_words() == ["reconnecting", "offline"]
    assert phone.client.status.code == 4501
    with pytest.raises(Ended):
        await phone.client.request("ping")
    assert phone.asked == [False]


async def test_a_refusal_raises_with_its_code_and_key(scene: Scene) -> None:
    """A refusal raises Refusal with its code, over the socket (with the key) and over HTTP."""
    async with scene.connect_phone(scene.bearer_token(scene.customer)) as phone:
        with pytest.raises(Refusal) as refused:
            await phone.client.request("claim", job=UNKNOWN_JOB)
        assert refused.value.code in ("forbidden", "not_found")
        assert uuid.UUID(refused.value.key)
        with pytest.raises(Refusal) as refused:
            await phone.client.http("GET", f"/v1/jobs/{UNKNOWN_JOB}")
        assert refused.value.code == "not_found"


async def test_a_listener_that_raises_ends_the_client(scene: Scene) -> None:
    """If a listener raises, the client becomes offline, and ``ended`` raises Ended with the cause."""
    async with scene.connect_phone(scene.bearer_token(scene.customer)) as phone:
        wrong = ValueError("no such badge")

        def fail(event: Any) -> None:
            raise wrong

        object.__setattr__(phone.client._feed._listeners, "event", fail)
        await scene.book_job()
        with pytest.raises(Ended, match="no such badge") as ended:
            await phone.client.ended()
        assert ended.value.__cause__ is wrong
        assert phone.status_words()[-1] == "offline"


async def test_the_first_connection_begins_with_a_snapshot(scene: Scene) -> None:
    """A client without a cursor gets the snapshot of /v1/sync and continues from the snapshot's cursor."""
    before = await scene.book_job()
    async with scene.connect_phone(scene.bearer_token(scene.customer)) as phone:
        (sync,) = phone.syncs
        assert (sync.zones, sync.reasons) == (("main",), {"main": None})
        assert before in msgspec.json.encode(sync.snapshot).decode()
        await scene.book_job()
        await phone.check_caught_up(scene.running.engine, scene.customer)
        assert phone.status_words() == ["reconnecting", "connected socket"]


async def test_a_cut_during_the_snapshot_fetches_it_again(scene: Scene) -> None:
    """A zone whose snapshot was lost has no cursor, so the next connection fetches the snapshot again."""
    phone = Phone(scene.network.origin, scene.bearer_token(scene.customer))
    scene.network.drop_next = b'"offers"'
    await phone.client.open()
    await phone.client.cut()
    await wait_until(lambda: len(phone.joins) == 2)
    await wait_until(lambda: phone.syncs)
    assert phone.joins[1]["zones"]["main"]["recovered"] is False
    await scene.book_job()
    await phone.check_caught_up(scene.running.engine, scene.customer)
    await phone.client.close()


async def test_many_cuts_lose_or_repeat_no_event(scene: Scene) -> None:
    """A client that is cut many times receives every event once and in order, and no second snapshot."""
    async with scene.connect_phone(scene.bearer_token(scene.customer)) as phone:
        for cuts in range(1, 6):
            booking = asyncio.create_task(scene.book_job(times=12))
            await phone.wait_for_status("connected", "socket")
            scene.network.cut()
            await wait_until(lambda n=cuts: len(phone.joins) > n, what="the reconnect")  # type: ignore[misc]
            await booking
        await phone.check_caught_up(scene.running.engine, scene.customer)
        assert len(phone.syncs) == 1


async def test_a_request_with_a_lost_reply_is_repeated_with_its_key(scene: Scene) -> None:
    """A claim whose reply was lost is repeated with its key and gets the first outcome with `repeated`."""
    job = await scene.offer_job()
    async with scene.connect_phone(scene.bearer_token(scene.technician)) as phone:
        scene.network.drop_next = b"Job accepted"
        reply = await phone.client.request("claim", job=job, key="0d9cf1f6-55aa-4a5e-9f0e-6ac57f3a4a11")
        assert scene.network.dropped == 1
        assert (reply["repeated"], reply["job"]["technician"]["id"]) == (True, scene.technician.id)
        assert len(phone.joins) == 2
        verdict = await phone.client.http("GET", "/v1/requests/0d9cf1f6-55aa-4a5e-9f0e-6ac57f3a4a11")
        assert (verdict["status"], verdict["job"]) == ("done", job)


async def test_an_expired_token_is_replaced(scene: Scene) -> None:
    """If the first token has expired, the hook is called for a fresh one, and the connection remains open."""
    old, new = scene.bearer_token(scene.customer, expires_s=-10), scene.bearer_token(scene.customer)
    async with scene.connect_phone(old, new) as phone:
        assert phone.asked[:2] == [False, True]
        assert phone.status_words() == ["reconnecting", "connected socket"]


async def test_an_expiring_token_is_refreshed_on_the_connection(scene: Scene) -> None:
    """After `token.expiring` the client refreshes with a fresh token, and the connection remains open."""
    old, new = scene.bearer_token(scene.customer, expires_s=5), scene.bearer_token(scene.customer)
    async with scene.connect_phone(old, new) as phone:
        gateway = scene.running.gateway
        assert gateway is not None
        (session,) = gateway.sessions
        before = session.caller.expires
        await wait_until(lambda: session.caller.expires > before)
        assert phone.asked[-1] is True
        assert phone.status_words() == ["reconnecting", "connected socket"]


async def test_tickets_replace_a_token(scene: Scene) -> None:
    """A program without a token passes one ticket for each socket. A used ticket is replaced."""
    tickets: list[str] = []
    api = Api(scene.running.url)

    async def next_ticket() -> str:
        bearer = scene.bearer_token(scene.customer)
        reply = await api.request("POST", "/v1/auth/tickets", token=bearer, body={})
        tickets.append(tickets[0] if len(tickets) == 1 else str(reply["ticket"]))  # the second time, the first again
        return tickets[-1]

    phone = Phone(scene.network.origin, ticket=next_ticket)
    await phone.client.open()
    await wait_until(lambda: phone.syncs)
    assert (phone.syncs[0].snapshot, phone.syncs[0].error and phone.syncs[0].error.code) == (None, "unauthenticated")
    scene.network.cut()
    await wait_until(lambda: len(phone.joins) == 2)
    assert len(tickets) == 3
    await scene.book_job()
    await phone.check_caught_up(scene.running.engine, scene.customer)
    await phone.client.close()
    await api.close()


async def test_subscriptions_are_restored_after_a_cut(scene: Scene) -> None:
    """After a cut the client restores its granted subscriptions, and does not repeat the refused ones."""
    boss = await socket_client.token(scene.running.engine, people.ADMIN)
    async with scene.connect_phone(boss, subs=[f"job:{UNKNOWN_JOB}"]) as phone:
        assert phone.client.subs == set()
        with pytest.raises(Refusal):
            await phone.client.request("subscribe", channel="zone:mars")
        await phone.client.request("subscribe", channel="zone:main")
        await phone.client.request("subscribe", channel="map:main", bbox=[13, 52, 14, 53], every_s=0.5)
        scene.network.cut()
        await wait_until(lambda: len(phone.joins) == 2)
        assert phone.joins[-1]["subs"] == ["map:main", "zone:main"]
        await phone.client.request("unsubscribe", channel="map:main")
        assert phone.client.subs == {"zone:main"}


async def test_an_unknown_epoch_starts_a_new_snapshot(scene: Scene) -> None:
    """A cursor of an unknown epoch is not recovered: the client gets a new snapshot and continues from it."""
    async with scene.connect_phone(scene.bearer_token(scene.customer)) as phone:
        phone.client.cursors["main"] = {"epoch": "gone", "seq": 5}
        await phone.client.cut()
        await wait_until(lambda: len(phone.syncs) == 2, within_s=15)
        assert phone.syncs[1].reasons == {"main": "epoch"}
        assert phone.syncs[1].snapshot is not None
        await scene.book_job()
        await wait_until(lambda: phone.seqs)
        assert phone.seqs[0] > phone.begun[1]["main"]


async def test_a_closed_client_continues_from_its_cursor(scene: Scene) -> None:
    """A closed client is offline. Stored cursors continue in a new client without a snapshot."""
    async with scene.connect_phone(scene.bearer_token(scene.customer)) as phone:
        await phone.client.close()
        assert phone.client.status == Status("offline", code=1000, reason="closed")
        await scene.book_job()
        await phone.client.open()
        await phone.check_caught_up(scene.running.engine, scene.customer)
        assert len(phone.syncs) == 1
        saved_cursors = msgspec.json.decode(msgspec.json.encode(phone.client.cursors))
    await scene.book_job()
    later = Phone(scene.network.origin, scene.bearer_token(scene.customer), cursors=saved_cursors)
    later.begun.append({"main": saved_cursors["main"]["seq"]})
    await later.client.open()
    await later.check_caught_up(scene.running.engine, scene.customer)
    assert later.syncs == []
    await later.client.close()


# While sockets are blocked


async def test_the_client_polls_while_sockets_are_blocked(scene: Scene) -> None:
    """After two failures to connect the client polls, with the same events and claims. When sockets are possible again
    the client opens one, and no event is lost or repeated. A `trace` is stored with its event over both transports.
    """
    async with scene.connect_phone(scene.bearer_token(scene.technician)) as phone:
        scene.network.blocked = True
        scene.network.cut()
        await phone.wait_for_status("connected", "polling")
        job = await scene.offer_job()
        await phone.check_caught_up(scene.running.engine, scene.technician)
        reply = await phone.client.request("claim", job=job, trace=TRACE)
        assert reply["job"]["status"] == "accepted"
        scene.network.drop_next = b'"message":"On the way"'
        reply = await phone.client.request("command", job=job, command="depart")
        assert (scene.network.dropped, reply["repeated"]) == (1, True)
        with pytest.raises(Refusal) as refused:
            await phone.client.request("claim", job=UNKNOWN_JOB)
        assert refused.value.code == "not_found"
        await phone.check_caught_up(scene.running.engine, scene.technician)
        scene.network.blocked = False
        await phone.wait_for_status("connected", "socket")
        step = await phone.client.request("command", job=job, command="arrive", trace=TRACE)
        assert step["job"]["status"] == "reached"
        await phone.check_caught_up(scene.running.engine, scene.technician)
        assert len(phone.syncs) == 1
    traced = [event.type for event in await event_log.events(scene.running.engine, job=job) if event.trace == TRACE]
    assert sorted(set(traced)) == ["job.accepted", "job.status", "room.opened"]


async def test_the_client_starts_with_polls_if_sockets_are_blocked(scene: Scene) -> None:
    """A client without a socket gets its snapshot and events. A request that needs a socket waits."""
    scene.network.blocked = True
    async with scene.connect_phone(scene.bearer_token(scene.customer)) as phone:
        assert phone.client.status.transport == "polling"
        pong = asyncio.create_task(phone.client.request("ping"))
        await scene.book_job()
        await phone.check_caught_up(scene.running.engine, scene.customer)
        assert not pong.done()
        scene.network.blocked = False
        assert (await pong)["n"] >= 0
        await scene.book_job()
        await phone.check_caught_up(scene.running.engine, scene.customer)
        assert len(phone.syncs) == 1


async def test_an_invalid_token_ends_a_polling_client(scene: Scene) -> None:
    """If the token of a polling client becomes invalid, the client ends with 4501, as on a socket."""
    async with scene.connect_phone(scene.bearer_token(scene.customer), "no token of ours") as phone:
        scene.network.blocked = True
        phone._tokens = ("no token of ours",)
        scene.network.cut()
        with pytest.raises(Ended) as ended:
            await phone.client.ended()
        assert ended.value.code == 4501


async def test_a_suspension_ends_a_polling_client(scene: Scene) -> None:
    """If the user of a polling client is suspended, the client ends with 4502."""
    async with scene.connect_phone(scene.bearer_token(scene.customer)) as phone:
        scene.network.blocked = True
        scene.network.cut()
        await phone.wait_for_status("connected", "polling")
        boss = await tokens.principal_of(
            scene.running.engine, await socket_client.token(scene.running.engine, people.ADMIN)
        )
        await accounts.suspend_user(scene.running.engine, boss, UserId(scene.customer.id), reason="fraud")
        with pytest.raises(Ended) as ended:
            await phone.client.ended()
        assert ended.value.code == 4502


async def test_a_drain_moves_the_client_to_another_gateway(scene: Scene, settings: Settings) -> None:
    """A client that a draining gateway closes with 4000 reconnects to another gateway and misses no event."""
    shared = {"data": f"{settings.data}2", **second_server.stores_of(settings.data)}
    other = msgspec.structs.replace(settings, port=0, roles=("gateway",), **shared)
    async with run_server(other) as second, scene.connect_phone(scene.bearer_token(scene.customer)) as phone:
        first = scene.running.gateway
        assert first is not None
        scene.network._to = ("127.0.0.1", urlsplit(second.url).port or 0)
        draining = asyncio.create_task(first.drain())
        await wait_until(lambda: any(status.code == 4000 for status in phone.statuses))
        await scene.book_job(times=5)
        await phone.wait_for_status("connected", "socket")
        await phone.check_caught_up(scene.running.engine, scene.customer)
        await draining
        assert second.gateway is not None and len(second.gateway.sessions) == 1
        assert len(phone.syncs) == 1
