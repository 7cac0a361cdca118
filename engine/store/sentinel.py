"""Ask Redis Sentinel which server is the primary of a service."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import hiredis

from engine.errors import Unavailable

ASK_TIMEOUT_S = 1.0
"""How long one sentinel may take to answer. Then the next one is asked."""
READ_BYTES = 4096


async def find_primary(sentinels: Sequence[tuple[str, int]], service: str) -> tuple[str, int]:
    """Return host and port of the primary, as the first sentinel that answers knows it. Raises Unavailable if none
    knows it. During a failover this may still be the old one: the caller checks its role.
    """
    problems = []
    for host, port in sentinels:
        try:
            async with asyncio.timeout(ASK_TIMEOUT_S):
                found = await _ask_sentinel(host, port, service)
        except (OSError, hiredis.ProtocolError) as error:  # TimeoutError is an OSError
            problems.append(f"{host}:{port}: {error or 'it does not answer'}")
            continue
        if isinstance(found, list):
            return found[0].decode(), int(found[1])
        problems.append(f"{host}:{port}: {found or f'it does not know {service}'}")
    raise Unavailable(f"no sentinel names the primary ({'; '.join(problems)})")


async def _ask_sentinel(host: str, port: int, service: str) -> Any:
    """Return the reply of one sentinel: host and port, None, or an error reply."""
    reader, writer = await asyncio.open_connection(host, port)
    try:
        words: Any = ("SENTINEL", "GET-MASTER-ADDR-BY-NAME", service)
        writer.write(hiredis.pack_command(words))
        parser = hiredis.Reader()
        while (reply := parser.gets()) is False:
            data = await reader.read(READ_BYTES)
            if not data:
                raise ConnectionResetError("it closed the connection")
            parser.feed(data)
        return reply
    finally:
        writer.close()
