"""The commands of docs/first-hour.md, run as a new user types them."""

from __future__ import annotations

import asyncio
import os
import re
import sys
from pathlib import Path

from server.serve import RunningServer

PAGE = Path(__file__).resolve().parents[2] / "docs" / "first-hour.md"
EXPECTED = ["approved", "True", "Job accepted", "on_the_way", "reached", "in_progress", "completed", "Grace"]


async def test_the_page_works_as_written(server: RunningServer) -> None:
    """The commands of docs/first-hour.md, run in order in one shell, end in a completed job that the customer and the
    technician can read.
    """
    script = "set -eu\n" + "\n".join(re.findall(r"^```sh\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL))
    beside = Path(sys.executable).parent
    env = {
        "PATH": f"{beside}:{os.environ['PATH']}",
        "URL": server.url,
        "DATA": server.engine.settings.data,
        "NO_PROXY": "*",
    }
    shell = await asyncio.create_subprocess_exec(
        "bash", "-c", script, env=env, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    async with asyncio.timeout(100):
        out, err = await shell.communicate()
    assert shell.returncode == 0, (out.decode(), err.decode())
    lines = out.decode().splitlines()
    assert [line for line in lines if line in EXPECTED] == EXPECTED
