"""Two gateways on one Redis, restarted one after the other under load: nobody notices but by a short pause."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import redis

from engine.signer import Signer, access_token
from engine.types import UserId
from server.city.account import Operator
from server.city.api import Api
from server.city.client import Client, Frame
from tests import valkey
from tests.faults.process import Server, serving
from tests.faults.town import Racer, Town
from tests.wait import wait_until

LISTENERS, RACERS, JOBS = 90, 6, 80


@dataclass
class Listener:
    """Ops, at one of the gateways: hears of every job."""

    seen: list[int] = field(default_factory=list)
    repeats: list[Frame] = field(default_factory=list)
    unrecovered: int = -1
    joins: int = 0

    def heard(self, frame: Frame) -> None:
        if "seq" in frame:
            self.seen.append(frame["seq"])

    def joined(self, ok: Frame) -> None:
        self.joins += 1
        self.unrecovered += not ok["zones"]["main"]["recovered"]


async def test_nothing_is_lost_twice_or_undone(tmp_path: Path) -> None:
    """While technicians race for jobs each gateway is stopped (SIGTERM) and started again: every client is back by
    itself with every event once and in order, and whoever was told that he has a job has it.
    """
    with valkey.running(_made(tmp_path / "redis")) as url:
        flags = [*("--redis", url, "--database", f"sqlite:///{tmp_path}/callout.db")]
        flags += ["--key-file", str(tmp_path / "key")]
        async with AsyncExitStack() as stack:
            back = (*flags, "--role", "scheduler,archiver,push")
            await stack.enter_async_context(serving(tmp_path / "back", *back, limits="off"))
            gate = (*flags, "--role", "gateway")
            one = await stack.enter_async_context(serving(tmp_path / "one", *gate, limits="off"))
            two = await stack.enter_async_context(serving(tmp_path / "two", *gate, limits="off"))
            places = await _towns(stack, tmp_path / "key", one, two)
            listeners = [await _listener(stack, tmp_path / "key", (one, two)[n % 2]) for n in range(LISTENERS)]
            customer = await places[0].person("customer")
            racers = [Racer(await places[n % 2].technician(capacity=1000)) for n in range(RACERS)]
            async with asyncio.TaskGroup() as group:
                races = [group.create_task(racer.race()) for racer in racers]
                booking = group.create_task(_book_all(places[0], customer))
                for number, server in enumerate((one, two)):
                    await wait_until(lambda n=number: _acknowledged(racers) > n * 10, within_s=30, what="claims")
                    assert (await server.end()).code == 0
                    port = urlsplit(server.url).port or 0
                    await stack.enter_async_context(serving(server.data, *gate, port=port, limits="off"))
                jobs = await booking
                await wait_until(lambda: _acknowledged(racers) >= JOBS, within_s=40, what="the other claims")
                for race in races:
                    race.cancel()
            told = {job: racer.person.id for racer in racers for job in racer.acknowledged}
            assert set(told) == set(jobs)
            assert {job: (await places[0].job(job))["technician"]["id"] for job in jobs} == told
            await _everything_once(url, listeners)
            for person in [customer, *(racer.person for racer in racers)]:
                assert (person.repeats, person.lost) == ([], [])


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder


async def _towns(stack: AsyncExitStack, key: Path, *servers: Server) -> list[Town]:
    """One town, seen from each gateway."""
    admin = access_token(Signer.load_or_create(key), UserId("cli_admin"), "admin")
    places: list[Town] = []
    for server in servers:
        api = Api(server.url)
        stack.push_async_callback(api.close)
        operator = Operator(api, admin)
        body = {"name": "Boilers", "category": "heating", "base_amount": 9000, "currency": "EUR", "pricing": "flat"}
        service = (
            places[0].service if places else (await operator.request("POST", "/v1/services", body))["service"]["id"]
        )
        places.append(Town(server, api, operator, service, stack))
    return places


async def _listener(stack: AsyncExitStack, key: Path, server: Server) -> Listener:
    bearer = access_token(Signer.load_or_create(key), UserId("cli_admin"), "admin")

    async def token(stale: bool) -> str:
        return bearer

    listener = Listener()
    client = Client(
        server.url.replace("http", "ws") + "/v1/ws",
        token,
        on_event=listener.heard,
        on_joined=listener.joined,
        on_repeat=listener.repeats.append,
    )
    stack.push_async_callback(client.close)
    await client.open()
    return listener


def _acknowledged(racers: list[Racer]) -> int:
    return sum(len(racer.acknowledged) for racer in racers)


async def _book_all(place: Town, customer: Any) -> list[str]:
    return [await place.book(customer) for _ in range(JOBS)]


async def _everything_once(url: str, listeners: list[Listener]) -> None:
    with redis.Redis.from_url(url, decode_responses=True) as client:
        rows: Any = client.xrange("{main}:log", "-", "+")
    mine = {"role:ops", "role:admin", "role:managers", "user:cli_admin"}
    due = [
        int(entry.partition("-")[0])
        for entry, fields in rows
        if mine & set(fields["to"].split()) and not fields["type"].startswith("session.")
    ]
    for listener in listeners:
        await wait_until(lambda one=listener: one.joins >= 2, within_s=40, what="being back after the restart")
        await wait_until(lambda one=listener: one.seen and one.seen[-1] >= due[-1], what="the last event")
        assert listener.seen == [seq for seq in due if seq >= listener.seen[0]]
        assert (listener.repeats, listener.unrecovered) == ([], 0)
