"""``callout zone``: an operator closes a zone and opens it again. Until then the zone stays closed, whatever Redis
loses.
"""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import redis

from engine.blueprint import catalogue
from engine.process.signer import Signer
from engine.store import keys
from engine.types import DEFAULT_ZONE, UserId
from tests.faults.crowd import POSITION, scenario_on
from tests.support.http import open_http
from tests.support.migrated import create_data_dir
from tests.support.process import FinishedCommand, Server, run_callout, run_server
from tests.support.wait import wait_until

META, TECHNICIAN = keys.zone_meta(DEFAULT_ZONE), keys.technician(DEFAULT_ZONE, UserId("usr_1"))


async def run_zone(data: Path, *arguments: str) -> FinishedCommand:
    """Run ``callout zone`` on the data directory ``data``."""
    return await run_callout("zone", *arguments, "--data", str(data))


async def read_state(data: Path) -> Any:
    """Return the state of the zone ``main`` by ``callout zone status``."""
    done = await run_zone(data, "status", "--json")
    assert done.code == 0, done.err
    return json.loads(done.out)["main"]


async def readyz(server: Server) -> str:
    """Return the text of ``/readyz``."""
    async with open_http(timeout_s=5) as client:
        return (await client.get(f"{server.url}/readyz")).text


VERBS = ["status", "close", "open", "rebuild"]


@pytest.mark.parametrize("verb", VERBS)
async def test_wrong_calls_are_refused(tmp_path: Path, verb: str) -> None:
    """Without a database, and for an unknown zone, each command ends with 2 and one line, and creates nothing."""
    none, empty = tmp_path / "none", tmp_path / "empty.db"
    empty.touch()
    for flags in ((), ("--redis", "redis://127.0.0.1:1"), ("--database", f"sqlite:///{none}/other.db")):
        done = await run_zone(none, verb, "main", *flags)
        assert done.code == 2 and done.error_line.startswith("no database in")
    done = await run_zone(none, verb, "main", "--database", f"sqlite:///{empty}")
    assert done.code == 2 and done.error_line.startswith(f"no database in sqlite+aiosqlite:///{empty}")
    done = await run_zone(none, verb, "atlantis")
    assert (done.code, done.error_line) == (2, "zone atlantis: this installation has main")
    assert [file.name for file in tmp_path.iterdir()] == ["empty.db"] and empty.stat().st_size == 0
    create_data_dir(tmp_path / "data")
    if verb == "rebuild":
        done = await run_zone(tmp_path / "data", verb, "--redis", "redis://127.0.0.1:1")
        assert done.code == 2 and done.error_line.startswith("no signing key at")
        assert not (tmp_path / "data" / "signing.key").exists()


def create_installation(data: Path, database: str) -> Path:
    """Create a data directory with a signing key and a database whose id is ``database``."""
    create_data_dir(data)
    Signer.load_or_create(data / "signing.key")
    with closing(sqlite3.connect(data / "callout.db")) as sql, sql:
        sql.execute("UPDATE deployment SET id = ?", (database,))
    return data


async def test_a_redis_of_another_database_is_left_alone(tmp_path: Path, empty_redis: str) -> None:
    """If Redis belongs to another database, no command closes, opens or rebuilds the zone, whether it is open or
    paused. ``--take-over`` gives Redis to the database of the command. From then on the former database is refused."""
    right, wrong = create_installation(tmp_path / "right", "d1"), create_installation(tmp_path / "wrong", "d2")
    flags = ("--redis", empty_redis)
    with redis.Redis.from_url(empty_redis) as client:
        client.hset(META, mapping={"epoch": "e1-a", "seq": 0, "run_id": "a", "database": "d1"})
        client.set(TECHNICIAN, "a technician")
        for state in ({}, {"epoch": "closed", "why": "PAUSED"}, {"why": "REBUILDING", "done": 1, "total": 2}):
            client.hset(META, mapping={"skew": 0, **state})
            before = client.hgetall(META)
            for verb in ("close", "open", "rebuild"):
                done = await run_zone(wrong, verb, *flags)
                assert done.code == 1 and done.error_line.startswith("zone main: Redis belongs to another database")
            assert "deletes everything that Redis has" in done.error_line
            assert client.hgetall(META) == before and client.exists(TECHNICIAN)
            assert "why Redis belongs to another database" in (await run_zone(wrong, "status", *flags)).out
        assert (await run_zone(right, "close", *flags)).code == 0
        status = await run_zone(right, "status", *flags)
        assert status.out == "main: state rebuilding, archived 0, head 0, lag 0, rows 1, total 2\n"
        done = await run_zone(wrong, "rebuild", *flags, "--take-over")
        assert (done.code, "was rebuilt" in done.out) == (0, True), done.err
        assert client.hget(META, "database") == b"d2" and not client.exists(TECHNICIAN)
    assert "another database" in (await run_zone(right, "rebuild", *flags)).error_line


async def test_reading_commands_do_not_wait_for_the_writers_of_sqlite(tmp_path: Path) -> None:
    """While another process holds SQLite's write lock, ``zone status`` and ``export`` still work, and ``zone close``
    ends with one line."""
    data = create_installation(tmp_path / "data", "d1")
    with closing(sqlite3.connect(data / "callout.db", isolation_level=None)) as writer:
        writer.execute("BEGIN IMMEDIATE")
        assert (await run_zone(data, "status")).out == "main: state closed, archived 0, redis not running\n"
        assert (await run_callout("export", "--from", "1", "--data", str(data))).code == 0
        assert "database is locked" in (await run_zone(data, "close")).error_line


async def test_a_paused_zone_opens_only_by_the_command(tmp_path: Path) -> None:
    """A zone that an operator closed refuses commands and says why. It stays closed when the server restarts and when
    Redis is emptied. ``callout zone open`` opens it, after an emptied Redis was rebuilt."""
    data = tmp_path / "data"
    async with run_server(data, limits="off") as server, scenario_on(server) as scenario:
        customer = await scenario.create_person("customer")
        await scenario.create_technician()
        assert (await run_zone(data, "rebuild")).error_line.startswith("zone main is open and agrees")
        done = await run_zone(data, "close")
        assert (done.code, done.out) == (0, "zone main is paused; `callout zone open main` opens it\n")
        await wait_until(
            lambda: _readyz_contains(server, "zone main is closed: paused: an operator"), what="the reason"
        )
        body = {"service": scenario.service, **POSITION, "address": "Torstrasse 1"}
        with pytest.raises(Exception, match="paused") as refused:
            await scenario.api.request(
                "POST", "/v1/jobs", token=await customer.account.token(), body=body, patience_s=0
            )
        assert refused.value.code == "unavailable"  # type: ignore[attr-defined]
        assert (await read_state(data))["state"] == "paused"
        await server.stop()
    async with run_server(data, limits="off") as server:
        assert await _readyz_contains(server, "paused: an operator")
        with redis.Redis.from_url(server.redis_url) as client:
            client.flushall()
        assert (await read_state(data))["state"] == "paused"
        done = await run_zone(data, "open")
        assert (done.code, done.out.startswith("zone main is open in epoch e")) == (0, True), done.out
        await wait_until(lambda: _readyz_contains(server, '"problems":[]'), what="readyz")
        assert (await read_state(data))["state"] == "open"


async def _readyz_contains(server: Server, text: str) -> bool:
    return text in await readyz(server)


async def test_an_operator_rebuilds_a_paused_zone(tmp_path: Path) -> None:
    """``callout zone rebuild`` rebuilds a paused zone, with the events that the archive did not have yet. The zone
    stays paused until it is opened. With other blueprints than those of the server, it says so in one line."""
    data, other = tmp_path / "data", tmp_path / "blueprints"
    other.mkdir()
    shipped = (catalogue.shipped_folder() / "marketplace.toml").read_text()
    (other / "marketplace.toml").write_text(shipped.replace("offer_s = 86400", "offer_s = 86401"))
    async with run_server(data, limits="off") as server, scenario_on(server) as scenario:
        technician = await scenario.create_technician()
        await run_zone(data, "close")
        refused = await run_zone(data, "rebuild", "main", "--blueprints", str(other))
        assert refused.code == 2 and refused.error_line.startswith("blueprints: marketplace@"), refused.err
        head = (await read_state(data))["head"]
        done = await run_zone(data, "rebuild")
        assert done.code == 0 and f"was rebuilt up to seq {head}" in done.out, done.out + done.err
        state = await read_state(data)
        assert (state["state"], state["archived"]) == ("paused", head)
        assert (await run_zone(data, "open")).out.startswith("zone main is open in epoch e")
        with redis.Redis.from_url(server.redis_url) as client:
            assert client.hget(f"{{main}}:tech:{technician.id}", "online") == b"1"
