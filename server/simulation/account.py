"""Somebody who can sign in, and whose access token is good for as long as he is about."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from callout_client import Api, Refusal

MARGIN_S = 60.0


class Account:
    """A signed-in user. Access tokens last an hour and a demo longer: ``token`` gets a new one in time."""

    def __init__(self, api: Api, signed_in: dict[str, Any], *, returning: bool = False) -> None:
        self.api = api
        self.returning = returning
        self.id: str = signed_in["user"]["id"]
        self.role: str = signed_in["user"]["role"]
        self.email: str = signed_in["user"]["email"]
        self.name: str = signed_in["user"]["name"]
        self._refreshing = asyncio.Lock()
        self._take(signed_in)

    def _take(self, tokens: dict[str, Any]) -> None:
        self._access: str = tokens["access_token"]
        self._refresh: str = tokens["refresh_token"]
        self._good_until = time.monotonic() + tokens["expires_in"] - MARGIN_S

    async def token(self, fresh: bool = False) -> str:
        """An access token good for a minute at least; ``fresh`` where the server did not like the last
        one.
        """
        refused = self._access if fresh else None
        async with self._refreshing:
            if self._access == refused or time.monotonic() >= self._good_until:
                body = {"refresh_token": self._refresh}
                self._take(await self.api.request("POST", "/v1/auth/refresh", body=body))
        return self._access

    async def request(self, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        """``Api.request`` as this user."""
        return await self.api.request(method, path, token=await self.token(), body=body)


class Operator:
    """An administrator by a token from outside (``callout token``): he has no account and cannot renew it."""

    returning = False
    name = email = ""

    def __init__(self, api: Api, token: str) -> None:
        self.api = api
        self._token = token

    async def token(self, fresh: bool = False) -> str:
        """The token he was given."""
        return self._token

    async def request(self, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        """``Api.request`` as the operator."""
        return await self.api.request(method, path, token=self._token, body=body)


async def sign_in(api: Api, details: dict[str, Any], maker: Operator | None = None) -> Account:
    """The account of ``details`` (as in ``POST /v1/auth/register``), made now or by an earlier run.

    Staff are made by ``maker``. Raises Refusal: ``unauthenticated`` where it exists under another password.
    """
    try:
        if maker is None:
            return Account(api, await api.request("POST", "/v1/auth/register", body=details))
        await maker.request("POST", "/v1/users", details)
    except Refusal as refusal:
        if refusal.code != "duplicate":
            raise
    login = {"email": details["email"], "password": details["password"]}
    return Account(api, await api.request("POST", "/v1/auth/login", body=login), returning=True)
