"""Signed-in users of the simulation. Their access tokens are renewed before they expire."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from callout_client import Api, Refusal

RENEW_BEFORE_S = 60.0


class Account:
    """A signed-in user. An access token is valid for an hour, but a demo may run longer, so ``token`` renews it.

    ``existed_before``: an earlier run created the account.
    """

    def __init__(self, api: Api, signed_in: dict[str, Any], *, existed_before: bool = False) -> None:
        self.api = api
        self.existed_before = existed_before
        self.id: str = signed_in["user"]["id"]
        self.role: str = signed_in["user"]["role"]
        self.email: str = signed_in["user"]["email"]
        self.name: str = signed_in["user"]["name"]
        self._refresh_lock = asyncio.Lock()
        self._store_tokens(signed_in)

    def _store_tokens(self, tokens: dict[str, Any]) -> None:
        self._access_token: str = tokens["access_token"]
        self._refresh_token: str = tokens["refresh_token"]
        self._valid_until = time.monotonic() + tokens["expires_in"] - RENEW_BEFORE_S

    async def token(self, fresh: bool = False) -> str:
        """Return an access token that is valid for at least a minute. ``fresh``: the server refused the last token."""
        refused = self._access_token if fresh else None
        async with self._refresh_lock:
            if self._access_token == refused or time.monotonic() >= self._valid_until:
                body = {"refresh_token": self._refresh_token}
                self._store_tokens(await self.api.request("POST", "/v1/auth/refresh", body=body))
        return self._access_token

    async def request(self, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        """Call ``Api.request`` as this user. Raises the same errors as ``Api.request``."""
        return await self.api.request(method, path, token=await self.token(), body=body)

    async def upload(self, path: str, image: bytes) -> dict[str, Any]:
        """Call ``Api.upload`` as this user. Raises the same errors as ``Api.upload``."""
        return await self.api.upload(path, image, token=await self.token())


class Operator:
    """An admin with a token of ``callout token``. Such an admin has no account and cannot renew the token."""

    existed_before = False
    name = email = ""

    def __init__(self, api: Api, token: str) -> None:
        self.api = api
        self._token = token

    async def upload(self, path: str, image: bytes) -> dict[str, Any]:
        """Call ``Api.upload`` as this operator. Raises the same errors as ``Api.upload``."""
        return await self.api.upload(path, image, token=self._token)

    async def token(self, fresh: bool = False) -> str:
        """Return the token that the operator was created with."""
        return self._token

    async def request(self, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        """Call ``Api.request`` as the operator. Raises the same errors as ``Api.request``."""
        return await self.api.request(method, path, token=self._token, body=body)


async def sign_in(api: Api, registration: dict[str, Any], admin: Operator | None = None) -> Account:
    """Sign in and return the account. If no earlier run has created the account, create it.

    ``registration`` is the body of ``POST /v1/auth/register``. For an account of staff, ``admin`` creates the account.
    Raises Refusal, with ``unauthenticated`` if the account exists and has another password.
    """
    try:
        if admin is None:
            return Account(api, await api.request("POST", "/v1/auth/register", body=registration))
        await admin.request("POST", "/v1/users", registration)
    except Refusal as refusal:
        if refusal.code != "duplicate":
            raise
    login = {"email": registration["email"], "password": registration["password"]}
    return Account(api, await api.request("POST", "/v1/auth/login", body=login), existed_before=True)
