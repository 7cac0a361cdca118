"""The Autobahn cases against the gateway's own transport: every rule of RFC 6455, by somebody else's reading of it."""

from __future__ import annotations

from typing import Any

import kosoku

from server.gateway.connection import Connection
from server.gateway.frames import binary_frame, text_frame
from server.gateway.transport import ATTACH_EXTENSION
from tests.server.gateway.conftest import serving

EXCLUDED = ["9.*", "12.*", "13.*"]
"""Messages beyond 64 KiB, and compression, both refused on purpose."""
BY_DESIGN = {"7.1.5"}
"""websockets fails the rest of a fragmented message after a close frame; the case wants silence."""
GOOD = {"OK", "NON-STRICT", "INFORMATIONAL"}


class Echo:
    """Sends back what it gets."""

    connection: Connection

    def handle_message(self, data: bytes, binary: bool) -> None:
        self.connection.transport.write(binary_frame(data) if binary else text_frame(data))

    def pause(self) -> None: ...

    def resume(self) -> None: ...

    def note_alive(self) -> None: ...

    def handle_end(self, code: int) -> None: ...


async def echo(scope: Any, receive: Any, send: Any) -> None:
    await receive()
    await send({"type": "websocket.accept"})
    one = Echo()
    one.connection = scope["extensions"][ATTACH_EXTENSION](one)


async def test_every_case_passes() -> None:
    """No case fails but one, whose expectation the library under us does not share."""
    async with serving(echo) as port:
        try:
            results = await kosoku.run_fuzzingclient(f"ws://127.0.0.1:{port}", None, EXCLUDED, concurrency=8)
        except kosoku.FailureError as failure:
            results = failure.results
    verdicts = {result.case_id: (result.behavior.value, result.behavior_close.value) for result in results}
    failed = {case: found for case, found in verdicts.items() if not set(found) <= GOOD}
    assert len(results) > 200
    assert failed.keys() <= BY_DESIGN, failed
