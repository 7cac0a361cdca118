"""A name that leads back, an older file, two primaries at once: nobody goes back to an older life of the log."""

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
from engine.runtime import Engine, open_engine
from engine.sql.schema import events
from engine.types import DEFAULT_ZONE, JobId, Principal, UserId, number_of
from engine.workers import archiver as writer
from engine.zone import log
from server.health import Health
from tests.faults.pair import Pair, paired
from tests.server.gateway.conftest import Node, node_of
from tests.support import people, valkey
from tests.support.wait import wait_until


@pytest.fixture
async def pair(tmp_path: Path) -> AsyncIterator[Pair]:
    async with paired(tmp_path) as both:
        yield both


def settings_of(tmp_path: Path, url: str) -> Settings:
    """One database for all."""
    (tmp_path / "data").mkdir(exist_ok=True)
    return Settings(data=str(tmp_path / "data"), redis=url, limits="off")


async def offered(engine: Engine) -> tuple[JobId, Principal, Principal, Principal]:
    """A job that two may claim; both and its customer."""
    serves, carla = await people.service(engine), await people.customer(engine)
    one, two = [await people.technician(engine, name, serves) for name in ("t1", "t2")]
    return await people.offered(engine, carla, serves), carla, one, two


def lives(node: Node) -> int:
    """The number of the epoch in which the node does commands; 0 while it does none."""
    state = node.engine.store.zones[DEFAULT_ZONE]
    return number_of(state.epoch) if state.open and node.engine.store.packed.up else 0


def closed(node: Node, why: str) -> bool:
    """Whether the node says that the zone is closed, and so."""
    return any("zone main is closed" in problem and why in problem for problem in Health(node.engine).problems())


async def archived(engine: Engine) -> list[int]:
    """The seqs in SQL."""
    async with engine.archive.reading() as conn:
        return list((await conn.execute(select(events.c.seq).order_by(events.c.seq))).scalars())


async def joined(node: Node, token: str, cursor: dict[str, Any]) -> dict[str, Any]:
    """What one who comes with ``cursor`` is told of the zone; {} where it, or the gateway, is not to be joined."""
    async with node.raw() as client:
        told = await client.ask(op="connect", token=token, cursors={"main": cursor})
    if "error" in told:
        assert told["error"]["code"] == "unavailable"
        return {}
    return dict(told["ok"]["zones"].get("main", {}))


@pytest.mark.parametrize("in_sql", [True, False])
async def test_a_name_that_leads_back_to_the_server_that_was_replaced(pair: Pair, tmp_path: Path, in_sql: bool) -> None:
    """A → B → A, where A neither restarted nor followed B: no command is done at A, whether SQL has events of B's life
    or only its name, and a process that begins now is no wiser. Back at B all goes on, with nothing lost.
    """
    async with node_of(settings_of(tmp_path, pair.name.url)) as node:
        job, carla, one, two = await offered(node.engine)
        token = await node.token(carla.id)
        await writer.run_once(node.engine)
        await pair.part()
        pair.set_target(pair.two)
        await wait_until(lambda: lives(node) == 2)
        async with node.client(carla.id) as client:
            await jobs.claim(node.engine, one, job)
            won = (await client.push())["seq"]
            cursor = {"epoch": node.engine.store.zones[DEFAULT_ZONE].epoch, "seq": won}
            if in_sql:
                await writer.run_once(node.engine)
            pair.set_target(pair.one)
            assert await client.closed() == 4004
        await wait_until(lambda: closed(node, "behind" if in_sql else "older life"))
        with pytest.raises(Unavailable):
            await jobs.claim(node.engine, two, job)
        async with open_engine(settings_of(tmp_path, pair.one)) as fresh:
            assert not fresh.store.zones[DEFAULT_ZONE].open
        assert await joined(node, token, cursor) == {}
        pair.set_target(pair.two)
        await wait_until(lambda: lives(node) == 2, within_s=15)
        with pytest.raises(Taken):
            await jobs.claim(node.engine, two, job)
        await wait_until(lambda: node.gateway.relay.tails[DEFAULT_ZONE].open, within_s=15)
        assert (await joined(node, token, cursor))["recovered"] is True
        await writer.run_once(node.engine)
        head = (await log.head(node.engine.store.reads, DEFAULT_ZONE)).seq
        assert await archived(node.engine) == list(range(1, head + 1)) and head >= won


async def test_an_older_file_from_before_an_epoch_began(tmp_path: Path) -> None:
    """The life that is opened then has another name than the one that was lost with the same number: who heard the lost
    one is not told that nothing is missing.
    """
    home = tmp_path / "redis"
    home.mkdir()
    always, port = ("--appendfsync", "always"), valkey.free_port()
    process, url = valkey.start(home, *always, port=port)
    try:
        async with node_of(settings_of(tmp_path, url)) as node:
            token = await node.token("ann")
            await node.relayed(await node.append("user:ann", times=6, data='{"job":null}'))
            await writer.run_once(node.engine)
            shutil.copytree(home / "appendonlydir", tmp_path / "older")
            for life in (2, 3):
                process.kill()
                process.wait()
                if life == 3:
                    shutil.rmtree(home / "appendonlydir")
                    shutil.copytree(tmp_path / "older", home / "appendonlydir")
                process, _ = valkey.start(home, *always, port=port)
                await wait_until(lambda n=life: lives(node) == n)  # type: ignore[misc]
                await node.relayed(await node.append("user:ann", times=3, data='{"job":null}'))
                if life == 2:
                    heard = {"epoch": node.engine.store.zones[DEFAULT_ZONE].epoch, "seq": 7}
            await wait_until(lambda: number_of(node.gateway.relay.tails[DEFAULT_ZONE].epoch) == 3)
            told = await joined(node, token, heard)
            assert (told["recovered"], told["reason"]) == (False, "epoch")
            assert (await joined(node, token, {"epoch": told["epoch"], "seq": 7}))["missed"] == 2
            await writer.run_once(node.engine)
            assert await archived(node.engine) == list(range(1, 10))
    finally:
        process.kill()
        process.wait()


async def test_two_primaries_that_are_both_served(pair: Pair, tmp_path: Path) -> None:
    """The newer life is whole in SQL, of the other nothing more gets there: its zone is closed and its clients are told
    to begin anew, so that no job of the newer life is won at the other.
    """
    async with node_of(settings_of(tmp_path, pair.one)) as left:
        job, _, one, two = await offered(left.engine)
        await writer.run_once(left.engine)
        token = await left.token("ann")
        await wait_until(pair.same_head)
        await pair.part()
        async with node_of(settings_of(tmp_path, pair.two)) as right, left.client("ann") as client:
            assert (lives(left), lives(right)) == (1, 2)
            await jobs.claim(right.engine, one, job)
            await left.append("user:ann", times=3, data='{"job":null}')
            archiver = writer.Archiver(left.engine)
            await archiver.step(1)
            await archiver.close()
            assert closed(left, "older life")
            with pytest.raises(Unavailable):
                await jobs.claim(left.engine, two, job)
            await wait_until(lambda: not left.gateway.relay.tails[DEFAULT_ZONE].open)
            heard = {name: client.hello["zones"]["main"][name] for name in ("epoch", "seq")}  # type: ignore[attr-defined]
            assert await joined(left, token, heard) == {}
            with pytest.raises(Taken):
                await jobs.claim(right.engine, two, job)
            await writer.run_once(right.engine)
            assert await archived(right.engine) == list(
                range(1, (await log.head(right.engine.store.reads, DEFAULT_ZONE)).seq + 1)
            )
            await left.engine.store.reopen(DEFAULT_ZONE, stale=left.engine.store.zones[DEFAULT_ZONE].epoch)
            assert closed(left, "life")


async def test_two_servers_with_different_databases_are_never_both_ready(
    redis_url: str, empty_redis: str, tmp_path: Path
) -> None:
    """The second one, whose database is empty, says that Redis is not its own, and nobody's account is gone."""
    async with open_engine(settings_of(tmp_path, empty_redis)) as first:
        await people.technician(first, "t1", await people.service(first))
        (tmp_path / "other").mkdir()
        async with open_engine(settings_of(tmp_path / "other", empty_redis)) as second:
            assert Health(second).problems()[0].startswith("zone main is closed: Redis belongs to another database")
            with pytest.raises(Unavailable):
                await people.technician(second, "t2", await people.service(second))
            # Neither signed out nor sent to register anew: the account is in the right database.
            new = accounts.NewAccount(email="a@example.org", password="correct horse", name="Ada", role="customer")
            with pytest.raises(Unavailable):
                await access.of(second, UserId("usr_1"))
            with pytest.raises(Unavailable):
                await accounts.login(second, new.email, new.password)
            with pytest.raises(Unavailable):
                await accounts.register(second, new)
        assert Health(first).problems() == []
