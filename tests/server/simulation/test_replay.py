"""Tests of ``callout replay``, run in a process of its own, which starts its own server."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from pathlib import Path

import pytest

from engine.process.signer import sign_token
from engine.types import UserId
from server.serve import RunningServer
from tests.support.process import FinishedCommand, environment, run_callout, start_callout

SAMPLE_TRACE = Path(__file__).parents[2] / "data" / "pickups.csv"
RESULT_MEMBERS = [
    *("jobs", "claimed", "expired", "claim_attempts", "refused", "double_claims", "lost_events"),
    *("duplicate_events", "time_to_claim_ms", "event_lag_ms", "wall_s"),
]


async def run_replay(*arguments: str | Path) -> FinishedCommand:
    """Run ``callout replay`` with these arguments until it ends."""
    return await run_callout("replay", *map(str, arguments), within_s=140)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ((SAMPLE_TRACE.with_name("none.csv"),), "No such file"),
        ((SAMPLE_TRACE, "--url", "http://127.0.0.1:1"), "--token"),
        ((SAMPLE_TRACE, "--token", "t"), "--url"),
        ((SAMPLE_TRACE, "--redis", "redis://127.0.0.1:1"), "--url"),
        ((SAMPLE_TRACE, "--limit", "0"), "--limit"),
        ((SAMPLE_TRACE, "--speed", "0"), "--speed"),
        ((SAMPLE_TRACE, "--technicians", "0"), "--technicians"),
    ],
)
async def test_invalid_arguments_are_refused_in_one_line(arguments: tuple[str | Path, ...], says: str) -> None:
    """Invalid arguments are refused with the exit code 2 and an error that names the file or option."""
    refused = await run_replay(*arguments)
    assert refused.code == 2
    assert refused.out == ""
    assert says in refused.err
    assert "Traceback" not in refused.err


async def test_each_of_sixty_jobs_is_claimed_once_or_expires() -> None:
    """Each job is claimed once or expires, although technicians compete for it. No event is lost or received twice."""
    finished = await run_replay(SAMPLE_TRACE, "--technicians", "20", "--speed", "400", "--seed", "3", "--json")
    assert finished.code == 0, finished.out + finished.err
    result = json.loads(finished.out.splitlines()[-1])
    assert list(result) == RESULT_MEMBERS
    assert finished.out.count("\n") == 1, "progress belongs on stderr"
    assert result["jobs"] == 60 == result["claimed"] + result["expired"]
    assert result["claim_attempts"] > 1.5 * result["claimed"]
    assert result["claim_attempts"] == result["claimed"] + sum(result["refused"].values())
    assert result["refused"]["taken"] > 0
    assert (result["double_claims"], result["lost_events"], result["duplicate_events"]) == (0, 0, 0)
    assert 0 < result["time_to_claim_ms"]["p50"] <= result["time_to_claim_ms"]["p99"]
    assert result["event_lag_ms"]["p99"] is not None
    assert result["wall_s"] > 0


async def test_replay_uses_a_running_server_by_its_url(server: RunningServer) -> None:
    """With `--url` and an admin's token, the simulated users use a running server. Lost events are counted only if
    `--redis` is given too.
    """
    settings = server.engine.settings
    token = sign_token(server.engine.signer, UserId("cli_admin"), "admin", expires_s=600)
    options = (SAMPLE_TRACE, "--limit", "5", "--technicians", "3", "--url", server.url, "--token", token, "--json")
    for more, lost in (((), None), (("--redis", str(settings.redis)), 0)):
        finished = await run_replay(*options, *more)
        assert finished.code == 0, finished.out + finished.err
        result = json.loads(finished.out)
        assert (result["jobs"], result["claimed"], result["lost_events"]) == (5, 5, lost)
        assert (result["double_claims"], result["duplicate_events"]) == (0, 0)


async def test_a_token_without_admin_rights_is_refused(server: RunningServer) -> None:
    """With a customer's token the run ends with the exit code 1 and the server's code `forbidden`."""
    token = sign_token(server.engine.signer, UserId("cli_customer"), "customer", expires_s=600)
    refused = await run_replay(SAMPLE_TRACE, "--limit", "1", "--url", server.url, "--token", token)
    assert refused.code == 1
    assert "forbidden" in refused.err
    assert "Traceback" not in refused.err


async def test_an_interrupted_replay_removes_its_data(tmp_path: Path) -> None:
    """After Ctrl-C during a run, the exit code is 130 and the data of its server is removed."""
    env = environment() | {"TMPDIR": str(tmp_path)}
    process = await start_callout("replay", str(SAMPLE_TRACE), "--technicians", "5", "--speed", "1", env=env)
    try:
        assert process.stderr
        async with asyncio.timeout(60):
            while b"users ready" not in (line := await process.stderr.readline()):
                assert line, "the replay ended before its users were ready"
        assert os.listdir(tmp_path) != []
        process.send_signal(signal.SIGINT)
        async with asyncio.timeout(60):
            code = await process.wait()
    finally:
        if process.returncode is None:
            process.kill()
            await process.communicate()
    assert code == 130
    assert os.listdir(tmp_path) == []
