"""A Redis server that cannot give the acknowledgement level is refused at the start, and on each new connection."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest
from redis.asyncio import Redis

from engine.errors import Unavailable
from engine.process.settings import Settings, SettingsError, read_settings
from engine.runtime import Engine
from engine.startup import open_engine
from engine.store import pipeline, server_checks
from engine.store.connection import UnsuitableServer
from server.health import Health
from server.serve import RunningServer
from tests.support import people, valkey
from tests.support.http import open_http
from tests.support.process import environment, run_callout, run_server
from tests.support.wait import wait_until

SYNC_EACH_WRITE = ("--appendfsync", "always")


async def refusal_of(settings: Settings) -> list[str]:
    """Return the problems with which the start is refused."""
    with pytest.raises(UnsuitableServer) as refused:
        async with open_engine(settings):
            pass
    return refused.value.problems


def test_level_replica_without_the_number_of_replicas_is_refused() -> None:
    """Acknowledgement level ``replica`` needs the number of replicas as a setting. If the number were counted at the
    start, a replica that is away then would never be waited for.
    """
    with pytest.raises(SettingsError, match="durability: replica needs the number of replicas"):
        read_settings({"durability": "replica"}, env={}, file=Path("none"))
    assert read_settings({"durability": "replica", "replicas": "1"}, env={}, file=Path("none")).replicas == 1


async def test_level_replica_needs_its_replicas_at_the_start(settings: Settings) -> None:
    """At acknowledgement level ``replica`` a Redis server without a connected replica is refused."""
    wanted = msgspec.structs.replace(settings, durability="replica", replicas=1)
    assert await refusal_of(wanted) == ["level replica: 0 of 1 replicas are connected"]


async def test_level_aof_needs_a_sync_before_each_reply(settings: Settings, tmp_path: Path) -> None:
    """At acknowledgement level ``aof`` a Redis server is refused if it writes its file to the disk only once a second,
    or not while it rewrites the file.
    """
    wanted = msgspec.structs.replace(settings, durability="aof")
    assert await refusal_of(wanted) == ["level aof: appendfsync is everysec, must be always"]
    (tmp_path / "rewrites").mkdir()
    with valkey.run_server(tmp_path / "rewrites", *SYNC_EACH_WRITE, "--no-appendfsync-on-rewrite", "yes") as url:
        problems = await refusal_of(msgspec.structs.replace(wanted, redis=url))
        assert problems == ["level aof: no-appendfsync-on-rewrite is yes, must be no"]


async def test_level_aof_is_refused_where_it_cannot_be_checked(settings: Settings, tmp_path: Path) -> None:
    """Acknowledgement level ``aof`` is refused for a Redis user without the permission for CONFIG, because the server's
    settings cannot be read.
    """
    (tmp_path / "hidden").mkdir()
    with valkey.run_server(tmp_path / "hidden", *SYNC_EACH_WRITE) as url:
        async with Redis.from_url(url) as client:
            await client.execute_command("ACL", "SETUSER", "app", "on", ">secret", "~*", "&*", "+@all", "-config")
        named = url.replace("redis://", "redis://app:secret@")
        problems = await refusal_of(msgspec.structs.replace(settings, durability="aof", redis=named))
        assert problems == ["level aof: this server hides its configuration, so it cannot be checked"]


@pytest.fixture
async def aof_engine(settings: Settings, tmp_path: Path) -> AsyncIterator[Engine]:
    """Yield an engine of level ``aof`` on a server of its own."""
    (tmp_path / "always").mkdir()
    with valkey.run_server(tmp_path / "always", *SYNC_EACH_WRITE) as url:
        async with open_engine(msgspec.structs.replace(settings, durability="aof", redis=url)) as engine:
            yield engine


async def test_commands_are_unavailable_while_the_server_does_not_give_the_level(
    aof_engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A setting that is changed later, and a reconnect to such a server, make commands unavailable until it is put
    right; ``/readyz`` names the reason.
    """
    monkeypatch.setattr(pipeline, "CALL_TIMEOUT_S", 1.0)
    engine, health = aof_engine, Health(aof_engine)
    service, carla = await people.service(engine), await people.customer(engine)
    await people.job(engine, carla, service)
    assert health.durability_report() == {
        "level": "aof",
        "checks": ["appendonly yes", "appendfsync always", "no-appendfsync-on-rewrite no"],
        "warnings": [],
    }
    await engine.store.redis.config_set("appendfsync", "everysec")
    await health.check()
    await wait_until(lambda: not engine.store.pipeline.is_up)
    engine.store.pipeline.disconnect()
    assert "level aof: appendfsync is everysec, must be always" in health.problems()
    with pytest.raises(Unavailable):
        await people.job(engine, carla, service)
    await engine.store.redis.config_set("appendfsync", "always")
    await wait_until(lambda: engine.store.pipeline.is_up)
    assert health.problems() == []
    await people.job(engine, carla, service)


async def test_persistence_that_is_switched_off_later_is_a_warning(server: RunningServer) -> None:
    """If somebody switches off the append-only file of a serving Redis, ``/readyz`` warns until it is on again, and
    commands continue. Snapshots count as persistence.
    """
    redis, health = server.engine.store.redis, server.health

    async def warnings() -> list[str]:
        await health.check()
        async with open_http(server.url) as client:
            answer = await client.get("/readyz")
        assert answer.status_code == 200, answer.text
        found: list[str] = answer.json()["durability"]["warnings"]
        return found

    assert server_checks.NO_PERSISTENCE not in await warnings()
    try:
        await redis.config_set("appendonly", "no")
        assert server_checks.NO_PERSISTENCE in await warnings()
        await redis.config_set("save", "3600 1")
        assert server_checks.NO_PERSISTENCE not in await warnings()
    finally:
        await redis.config_set("save", "")
        await redis.config_set("appendonly", "yes")
    assert server_checks.NO_PERSISTENCE not in await warnings()


async def test_the_embedded_valkey_syncs_as_the_level_requires(tmp_path: Path) -> None:
    """Without ``--redis``, level ``aof`` starts a Valkey that syncs before each reply; ``/readyz`` and ``callout
    doctor`` name the level and what was checked.
    """
    async with run_server(tmp_path / "data", durability="aof", drain_s="0") as server, open_http(timeout_s=5) as client:
        report = (await client.get(f"{server.url}/readyz")).json()["durability"]
        assert report["level"] == "aof" and "appendfsync always" in report["checks"]
        doctor = await run_callout("doctor", "--data", str(server.data), env=environment(durability="aof"))
    assert doctor.code == 0 and f"url {server.url}, durability aof" in doctor.out
    assert "durability: level aof, checked appendonly yes, appendfsync always" in doctor.out


async def test_the_server_names_why_it_does_not_start(tmp_path: Path) -> None:
    """The message of ``callout serve`` is one line with the reason."""
    refused = await run_callout(
        "serve", "--data", str(tmp_path / "data"), "--port", "0", env=environment(durability="replica", replicas="1")
    )
    assert refused.error_line == "this Redis cannot be used: level replica: 0 of 1 replicas are connected"
