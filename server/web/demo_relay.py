"""The relay of a demo: it forwards requests below ``/demo/`` to the process that runs the demo, and returns its
answers.

The simulated city runs in another process than the server, and only that process has the counters and the logins. It
listens on this machine and writes its port and a key to a file beside the file of `CALLOUT_DEMO`. A server without that
setting has no such route, and a server whose demo has ended answers `not_found`.

The routes are for the pages of this server. They are not in the OpenAPI document, and the demo decides who may use them
(server/demo/guard.py): the relay only reports who asks.
"""

from __future__ import annotations

import asyncio
import os
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec
from starlette.types import Receive, Scope, Send

from engine.errors import ERROR_OF_CODE, CalloutError, Invalid, NotFound, Unavailable
from server.api.endpoint import send_problem, send_response
from server.http.responses import Response
from server.http.session_cookie import set_cookie

LINK_FILE = "demo-link.json"
MAX_BODY_BYTES = 4096
PROXY_HEADERS = (b"forwarded", b"via", b"x-forwarded-for", b"x-forwarded-host", b"x-real-ip", b"cf-connecting-ip")
"""Headers that a proxy or a tunnel adds, and a browser does not."""
TIMEOUT_S = 30.0
MAX_ANSWER_BYTES = 8 * 1024 * 1024


class DemoLink(msgspec.Struct, frozen=True):
    """The port on which the process of the demo listens, and the key that its server must send."""

    port: int
    key: str


class Visit(msgspec.Struct, frozen=True):
    """A request as the relay reports it. ``hosts`` are all its ``Host`` headers, ``forwarded`` is the
    name of a header with which a proxy says that it forwards ("" for none), and ``pid`` is the process that relays.
    """

    key: str
    method: str
    path: str
    query: str
    peer: tuple[str, int]
    hosts: list[str]
    origin: str | None
    fetch_site: str | None
    content_type: str
    pid: int
    body: bytes = b""
    forwarded: str = ""


class Answer(msgspec.Struct, frozen=True):
    """The demo's answer. ``refused`` is a code of the API's errors, "" for none, with the reason in ``text``. The
    browser stores the refresh token ``cookie`` as the session of ``app``.
    """

    body: bytes = b""
    refused: str = ""
    text: str = ""
    retry_after: float | None = None
    cookie: str = ""
    app: str = ""


class DemoRelay:
    """The ASGI endpoint of ``/demo/…``. ``demo`` is the setting `CALLOUT_DEMO`."""

    def __init__(self, demo: str) -> None:
        self._link_file = Path(demo).with_name(LINK_FILE)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer GET and POST."""
        scope["state"]["operation"] = "demo"
        try:
            answer = await self._ask(scope, await _read_body(receive))
            if answer.refused:
                kind = ERROR_OF_CODE.get(answer.refused, Unavailable)
                raise kind(answer.text, retry_after=answer.retry_after)
            cookie = set_cookie(dict(scope["headers"]), answer.app, answer.cookie) if answer.cookie else None
        except CalloutError as error:
            return await send_problem(scope, send, error)
        headers = [(b"cache-control", b"no-store"), *([cookie] if cookie else [])]
        return await send_response(scope, send, Response(answer.body), 200, headers)

    async def _ask(self, scope: Scope, body: bytes) -> Answer:
        link = self._read_link()
        question = msgspec.json.encode(_visit_of(scope, link.key, body)) + b"\n"
        try:
            async with asyncio.timeout(TIMEOUT_S):
                reader, writer = await asyncio.open_connection("127.0.0.1", link.port, limit=MAX_ANSWER_BYTES)
                try:
                    writer.write(question)
                    return msgspec.json.decode(await reader.readline(), type=Answer)
                finally:
                    writer.close()
        except (OSError, msgspec.DecodeError, TimeoutError):
            raise NotFound("The demo of this server has ended") from None

    def _read_link(self) -> DemoLink:
        with suppress(OSError, msgspec.DecodeError):
            return msgspec.json.decode(self._link_file.read_bytes(), type=DemoLink)
        raise NotFound("This server is no demo")


async def _read_body(receive: Receive) -> bytes:
    body = b""
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise Invalid("The body is not complete")
        body += bytes(message.get("body", b""))
        if len(body) > MAX_BODY_BYTES:
            raise Invalid(f"The body has more than {MAX_BODY_BYTES} bytes")
        if not message.get("more_body"):
            return body


def _visit_of(scope: Scope, key: str, body: bytes) -> Visit:
    headers: list[tuple[bytes, bytes]] = scope["headers"]
    named: dict[bytes, str] = {name: value.decode("latin-1") for name, value in headers}
    client: Any = scope.get("client") or ("", 0)
    return Visit(
        key=key,
        method=scope["method"],
        path=scope["path"].removeprefix("/demo/"),
        query=scope["query_string"].decode("latin-1"),
        peer=(client[0], client[1]),
        hosts=[value.decode("latin-1") for name, value in headers if name == b"host"],
        origin=named.get(b"origin"),
        fetch_site=named.get(b"sec-fetch-site"),
        content_type=named.get(b"content-type", ""),
        pid=os.getpid(),
        body=body,
        forwarded=next((name.decode() for name in PROXY_HEADERS if name in named), ""),
    )
