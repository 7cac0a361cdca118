"""The first half hour of docs/first-hour.md, as a newcomer types it."""

from __future__ import annotations

import asyncio
import os
import re
import sys
from pathlib import Path

from server.serve import Running

PAGE = Path(__file__).resolve().parents[2] / "docs" / "first-hour.md"
SAYS = ["approved", "True", "Job accepted", "on_the_way", "reached", "in_progress", "completed", "Grace"]


async def test_the_page_works_as_it_stands(server: Running) -> None:
    """Its blocks, in order, in one shell, end in a completed job that customer and technician see."""
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
    said = out.decode().splitlines()
    assert [line for line in said if line in SAYS] == SAYS
