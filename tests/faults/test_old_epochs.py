"""An address that leads back to the old server, a restored older file, two primaries: no process continues an older
epoch of the log.
"""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from engine.domain import jobs
from engine.errors import Taken, Unavailable
from engine.identity import access, accounts
from engine.process.settings import Settings
from engine.rebuild import rebuilder
from engine.rebuild.writer import LostRight, ZoneWriter
from engine.runtime import Engine
from engine.sql.schema import events
from engine.startup import open_engine
from engine.types import DEFAULT_ZONE, JobId, Principal, UserId, epoch_number
from engine.workers import archiver as writer
from engine.zone import log
from server.health import Health
from tests.faults.pair import RedisPair, running_pair
from tests.server.gateway.conftest import Node, running_node
from tests.support import people, valkey
from tests.support.wait import wait_until


@pytest.fixture
async def pair(tmp_path: Path) -> AsyncIterator[RedisPair]:
    async with running_pair(tmp_path) as redis_pair:
        yield redis_pair


def settings_of(tmp_path: Path, url: str) -> Settings:
    """Return settings with one database for all engines of the test."""
    (tmp_path / "data").mkdir(exist_ok=True)
    return Settings(data=str(tmp_path / "data"), redis=url, limits="off")


async def create_offered_job(engine: Engine) -> tuple[JobId, Principal, Principal, Principal]:
    """Create a job with offers to two technicians. Return the job, its customer and both technicians."""
    service, carla = await people.service(engine), await people.customer(engine)
    tom, tara = [await people.technician(engine, name, service) for name in ("t1", "t2")]
    return await people.offered_job(engine, carla, service), carla, tom, tara


def open_epoch(node: Node) -> int:
    """Return the number of the epoch in which the node runs commands, or 0 while it runs none."""
    state = node.engine.store.zones[DEFAULT_ZONE]
    return epoch_number(state.epoch) if state.open and node.engine.store.pipeline.is_up else 0


def is_reported_closed(node: Node, reason: str) -> bool:
    """Return whether ``/readyz`` of the node reports that the zone is closed, with the reason ``reason``."""
    return any("zone main is closed" in problem and reason in problem for problem in Health(node.engine).problems())


async def archived_seqs(engine: Engine) -> list[int]:
    """Return the sequence numbers of all events in SQL."""
    async with engine.archive.begin_read() as conn:
        return list((await conn.execute(select(events.c.seq).order_by(events.c.seq))).scalars())


async def connect_zone(node: Node, token: str, cursor: dict[str, Any]) -> dict[str, Any]:
    """Connect with ``cursor`` and return the zone in the reply, or {} if the zone or the gateway is unavailable."""
    async with node.open_socket() as client:
        reply = await client.request(op="connect", token=token, cursors={"main": cursor})
    if "error" in reply:
        assert reply["error"]["code"] == "unavailable"
        return {}
    return dict(reply["ok"]["zones"].get("main", {}))


@pytest.mark.parametrize("in_sql", [True, False])
async def test_an_address_that_leads_back_to_the_old_primary(
    pair: RedisPair, tmp_path: Path, in_sql: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If the address of Redis changes from A to B and back to A, which neither restarted nor replicated B, no command
    runs on A, whether SQL has events of B's epoch or only its name. A new process refuses A too. Back at B commands
    continue and no event is lost, also if a process has begun to rebuild A.
    """
    async with running_node(settings_of(tmp_path, pair.proxy.url)) as node:
        job, carla, one, two = await create_offered_job(node.engine)
        token = await node.token(carla.id)
        await writer.run_once(node.engine)
        await pair.promote_both()
        pair.set_target(pair.second_url)
        await wait_until(lambda: open_epoch(node) == 2)
        async with node.connect(carla.id) as client:
            await jobs.claim(node.engine, one, job)
            claim_seq = (await client.next_push())["seq"]
            cursor = {"epoch": node.engine.store.zones[DEFAULT_ZONE].epoch, "seq": claim_seq}
            if in_sql:
                await writer.run_once(node.engine)
            pair.set_target(pair.first_url)
            assert await client.wait_for_close() == 4004
        await wait_until(lambda: is_reported_closed(node, "behind" if in_sql else "older history"))
        with pytest.raises(Unavailable):
            await jobs.claim(node.engine, two, job)
        async with open_engine(settings_of(tmp_path, pair.first_url)) as fresh:
            assert not fresh.store.zones[DEFAULT_ZONE].open
        assert await connect_zone(node, token, cursor) == {}
        if in_sql:
            monkeypatch.setattr(ZoneWriter, "finish", _raise_lost_right)
            assert await rebuilder.run_once(node.engine) == []
            assert node.engine.store.zones[DEFAULT_ZONE].word == "REBUILDING"
        pair.set_target(pair.second_url)
        if in_sql:
            await wait_until(lambda: is_reported_closed(node, "older history"), within_s=15)
            await rebuilder.run_once(node.engine)
        await wait_until(lambda: open_epoch(node) == 2, within_s=15)
        with pytest.raises(Taken):
            await jobs.claim(node.engine, two, job)
        await wait_until(lambda: node.gateway.relay.tails[DEFAULT_ZONE].is_open, within_s=15)
        assert (await connect_zone(node, token, cursor))["recovered"] is True
        await writer.run_once(node.engine)
        head = (await log.read_head(node.engine.store.read_connection, DEFAULT_ZONE)).seq
        assert await archived_seqs(node.engine) == list(range(1, head + 1)) and head >= claim_seq


async def _raise_lost_right(*_: object) -> None:
    raise LostRight("the address leads to another server")


async def test_an_older_file_from_before_an_epoch_started(tmp_path: Path) -> None:
    """If Redis restarts with a file from before the last epoch, the new epoch has the number of the lost one but
    another name, so that a client of the lost epoch learns that events are missing.
    """
    home = tmp_path / "redis"
    home.mkdir()
    options, port = ("--appendfsync", "always"), valkey.free_port()
    process, url = valkey.start_server(home, *options, port=port)
    try:
        async with running_node(settings_of(tmp_path, url)) as node:
            token = await node.token("ann")
            await node.wait_until_relayed(await node.append("user:ann", times=6, data='{"job":null}'))
            await writer.run_once(node.engine)
            shutil.copytree(home / "appendonlydir", tmp_path / "older")
            for number in (2, 3):
                process.kill()
                process.wait()
                if number == 3:
                    shutil.rmtree(home / "appendonlydir")
                    shutil.copytree(tmp_path / "older", home / "appendonlydir")
                process, _ = valkey.start_server(home, *options, port=port)
                await wait_until(lambda n=number: open_epoch(node) == n)  # type: ignore[misc]
                await node.wait_until_relayed(await node.append("user:ann", times=3, data='{"job":null}'))
                if number == 2:
                    lost = {"epoch": node.engine.store.zones[DEFAULT_ZONE].epoch, "seq": 7}
            await wait_until(lambda: epoch_number(node.gateway.relay.tails[DEFAULT_ZONE].epoch) == 3)
            zone = await connect_zone(node, token, lost)
            assert (zone["recovered"], zone["reason"]) == (False, "epoch")
            assert (await connect_zone(node, token, {"epoch": zone["epoch"], "seq": 7}))["missed"] == 2
            await writer.run_once(node.engine)
            assert await archived_seqs(node.engine) == list(range(1, 10))
    finally:
        process.kill()
        process.wait()


async def test_two_primaries_with_clients(pair: RedisPair, tmp_path: Path) -> None:
    """With two primaries, the zone with the older epoch is closed and its clients resynchronise, so that no job of the
    newer epoch is claimed there; SQL has the complete newer epoch and no event of the older one.
    """
    async with running_node(settings_of(tmp_path, pair.first_url)) as left:
        job, _, one, two = await create_offered_job(left.engine)
        await writer.run_once(left.engine)
        token = await left.token("ann")
        await wait_until(pair.has_same_head)
        await pair.promote_both()
        async with running_node(settings_of(tmp_path, pair.second_url)) as right, left.connect("ann") as client:
            assert (open_epoch(left), open_epoch(right)) == (1, 2)
            await jobs.claim(right.engine, one, job)
            await left.append("user:ann", times=3, data='{"job":null}')
            archiver = writer.Archiver(left.engine)
            await archiver.archive_batch(1)
            await archiver.close()
            assert is_reported_closed(left, "older history")
            with pytest.raises(Unavailable):
                await jobs.claim(left.engine, two, job)
            await wait_until(lambda: not left.gateway.relay.tails[DEFAULT_ZONE].is_open)
            cursor = {name: client.hello["zones"]["main"][name] for name in ("epoch", "seq")}  # type: ignore[attr-defined]
            assert await connect_zone(left, token, cursor) == {}
            with pytest.raises(Taken):
                await jobs.claim(right.engine, two, job)
            await writer.run_once(right.engine)
            assert await archived_seqs(right.engine) == list(
                range(1, (await log.read_head(right.engine.store.read_connection, DEFAULT_ZONE)).seq + 1)
            )
            await left.engine.store.reopen(DEFAULT_ZONE, stale=left.engine.store.zones[DEFAULT_ZONE].epoch)
            assert is_reported_closed(left, "history")


async def test_two_servers_with_different_databases_are_never_both_ready(
    redis_url: str, empty_redis: str, tmp_path: Path
) -> None:
    """A second server with an empty database reports that Redis belongs to another database; it refuses commands,
    sign-in and registration with `unavailable`.
    """
    async with open_engine(settings_of(tmp_path, empty_redis)) as first:
        await people.technician(first, "t1", await people.service(first))
        (tmp_path / "other").mkdir()
        async with open_engine(settings_of(tmp_path / "other", empty_redis)) as second:
            assert Health(second).problems()[0].startswith("zone main is closed: Redis belongs to another database")
            with pytest.raises(Unavailable):
                await people.technician(second, "t2", await people.service(second))
            # Users are neither signed out nor asked to register again: their account is in the right database.
            new = accounts.NewAccount(email="a@example.org", password="correct horse", name="Ada", role="customer")
            with pytest.raises(Unavailable):
                await access.read_access(second, UserId("usr_1"))
            with pytest.raises(Unavailable):
                await accounts.login(second, new.email, new.password)
            with pytest.raises(Unavailable):
                await accounts.register_user(second, new)
        assert Health(first).problems() == []
