"""The Python client against a whole server, through a network that fails."""

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
from server.serve import Running, running
from tests.client.phone import Phone
from tests.server.web.street import Street
from tests.support import event_log, people, socket_client
from tests.support.wait import wait_until

TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
NOBODYS = "job_main_01jb4zqk3m8r5t7v9x2c6d8f0g"


class Scene(NamedTuple):
    """A customer and a technician online, both with accounts, and a service."""

    running: Running
    street: Street
    customer: Principal
    technician: Principal
    service: Any

    def bearer(self, who: Principal, expires_s: float = 3600) -> str:
        """An access token."""
        return sign_token(self.running.engine.signer, UserId(who.id), who.role, name=who.name, expires_s=expires_s)

    async def job(self, times: int = 1) -> str:
        """A booking of the customer's; the last one's id."""
        made = [await people.job(self.running.engine, self.customer, self.service) for _ in range(times)]
        return str(people.id_of(made[-1]))

    async def offered(self) -> str:
        """A job whose first wave is open."""
        return str(await people.offered(self.running.engine, self.customer, self.service))

    @asynccontextmanager
    async def phone(self, *given: str, **options: Any) -> AsyncIterator[Phone]:
        """A client that is connected, and has its first snapshot."""
        one = Phone(self.street.origin, *given, **options)
        try:
            await one.client.open()
            await wait_until(lambda: one.syncs, what="the first snapshot")
            yield one
        finally:
            await one.client.close()


@pytest.fixture
async def scene(server: Running) -> AsyncIterator[Scene]:
    """People of a server, and the way to it."""
    service = await people.service(server.engine)
    customer = await people.customer(server.engine)
    technician = await people.technician(server.engine, f"tech{uuid.uuid4().hex[:8]}", service)
    await socket_client.token(server.engine, technician)
    async with Street(server.url) as street:
        yield Scene(server, street, customer, technician, service)


async def test_credentials_that_will_never_work_are_not_tried_again(scene: Scene) -> None:
    """4501 is the end: offline, with the code, and whoever asks then is told so."""
    phone = Phone(scene.street.origin, "no token of ours")
    with pytest.raises(Ended) as ended:
        await phone.client.open()
    assert ended.value.code == 4501
    assert phone.told() == ["reconnecting", "offline"]
    assert phone.client.status.code == 4501
    with pytest.raises(Ended):
        await phone.client.request("ping")
    assert phone.asked == [False]


async def test_a_refusal_raises_with_its_code_and_key(scene: Scene) -> None:
    """Over the socket and over HTTP alike."""
    async with scene.phone(scene.bearer(scene.customer)) as phone:
        with pytest.raises(Refusal) as refused:
            await phone.client.request("claim", job=NOBODYS)
        assert refused.value.code in ("forbidden", "not_found")
        assert uuid.UUID(refused.value.key)
        with pytest.raises(Refusal) as refused:
            await phone.client.http("GET", f"/v1/jobs/{NOBODYS}")
        assert refused.value.code == "not_found"


async def test_a_listener_that_raises_ends_it(scene: Scene) -> None:
    """An event half handled is nobody's to judge: offline, and whoever waits for the end is given the cause."""
    async with scene.phone(scene.bearer(scene.customer)) as phone:
        wrong = ValueError("no such badge")

        def raises(event: Any) -> None:
            raise wrong

        object.__setattr__(phone.client._feed._on, "event", raises)
        await scene.job()
        with pytest.raises(Ended, match="no such badge") as ended:
            await phone.client.ended()
        assert ended.value.__cause__ is wrong
        assert phone.told()[-1] == "offline"


async def test_the_first_connection_begins_with_a_snapshot(scene: Scene) -> None:
    """Nothing is known yet, so the program is given /v1/sync, and its cursor is where the events go on."""
    before = await scene.job()
    async with scene.phone(scene.bearer(scene.customer)) as phone:
        (told,) = phone.syncs
        assert (told.zones, told.reasons) == (("main",), {"main": None})
        assert before in msgspec.json.encode(told.snapshot).decode()
        await scene.job()
        await phone.caught_up(scene.running.engine, scene.customer)
        assert phone.told() == ["reconnecting", "connected socket"]


async def test_cut_while_the_snapshot_is_fetched_it_is_fetched_again(scene: Scene) -> None:
    """A zone whose snapshot never came has no cursor: the next connection begins with one."""
    phone = Phone(scene.street.origin, scene.bearer(scene.customer))
    scene.street.drop_next = b'"offers"'
    await phone.client.open()
    await phone.client.cut()
    await wait_until(lambda: len(phone.joins) == 2)
    await wait_until(lambda: phone.syncs)
    assert phone.joins[1]["zones"]["main"]["recovered"] is False
    await scene.job()
    await phone.caught_up(scene.running.engine, scene.customer)
    await phone.client.close()


async def test_cut_again_and_again_nothing_is_lost_or_given_twice(scene: Scene) -> None:
    """While events come: what the log has, the program was given, once and in order, and no second snapshot."""
    async with scene.phone(scene.bearer(scene.customer)) as phone:
        for cuts in range(1, 6):
            booking = asyncio.create_task(scene.job(times=12))
            await phone.until("connected", "socket")
            scene.street.cut()
            await wait_until(lambda n=cuts: len(phone.joins) > n, what="being back")  # type: ignore[misc]
            await booking
        await phone.caught_up(scene.running.engine, scene.customer)
        assert len(phone.syncs) == 1


async def test_a_request_whose_reply_was_lost_goes_out_again_with_its_key(scene: Scene) -> None:
    """The claim was done, its reply was not heard: the repeat has the same key and hears the first verdict."""
    job = await scene.offered()
    async with scene.phone(scene.bearer(scene.technician)) as phone:
        scene.street.drop_next = b"Job accepted"
        told = await phone.client.request("claim", job=job, key="0d9cf1f6-55aa-4a5e-9f0e-6ac57f3a4a11")
        assert scene.street.dropped == 1
        assert (told["repeated"], told["job"]["technician"]["id"]) == (True, scene.technician.id)
        assert len(phone.joins) == 2
        verdict = await phone.client.http("GET", "/v1/requests/0d9cf1f6-55aa-4a5e-9f0e-6ac57f3a4a11")
        assert (verdict["status"], verdict["job"]) == ("done", job)


async def test_an_expired_token_is_asked_for_afresh(scene: Scene) -> None:
    """The hook is told that the last one is no good, and the connection stays up."""
    old, new = scene.bearer(scene.customer, expires_s=-10), scene.bearer(scene.customer)
    async with scene.phone(old, new) as phone:
        assert phone.asked[:2] == [False, True]
        assert phone.told() == ["reconnecting", "connected socket"]


async def test_a_token_that_runs_out_is_replaced_in_band(scene: Scene) -> None:
    """Warned by the server, it asks for a fresh one and shows it: the connection never ends."""
    old, new = scene.bearer(scene.customer, expires_s=5), scene.bearer(scene.customer)
    async with scene.phone(old, new) as phone:
        gateway = scene.running.gateway
        assert gateway is not None
        (session,) = gateway.sessions
        before = session.caller.expires
        await wait_until(lambda: session.caller.expires > before)
        assert phone.asked[-1] is True
        assert phone.told() == ["reconnecting", "connected socket"]


async def test_by_ticket(scene: Scene) -> None:
    """A program that has no token is given tickets, one for each socket; a used one is not the end."""
    given: list[str] = []
    api = Api(scene.running.url)

    async def ticket() -> str:
        bearer = scene.bearer(scene.customer)
        made = await api.request("POST", "/v1/auth/tickets", token=bearer, body={})
        given.append(given[0] if len(given) == 1 else str(made["ticket"]))  # the second time it gives the first again
        return given[-1]

    phone = Phone(scene.street.origin, ticket=ticket)
    await phone.client.open()
    await wait_until(lambda: phone.syncs)
    assert (phone.syncs[0].snapshot, phone.syncs[0].error and phone.syncs[0].error.code) == (None, "unauthenticated")
    scene.street.cut()
    await wait_until(lambda: len(phone.joins) == 2)
    assert len(given) == 3
    await scene.job()
    await phone.caught_up(scene.running.engine, scene.customer)
    await phone.client.close()
    await api.close()


async def test_subscriptions_are_given_again(scene: Scene) -> None:
    """What was subscribed to is heard after a cut too; what was refused is not asked for again."""
    boss = await socket_client.token(scene.running.engine, people.ADMIN)
    async with scene.phone(boss, subs=[f"job:{NOBODYS}"]) as phone:
        assert phone.client.subs == set()
        await phone.client.request("subscribe", channel="zone:main")
        with pytest.raises(Refusal):
            await phone.client.request("subscribe", channel="zone:mars")
        assert phone.client.subs == {"zone:main"}
        scene.street.cut()
        await wait_until(lambda: len(phone.joins) == 2)
        assert phone.joins[-1]["subs"] == ["zone:main"]
        await phone.client.request("unsubscribe", channel="zone:main")
        assert phone.client.subs == set()


async def test_an_epoch_that_broke_is_told_to_the_program(scene: Scene) -> None:
    """A cursor that is of no known life of the log: not recovered, a new snapshot, and on from there."""
    async with scene.phone(scene.bearer(scene.customer)) as phone:
        phone.client.cursors["main"] = {"epoch": "gone", "seq": 5}
        await phone.client.cut()
        await wait_until(lambda: len(phone.syncs) == 2, within_s=15)
        assert phone.syncs[1].reasons == {"main": "epoch"}
        assert phone.syncs[1].snapshot is not None
        await scene.job()
        await wait_until(lambda: phone.seqs)
        assert phone.seqs[0] > phone.begun[1]["main"]


async def test_closed_it_stays_closed_and_goes_on_from_its_cursor(scene: Scene) -> None:
    """Offline until it is opened again; kept cursors go on in another life of the program, without a snapshot."""
    async with scene.phone(scene.bearer(scene.customer)) as phone:
        await phone.client.close()
        assert phone.client.status == Status("offline", code=1000, reason="closed")
        await scene.job()
        await phone.client.open()
        await phone.caught_up(scene.running.engine, scene.customer)
        assert len(phone.syncs) == 1
        kept = msgspec.json.decode(msgspec.json.encode(phone.client.cursors))
    await scene.job()
    later = Phone(scene.street.origin, scene.bearer(scene.customer), cursors=kept)
    later.begun.append({"main": kept["main"]["seq"]})
    await later.client.open()
    await later.caught_up(scene.running.engine, scene.customer)
    assert later.syncs == []
    await later.client.close()


# Without a socket


async def test_where_sockets_are_blocked_it_polls_and_comes_back(scene: Scene) -> None:
    """Two failures, then polling: events and claims as before; when sockets are let through, a socket again, and
    nothing was lost or given twice. A trace is kept with its event either way.
    """
    async with scene.phone(scene.bearer(scene.technician)) as phone:
        scene.street.blocked = True
        scene.street.cut()
        await phone.until("connected", "polling")
        job = await scene.offered()
        await phone.caught_up(scene.running.engine, scene.technician)
        told = await phone.client.request("claim", job=job, trace=TRACE)
        assert told["job"]["status"] == "accepted"
        scene.street.drop_next = b'"on_the_way"'
        told = await phone.client.request("command", job=job, command="depart")
        assert (scene.street.dropped, told["repeated"]) == (1, True)
        with pytest.raises(Refusal) as refused:
            await phone.client.request("claim", job=NOBODYS)
        assert refused.value.code == "not_found"
        await phone.caught_up(scene.running.engine, scene.technician)
        scene.street.blocked = False
        await phone.until("connected", "socket")
        step = await phone.client.request("command", job=job, command="arrive", trace=TRACE)
        assert step["job"]["status"] == "reached"
        await phone.caught_up(scene.running.engine, scene.technician)
        assert len(phone.syncs) == 1
    traced = [event.type for event in await event_log.events(scene.running.engine, job=job) if event.trace == TRACE]
    assert sorted(set(traced)) == ["job.accepted", "job.status"]


async def test_blocked_from_the_start_it_begins_by_polling(scene: Scene) -> None:
    """Without a socket ever, the program has its snapshot and its events; what only a socket can do waits for one."""
    scene.street.blocked = True
    async with scene.phone(scene.bearer(scene.customer)) as phone:
        assert phone.client.status.transport == "polling"
        pong = asyncio.create_task(phone.client.request("ping"))
        await scene.job()
        await phone.caught_up(scene.running.engine, scene.customer)
        assert not pong.done()
        scene.street.blocked = False
        assert (await pong)["n"] >= 0
        await scene.job()
        await phone.caught_up(scene.running.engine, scene.customer)
        assert len(phone.syncs) == 1


async def test_refused_while_it_polls(scene: Scene) -> None:
    """A token that is of no use by then ends it, as it would on a socket."""
    async with scene.phone(scene.bearer(scene.customer), "no token of ours") as phone:
        scene.street.blocked = True
        phone._tokens = ("no token of ours",)
        scene.street.cut()
        with pytest.raises(Ended) as ended:
            await phone.client.ended()
        assert ended.value.code == 4501


async def test_suspended_while_it_polls(scene: Scene) -> None:
    """Access that was taken away is for good over HTTP too: the poll does not ask for ever."""
    async with scene.phone(scene.bearer(scene.customer)) as phone:
        scene.street.blocked = True
        scene.street.cut()
        await phone.until("connected", "polling")
        boss = await tokens.principal_of(
            scene.running.engine, await socket_client.token(scene.running.engine, people.ADMIN)
        )
        await accounts.suspend_user(scene.running.engine, boss, UserId(scene.customer.id), reason="fraud")
        with pytest.raises(Ended) as ended:
            await phone.client.ended()
        assert ended.value.code == 4502


async def test_a_gateway_that_drains_is_left_for_another(scene: Scene, settings: Settings) -> None:
    """Sent away with 4000 it comes back by itself, to whichever gateway there is, and has missed nothing."""
    shared = {"key_file": f"{settings.data}/signing.key", "database": f"sqlite:///{settings.data}/callout.db"}
    other = msgspec.structs.replace(settings, port=0, data=f"{settings.data}2", roles=("gateway",), **shared)
    async with running(other) as second, scene.phone(scene.bearer(scene.customer)) as phone:
        first = scene.running.gateway
        assert first is not None
        scene.street._to = ("127.0.0.1", urlsplit(second.url).port or 0)
        draining = asyncio.create_task(first.drain())
        await wait_until(lambda: any(status.code == 4000 for status in phone.statuses))
        await scene.job(times=5)
        await phone.until("connected", "socket")
        await phone.caught_up(scene.running.engine, scene.customer)
        await draining
        assert second.gateway is not None and len(second.gateway.sessions) == 1
        assert len(phone.syncs) == 1
