"""The fault suite notices errors of the product: each changed script (mutant) is caught, and the unchanged scripts
pass.
"""

from __future__ import annotations

import asyncio
import os
import shutil
from pathlib import Path

import msgspec
import pytest

from engine.process.settings import Settings
from engine.store import scripts
from server.serve import run_server
from tests.nemesis.checker import Report, check
from tests.nemesis.end_state import read_end
from tests.nemesis.history import UNKNOWN, End, History
from tests.nemesis.run import wait_until_delivered
from tests.nemesis.users import create_workload
from tests.nemesis.workload import Pace, Workload
from tests.support.proxy import Proxy
from tests.support.wait import wait_until

JOBS = 10
FAR_PLACE = {"lat": -33.87, "lon": 151.21}

MUTANTS: dict[str, tuple[str, str, str]] = {
    "a claim ignores the holder": (
        "job_claim",
        "if job.holder ~= '' then return Idempotency.refuse(req, fingerprint, 'TAKEN') end",
        "if job.holder ~= '' then job.mode, job.holder, job.status = 'broadcast', '', 'broadcasted' end",
    ),
    "a claim that lost is answered with another code": (
        "job_claim",
        "if job.holder ~= '' then return Idempotency.refuse(req, fingerprint, 'TAKEN') end",
        "",
    ),
    "the holder's second claim is refused": ("job_claim", "if job.holder == technician and seq then", "if false then"),
    "verdicts are forgotten": ("lib/idempotency", "redis.call('SET', req, record, 'PX', ttl_ms)", ""),
    "the request is not compared": ("lib/idempotency", "if known ~= fingerprint then", "if false then"),
    "a refusal has no TTL": ("lib/idempotency", ", 'PX', Idempotency.REFUSAL_MS)", ")"),
    "due work is removed before it is done": (
        "due_take",
        "redis.call('ZADD', due, zone.now + Backlog.TAKEN_MS, entry)",
        "redis.call('ZREM', due, entry)",
    ),
    "the version does not rise": ("lib/job", "job.version + 1, zone.now", "job.version, zone.now"),
    "the version is not compared": (
        "lib/step",
        "if if_version ~= '' and tonumber(if_version) ~= job.version then return 'VERSION_CONFLICT' end",
        "",
    ),
    "a command is allowed in every state": (
        "lib/step",
        "string.find(from, ' ' .. job.status .. ' ', 1, true) then",
        "from then",
    ),
    "strangers may give commands": (
        "job_step",
        "if not job or not Relation.any(job, actor, plan.by) then",
        "if not job or Relation.any(job, actor, '') then",
    ),
    "a step is not saved": ("lib/apply_step", "  JobRecord.save(job)\n  -- A payment", "  -- A payment"),
    "an event is missing in the log": (
        "lib/event_log",
        "local id, state = zone.seq .. '-0', JobState.take(zone)",
        "local id, state = zone.seq .. '-0', JobState.take(zone) if event.type == 'offer.closed' then return end",
    ),
    "an event is written twice": (
        "lib/event_log",
        "  local seq = zone.seq\n",
        "  local seq = zone.seq\n  if event.type == 'job.status' then\n"
        "    EventLog.add_entry(zone, log, event, event.to, event.data)\n  end\n",
    ),
    "who leaves a job stays its holder": ("lib/apply_step", "    job.holder, job.card = '', ''\n", ""),
    "a finished job still counts as load": (
        "lib/capacity",
        "function Capacity.free(zone, job)\n",
        "function Capacity.free(zone, job)\n  if job.status ~= 'accepted' then return end\n",
    ),
    "a message is forgotten under its client_id": ("message_say", "redis.call('HSET', sent, field,", "type('',"),
    "an event names no cause": ("lib/event_log", "event.cause or ''", "''"),
}


USUAL_MUTANTS = (
    "a claim ignores the holder",
    "the holder's second claim is refused",
    "verdicts are forgotten",
    "a refusal has no TTL",
    "due work is removed before it is done",
    "the version does not rise",
    "an event is missing in the log",
    "a message is forgotten under its client_id",
)
"""The mutants that each run of the tests must catch: one for each part of the checker. ``make mutants`` takes all."""


def mutated_library(folder: Path, file: str, old: str, new: str) -> scripts.ScriptLibrary:
    """Return the script library after one text of a file is replaced."""
    shutil.copytree(scripts.scripts_folder(), folder)
    path = folder / f"{file}.lua"
    text = path.read_text()
    assert text.count(old) >= 1, f"{file}.lua has changed: write this mutant anew"
    path.write_text(text.replace(old, new))
    return scripts.load_library(folder)


async def judge_run(settings: Settings) -> Report:
    """Let users act on a server with the installed script library, and return the checker's judgement. Before they
    begin, the reply to the call that took the first wave of a job is lost.
    """
    history = History()
    assert settings.redis
    async with Proxy(settings.redis) as proxy:
        shown = msgspec.structs.replace(settings, port=0, redis=proxy.url, drain_s=0.0)
        async with run_server(shown) as server:
            workload = await create_workload(server.url, Path(settings.data), history, 1, technicians=3)
            workload.pace = Pace(booking_s=0.08, step_s=0.02, repeats=0.3, leaves=0.35, probes=0.4, probe_s=0.1)
            try:
                await lose_first_wave(proxy, workload)
                workload.start()
                await wait_until(lambda: len(workload.jobs) >= JOBS, within_s=20, what="jobs")
                await asyncio.sleep(0.4)
                await workload.stop()
                history.add(End(await wait_until_delivered(settings.redis, workload, within_s=3)))
            finally:
                await workload.disconnect()
    history.add(*await read_end(settings.redis, settings))
    return check(history)


async def lose_first_wave(proxy: Proxy, workload: Workload) -> None:
    """Book a job where no technician is, and lose the reply to the call that takes its first wave. No offer, claim or
    command of ops reaches this job, so it shows at the end what became of the wave.
    """
    proxy.drop_next = b"wave:job_"
    customer, body = workload.customers[0], workload.booking(FAR_PLACE)
    booked = await customer.attempt("book", "", args=body)
    if booked.out == UNKNOWN:  # the connection that ended had the reply to the booking too
        booked = await customer.attempt("book", "", booked.key, body)
    assert booked.out == "ok"
    await wait_until(lambda: proxy.dropped > 0, what="the lost reply")


async def test_the_scripts_as_they_are_have_no_flaw(settings: Settings) -> None:
    """The checker finds no error in a run with the unchanged scripts."""
    report = await judge_run(settings)
    assert [flaw.text for flaw in report.flaws] == []
    assert report.jobs >= JOBS and report.undecided == 0


@pytest.mark.parametrize("name", MUTANTS if os.environ.get("CALLOUT_TEST_MUTANTS") == "all" else USUAL_MUTANTS)
async def test_a_mutant_is_caught(
    name: str, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The checker finds an error in a run with a script that has a fault."""
    library = mutated_library(tmp_path / "lua", *MUTANTS[name])
    monkeypatch.setattr(scripts, "load_installed_library", lambda: library)
    report = await judge_run(settings)
    print(name, dict(report.counts))
    assert report.flaws
