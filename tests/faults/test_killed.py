"""A server is killed while it works: all acknowledged commands persist, and no client misses an event."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.faults.crowd import Person, Racer, Town, addressed, town
from tests.support.process import Server, run_server
from tests.support.wait import wait_until

JOBS, RACERS = 60, 5


@pytest.mark.parametrize("valkey_too", [False, True], ids=["server alone", "server and Valkey"])
async def test_every_acknowledged_claim_survives_a_kill_under_load(tmp_path: Path, valkey_too: bool) -> None:
    """After SIGKILL during a race and a start on the same directory, every acknowledged claim holds, no job has two
    holders, and every client reconnects by itself and has every event once.
    """
    async with run_server(tmp_path / "data", limits="off") as first, town(first) as place:
        customer = await place.person("customer")
        racers = [Racer(await place.technician(capacity=1000)) for _ in range(RACERS)]
        async with asyncio.TaskGroup() as group:
            races = [group.create_task(racer.race()) for racer in racers]
            booking = group.create_task(_book_all(place, customer))
            await wait_until(lambda: _acknowledged(racers) >= JOBS // 3, within_s=30, what="claims")
            at_kill = [set(racer.acknowledged) for racer in racers]
            await _kill(first, valkey_too)
            async with run_server(tmp_path / "data", port=urlsplit(first.url).port or 0, limits="off") as second:
                jobs = await booking
                await wait_until(lambda: _acknowledged(racers) >= JOBS, within_s=30, what="the other claims")
                await _holders_are_as_acknowledged(place, racers, jobs)
                for person in [customer, *(racer.person for racer in racers)]:
                    await _has_every_event(second, person)
                for race in races:
                    race.cancel()
    assert sum(map(len, at_kill)) >= JOBS // 3


def _acknowledged(racers: list[Racer]) -> int:
    return sum(len(racer.acknowledged) for racer in racers)


async def _book_all(place: Town, customer: Person) -> list[str]:
    return [await place.book(customer) for _ in range(JOBS)]


async def _kill(server: Server, valkey_too: bool) -> None:
    pid = server.valkey.pid
    ended = await server.stop(signal.SIGKILL)
    assert ended.code == -signal.SIGKILL
    if valkey_too:
        os.kill(pid, signal.SIGKILL)


async def _holders_are_as_acknowledged(place: Town, racers: list[Racer], jobs: list[str]) -> None:
    acknowledged = {job: racer.person.id for racer in racers for job in racer.acknowledged}
    assert len(acknowledged) == _acknowledged(racers), "the same job was acknowledged to two technicians"
    assert set(acknowledged) == set(jobs)
    holders = {job: (await place.job(job))["technician"]["id"] for job in jobs}
    assert holders == acknowledged


async def _has_every_event(server: Server, person: Person) -> None:
    await wait_until(lambda: set(addressed(server, person)) <= set(person.seen), what="all events")
    assert sorted(person.seen) == addressed(server, person)
    assert list(person.seen) == sorted(person.seen)
    assert (person.repeats, person.lost) == ([], [])
