"""Reads whose reply from Redis is lost are `unavailable`, because a read changes nothing; they are never
`indeterminate`."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator
from typing import Any, NamedTuple

import httpx
import msgspec
import pytest
import redis

from engine.domain import jobs
from engine.identity import accounts
from engine.process.settings import Settings
from engine.process.signer import sign_token
from engine.store import keys
from engine.types import Principal, UserId
from server.api.route import Route
from server.api.routes import ROUTES
from server.serve import Running, running
from tests.support import people
from tests.support.proxy import Proxy
from tests.support.socket_client import SocketClient
from tests.support.wait import wait_until

READS = [route for route in ROUTES if route.method == "GET"]
MOST = 30
"""No read waits for this many replies."""


class Scene(NamedTuple):
    """A server that reaches Redis through a proxy, and a job with a customer and a technician."""

    server: Running
    proxy: Proxy
    redis: redis.Redis
    people: dict[str, Principal]
    ids: dict[str, str]

    def token(self, who: Principal) -> str:
        """Return an access token."""
        return sign_token(self.server.engine.signer, UserId(who.id), who.role)

    def caller(self, route: Route) -> Principal:
        """Return a caller whom a route allows."""
        name = "technician" if route.name == "requests_read" else ""
        return next(who for who in self.people.values() if who.role in (name or route.roles or {"customer"}))

    def path(self, route: Route) -> str:
        """Return the path of a route, with ids that exist."""
        kind = next((kind for kind in ("technicians", "services") if kind in route.path), "jobs")
        path = route.path.format_map({**self.ids, "id": self.ids[kind], "name": "delivery", "code": "taken"})
        return path + ("?wait=0" if route.may_stream else "")

    def drop_reply(self, number: int) -> None:
        """Drop the reply after ``number`` others. The engine has to load every account again."""
        for who in self.people.values():
            name = keys.account(who.id)
            if self.redis.exists(name):
                self.redis.hset(name, "life", "of another server")
        self.proxy.drop_in = number

    async def was_dropped(self) -> bool:
        """Return whether a reply was dropped, after waiting until the server has recovered."""
        if self.proxy.drop_in is not None:
            self.proxy.drop_in = None
            return False
        store, gateway = self.server.engine.store, self.server.gateway
        assert gateway
        await wait_until(lambda: store.pipeline.is_up and all(zone.open for zone in store.zones.values()))
        await wait_until(lambda: not gateway.relay.is_disconnected)
        return True


@pytest.fixture
async def scene(empty_redis: str, settings: Settings) -> AsyncIterator[Scene]:
    """A server with only the gateway role, so that nearly all replies belong to a caller."""
    async with Proxy(empty_redis) as proxy:
        changed = msgspec.structs.replace(settings, redis=proxy.url, port=0, roles=("gateway",))
        async with running(changed) as server:
            engine = server.engine
            serves, customer = await people.service(engine), await people.customer(engine)
            new = accounts.NewAccount(
                email="tom@example.org", password="correct horse", name="Tom", role="technician", phone=None
            )
            tom = await accounts.create_user(engine, people.ADMIN, new)
            technician = await people.technician(engine, tom.value.id, serves, version=9)
            job, key = await people.offered(engine, customer, serves), str(uuid.uuid4())
            await jobs.claim(engine, technician, job, key=key)
            ids = {"jobs": job, "technicians": technician.id, "services": serves, "key": key}
            with redis.Redis.from_url(empty_redis) as direct:
                yield Scene(
                    server,
                    proxy,
                    direct,
                    {"customer": customer, "technician": technician, "admin": people.ADMIN},
                    ids,
                )


async def test_no_read_over_http_is_indeterminate(scene: Scene) -> None:
    """Each reply that a GET waits for is dropped in turn: the GET succeeds all the same, or returns 503."""
    refused: set[str] = set()
    async with httpx.AsyncClient(base_url=scene.server.url, timeout=20, trust_env=False) as http:
        for route in READS:
            token = {"Authorization": f"Bearer {scene.token(scene.caller(route))}"} if route.roles else {}
            for number in range(MOST):
                scene.drop_reply(number)
                answer = await http.get(scene.path(route), headers=token)
                if not await scene.was_dropped():
                    assert answer.status_code == 200, (route.name, number, answer.text)
                    break
                if answer.status_code != 200:
                    refused.add(route.name)
                    assert answer.status_code == 503, (route.name, number, answer.text)
                    assert route.roles is None or answer.json()["code"] == "unavailable", answer.text
            else:
                pytest.fail(f"{route.name} waits for more than {MOST} replies")
    assert len(refused) > len(READS) / 2


@pytest.mark.parametrize("op", ["connect", "refresh", "subscribe"])
async def test_no_read_over_a_socket_is_indeterminate(scene: Scene, op: str) -> None:
    """Each reply that an op without an effect waits for is dropped in turn: the op succeeds or is `unavailable`."""
    who, refused = scene.people["customer"], 0
    channel, token = f"job:{scene.ids['jobs']}", scene.token(who)
    for number in range(MOST):
        socket = SocketClient(scene.server.ws_url, token)
        reply: dict[str, Any] = {}
        if op != "connect":
            await socket.open()
        scene.drop_reply(number)
        if op == "connect":
            reply = await socket.connect(subs=[channel])
        else:
            reply = await socket.request(op, **({"token": token} if op == "refresh" else {"channel": channel}))
        lost = await scene.was_dropped()
        await socket.close()
        if not lost:
            assert "ok" in reply, reply
            break
        if "error" in reply:
            refused += 1
            assert (reply["error"]["code"], reply["error"]["status"]) == ("unavailable", 503)
    else:
        pytest.fail(f"{op} waits for more than {MOST} replies")
    assert refused
