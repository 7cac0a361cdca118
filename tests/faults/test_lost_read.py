"""A read whose reply from Redis is lost is `unavailable`, never `indeterminate`, because a read changes nothing."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any, NamedTuple

import msgspec
import pytest
import redis
from sqlalchemy import insert

from engine.archive.receipt_rows import signed_row
from engine.audit import heads
from engine.audit.server_keys import HeadKey
from engine.domain import day_plans, erasures, files, jobs, quotes, shares
from engine.domain.booking_request import Booking
from engine.identity import accounts
from engine.process.settings import Settings
from engine.process.signer import sign_token
from engine.rules.canonical import digest_of
from engine.runtime import Engine
from engine.sql.vault_tables import receipts
from engine.store import keys
from engine.types import DEFAULT_ZONE, Principal, UserId, room_of
from engine.workers import archiver
from server.api.route import Route
from server.api.routes import ROUTES
from server.serve import RunningServer, run_server
from tests.support import people
from tests.support.http import open_http
from tests.support.proxy import Proxy
from tests.support.signatures import make_png
from tests.support.socket_client import SocketClient
from tests.support.wait import wait_until

# this route exists only in a demo
READ_ROUTES = [route for route in ROUTES if route.method == "GET" and route.name != "about_town"]
QUERY_OF_ROUTE = {
    "presence_find": "?users=usr_1",
    "slots_find": "?service={services}&lat=52.5&lon=13.4&from=2099-01-01T00:00:00Z&to=2099-01-02T00:00:00Z",
    "zones_read_map": "?bbox=-1,-1,1,1",
    "audit_prove_consistency": "?from=1&to=1",
    "vault_verify": "?sha256={digest}",
    "earnings_statement": "?month=2026-01",
    "system_search": "?q=usr_1",
}
"""The queries that routes require."""
MAX_REPLIES = 30
"""A limit for the test: no read needs this many replies."""


class Scenario(NamedTuple):
    """A server that reaches Redis through a proxy, and a job with a customer and a technician."""

    server: RunningServer
    proxy: Proxy
    redis: redis.Redis
    people: dict[str, Principal]
    ids: dict[str, str]

    def token(self, who: Principal) -> str:
        """Return an access token of ``who``."""
        return sign_token(self.server.engine.signer, UserId(who.id), who.role)

    def caller(self, route: Route) -> Principal:
        """Return a caller whom the route allows."""
        name = {"requests_read": "technician", "erasures_read": "admin"}.get(route.name, "")
        return next(who for who in self.people.values() if who.role in (name or route.roles or {"customer"}))

    def path(self, route: Route) -> str:
        """Return the path of a route, with ids that exist."""
        kind = next(
            (
                kind
                for kind in ("technicians", "services", "rooms", "users", "plans", "quotes", "vault", "files")
                if kind in route.path
            ),
            "jobs",
        )
        values = {**self.ids, "id": self.ids[kind], "name": "delivery", "code": "taken", "zone": "main", "seq": "1"}
        query = "?wait=0" if route.name == "events_read_or_stream" else QUERY_OF_ROUTE.get(route.name, "")
        return (route.path + query).format_map(values)

    def drop_reply(self, number: int) -> None:
        """Let the proxy drop the reply that follows ``number`` others. All accounts are marked stale, so that the
        engine loads them again.
        """
        for who in self.people.values():
            name = keys.account(who.id)
            if self.redis.exists(name):
                self.redis.hset(name, "life", "of another server")
        self.proxy.drop_in = number

    async def was_dropped(self) -> bool:
        """Return whether a reply was dropped. If so, first wait until the server has recovered."""
        if self.proxy.drop_in is not None:
            self.proxy.drop_in = None
            return False
        store, gateway = self.server.engine.store, self.server.gateway
        assert gateway
        pipes = [pipe for shard in store.shards.all for pipe in (shard.pipeline, shard.read_connection._pipe)]
        await wait_until(lambda: all(pipe.is_up for pipe in pipes) and all(zone.open for zone in store.zones.values()))
        await wait_until(lambda: not gateway.relay.is_disconnected)
        return True


async def upload_photo(engine: Engine, technician: Principal, job: str) -> str:
    """Upload a photo of a job, and return its id."""

    async def parts() -> AsyncIterator[bytes]:
        yield make_png()

    done = await files.upload(engine, technician, f"job:{job}", None, parts())
    await archiver.run_once(engine)
    return str(msgspec.json.decode(msgspec.json.encode(done.file))["id"])


async def create_receipt(engine: Engine, customer: Principal, job: str) -> dict[str, str]:
    """Write a receipt of a job as the archiver does, and return its id and the signed digest."""
    record, place = b'{"photos":[]}', {"id": "rcp_main_1", "zone": "main", "seq": 1, "job": job, "at": 0}
    parties = {"customer": customer.id, "technician": None, "name": "Carla", "salt": "00"}
    row = {**place, **parties, "record": record.decode(), "image": digest_of(record), "image_kind": "png"}
    signed = signed_row(row, HeadKey(engine.signer).receipts)
    async with engine.archive.begin_write() as conn:
        await conn.execute(insert(receipts).values(**signed))
    return {"vault": "rcp_main_1", "digest": digest_of(record)}


async def create_share(engine: Engine, customer: Principal, job: str) -> dict[str, str]:
    """Open a link to a job, and return its id and its token."""
    share = (await shares.create_share(engine, customer, job)).share
    return {"share": share.id, "token": share.url.rpartition("/")[2]}


@pytest.fixture
async def scenario(empty_redis: str, settings: Settings) -> AsyncIterator[Scenario]:
    """Yield the scenario on a server with only the gateway role, so that nearly all replies belong to a caller."""
    async with Proxy(empty_redis) as proxy:
        changed = msgspec.structs.replace(settings, redis=proxy.url, port=0, roles=("gateway",))
        async with run_server(changed) as server:
            engine = server.engine
            service, customer = await people.service(engine), await people.customer(engine)
            new = accounts.NewAccount(
                email="tom@example.org", password="correct horse", name="Tom", role="technician", phone=None
            )
            tom = await accounts.create_user(engine, people.ADMIN, new)
            technician = await people.technician(engine, tom.value.id, service, version=9)
            job, key = await people.offered_job(engine, customer, service), str(uuid.uuid4())
            await jobs.claim(engine, technician, job, key=key)
            await archiver.run_once(engine)
            await heads.sign_newest(engine.archive, DEFAULT_ZONE, HeadKey(engine.signer))
            leaver = (await people.customer(engine)).id
            await erasures.request_erasure(engine, people.ADMIN, leaver, reason="asked by letter", password=None)
            request = day_plans.PlanRequest(zone="main", date=datetime.now(UTC).date(), budget_s=0.1)
            plan = await day_plans.create_plan(engine, people.ADMIN, request, key=None)
            await asyncio.gather(*engine.background)
            asked = Booking(blueprint="managed", service=service, lat=1.0, lon=1.0, address="")
            ids = {
                "users": leaver,
                "rooms": room_of(job),
                "jobs": job,
                "technicians": technician.id,
                "services": service,
                "key": key,
                "plans": plan.plan.id,
                "quotes": (await quotes.create_quote(engine, customer, asked)).id,
                "files": await upload_photo(engine, technician, job),
                **await create_receipt(engine, customer, job),
                **await create_share(engine, customer, job),
            }
            with redis.Redis.from_url(empty_redis) as direct:
                yield Scenario(
                    server,
                    proxy,
                    direct,
                    {"customer": customer, "technician": technician, "admin": people.ADMIN},
                    ids,
                )


async def test_no_read_over_http_is_indeterminate(scenario: Scenario) -> None:
    """For each reply of Redis that a GET waits for, the GET still succeeds if that reply is dropped, or returns 503."""
    refused: set[str] = set()
    async with open_http(scenario.server.url) as http:
        for route in READ_ROUTES:
            token = {"Authorization": f"Bearer {scenario.token(scenario.caller(route))}"} if route.roles else {}
            for number in range(MAX_REPLIES):
                scenario.drop_reply(number)
                answer = await http.get(scenario.path(route), headers=token)
                if not await scenario.was_dropped():
                    assert answer.status_code == 200, (route.name, number, answer.text)
                    break
                if answer.status_code != 200:
                    refused.add(route.name)
                    assert answer.status_code == 503, (route.name, number, answer.text)
                    assert route.roles is None or answer.json()["code"] == "unavailable", answer.text
            else:
                pytest.fail(f"{route.name} waits for more than {MAX_REPLIES} replies")
    assert len(refused) > len(READ_ROUTES) / 2


@pytest.mark.parametrize("op", ["connect", "refresh", "subscribe"])
async def test_no_read_over_a_socket_is_indeterminate(scenario: Scenario, op: str) -> None:
    """For each reply of Redis that a request without an effect waits for, the request still succeeds if that
    reply is dropped, or is refused with `unavailable`.
    """
    who, refused = scenario.people["customer"], 0
    channel, token = f"job:{scenario.ids['jobs']}", scenario.token(who)
    for number in range(MAX_REPLIES):
        socket = SocketClient(scenario.server.ws_url, token)
        reply: dict[str, Any] = {}
        if op != "connect":
            await socket.open()
        scenario.drop_reply(number)
        if op == "connect":
            reply = await socket.connect(subs=[channel])
        else:
            reply = await socket.request(op, **({"token": token} if op == "refresh" else {"channel": channel}))
        lost = await scenario.was_dropped()
        await socket.close()
        if not lost:
            assert "ok" in reply, reply
            break
        if "error" in reply:
            refused += 1
            assert (reply["error"]["code"], reply["error"]["status"]) == ("unavailable", 503)
    else:
        pytest.fail(f"{op} waits for more than {MAX_REPLIES} replies")
    assert refused
