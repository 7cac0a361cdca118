"""Authenticated HTTP requests and sockets to one server."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from urllib.parse import quote
from uuid import uuid4

import msgspec
from websockets.asyncio.client import ClientConnection, connect
from websockets.typing import Subprotocol

from callout_client.api import Api
from callout_client.errors import ClientError, Refusal, Unreachable
from callout_client.listeners import Frame

SUBPROTOCOL = Subprotocol("callout.v1.json")
CONNECT_TIMEOUT_S = 10.0
TokenProvider = Callable[[bool], Awaitable[str]]
TicketProvider = Callable[[], Awaitable[str]]
encode = msgspec.json.Encoder().encode
decode = msgspec.json.Decoder(Frame).decode


class Connector:
    """The authenticated access of one user to a server: with access tokens, or with one-use tickets for sockets."""

    def __init__(
        self, url: str, token: TokenProvider | None, ticket: TicketProvider | None, shared: Api | None
    ) -> None:
        self.url = url.rstrip("/")
        self.may_poll = token is not None and shared is None
        self.uses_ticket = ticket is not None
        self._token, self._ticket = token, ticket
        self._api, self._owns_api = shared, shared is None

    async def close(self) -> None:
        """Close the HTTP connections, unless they are shared."""
        if self._owns_api and self._api is not None:
            await self._api.close()
            self._api = None

    async def http(
        self, method: str, path: str, body: Frame | None, *, key: str = "", trace: str = "", patience_s: float
    ) -> Frame:
        """Call ``Api.request`` as the user. Replace an expired token once. Errors contain the key.

        Raises the same errors as ``Api.request``.
        """
        if self._api is None:
            self._api = Api(self.url)
        key = key or str(uuid4())
        for fresh in (False, True):
            try:
                token = await self.bearer_token(fresh)
                return await self._api.request(
                    method, path, token=token, body=body, key=key, trace=trace, patience_s=patience_s
                )
            except ClientError as failure:
                failure.key = key
                if fresh or not isinstance(failure, Refusal) or failure.code != "token_expired":
                    raise
        raise AssertionError("the second attempt returns or raises")

    async def bearer_token(self, fresh: bool) -> str:
        """Return an access token from the function ``token``. ``fresh``: the last token was refused.

        Raises Refusal if ``token`` raises Refusal or was not given, and Unreachable if it raises another error.
        """
        if self._token is None:
            raise Refusal({"code": "unauthenticated", "title": "A client by ticket has no token"})
        try:
            return await self._token(fresh)
        except Refusal:
            raise
        except Exception as error:  # ``token`` is a function of the application, and may raise any error
            raise Unreachable(f"no token: {error!r}") from error

    async def create_socket(self) -> connect:
        """Return a socket that is not yet open. Raises Unreachable if the function ``ticket`` raises."""
        query = ""
        if self._ticket is not None:
            try:
                query = f"?ticket={quote(await self._ticket())}"
            except Exception as error:  # ``ticket`` is a function of the application, and may raise any error
                raise Unreachable(f"no ticket: {error!r}") from error
        return connect(
            f"ws{self.url.removeprefix('http')}/v1/ws{query}",
            subprotocols=[SUBPROTOCOL],
            compression=None,
            ping_interval=None,
            open_timeout=CONNECT_TIMEOUT_S,
            close_timeout=1,
            proxy=None,
        )

    async def handshake(self, socket: ClientConnection, hello: Frame, *, fresh: bool) -> Frame:
        """Send ``connect`` and return the ``ok`` of its reply. Replace an expired token once, as the server allows.

        Raises Refusal if the server refuses. Raises Unreachable if a ticket has expired or was used, because another
        ticket may work.
        """
        for must_renew in (True,) if fresh or self.uses_ticket else (False, True):
            proof = {} if self.uses_ticket else {"token": await self.bearer_token(must_renew)}
            await socket.send(encode({"id": 0, "op": "connect", **proof, **hello}), text=True)
            async with asyncio.timeout(CONNECT_TIMEOUT_S):
                reply = decode(await socket.recv())
            if "ok" in reply:
                ok: Frame = reply["ok"]
                return ok
            refusal = Refusal(reply.get("error", {}))
            if refusal.code != "token_expired":
                raise refusal
        raise Unreachable(str(refusal)) if self.uses_ticket else refusal
