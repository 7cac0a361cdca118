"""A full disk while a server runs and when it starts."""

from __future__ import annotations

import asyncio
import json
import resource
import signal
import sys
from asyncio.subprocess import PIPE
from pathlib import Path

from tests.support import valkey
from tests.support.http import open_http
from tests.support.process import FinishedCommand, environment, run_server, wait_for_command
from tests.support.wait import wait_until

LIMITED_PROGRAM = (
    "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000));"
    " import sys; from server.cli.main import main; main()"
)
"""A program whose files cannot grow beyond 1000 bytes. To the process this is like a full disk, with EFBIG instead of
ENOSPC."""


async def run_limited(*arguments: str) -> FinishedCommand:
    """Run ``LIMITED_PROGRAM`` with these arguments of ``callout``."""
    return await wait_for_command(
        await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", LIMITED_PROGRAM, *arguments), env=environment(), stdout=PIPE, stderr=PIPE
        )
    )


async def test_a_start_is_refused_in_one_line(tmp_path: Path) -> None:
    """With a full disk the start is refused before any process starts, in one line with the directory and the system's
    reason; `doctor` reports the same.
    """
    data = tmp_path / "data"
    data.mkdir()
    refused = await run_limited("serve", "--data", str(data), "--port", "0")
    checked = await run_limited("doctor", "--json", "--data", str(data))
    assert refused.code == 2
    assert refused.error_line.startswith(f"nothing can be written to {data}: ") and "make room" in refused.error_line
    assert not (data / "valkey").exists()
    (finding,) = [each for each in json.loads(checked.out)["findings"] if each["name"] == "data directory"]
    assert checked.code == 1 and finding["problems"][0].startswith("nothing can be written")


async def test_a_server_with_a_full_disk_continues_and_reports_it(tmp_path: Path, empty_redis: str) -> None:
    """When no file can be written, a running server still replies, is not ready, counts the lost log lines, and exits
    with 0.
    """
    counts = f"http://127.0.0.1:{(port := valkey.free_port())}/metrics"
    async with run_server(
        tmp_path / "data", "--redis", empty_redis, log_level="debug", metrics_port=str(port)
    ) as server:
        async with open_http(server.url) as client:

            async def response_contains(path: str, text: str) -> bool:
                return text in (await client.get(path)).text

            await wait_until(lambda: response_contains("/readyz", '"ready":true'), within_s=20)
            _, hard = resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE)
            resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, (0, hard))
            await wait_until(lambda: response_contains("/readyz", "nothing can be written"), within_s=20)

            async def has_lost_lines() -> bool:
                server.process.send_signal(signal.SIGHUP)  # the server reloads the blueprints and logs it
                lines = (await client.get(counts)).text.splitlines()
                return any(
                    float(line.split()[1]) > 0 for line in lines if line.startswith("callout_log_lines_lost_total ")
                )

            await wait_until(has_lost_lines, what="a line that is lost", within_s=20)
            assert (await client.get("/healthz")).status_code == 200
        before = server.log_text()
        command = await server.stop()
    assert command.code == 0
    assert server.log_text() == before
