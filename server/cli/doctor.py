"""``callout doctor``: check everything that a server depends on. The command lists all problems and repairs none.

The command works from outside, with or without a running server: it checks the files, Redis and SQL over its own
connections, and reads the report of the server (``/readyz``). It changes two things only: it migrates the database's
schema, as every program that opens the database does, and it writes a key in Redis that expires in 10 s.
"""

from __future__ import annotations

import asyncio
import json
import os
import time
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import msgspec

from engine.errors import Unavailable
from engine.process.datadir import write_problem
from engine.process.settings import Settings, SettingsError
from server import logs
from server.cli import options
from server.cli.connections import compare_zone, open_client, open_primaries, redis_url
from server.cli.durability_facts import durability_facts
from server.cli.zone_facts import zone_facts

if TYPE_CHECKING:
    import redis.asyncio as redis

    from engine.sql.database import Archive
    from engine.types import Zone

MAX_LAG_S = 60.0
"""An event that waits longer than this for SQL is a problem, and not just a short peak of load."""


class Finding(msgspec.Struct):
    """The result of one check: facts and problems."""

    name: str
    facts: dict[str, Any] = {}
    problems: list[str] = []


@click.command
@options.data
@options.redis
@options.database
@options.blueprints
@options.key_file
@options.as_json
def doctor(*, as_json: bool, **flags: str | None) -> int:
    """Check everything that a server depends on and list all problems. Exit code 1 if there are any."""
    settings = options.load_settings(**flags)
    logs.configure("critical")  # problems are printed below, once
    findings = asyncio.run(examine(settings))
    if as_json:
        well = not any(finding.problems for finding in findings)
        print(json.dumps({"ok": well, "findings": msgspec.to_builtins(findings)}))
    else:
        _print_findings(findings)
    return int(any(finding.problems for finding in findings))


async def examine(settings: Settings) -> list[Finding]:
    """Run all checks and return their findings, also those without a problem."""
    findings = [
        _check_directory(settings),
        _check_key(settings),
        _check_blueprints(settings),
        _check_compiled_send(),
        await _check_server(settings),
    ]
    async with AsyncExitStack() as stack:
        client, primaries, found = await _check_redis(settings, stack)
        archive, database = await _check_database(settings, stack)
        findings += [found, database, Finding("durability", await durability_facts(settings, primaries, archive))]
        findings.append(Finding("zones", *await zone_facts(settings, archive)))
        if client is not None:
            findings += [await _check_zone(client, archive, zone) for zone in settings.all_zones]
    return findings


def _print_findings(findings: list[Finding]) -> None:
    for finding in findings:
        known = ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in finding.facts.items())
        print(f"{'WRONG' if finding.problems else 'ok   '}  {finding.name}{': ' + known if known else ''}")
        for problem in finding.problems:
            print(f"         {problem}")
    wrong = sum(len(finding.problems) for finding in findings)
    print(f"{wrong} problem{'' if wrong == 1 else 's'}" if wrong else "no problems")


def _check_directory(settings: Settings) -> Finding:
    path = Path(settings.data)
    found = Finding("data directory", {"at": str(path.resolve())}, [])
    if not path.exists():
        found.problems.append("it does not exist: no server was started on it yet, or --data names another directory")
    elif not path.is_dir():
        found.problems.append("it is not a directory")
    elif not os.access(path, os.R_OK | os.W_OK | os.X_OK):
        found.problems.append("this user cannot write to it")
    elif why := write_problem(path):
        found.problems.append(why)
    return found


def _check_key(settings: Settings) -> Finding:
    from engine.process.signer import Signer, key_path

    path = key_path(settings)
    found = Finding("signing key", {"at": str(path)}, [])
    if not path.exists():
        found.facts["created"] = "at the first start"
        if settings.key_file:
            found.problems.append("the file does not exist: each host that shares a key needs a copy of it")
        return found
    if path.stat().st_mode & 0o077:
        found.problems.append(f"other users can read it (mode {path.stat().st_mode & 0o777:o}): chmod 600 {path}")
    try:
        Signer.load_or_create(path)
    except SettingsError as error:
        found.problems.append(str(error))
    return found


def _check_blueprints(settings: Settings) -> Finding:
    from engine.blueprint import catalogue

    try:
        names = sorted(
            catalogue.load_blueprints(settings.blueprint, *catalogue.blueprint_folders(settings.blueprints)).by_name
        )
    except catalogue.BlueprintError as error:
        return Finding("blueprints", {}, error.problems)
    return Finding("blueprints", {"found": " ".join(names)})


def _check_compiled_send() -> Finding:
    from server.gateway.broadcast_send import load_send, send_by_transports

    is_compiled = load_send() is not send_by_transports
    return Finding("broadcasts", {"sent": "by the compiled module" if is_compiled else "by Python"})


async def _check_server(settings: Settings) -> Finding:
    """Return the report of the running server. Only the server can report whether its relay is disconnected."""
    import httpx

    from engine.process.datadir import read_locking_process

    held = read_locking_process(Path(settings.data))
    if held is None:
        return Finding("server", {"running": "no"})
    found = Finding("server", {"pid": held.pid, "url": held.url or "none yet"}, [])
    if not held.url:
        found.problems.append("the server is still starting")
        return found
    try:
        async with httpx.AsyncClient(timeout=5.0, trust_env=False) as client:
            answer = await client.get(held.url + "/readyz")
        report = answer.json()
        found.problems += report.get("problems", [])
        found.facts |= {"durability": report["durability"]["level"]} if "durability" in report else {}
        if answer.status_code != 200 and not found.problems:
            found.problems.append(f"/readyz answers {answer.status_code}")
    except (httpx.HTTPError, ValueError) as error:
        found.problems.append(f"it does not respond: {str(error) or type(error).__name__}")
    return found


async def _check_redis(
    settings: Settings, stack: AsyncExitStack
) -> tuple[redis.Redis | None, list[redis.Redis], Finding]:
    """Return a client of Redis, a client of each of its primaries, and what was found. ``stack`` closes the clients."""
    from redis.exceptions import RedisError

    from engine.store.server_checks import server_problems

    found = Finding("Redis", {}, [])
    url = settings.redis or _embedded_url(settings, found)
    if url is None:
        return None, [], found
    try:
        client = await stack.enter_async_context(open_client(url))
        primaries = await open_primaries(url, client, stack)
        for name, primary in primaries.items():
            found.facts |= _redis_facts(await primary.info())
            problems = await server_problems(primary, settings.durability, settings.replicas or 0)
            found.problems += [f"{name}: {problem}" if name else problem for problem in problems]
        if "" not in primaries:
            found.facts["primaries"] = " ".join(primaries)
        found.problems += await _test_write(client, settings)
    except (RedisError, Unavailable, OSError, ValueError) as error:
        found.problems.append(f"it cannot be reached: {error}")
        return None, [], found
    return client, list(primaries.values()), found


async def _test_write(client: redis.Redis, settings: Settings) -> list[str]:
    """Write a key as a test, and return the problems. Many settings and states of Redis forbid writes, and only a write
    shows whether one of them does.
    """
    from redis.exceptions import ResponseError

    from engine.store import keys
    from server.health import PROBE_LIFETIME_MS

    try:
        for zone in settings.all_zones:
            await client.set(keys.write_probe(zone), 1, px=PROBE_LIFETIME_MS)
    except ResponseError as error:
        return [f"it refuses writes: {error}"]
    return []


def _embedded_url(settings: Settings, finding: Finding) -> str | None:
    """Return the URL of the data directory's embedded Valkey, or None if this Valkey does not run."""
    from engine.process import embedded, valkey_program
    from engine.process.datadir import CannotStart

    if (url := redis_url(settings)) and (state := embedded.read_state(Path(settings.data) / "valkey")):
        finding.facts |= {"embedded_at": f"127.0.0.1:{state.port}", "pid": state.pid}
        return url
    try:
        finding.facts["embedded"] = f"not running, starts with the server from {valkey_program.find_binary()}"
    except CannotStart as error:
        finding.problems.append(str(error))
    return None


def _redis_facts(info: dict[str, Any]) -> dict[str, Any]:
    name = "valkey" if "valkey_version" in info else "redis"
    persistence = "append-only file" if info.get("aof_enabled") else "snapshots or none"
    shape = {"version": f"{name} {info.get(name + '_version')}", "persistence": persistence}
    if info.get("cluster_enabled"):
        # A script computes names of keys: while a slot moves key by key, some of these keys are on another node.
        shape["resharding"] = "only by atomic slot migration, or with the zone closed"
    return shape


async def _check_database(settings: Settings, stack: AsyncExitStack) -> tuple[Archive | None, Finding]:
    from engine.sql.database import hide_password, open_archive

    file = Path(settings.data) / "callout.db"
    if settings.database is None and not file.exists():
        return None, Finding("database", {"at": str(file), "created": "at the first start"})
    try:
        archive = await open_archive(settings)
    except SettingsError as error:
        return None, Finding("database", {}, [str(error)])
    stack.push_async_callback(archive.close)
    problems = await archive.check()
    return None if problems else archive, Finding("database", {"at": hide_password(archive.url)}, problems)


async def _check_zone(client: redis.Redis, archive: Archive | None, zone: Zone) -> Finding:
    """Return whether a server would open the zone, and the lag of the archive (in events). The comparison of Redis and
    SQL is the one that a server makes when it opens the zone.
    """
    from engine.archive import reader
    from engine.store import keys
    from engine.zone import log, records
    from engine.zone.opening import CLOSED_REASONS

    head = await log.read_head(client, zone)
    found = Finding(f"zone {zone}", {"epoch": head.epoch or "none", "head": head.seq}, [])
    if head.epoch == "closed" and not await client.hexists(keys.zone_meta(zone), "why"):
        found.problems.append(f"closed: {CLOSED_REASONS['CLOSED']}")
    if archive is None:
        return found
    try:
        at = (await records.read_records(archive, [zone]))[zone]
    except Unavailable as error:
        found.problems.append(f"closed: the archive cannot be reached: {error}")
        return found
    word, archived = "PAUSED" if at.paused else await compare_zone(client, zone, at), at.archived
    if word != "OK" and not found.problems:
        found.problems.append(f"closed: {CLOSED_REASONS[word]}")
    try:
        waiting = await log.read_range(client, zone, archived, 1)
    except ValueError as error:
        found.problems.append(f"the log has an entry that Callout did not write: {error}")
        waiting = []
    found.facts |= {"archived": archived, "lag": max(0, head.seq - archived)}
    if refused := await reader.count_quarantined(archive, zone):
        found.problems.append(f"the database did not accept {refused} events (see the table events_refused)")
    if waiting and time.time() - waiting[0].at / 1000 > MAX_LAG_S:
        found.problems.append(f"the archive is behind by more than {MAX_LAG_S:g} s: is an archiver running?")
    return found
