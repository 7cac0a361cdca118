"""How people come into the city: they register, complete their profiles, and the operator approves them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar

from callout_client import Api
from server.simulation.account import Account, Operator, sign_in

T = TypeVar("T")
AT_ONCE = 16
"""Enough to keep the server's password hashing busy on every core; more would only wait in line there."""
SERVICE = {"name": "Simulated repair", "category": "simulation"}
PRICE = {"base_amount": 4900, "currency": "EUR", "pricing": "flat"}


async def open_service(operator: Operator) -> str:
    """The id of the service that simulated people trade in, made where there is none."""
    known = await operator.request("GET", f"/v1/services?category={SERVICE['category']}")
    for service in known["items"]:
        if service["name"] == SERVICE["name"] and service["active"]:
            return str(service["id"])
    made = await operator.request("POST", "/v1/services", {**SERVICE, **PRICE})
    return str(made["service"]["id"])


def details(role: str, number: int, tag: str, password: str) -> dict[str, Any]:
    """The registration of one of many: the same tag and number are the same person again."""
    return {
        "email": f"{role}-{number:03d}.{tag}@callout.example",
        "password": password,
        "name": f"{role.replace('_', ' ').capitalize()} {number:03d}",
        "role": role,
    }


async def settle_technician(api: Api, operator: Operator, service: str, who: dict[str, Any]) -> Account:
    """A technician who may claim: complete with name, zone and service, and approved."""
    account = await sign_in(api, who)
    profile = {"name": who["name"], "services": [service]}
    await account.request("PATCH", f"/v1/technicians/{account.id}", profile)
    verdict = {"kyc": "approved", "account": "approved"}
    await operator.request("POST", f"/v1/technicians/{account.id}/review", verdict)
    return account


async def together(work: Sequence[Callable[[], Awaitable[T]]], done: Callable[[], None] = lambda: None) -> list[T]:
    """The results of ``work`` in its order, so many at once; ``done`` after each. The first failure
    ends all.
    """
    free = asyncio.Semaphore(AT_ONCE)

    async def one(make: Callable[[], Awaitable[T]]) -> T:
        async with free:
            result = await make()
        done()
        return result

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(one(make)) for make in work]
    return [task.result() for task in tasks]
