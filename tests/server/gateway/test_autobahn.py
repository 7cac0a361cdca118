"""The Autobahn test suite against the gateway's own transport: an independent check of the rules of RFC 6455."""

from __future__ import annotations

from typing import Any

import kosoku

from server.gateway.connection import Connection
from server.gateway.frames import binary_frame, text_frame
from server.gateway.transport import ATTACH_EXTENSION
from tests.server.gateway.conftest import serve_app

EXCLUDED_CASES = ["9.*", "12.*", "13.*"]
"""Cases with messages over 64 KiB or with compression. The gateway refuses both on purpose."""
FAILING_BY_DESIGN = {"7.1.5"}
"""The websockets library fails the rest of a fragmented message after a close frame. The case expects no reaction."""
PASSING_BEHAVIOURS = {"OK", "NON-STRICT", "INFORMATIONAL"}


class EchoReceiver:
    """A receiver that sends each message back."""

    connection: Connection

    def handle_message(self, data: bytes, binary: bool) -> None:
        self.connection.transport.write(binary_frame(data) if binary else text_frame(data))

    def pause(self) -> None: ...

    def resume(self) -> None: ...

    def note_alive(self) -> None: ...

    def handle_end(self, code: int) -> None: ...


async def echo_app(scope: Any, receive: Any, send: Any) -> None:
    """Accept the WebSocket and send each message back."""
    await receive()
    await send({"type": "websocket.accept"})
    echo = EchoReceiver()
    echo.connection = scope["extensions"][ATTACH_EXTENSION](echo)


async def test_every_case_passes() -> None:
    """All cases pass except 7.1.5, where the websockets library behaves differently from what the case expects."""
    async with serve_app(echo_app) as port:
        try:
            results = await kosoku.run_fuzzingclient(f"ws://127.0.0.1:{port}", None, EXCLUDED_CASES, concurrency=8)
        except kosoku.FailureError as failure:
            results = failure.results
    verdicts = {result.case_id: (result.behavior.value, result.behavior_close.value) for result in results}
    failed = {case: verdict for case, verdict in verdicts.items() if not set(verdict) <= PASSING_BEHAVIOURS}
    assert len(results) > 200
    assert failed.keys() <= FAILING_BY_DESIGN, failed
