"""Create the users of a run over HTTP: customers, technicians who are approved and online at one place, and ops."""

from __future__ import annotations

import asyncio
import uuid
from pathlib import Path
from typing import Any

from callout_client import Api
from engine.process.signer import Signer, sign_token
from engine.types import UserId
from server.simulation.account import Operator
from tests.nemesis.client import Client
from tests.nemesis.history import History
from tests.nemesis.workload import HERE, Workload

SERVICE = {"name": "Boilers", "category": "heating", "base_amount": 9000, "currency": "EUR", "pricing": "flat"}


async def create_workload(
    url: str, data: Path, history: History, seed: int, *, technicians: int = 4, customers: int = 2, to: str = ""
) -> Workload:
    """Create a service and its users at the server ``url``, whose signing key is in ``data``. The users will use the
    address ``to``, if it is another one.
    """
    token = sign_token(Signer.load_or_create(data / "signing.key"), UserId("cli_admin"), "admin")
    api = Api(url)
    try:
        admin = Operator(api, token)
        service = str((await admin.request("POST", "/v1/services", SERVICE))["service"]["id"])
        roles = ["customer"] * customers + ["technician"] * technicians
        accounts = await asyncio.gather(*(_register(api, role) for role in roles))
        for account in accounts[customers:]:
            await _approve(api, admin, service, account)
    finally:
        await api.close()
    clients = []
    for number, (role, account) in enumerate(zip(roles, accounts, strict=True)):
        actor = f"{role}:{account['user']['id']}"
        clients.append(
            Client(history, to or url, f"{role}-{number}", actor, account["access_token"], seed * 1000 + number)
        )
    ops = Client(history, to or url, "ops", "admin:cli_admin", token, seed * 1000 + 999)
    return Workload(history, clients[:customers], clients[customers:], ops, service)


async def _register(api: Api, role: str) -> dict[str, Any]:
    body = {"email": f"{uuid.uuid4().hex}@example.org", "password": "correct horse", "name": role, "role": role}
    return await api.request("POST", "/v1/auth/register", body=body)


async def _approve(api: Api, admin: Operator, service: str, account: dict[str, Any]) -> None:
    path, token = f"/v1/technicians/{account['user']['id']}", account["access_token"]
    await api.request("PATCH", path, token=token, body={"services": [service]})
    await admin.request("PATCH", path, {"capacity": 1000})
    await admin.request("POST", f"{path}/review", {"kyc": "approved", "account": "approved"})
    await api.request("PUT", f"{path}/availability", token=token, body={"online": True, **HERE})
