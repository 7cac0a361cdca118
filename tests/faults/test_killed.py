"""A server is killed under load: all acknowledged commands persist, and each client has all its events."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.faults.crowd import Person, Racer, Scenario, expected_seqs, scenario_on
from tests.support.process import Server, run_server
from tests.support.wait import wait_until

JOBS, RACERS = 60, 5


@pytest.mark.parametrize("kills_valkey", [False, True], ids=["server alone", "server and Valkey"])
async def test_every_acknowledged_claim_survives_a_kill_under_load(tmp_path: Path, kills_valkey: bool) -> None:
    """The process is killed (SIGKILL) while technicians compete, and started again on the same data directory. Every
    acknowledged claim is still valid, no job has two holders, and every client reconnects and has every event once.
    """
    async with run_server(tmp_path / "data", limits="off") as first, scenario_on(first) as scenario:
        customer = await scenario.create_person("customer")
        racers = [Racer(await scenario.create_technician(capacity=1000)) for _ in range(RACERS)]
        async with asyncio.TaskGroup() as group:
            races = [group.create_task(racer.claim_offers()) for racer in racers]
            booking = group.create_task(_book_jobs(scenario, customer))
            await wait_until(lambda: _count_acknowledged(racers) >= JOBS // 3, within_s=30, what="claims")
            at_kill = [set(racer.acknowledged) for racer in racers]
            await _kill_server(first, kills_valkey)
            async with run_server(tmp_path / "data", port=urlsplit(first.url).port or 0, limits="off") as second:
                jobs = await booking
                await wait_until(lambda: _count_acknowledged(racers) >= JOBS, within_s=30, what="the other claims")
                await _assert_holders_as_acknowledged(scenario, racers, jobs)
                for person in [customer, *(racer.technician for racer in racers)]:
                    await _assert_every_event_received(second, person)
                for race in races:
                    race.cancel()
    assert sum(map(len, at_kill)) >= JOBS // 3


def _count_acknowledged(racers: list[Racer]) -> int:
    return sum(len(racer.acknowledged) for racer in racers)


async def _book_jobs(scenario: Scenario, customer: Person) -> list[str]:
    return [await scenario.book_job(customer) for _ in range(JOBS)]


async def _kill_server(server: Server, kills_valkey: bool) -> None:
    pid = server.valkey.pid
    command = await server.stop(signal.SIGKILL)
    assert command.code == -signal.SIGKILL
    if kills_valkey:
        os.kill(pid, signal.SIGKILL)


async def _assert_holders_as_acknowledged(scenario: Scenario, racers: list[Racer], jobs: list[str]) -> None:
    acknowledged = {job: racer.technician.id for racer in racers for job in racer.acknowledged}
    assert len(acknowledged) == _count_acknowledged(racers), "the same job was acknowledged to two technicians"
    assert set(acknowledged) == set(jobs)
    holders = {job: (await scenario.read_job(job))["technician"]["id"] for job in jobs}
    assert holders == acknowledged


async def _assert_every_event_received(server: Server, person: Person) -> None:
    await wait_until(lambda: set(expected_seqs(server, person)) <= set(person.events), what="all events")
    assert sorted(person.events) == expected_seqs(server, person)
    assert list(person.events) == sorted(person.events)
    assert (person.repeats, person.unrecovered_zones) == ([], [])
